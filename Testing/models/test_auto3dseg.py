"""Models of MONAI's Auto3DSeg as they are shared: recognized, read as data, and run as the script that they are for."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pytest
import torch

from LiverSegLib.engine.segmenter import Segmenter
from LiverSegLib.errors import ModelError
from LiverSegLib.io import read_volume
from LiverSegLib.models import read_description, read_package
from LiverSegLib.models.crop import ForegroundCrop
from LiverSegLib.models.intensity import Normalize, ScaleRange
from LiverSegLib.models.squash import AboveLeast, Sigmoid, SoftLimit
from LiverSegLib.request import Settings
from Testing.equivalence.auto3dseg_reference import auto3dseg_labels
from Testing.models.auto3dseg_folders import CONFIG, HEAD, ROWS, STRUCTURE, write_model

RAW = Settings(largest_component=False, fill_holes=False, lesions_inside=False)
GRID = np.diag([-1.4, -1.6, 3.0, 1.0])


def write_case(path: Path, affine: npt.NDArray[np.float64] = GRID, low: int = -1000) -> Path:
    rng = np.random.default_rng(4)
    rough = rng.normal(60, 120, (8, 7, 5)).repeat(5, 0).repeat(5, 1).repeat(5, 2)
    values = np.full((46, 41, 27), low, np.int16)
    values[4:44, 3:38, 1:26] = np.maximum(rough + rng.normal(0, 20, rough.shape), low)
    nib.save(nib.Nifti1Image(values, affine), path)
    return path


def test_all_of_it_is_read(tmp_path: Path) -> None:
    package = read_package(write_model(tmp_path / "abdominal-organs-3mm-v2.0.0"))
    assert (package.name, package.version, package.modality) == ("abdominal-organs-3mm", "2.0.0", "CT")
    assert [label.name for label in package.labels] == ["liver", "left_kidney"]
    assert package.network == "SegResNetDS"
    assert package.intensity == (ScaleRange(-250, 250, -1, 1, clip=False), Sigmoid())
    assert package.crop == ForegroundCrop(margin=10, normalized=True, by_input=True)
    assert (package.axcodes, package.pixdim, package.nearest) == ("ijk", (2.1, 1.9, 2.6), True)
    assert (package.inferer.roi_size, package.inferer.overlap, package.inferer.gaussian) == ((16,) * 3, 0.625, True)


def test_names_are_ours_and_codes_theirs(tmp_path: Path) -> None:
    liver, kidney = read_package(write_model(tmp_path / "m")).labels
    assert "SCT^10200004^Liver" in liver.terminology
    assert (kidney.display_name, kidney.color != liver.color) == ("Left kidney", True)
    assert "~SCT^64033007^Kidney~SCT^7771000^Left~" in kidney.terminology
    assert kidney.terminology.count("~") == 6


@pytest.mark.parametrize(
    ("row", "name", "shown"),
    [
        (f"2,x,{STRUCTURE},SCT,78961009,Spleen,,,,,,,,,", "spleen", "Spleen"),
        (f"2,x,{STRUCTURE},SCT,277958008,Couinaud hepatic segment IV,,,,,,,,,", "liver_segment_4", "Liver segment IV"),
        ("2,x,SCT,49755003,M,SCT,86049000,Neoplasm,,,,SCT,10200004,Liver,,,", "tumor", "Liver tumor"),
        ("2,x,SCT,49755003,M,SCT,367643001,Cyst,,,,SCT,64033007,Kidney,SCT,7771000,Left", "x", "Cyst in left kidney"),
        ("2,Portal vein,,,,,,,,,,,,,,,", "portal vein", "Portal vein"),
    ],
)
def test_what_means_the_same_has_our_name(tmp_path: Path, row: str, name: str, shown: str) -> None:
    label = read_package(write_model(tmp_path / "m", (ROWS[0], row))).labels[1]
    assert (label.name, label.display_name) == (name, shown)


def test_two_of_one_kind_keep_their_names(tmp_path: Path) -> None:
    rows = (f"1,kidney one,{STRUCTURE},SCT,64033007,Kidney,,,,,,,,,", f"2,kidney two,{STRUCTURE},SCT,64033007,Kidney")
    labels = read_package(write_model(tmp_path / "m", rows)).labels
    assert [label.name for label in labels] == ["kidney one", "kidney two"]


@pytest.mark.parametrize("place", ["", "inner", "some/where"])
def test_a_zip_is_found_wherever_its_files_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    monkeypatch.setenv("LIVERSEG_CACHE", str(tmp_path / "cache"))
    folder = write_model(tmp_path / "m")
    with zipfile.ZipFile(tmp_path / "organs-v1.2.3.zip", "w") as archive:
        for file in folder.iterdir():
            archive.write(file, f"{place}/{file.name}".lstrip("/"))
    assert [label.name for label in read_package(tmp_path / "organs-v1.2.3.zip").labels] == ["liver", "left_kidney"]
    assert read_description(tmp_path / "organs-v1.2.3.zip").modality == "CT"


MODES: dict[str, tuple[dict[str, Any], tuple[Any, ...], int]] = {
    "range": ({"normalize_mode": "range"}, (ScaleRange(-250, 250, -1, 1, clip=False), Sigmoid()), -1000),
    "ct": ({"normalize_mode": "ct"}, (ScaleRange(-250, 250, -1, 1, clip=False), Sigmoid()), -1000),
    "meanstd": ({"normalize_mode": "meanstd"}, (Normalize(nonzero=True),), 0),
    "mri": ({"normalize_mode": "mri", "modality": "mri"}, (Normalize(nonzero=True),), 0),
    "negative": ({"normalize_mode": "meanstd"}, (Normalize(nonzero=True),), -1000),
    "tanh": ({"normalize_mode": "meanstdtanh"}, (Normalize(nonzero=True), SoftLimit(3.0)), 0),
    "pet": ({"normalize_mode": "pet", "modality": "pet"}, (AboveLeast(), Sigmoid()), 0),
    "none": ({"normalize_mode": "none", "intensity_bounds": None}, (), 0),
}


@pytest.mark.usefixtures("float32")
@pytest.mark.parametrize("mode", MODES)
def test_labels_are_those_of_the_script(tmp_path: Path, mode: str) -> None:
    changes, intensity, low = MODES[mode]
    package = read_package(write_model(tmp_path / "m", **changes))
    assert package.intensity == intensity
    assert_same(tmp_path, low=low)


GRIDS: dict[str, dict[str, Any]] = {
    "kept spacing": {"resample_resolution": [1.4, 1.3, 2.9]},
    "one axis kept": {"resample_resolution": [1.7, 2.9, 1.9]},
    "own grid": {"resample_resolution": None},
    "no foreground": {"crop_foreground": False},
    "turned": {"orientation_ras": True, "crop_foreground": False},
    "thick": {"network": CONFIG["network"] | {"resolution": [1.0, 1.0, 4.0], "norm": ["INSTANCE", {"affine": True}]}},
    "one region": {"sigmoid": True, "network": CONFIG["network"] | {"out_channels": 1}, "output_classes": 1},
}


@pytest.mark.usefixtures("float32")
@pytest.mark.parametrize("grid", GRIDS)
def test_so_they_are_on_every_grid(tmp_path: Path, grid: str) -> None:
    write_model(tmp_path / "m", ROWS[: 1 if GRIDS[grid].get("sigmoid") else 2], **GRIDS[grid])
    assert_same(tmp_path)


@pytest.mark.usefixtures("float32")
def test_a_turned_image_is_cropped_where_its_foreground_is(tmp_path: Path) -> None:
    """The script takes the box of the image as it lay; on an image that lies as it is wanted, both are the same."""
    write_model(tmp_path / "m", orientation_ras=True)
    assert_same(tmp_path, affine=np.diag([1.4, 1.6, 3.0, 1.0]))
    image = nib.load(write_case(tmp_path / "case.nii.gz", np.diag([1.4, 1.6, 3.0, 1.0])))
    straight = segmented(tmp_path)
    flipped = image.as_reoriented([[0, -1], [1, -1], [2, 1]])
    nib.save(flipped, tmp_path / "case.nii.gz")
    assert (segmented(tmp_path) == straight[::-1, ::-1]).mean() > 0.9999


def segmented(folder: Path) -> npt.NDArray[np.uint8]:
    return Segmenter(folder / "m", "cpu", RAW).segment(read_volume(folder / "case.nii.gz")).labelmap


def assert_same(folder: Path, affine: npt.NDArray[np.float64] = GRID, low: int = -1000) -> None:
    case = write_case(folder / "case.nii.gz", affine, low)
    theirs = auto3dseg_labels(folder / "m", case)
    ours = segmented(folder)
    assert ours.shape == theirs.shape
    assert (ours == theirs).mean() >= 0.999
    for value in range(1, int(theirs.max()) + 1):
        mine, others = ours == value, theirs == value
        assert 2 * (mine & others).sum() / (mine.sum() + others.sum()) >= 0.995
    assert 0.02 < (theirs > 0).mean() < 0.98


def broken(**changes: Any) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        write_model(folder)
        found = torch.load(folder / "model.pt", weights_only=True)
        torch.save(found | {"config": CONFIG | changes}, folder / "model.pt")
        return folder

    return write


def network(**changes: Any) -> dict[str, Any]:
    return CONFIG["network"] | changes


WRONG: dict[str, tuple[Callable[[Path], Path], tuple[str, ...]]] = {
    "mode": (broken(normalize_mode="evil"), ("normalize_mode 'evil'", "none of none, range")),
    "mode kind": (broken(normalize_mode=["range"]), ("normalize_mode ['range']",)),
    "bounds": (broken(intensity_bounds=[5, 5]), ("a_min 5 is not below",)),
    "no bounds": (broken(intensity_bounds=None), ("cannot be used",)),
    "roi": (broken(roi_size=[10**9] * 3), ("roi_size 1000000000",)),
    "roi text": (broken(roi_size="$print(1)"), ("roi_size",)),
    "pixdim": (broken(resample_resolution=[1e-9, 1, 1]), ("resample_resolution 1e-09",)),
    "pixdim count": (broken(resample_resolution=[1, 1]), ("each needs 3",)),
    "network": (broken(network=network(_target_="SwinUNETR")), ("network SwinUNETR", "only SegResNetDS")),
    "code": (broken(network=network(_target_="builtins.exec")), ("network 'builtins.exec'", "not supported")),
    "expression": (broken(network=network(init_filters="$print(1)")), ("the expression '$print(1)'", "not executed")),
    "argument": (broken(network=network(evil=1)), ("does not take 'evil'",)),
    "channels": (broken(network=network(in_channels=4)), ("4 images at once",)),
    "modalities": (broken(extra_modalities={"image2": "mri"}), ("images at once",)),
    "classes": (broken(network=network(out_channels=10**6)), ("out_channels 1000000",)),
    "config": (broken(network=7), ("cannot be used",)),
    "no network": (lambda folder: rewritten(folder, {"config": {}}), ("lacks 'network'",)),
    "no config": (lambda folder: rewritten(folder, {}), ("holds no configuration",)),
    "text": (lambda folder: tabled(folder, b"\xff\xfe\x00"), ("labels.csv", "cannot be read as a table")),
    "columns": (lambda folder: tabled(folder, b"a,b\n1,2\n"), ("lacks the column 'LabelValue'",)),
    "empty": (lambda folder: tabled(folder, HEAD.encode()), ("names 0 labels",)),
    "number": (lambda folder: tabled(folder, f"{HEAD}\nx,liver\n".encode()), ("cannot be read as a table",)),
    "large": (lambda folder: tabled(folder, f"{HEAD}\n999,liver\n".encode()), ("'999'", "0 to 255")),
    "twice": (lambda folder: tabled(folder, f"{HEAD}\n1,liver\n1,spleen\n".encode()), ("twice",)),
    "same": (lambda folder: tabled(folder, f"{HEAD}\n1,liver\n2,Liver\n".encode()), ("two values that mean liver",)),
    "more": (lambda folder: tabled(folder, f"{HEAD}\n7,liver\n".encode()), ("the value 7", "only 2 apart")),
    "escape": (lambda folder: tabled(folder, f"{HEAD}\n1,\x1b[31mred\n".encode()), ("does not begin with a letter",)),
    "formula": (lambda folder: tabled(folder, f"{HEAD}\n1,=cmd()\n".encode()), ("does not begin with a letter",)),
    "short": (lambda folder: tabled(folder, f"{HEAD}\n1\n".encode()), ("cannot be read as a table",)),
    "caret": (lambda folder: tabled(folder, f"{HEAD}\n1,a,S^CT,1,x\n".encode()), ("the code 'S^CT' is odd",)),
    "quote": (lambda folder: tabled(folder, f'{HEAD}\n1,"a\n'.encode()), ("cannot be read as a table",)),
    "many": (lambda folder: tabled(folder, f"{HEAD}\n".encode() + b"1,a\n" * 9999), ("256 labels",)),
    "huge": (lambda folder: tabled(folder, b"a" * 2_000_000), ("larger than any package configuration",)),
}


def rewritten(folder: Path, changes: dict[str, Any]) -> Path:
    write_model(folder)
    found = torch.load(folder / "model.pt", weights_only=True)
    torch.save({"state_dict": found["state_dict"]} | changes, folder / "model.pt")
    return folder


def tabled(folder: Path, content: bytes) -> Path:
    (write_model(folder) / "labels.csv").write_bytes(content)
    return folder


@pytest.mark.parametrize("what", WRONG)
def test_a_spoilt_model_is_refused_in_one_sentence(tmp_path: Path, what: str) -> None:
    spoil, words = WRONG[what]
    with pytest.raises(ModelError) as caught:
        read_package(spoil(tmp_path / "m"))
    sentence = str(caught.value)
    assert [word for word in words if word not in sentence] == [], sentence
    assert sentence.endswith(".")
    assert sentence.isprintable()


class Trap:
    """Runs code when it is unpickled by one who does so."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_no_code_in_the_configuration_is_run(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m")
    found = torch.load(folder / "model.pt", weights_only=True)
    torch.save(found | {"config": CONFIG | {"trap": Trap(tmp_path / "trapped")}}, folder / "model.pt")
    with pytest.raises(ModelError, match="perhaps code"):
        read_package(folder)
    assert not (tmp_path / "trapped").exists()


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    folder = broken(network=network(init_filters=8))(tmp_path / "m")
    with pytest.raises(ModelError, match="do not fit their network"):
        Segmenter(folder, "cpu")


def test_a_sidecar_goes_before_what_the_model_says(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m")
    (folder / "liverseg.json").write_text('{"title": "Organs", "license": "CC BY 4.0", "names": {"2": "spleen"}}')
    package = read_package(folder)
    assert (package.name, package.license) == ("Organs", "CC BY 4.0")
    assert package.labels[1].name == "spleen"
    assert replace(package, path=tmp_path) != package
