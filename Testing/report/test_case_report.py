"""The report of a case: what a reader finds on the page, and what can never get onto it."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="matplotlib is not installed")
from PIL import Image

from LiverSegLib.errors import OutputError
from LiverSegLib.io.marks import is_ours
from LiverSegLib.labels import labels_for
from LiverSegLib.measure import measure
from LiverSegLib.models.spec import ModelDescription
from LiverSegLib.pictures.build import build_scene
from LiverSegLib.quality import Doubt, Quality
from LiverSegLib.report import write_case_report
from LiverSegLib.report.key_slices import key_slices
from LiverSegLib.volume import Result, Volume

NAMES = {1: "liver", 2: "tumor"}
AFFINE = np.array([[-2.0, 0, 0, 40], [0, -2, 0, 30], [0, 0, 4, -20], [0, 0, 0, 1]])


def case(names: dict[int, str] | None = None, **changes: object) -> tuple[Volume, Result]:
    """A liver with a rod of 8 x 1 x 1 voxels and a block of 3 x 3 x 3 as its lesions."""
    labels = labels_for(names or NAMES)
    labelmap = np.zeros((40, 30, 12), np.uint8)
    labelmap[8:32, 8:22, 2:10] = 1
    labelmap[10:18, 12, 4], labelmap[24:27, 12:15, 5:8] = 2, 2
    image = np.where(labelmap > 0, 100, -100).astype(np.int16)
    image[0] = -1000
    volume = Volume(image, AFFINE, name="case 1", modality="CT")
    measured = measure(labelmap, AFFINE, labels, image, "HU")
    whole = {"labelmap": labelmap, "affine": AFFINE, "labels": labels, "measurements": measured, "model": "liver 1.0"}
    return volume, Result(**{**whole, **changes})  # type: ignore[arg-type]


def written(folder: Path, volume: Volume, result: Result, model: ModelDescription | None = None) -> str:
    write_case_report(volume, result, folder / "case.html", model=model)
    return (folder / "case.html").read_text(encoding="utf-8")


def test_a_reader_finds_what_was_measured_and_what_made_it(tmp_path: Path) -> None:
    quality = Quality(
        organ="liver",
        expected_dice=0.95,
        low=0.9,
        high=0.97,
        doubts=(Doubt(place="upper part", volume_ml=12.0, center_ras=(1.0, 2.0, 3.0), is_left_out=True),),
    )
    volume, result = case(quality=quality, warnings=("The image is short.",), timings={"network": 2.0})
    model = ModelDescription(name="Liver", version="1.0", labels=result.labels, license="CC0", data_source="phantoms")

    text = written(tmp_path, volume, result, model)

    for told in (
        "case 1",
        "Not for clinical use",
        "Expected Dice of the liver: 0.95 (0.90 to 0.97)",
        "Check the upper part: 12 mL there may be missing from the liver.",
        "The image is short.",
        "CC0",
        "phantoms",
        "LiverSeg ",
        "CT, 40 x 30 x 12 voxels of 2 x 2 x 4 mm",
    ):
        assert told in text
    liver, tumor = result.measurements.segments
    assert f"{liver.volume_ml:.1f}</td>" in text
    assert f"{tumor.burden_percent:.1f}</td>" in text
    assert text.count("<figure>") == 3  # the overview and two lesions
    assert is_ours(tmp_path / "case.html")


def test_the_page_needs_nothing_but_itself_and_runs_nothing(tmp_path: Path) -> None:
    volume, result = case()
    text = written(tmp_path, volume, result)
    assert "default-src 'none'" in text
    assert "<script" not in text
    assert "http://" not in text
    assert "https://" not in text
    sources = re.findall(r'src="([^"]*)"', text)
    assert {source.partition(",")[0] for source in sources} == {"data:image/png;base64"}
    for source in sources:
        picture = Image.open(BytesIO(base64.b64decode(source.partition(",")[2])))
        assert min(picture.size) > 300


def test_what_comes_from_files_is_text(tmp_path: Path) -> None:
    evil = "<img src=x onerror=alert(1)>\x1b[31m"
    volume, result = case({1: "liver", 2: "tumor", 3: evil}, warnings=(evil,), model=evil, device=evil)
    model = ModelDescription(name=evil, version=evil, labels=result.labels, license=evil, data_source=evil)
    text = written(tmp_path, replace(volume, name=evil), result, model)
    assert "<img src=x" not in text
    assert "\x1b" not in text
    assert "&lt;img src=x onerror=alert(1)&gt;" in text


def test_the_key_slice_is_the_largest_and_its_diameter_lies_in_it() -> None:
    volume, result = case()
    scene = build_scene(volume, result.labelmap, result.labels)
    block, rod = key_slices(scene, result, 12)
    assert rod.plane.center[2] == 4
    # 8 voxels of 2 mm in a row.
    assert rod.diameter_mm == pytest.approx(16.0)
    assert rod.lesion.longest_diameter_mm == pytest.approx(16.0)
    assert block.plane.center[2] in (5, 6, 7)
    # In the slice it is shorter than through the block, whose height counts too.
    assert block.diameter_mm == pytest.approx(np.hypot(4, 4) + np.hypot(2, 2))
    assert block.lesion.longest_diameter_mm > block.diameter_mm
    for key in (block, rod):
        mm = (key.ends[0] - key.ends[1]) * np.array(scene.spacing)
        assert np.linalg.norm(mm) == pytest.approx(key.diameter_mm)
        assert abs(mm[2]) < 0.01


def test_only_the_largest_lesions_are_drawn() -> None:
    volume, result = case()
    scene = build_scene(volume, result.labelmap, result.labels)
    (only,) = key_slices(scene, result, 1)
    assert only.lesion == result.measurements.lesions[0]


def test_a_lesion_of_one_voxel_has_a_diameter_in_its_slice() -> None:
    volume, result = case()
    labelmap = np.where(result.labelmap == 2, 1, result.labelmap)
    labelmap[12, 12, 5] = 2
    result = replace(result, labelmap=labelmap, measurements=measure(labelmap, AFFINE, result.labels))
    (key,) = key_slices(build_scene(volume, labelmap, result.labels), result, 12)
    assert key.diameter_mm == pytest.approx(2.0)


def test_parts_of_an_organ_have_a_table_of_their_own(tmp_path: Path) -> None:
    names = {number: f"liver_segment_{number}" for number in range(1, 9)}
    labels = labels_for(names)
    labelmap = np.zeros((24, 20, 10), np.uint8)
    for number in names:
        labelmap[2 * number : 2 * number + 2, 5:15, 2:8] = number
    measured = measure(labelmap, AFFINE, labels)
    volume = Volume(labelmap.astype(np.int16), AFFINE, name="pieces")
    text = written(tmp_path, volume, Result(labelmap=labelmap, affine=AFFINE, labels=labels, measurements=measured))
    for told in ("Part of liver", "VIII</td>", "12.5</td>", "<td>Liver</td>"):
        assert told in text
    assert "Lesions" not in text


@pytest.mark.parametrize("shape", [(40, 30, 12), (40, 30, 1)])
def test_a_case_without_any_segment_has_a_page(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    labels = labels_for(NAMES)
    labelmap = np.zeros(shape, np.uint8)
    measured = measure(labelmap, AFFINE, labels)
    result = Result(labelmap=labelmap, affine=AFFINE, labels=labels, measurements=measured)
    text = written(tmp_path, Volume(np.zeros(shape, np.int16), AFFINE, name="empty"), result)
    assert "None was found." in text
    assert text.count("<figure>") == 1


def test_a_result_of_another_image_is_refused_and_leaves_no_page(tmp_path: Path) -> None:
    volume, result = case()
    with pytest.raises(OutputError, match="does not belong to case 1"):
        write_case_report(replace(volume, array=volume.array[:-1]), result, tmp_path / "case.html")
    assert list(tmp_path.iterdir()) == []
