"""The packages that a first use needs, installed on one click; nothing is imported to find out."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import qt
import slicer
from slicer.i18n import tr as _

from LiverSegLib.errors import LiverSegError

TORCH = (2, 10)
MONAI = (1, 6, 1)
_WANTED = {"torch": TORCH, "monai": MONAI, "scipy": (1, 11), "safetensors": (0, 4)}
_NAMES = {"torch": "PyTorch", "monai": "MONAI", "scipy": "SciPy", "safetensors": "safetensors"}
# Needed for a few things only, so they are not asked for before; the versions are those of pyproject.toml.
_OPTIONAL = {"matplotlib": (3, 8), "highdicom": (0, 28)}


class InstallError(LiverSegError):
    """A package could not be installed."""


def missingPackages() -> list[str]:
    """Requirements that are not met, for example ["torch>=2.10", "monai>=1.6.1"]."""
    return _unmet(_WANTED)


def _unmet(wanted: Mapping[str, tuple[int, ...]]) -> list[str]:
    return [f"{name}>={'.'.join(map(str, version))}" for name, version in wanted.items() if _version(name) < version]


def namesOf(missing: list[str]) -> str:
    """The missing packages as people call them, for example "PyTorch, MONAI"."""
    names = [name.split(">=")[0] for name in missing]
    return ", ".join(_NAMES.get(name, name) for name in names)


def ensurePackage(name: str, purpose: str) -> bool:
    """Have a package that only some things need; where it is missing the user is asked, and it is installed.

    Args:
        name: "matplotlib" or "highdicom".
        purpose: what needs it, the beginning of a sentence.

    Returns:
        Whether it is there now; False where the user does not want it.

    Raises:
        InstallError: it could not be installed.
    """
    wanted = {name: _OPTIONAL[name]}
    missing, box = _unmet(wanted), qt.QMessageBox
    if not missing:
        return True
    text = _("{purpose} need the package {name}, which is not installed. Install it now?")
    text, buttons = text.format(purpose=purpose, name=namesOf(missing)), box.Yes | box.No
    title = _("Install a package")
    if slicer.util.messageBox(text, windowTitle=title, icon=box.Question, standardButtons=buttons) != box.Yes:
        return False
    _pip(missing)
    importlib.invalidate_caches()
    if _unmet(wanted):
        text = _("{names} could not be installed; look into the Python console and try again.")
        raise InstallError(text.format(names=namesOf(missing)))
    return True


def needsExtension(missing: list[str]) -> bool:
    """Whether PyTorch is missing and so is the extension that installs it."""
    if not any(name.startswith("torch") for name in missing):
        return False
    return "PyTorchUtils" not in sys.modules and importlib.util.find_spec("PyTorchUtils") is None


def openExtensionsManager() -> None:
    """Open Slicer's Extensions Manager.

    Raises:
        InstallError: this Slicer was built without it.
    """
    if not hasattr(slicer.app, "openExtensionsManagerDialog"):
        raise InstallError(_("This Slicer has no Extensions Manager; install the PyTorch extension by hand."))
    slicer.app.openExtensionsManagerDialog()


def installPackages() -> None:
    """Install what is missing: torch through the PyTorch extension, which picks the right build.

    Raises:
        InstallError: something is still missing afterwards.
    """
    missing = missingPackages()
    if any(name.startswith("torch") for name in missing):
        _installTorch()
    others = [name for name in missing if not name.startswith("torch")]
    if others:
        _pip(others)
    importlib.invalidate_caches()
    missing = missingPackages()
    if missing:
        text = _("{names} could not be installed; look into the Python console and try again.")
        raise InstallError(text.format(names=namesOf(missing)))


def _installTorch() -> None:
    """Install torch, and make sure of it: what comes after depends on it and would bring any build of it along."""
    try:
        import PyTorchUtils
    except ModuleNotFoundError as error:
        text = _("The PyTorch extension is missing; install it in the Extensions Manager and restart Slicer.")
        raise InstallError(text) from error
    requirement = ">=" + ".".join(map(str, TORCH))
    with _told(_NAMES["torch"]):
        PyTorchUtils.PyTorchUtilsLogic().installTorch(askConfirmation=True, torchVersionRequirement=requirement)
    importlib.invalidate_caches()
    if _version("torch") < TORCH:  # the user declined, or it failed without an error
        raise InstallError(_("PyTorch was not installed, so nothing else was; click again to install it."))


def _pip(requirements: list[str]) -> None:
    packaging = getattr(slicer, "packaging", None)
    with _told(namesOf(requirements)):
        if packaging is not None and hasattr(packaging, "pip_ensure"):
            # The click on our button was the consent.
            packaging.pip_ensure(requirements, prompt_install=False, requester="LiverSeg", skip_in_testing=False)
        else:
            slicer.util.pip_install(" ".join(f'"{name}"' for name in requirements))


@contextmanager
def _told(names: str) -> Iterator[None]:
    """Turn whatever pip and its helpers raise into a sentence."""
    try:
        yield
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        text = _("{names} could not be installed ({reason}); check the network and try again.")
        raise InstallError(text.format(names=names, reason=reason)) from error


def _version(name: str) -> tuple[int, ...]:
    try:
        numbers = re.match(r"\d+(\.\d+)*", importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return ()
    return tuple(int(part) for part in numbers.group().split(".")) if numbers else ()
