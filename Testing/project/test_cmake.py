"""The extension's CMake files, run by real CMake with the Slicer macros replaced by recorders."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONFIG = """
set(Slicer_USE_FILE "${CMAKE_CURRENT_LIST_DIR}/use.cmake")
set(Slicer_EXTENSION_GENERATE_CONFIG "${CMAKE_CURRENT_LIST_DIR}/config.cmake")
set(Slicer_EXTENSION_CPACK "${CMAKE_CURRENT_LIST_DIR}/cpack.cmake")
"""
USE = """
macro(slicerMacroBuildScriptedModule)
  cmake_parse_arguments(MY "WITH_SUBDIR;WITH_GENERIC_TESTS" "NAME" "SCRIPTS;RESOURCES" ${ARGN})
  if(MY_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "unknown: ${MY_UNPARSED_ARGUMENTS}")
  endif()
  foreach(item ${MY_SCRIPTS} ${MY_RESOURCES})
    if(NOT EXISTS "${CMAKE_CURRENT_SOURCE_DIR}/${item}")
      message(FATAL_ERROR "nonexistent ${item}")
    endif()
  endforeach()
  file(APPEND "${CMAKE_BINARY_DIR}/modules.txt" "${MY_NAME}|${MY_WITH_SUBDIR}|${MY_SCRIPTS}|${MY_RESOURCES}\\n")
endmacro()
macro(slicer_add_python_unittest)
  cmake_parse_arguments(MY "" "SCRIPT" "" ${ARGN})
  if(NOT EXISTS "${CMAKE_CURRENT_SOURCE_DIR}/${MY_SCRIPT}")
    message(FATAL_ERROR "nonexistent ${MY_SCRIPT}")
  endif()
  file(APPEND "${CMAKE_BINARY_DIR}/tests.txt" "${MY_SCRIPT}\\n")
endmacro()
"""


@pytest.fixture(scope="module")
def configured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build folder after `cmake` ran."""
    if shutil.which("cmake") is None:
        pytest.skip("cmake is not installed")
    stub, build = tmp_path_factory.mktemp("stub"), tmp_path_factory.mktemp("build")
    (stub / "SlicerConfig.cmake").write_text(CONFIG)
    (stub / "use.cmake").write_text(USE)
    for name in ("config", "cpack"):
        (stub / f"{name}.cmake").write_text(f'file(APPEND "${{CMAKE_BINARY_DIR}}/done.txt" "{name}\\n")\n')
    command = ["cmake", "-S", str(ROOT), "-B", str(build), f"-DSlicer_DIR={stub}", "-DBUILD_TESTING=ON"]
    # No compiler is needed, and a Slicer build machine has one anyway.
    command += ["-DCMAKE_C_COMPILER_FORCED=ON", "-DCMAKE_CXX_COMPILER_FORCED=ON"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return build


def modules(build: Path) -> dict[str, tuple[bool, set[str], set[str]]]:
    found = {}
    for line in (build / "modules.txt").read_text().splitlines():
        name, subdir, scripts, resources = line.split("|")
        found[name] = (subdir == "TRUE", set(scripts.split(";")), set(resources.split(";")))
    return found


def files(folder: str, pattern: str) -> set[str]:
    base = ROOT / folder
    return {str(p.relative_to(base)) for p in base.rglob(pattern) if p.is_file() and "__pycache__" not in p.parts}


def test_module_packages_all_its_files(configured: Path) -> None:
    subdir, scripts, resources = modules(configured)["LiverSeg"]
    assert not subdir
    assert scripts == files("LiverSeg", "*.py")
    assert resources == {f"Resources/{name}" for name in files("LiverSeg/Resources", "*")}


def test_no_helper_lies_beside_the_module() -> None:
    assert [p.name for p in (ROOT / "LiverSeg").glob("*.py")] == ["LiverSeg.py"]


def test_library_is_packaged_with_its_models(configured: Path) -> None:
    subdir, scripts, resources = modules(configured)["LiverSegLib"]
    assert subdir
    packages = {name for name in files("LiverSegLib", "*") if name.startswith("models/packages/")}
    assert scripts == {name for name in files("LiverSegLib", "*.py") if name not in packages}
    assert resources == packages | {"py.typed", "models/catalogue.json"}


def test_slicer_tests_are_registered(configured: Path) -> None:
    assert (configured / "tests.txt").read_text().split() == ["LiverSeg.py", "LiverSegEndToEndTest.py"]
    assert (configured / "done.txt").read_text().split() == ["config", "cpack"]


def test_index_entry() -> None:
    entry = json.loads((ROOT / "LiverSeg.json").read_text(encoding="utf-8"))
    assert entry["$schema"].endswith("slicer-extension-catalog-entry-schema-v1.0.2.json#")
    assert entry["build_dependencies"] == ["PyTorch"]
    text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    assert entry["scm_url"].removesuffix(".git") in text
    assert "set(EXTENSION_DEPENDS PyTorch)" in text
    assert b"\r" not in (ROOT / "LiverSeg.json").read_bytes()
