"""Which cases a tree or a list holds, how they are called, and in which part they are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from LiverSegLib.batch.folder import Part
from LiverSegLib.batch.inputs import find_cases, of_part
from LiverSegLib.errors import InputError
from Testing.io.test_io_dicom import image


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def names(source: Path, **how: object) -> list[str]:
    return [case.name for case in find_cases(source, **how)]  # type: ignore[arg-type]


def test_images_of_a_tree_are_found_with_names_that_tell_them_apart(tmp_path: Path) -> None:
    touch(tmp_path, "a/ct.nii.gz", "b/ct.nii.gz", "b/old/ct.mha", "readme.txt", ".hidden/x.nii", "a/x_labels.nii.gz")
    touch(tmp_path, "a/x.seg.nrrd", "out/cases/z.nii", "straße/ct.nii", "a_b.nii", "a/b.nii")
    found = names(tmp_path, out=tmp_path / "out")
    assert {"a_ct", "b_ct", "b_old_ct"} < set(found)
    assert sum(name.startswith("a_b-") for name in found) == 2
    assert any(name.startswith("stra_e_ct-") for name in found)
    assert len(found) == 6
    assert names(tmp_path, pattern="b/*", out=tmp_path / "out") == ["b_ct", "b_old_ct"]


def test_each_series_of_a_dicom_tree_is_a_case(tmp_path: Path) -> None:
    for patient, uids in {"p1": ["1.2.3"], "p2": ["1.2.4", "1.2.5"]}.items():
        (tmp_path / patient).mkdir()
        for uid in uids:
            for k in range(2):
                image(k, SeriesInstanceUID=uid).save_as(tmp_path / patient / f"{uid}.{k}", enforce_file_format=True)
    assert names(tmp_path) == ["p1", "p2_4", "p2_5"]
    assert find_cases(tmp_path)[1].path == tmp_path / "p2" / "1.2.4.0"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.csv", "input,name\nimages/a.nii,first\nimages/b.nii,\n"),
        ("list.json", json.dumps([{"input": "images/a.nii", "name": "first"}, "images/b.nii"])),
        ("list.jsonl", '{"input": "images/a.nii", "name": "first"}\n{"input": "images/b.nii"}\n'),
    ],
)
def test_lists_name_inputs_from_their_own_folder(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    found = {case.name: case.path for case in find_cases(tmp_path / name)}
    assert found == {"first": tmp_path / "images/a.nii", "images_b": tmp_path / "images/b.nii"}


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("list.csv", "name\nx\n", "Entry 1 of .* has no input"),
        ("list.csv", "", "names no inputs"),
        ("list.json", "{}", "holds no list"),
        ("list.json", "[3]", "Entry 1"),
        ("list.json", "[", "cannot be read"),
        ("ct.nii", "x", "liverseg segment"),
    ],
)
def test_what_is_no_list_is_told(tmp_path: Path, name: str, text: str, told: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=told):
        find_cases(tmp_path / name)


def test_nothing_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        find_cases(tmp_path / "gone")
    with pytest.raises(InputError, match="holds no images"):
        find_cases(tmp_path)


def test_parts_hold_every_case_once_and_stay_as_cases_come(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{number:03d}.nii" for number in range(100)))
    before = [of_part(find_cases(tmp_path), Part(number, 4)) for number in (1, 2, 3, 4)]
    assert sorted(case.name for part in before for case in part) == names(tmp_path)
    assert all(len(part) > 10 for part in before)
    touch(tmp_path, "000a.nii")
    after = [of_part(find_cases(tmp_path), Part(number, 4)) for number in (1, 2, 3, 4)]
    assert all(set(old) <= set(new) for old, new in zip(before, after, strict=True))
