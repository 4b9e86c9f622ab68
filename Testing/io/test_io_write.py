"""Writing results: what other programs read back, and files that appear complete or not at all."""

from __future__ import annotations

import csv
import gzip
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from LiverSegLib.cli.outputs import write_outputs
from LiverSegLib.errors import OutputError
from LiverSegLib.io import read_volume, write_labelmap, write_measurements_csv, write_measurements_json, write_seg_nrrd
from LiverSegLib.io.atomic import atomic_file
from LiverSegLib.io.marks import is_ours
from LiverSegLib.labels import display_name, label_for, labels_for
from LiverSegLib.measure import Lesion, Measurements, SegmentMeasurement, measure
from LiverSegLib.volume import Result, Volume

# A rotation about the superior axis with spacing 0.7 x 0.7 x 1.6 mm, rounded as a NIfTI header would.
_C, _S = np.cos(0.3), np.sin(0.3)
OBLIQUE = np.array(
    [[-0.7 * _C, 0.7 * _S, 0, 91.3], [-0.7 * _S, -0.7 * _C, 0, 80.1], [0, 0, 1.6, -300.7], [0, 0, 0, 1]],
    dtype=np.float32,
).astype(np.float64)
SHEARED = OBLIQUE + np.array([[0, 0, 0, 0], [0, 0, 0.4, 0], [0, 0, 0, 0], [0, 0, 0, 0.0]])
WRITERS: dict[str, Callable[[Path, Result], None]] = {
    "a.nii.gz": write_labelmap,
    "a.nii": write_labelmap,
    "a.seg.nrrd": write_seg_nrrd,
    "a.csv": lambda path, result: write_measurements_csv(path, result.measurements),
    "a.json": write_measurements_json,
}


@pytest.fixture
def result() -> Result:
    labelmap = np.zeros((7, 6, 5), np.uint8)
    labelmap[1:5, 2:5, 1:4] = 1
    labelmap[2, 3, 2] = 2
    return Result(
        labelmap=labelmap,
        affine=OBLIQUE,
        labels=(label_for(1, "liver"), label_for(2, "tumor")),
        measurements=Measurements(
            segments=(
                SegmentMeasurement(name="liver", voxels=36, volume_ml=28.224),
                SegmentMeasurement(name="tumor", voxels=1, volume_ml=0.784, burden_percent=2.78),
            ),
            lesions=(Lesion(volume_ml=0.784, longest_diameter_mm=1.61234, center_ras=(1.0, -2.0, 3.456)),),
        ),
        timings={"locate": 0.5, "infer": 1.25},
        warnings=("The image is an MR: the model was made for CT.",),
        device="cpu (fp32)",
        model="phantom 0.1",
    )


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii"])
@pytest.mark.parametrize("affine", [OBLIQUE, SHEARED.astype(np.float32).astype(np.float64)])
def test_labelmap_reads_back_bit_for_bit(tmp_path: Path, result: Result, name: str, affine: Any) -> None:
    write_labelmap(tmp_path / name, replace(result, affine=affine))

    image = nib.load(tmp_path / name)
    np.testing.assert_array_equal(image.affine, affine)
    np.testing.assert_array_equal(np.asarray(image.dataobj), result.labelmap)
    assert image.get_data_dtype() == np.uint8
    assert image.header.get_intent()[0] == "label"
    assert image.header["descrip"] == b"1 liver, 2 tumor"
    assert image.header["sform_code"] == 1


def test_labelmap_has_a_qform_only_where_it_can_hold_the_axes(tmp_path: Path, result: Result) -> None:
    write_labelmap(tmp_path / "plain.nii.gz", result)
    write_labelmap(tmp_path / "sheared.nii.gz", replace(result, affine=SHEARED))

    qform, code = nib.load(tmp_path / "plain.nii.gz").get_qform(coded=True)
    assert code == 1
    np.testing.assert_allclose(qform, OBLIQUE, atol=1e-4)
    assert nib.load(tmp_path / "sheared.nii.gz").header["qform_code"] == 0


def test_labelmap_opens_in_itk_on_the_same_grid(tmp_path: Path, result: Result) -> None:
    write_labelmap(tmp_path / "a.nii.gz", result)

    image = sitk.ReadImage(str(tmp_path / "a.nii.gz"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), result.labelmap.transpose(2, 1, 0))
    ras = np.array(image.TransformIndexToPhysicalPoint((6, 5, 4))) * (-1, -1, 1)
    np.testing.assert_allclose(ras, (OBLIQUE @ (6, 5, 4, 1))[:3], atol=1e-4)


@pytest.mark.parametrize("case", ["ct/slab3mm_ct.nii.gz", "mr/mr01_image.nii.gz"])
def test_labelmap_has_the_affine_of_a_real_image(tmp_path: Path, result: Result, case: str) -> None:
    path = Path(__file__).resolve().parents[3] / "shared" / "data" / case
    if not path.is_file():
        pytest.skip("needs the real images in ../shared/data")
    volume = read_volume(path)

    labelmap = np.zeros(volume.array.shape, np.uint8)
    write_labelmap(tmp_path / "a.nii.gz", replace(result, labelmap=labelmap, affine=volume.affine))

    np.testing.assert_array_equal(nib.load(tmp_path / "a.nii.gz").affine, nib.load(path).affine)


@pytest.mark.parametrize("name", ["a.nii.gz", "a.seg.nrrd", "a.csv", "a.json"])
def test_the_same_result_gives_the_same_bytes(tmp_path: Path, result: Result, name: str) -> None:
    WRITERS[name](tmp_path / name, result)
    first = (tmp_path / name).read_bytes()
    c_order = replace(result, labelmap=np.asfortranarray(result.labelmap))
    WRITERS[name](tmp_path / name, c_order)

    assert (tmp_path / name).read_bytes() == first


@pytest.mark.parametrize("affine", [OBLIQUE, SHEARED], ids=["oblique", "sheared"])
def test_slicer_opens_segments_with_names_colors_codes_and_grid(tmp_path: Path, result: Result, affine: Any) -> None:
    slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
    write_seg_nrrd(tmp_path / "a.seg.nrrd", replace(result, affine=affine))

    scene = slicer.vtkMRMLScene()
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    storage = scene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
    storage.SetFileName(str(tmp_path / "a.seg.nrrd"))
    assert storage.ReadData(node) == 1

    segmentation = node.GetSegmentation()
    assert list(segmentation.GetSegmentIDs()) == ["LiverSeg_liver", "LiverSeg_tumor"]
    for label, name in zip(result.labels, ["Liver", "Liver tumor"], strict=True):
        segment = segmentation.GetSegment(label.segment_id)
        assert segment.GetName() == name
        assert [round(255 * channel) for channel in segment.GetColor()] == list(label.color)
        assert segment.GetLabelValue() == label.value
        assert tag(slicer, segment) == label.terminology
        mask, ijk_to_ras = binary_labelmap(segment)
        np.testing.assert_array_equal(mask, result.labelmap == label.value)
        # ITK splits the matrix into spacing and directions on reading; that is all that is lost.
        np.testing.assert_allclose(ijk_to_ras, affine, atol=1e-10)
    reference = segmentation.GetConversionParameter("Reference image geometry")
    grid = [float(x) for x in reference.rstrip(";").split(";")]
    np.testing.assert_array_equal(grid[:16], affine.ravel())
    assert grid[16:] == [0, 6, 0, 5, 0, 4]


def tag(slicer: Any, segment: Any) -> str:
    import vtk

    value = vtk.reference("")
    assert segment.GetTag(slicer.vtkSegment.GetTerminologyEntryTagName(), value)
    return str(value)


def binary_labelmap(segment: Any) -> tuple[np.ndarray, np.ndarray]:
    """A segment's mask [i, j, k] and its matrix, voxel index -> RAS mm."""
    import vtk
    from vtk.util.numpy_support import vtk_to_numpy

    image = segment.GetRepresentation("Binary labelmap")
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    assert image.GetExtent()[::2] == (0, 0, 0)
    values = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1]).transpose(2, 1, 0)
    ijk_to_ras = np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])
    return values == segment.GetLabelValue(), ijk_to_ras


def test_seg_nrrd_keeps_every_digit_of_the_affine(tmp_path: Path, result: Result) -> None:
    affine = SHEARED / 3
    affine[3, 3] = 1
    write_seg_nrrd(tmp_path / "a.seg.nrrd", replace(result, affine=affine))

    header = (tmp_path / "a.seg.nrrd").read_bytes().split(b"\n\n")[0].decode()
    fields = dict(line.split(": ", 1) for line in header.splitlines() if ": " in line)
    vectors = [*fields["space directions"].split(), fields["space origin"]]
    lps = np.array([[float(x) for x in vector.strip("()").split(",")] for vector in vectors]).T
    np.testing.assert_array_equal(np.diag([-1.0, -1, 1]) @ lps, affine[:3])


def test_a_name_cannot_break_the_header(tmp_path: Path, result: Result) -> None:
    wicked = replace(label_for(3, "x\n\ntype: double"), terminology="a|b\nc")
    write_seg_nrrd(tmp_path / "a.seg.nrrd", replace(result, labels=(*result.labels, wicked)))

    np.testing.assert_array_equal(read_volume(tmp_path / "a.seg.nrrd").array, result.labelmap)


@pytest.mark.parametrize(
    ("name", "shown"), [("liver", "Liver"), ("tumor", "Liver tumor"), ("portal_vein", "Portal vein"), ("", "")]
)
def test_display_names(name: str, shown: str) -> None:
    assert display_name(name) == shown


def test_csv_has_one_row_per_segment_and_lesion(tmp_path: Path, result: Result) -> None:
    write_measurements_csv(tmp_path / "a.csv", result.measurements)

    with (tmp_path / "a.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["kind"], row["name"], row["number"]) for row in rows] == [
        ("segment", "liver", ""),
        ("segment", "tumor", ""),
        ("lesion", "tumor", "1"),
    ]
    assert (rows[0]["voxels"], rows[0]["volume_ml"]) == ("36", "28.224")
    assert (rows[2]["longest_diameter_mm"], rows[2]["center_s_mm"]) == ("1.61", "3.46")


def test_pieces_of_an_organ_have_their_shares_in_both_tables(tmp_path: Path, result: Result) -> None:
    labels = labels_for({number: f"liver_segment_{number}" for number in range(1, 9)})
    labelmap = np.arange(10, dtype=np.uint8).reshape(10, 1, 1) % 9
    pieces = replace(
        result, labelmap=labelmap, labels=labels, measurements=measure(labelmap, np.eye(4), labels, labelmap, "HU")
    )
    write_measurements_csv(tmp_path / "a.csv", pieces.measurements)
    write_measurements_json(tmp_path / "a.json", pieces)

    with (tmp_path / "a.csv").open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        rows = list(reader)
    assert list(reader.fieldnames or ())[-3:] == ["mean_intensity", "std_intensity", "organ_percent"]
    assert [(row["kind"], row["name"]) for row in rows] == [
        *(("segment", label.name) for label in labels),
        ("organ", "liver"),
    ]
    assert [row["organ_percent"] for row in rows] == [*["12.5"] * 8, ""]
    assert (rows[8]["voxels"], rows[8]["volume_ml"], rows[8]["mean_intensity"]) == ("8", "0.008", "4.5")
    assert is_ours(tmp_path / "a.csv")
    content = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert [segment["organ_percent"] for segment in content["segments"]] == [12.5] * 8
    assert [(organ["name"], organ["voxels"]) for organ in content["organs"]] == [("liver", 8)]
    assert {label["part_of"] for label in content["labels"]} == {"liver"}


def test_json_says_what_the_numbers_came_from(tmp_path: Path, result: Result) -> None:
    write_measurements_json(tmp_path / "a.json", result)

    content = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert content["schema_version"] == 1
    assert (content["model"], content["device"]) == ("phantom 0.1", "cpu (fp32)")
    assert content["timings_s"] == {"locate": 0.5, "infer": 1.25}
    assert content["warnings"] == list(result.warnings)
    assert content["labels"][1]["segment_id"] == "LiverSeg_tumor"
    unknown = {"mean_intensity": None, "std_intensity": None, "burden_percent": None, "organ_percent": None}
    assert content["segments"][0] == {"name": "liver", "voxels": 36, "volume_ml": 28.224, **unknown}
    assert content["lesions"][0]["longest_diameter_mm"] == 1.61234
    assert content["tumor_burden_percent"] == 2.78


@pytest.mark.parametrize("name", ["a.png", "a.nrrd", "nii.gz.txt"])
def test_a_wrong_suffix_is_told(tmp_path: Path, result: Result, name: str) -> None:
    with pytest.raises(OutputError, match=r"end with \.nii\.gz"):
        write_labelmap(tmp_path / name, result)
    with pytest.raises(OutputError, match=r"end with \.seg\.nrrd"):
        write_seg_nrrd(tmp_path / name, result)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", WRITERS)
def test_a_missing_folder_is_told(tmp_path: Path, result: Result, name: str) -> None:
    with pytest.raises(OutputError, match=f"{name} .*folder does not exist; create .*nowhere first"):
        WRITERS[name](tmp_path / "nowhere" / name, result)


def test_a_folder_of_the_same_name_is_told(tmp_path: Path, result: Result) -> None:
    (tmp_path / "a.csv").mkdir()

    with pytest.raises(OutputError, match="a folder has that name"):
        write_measurements_csv(tmp_path / "a.csv", result.measurements)
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


def test_a_writer_that_fails_leaves_the_earlier_file_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"earlier")

    def fail_half_way() -> None:
        with atomic_file(tmp_path / "a.bin") as file:
            file.write(b"half")
            raise KeyError("a defect")

    with pytest.raises(KeyError, match="a defect"):
        fail_half_way()
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]
    assert (tmp_path / "a.bin").read_bytes() == b"earlier"


KILLED = """
import os, signal, sys
from pathlib import Path
from LiverSegLib.io.atomic import atomic_file, atomic_files

folder = Path(sys.argv[1])
with atomic_file(folder / "one") as file, atomic_files(folder) as opener, opener(folder / "two") as other:
    for stream in (file, other):
        stream.write(b"half")
        stream.flush()
    print("ready", flush=True)
    sys.stdin.read() if sys.argv[2] == "wait" else os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
def test_a_killed_process_leaves_nothing_for_ever(tmp_path: Path, result: Result) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    root = Path(__file__).resolve().parents[2]
    theirs = [".liverseg-notes.tmp", ".liverseg-0123456789ab.tmp.txt", "x.tmp"]
    for name in theirs:
        (tmp_path / name).write_text("a user's file")
    assert subprocess.run([*command, "die"], cwd=root, stdout=subprocess.PIPE, check=False).returncode == -9
    left = {path.name for path in tmp_path.iterdir()} - set(theirs)
    assert len(left) == 2
    with subprocess.Popen([*command, "wait"], cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as living:
        assert living.stdout is not None
        living.stdout.readline()
        busy = {path.name for path in tmp_path.iterdir()} - left - set(theirs)
        assert len(busy) == 2
        write_outputs(tmp_path, "x", Volume(result.labelmap, result.affine), result, picture=False)
        now = {path.name for path in tmp_path.iterdir() if not path.name.startswith("x_")}
        assert now == {*theirs, *busy, "x.seg.nrrd"}
        living.communicate(b"")
    assert {path.name for path in tmp_path.iterdir() if not path.name.startswith("x")} == {*theirs[:2], "one", "two"}


def test_a_new_file_may_be_read_as_the_umask_says(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        with atomic_file(tmp_path / "a.bin") as file:
            file.write(b"x")
    finally:
        os.umask(before)

    assert (tmp_path / "a.bin").stat().st_mode & 0o777 == 0o644


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 kB."""
    mount = shutil.which("mount")
    folder = tmp_path / "disk"
    folder.mkdir()
    if (
        mount is None
        or subprocess.run(
            [mount, "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], check=False, capture_output=True
        ).returncode
    ):
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii", "a.seg.nrrd", "a.json"])
def test_a_full_disk_leaves_the_earlier_file(small_disk: Path, result: Result, name: str) -> None:
    WRITERS[name](small_disk / name, result)
    earlier = (small_disk / name).read_bytes()
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 64), dtype=np.uint8)
    large = replace(result, labelmap=noise, warnings=("x" * 100_000,))

    with pytest.raises(OutputError, match=f"{name} could not be written because the disk is full"):
        WRITERS[name](small_disk / name, large)

    assert [path.name for path in small_disk.iterdir()] == [name]
    assert (small_disk / name).read_bytes() == earlier


def test_no_permission_to_write(tmp_path: Path, result: Result) -> None:
    (tmp_path / "a.json").write_text("earlier")
    tmp_path.chmod(0o500)
    is_root = os.geteuid() == 0
    # Root may write everywhere; act as an ordinary user for a moment.
    if is_root:
        os.seteuid(65534)
    try:
        with pytest.raises(OutputError, match=r"a\.json could not be written \(no permission\)"):
            write_measurements_json(tmp_path / "a.json", result)
    finally:
        if is_root:
            os.seteuid(0)
        tmp_path.chmod(0o700)

    assert (tmp_path / "a.json").read_text() == "earlier"


def test_label_maps_are_compressed(tmp_path: Path, result: Result) -> None:
    blank = replace(result, labelmap=np.zeros((64, 64, 64), np.uint8))
    write_labelmap(tmp_path / "a.nii.gz", blank)

    assert (tmp_path / "a.nii.gz").stat().st_size < 64**3 / 100
    assert len(gzip.decompress((tmp_path / "a.nii.gz").read_bytes())) == 352 + 64**3
