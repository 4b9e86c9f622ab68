"""Pictures of a case: what is where and in which color, in any orientation."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("matplotlib")
from matplotlib.image import imread

from LiverSegLib.errors import OutputError
from LiverSegLib.labels import label_for, labels_for
from LiverSegLib.measure import Measurements, SegmentMeasurement, measure
from LiverSegLib.pictures import figures, save_case_picture, save_slice_grid
from LiverSegLib.pictures.build import build_scene
from LiverSegLib.pictures.case_picture import axial_planes
from LiverSegLib.pictures.gray import CT_WINDOW, display_window
from LiverSegLib.pictures.scene import Scene
from LiverSegLib.pictures.surface import render_front
from LiverSegLib.volume import Result, Volume

# Small panels, so that the tests are quick.
GAP, TILE = 8, 300
LABELS = (label_for(1, "liver"), label_for(2, "tumor"))
AFFINE = np.diag([2.0, 2.0, 4.0, 1.0])
# In RAS order: the liver lies at the patient's right (high i), in front (high j) and above (high k).
SEGMENTS = {number: f"liver_segment_{number}" for number in range(1, 9)}
ROMAN = ["I", "II", "III", "IV", "V", "VI", "VII", "VIII"]
LIVER = (slice(34, 54), slice(24, 40), slice(12, 20))
TUMOR = (slice(40, 46), slice(28, 34), slice(14, 17))


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "TILE", TILE)


def phantom(affine: npt.NDArray[np.float64] = AFFINE, *, tumor: bool = True) -> tuple[Volume, Result]:
    """A body of 0 HU in air with a liver of 100 HU, 60x50x24 voxels."""
    image = np.full((60, 50, 24), -1000, dtype=np.int16)
    image[4:56, 4:46] = 0
    image[LIVER] = 100
    labels = np.zeros(image.shape, dtype=np.uint8)
    labels[LIVER] = 1
    if tumor:
        labels[TUMOR] = 2
    return Volume(image, affine, "case 1", "CT"), result_of(labels, affine)


def result_of(labels: npt.NDArray[np.uint8], affine: npt.NDArray[np.float64]) -> Result:
    voxels = int((labels > 0).sum())
    liver = SegmentMeasurement(name="liver", voxels=voxels, volume_ml=voxels * 0.016)
    measured = Measurements(segments=(liver,) if voxels else ())
    return Result(labelmap=labels, affine=affine, labels=LABELS, measurements=measured, model="test 1.0")


def scene_of(volume: Volume, result: Result) -> Scene:
    return build_scene(volume, result.labelmap, result.labels)


def panels(path: Path) -> list[npt.NDArray[np.float64]]:
    """Axial, coronal, sagittal and front panel of a case picture, RGB in 0 to 1."""
    picture = imread(path)[..., :3]
    starts = [(GAP + r * (TILE + GAP), GAP + c * (TILE + GAP)) for r in (0, 1) for c in (0, 1)]
    return [picture[y : y + TILE, x : x + TILE] for y, x in starts]


def colored(panel: npt.NDArray[np.float64], color: tuple[int, int, int], tolerance: float = 0.06) -> npt.NDArray[Any]:
    """Rows and columns, [n, 2], as fractions of the panel, where it has `color`."""
    near = np.abs(panel - np.array(color) / 255).max(axis=-1) < tolerance
    return (np.argwhere(near) + 0.5) / panel.shape[0]


def test_outline_lies_on_the_edge_of_the_liver(tmp_path: Path) -> None:
    volume, result = phantom(tumor=False)
    save_case_picture(tmp_path / "case.png", volume, result)
    scene = scene_of(volume, result)
    plane = scene.planes[0]
    rows, columns = colored(panels(tmp_path / "case.png")[0], LABELS[0].color).T
    # Image x runs from the patient's right to the left: fraction 0.5 is the plane's center.
    left = 0.5 + (plane.center[0] - 53.5) * 2 / plane.extent_mm
    right = 0.5 + (plane.center[0] - 33.5) * 2 / plane.extent_mm
    top = 0.5 - (39.5 - plane.center[1]) * 2 / plane.extent_mm
    bottom = 0.5 - (23.5 - plane.center[1]) * 2 / plane.extent_mm
    found = (columns.min(), columns.max(), rows.min(), rows.max())
    assert found == pytest.approx((left, right, top, bottom), abs=0.01)


@pytest.mark.parametrize("codes", ["RAS", "LPS", "LAS", "PIR", "SAL"])
def test_patients_right_is_on_the_images_left_in_any_orientation(codes: str, tmp_path: Path) -> None:
    from nibabel import orientations

    volume, result = phantom()
    turn = orientations.ornt_transform(orientations.axcodes2ornt("RAS"), orientations.axcodes2ornt(codes))
    affine = AFFINE @ orientations.inv_ornt_aff(turn, volume.array.shape)
    image = orientations.apply_orientation(volume.array, turn)
    labels = orientations.apply_orientation(result.labelmap, turn)
    save_case_picture(tmp_path / "case.png", Volume(image, affine, "c", "CT"), result_of(labels, affine))
    axial, coronal, sagittal, front = (
        colored(panel, LABELS[0].color, 0.12).mean(axis=0) for panel in panels(tmp_path / "case.png")
    )
    assert axial[1] < 0.45  # the right of the patient on the left of the image
    assert axial[0] < 0.5  # the front on top
    assert coronal[1] < 0.45
    assert coronal[0] < 0.5  # the head on top
    assert sagittal[1] < 0.5  # the front on the left
    assert front[1] == pytest.approx(0.5, abs=0.2)


def test_slices_go_through_the_lesion_where_there_is_one() -> None:
    scene = scene_of(*phantom())
    assert [plane.index for plane in scene.planes] == [15, 31, 43]
    assert [overlay.values for overlay in scene.overlays] == [(1, 2), (2,)]


def test_anisotropic_voxels_keep_their_shape(tmp_path: Path) -> None:
    volume, result = phantom(np.diag([1.0, 1.0, 6.0, 1.0]), tumor=False)
    save_case_picture(tmp_path / "case.png", volume, result)
    rows, columns = colored(panels(tmp_path / "case.png")[1], LABELS[0].color).T
    assert np.ptp(rows) / np.ptp(columns) == pytest.approx(8 * 6 / 20, rel=0.05)


def test_empty_result_says_so(tmp_path: Path) -> None:
    volume, result = phantom()
    empty = result_of(np.zeros_like(result.labelmap), AFFINE)
    save_case_picture(tmp_path / "case.png", volume, empty)
    save_slice_grid(tmp_path / "grid.png", volume, empty)
    drawn = panels(tmp_path / "case.png")
    assert not any(len(colored(panel, LABELS[0].color)) for panel in drawn[:3])
    assert len(colored(drawn[3], (255, 183, 77))) > 30  # the sentence in the front view
    assert [plane.index for plane in scene_of(volume, empty).planes] == [11, 24, 29]


@pytest.mark.parametrize(
    ("shape", "size"),
    # Pixels of 2 x 2 x 4 mm: 80 x 60 mm, 60 x 160 mm, 80 x 4 mm and a line of text below each.
    [((40, 30, 1), (900, 675)), ((1, 30, 40), (560, 900)), ((40, 1, 1), (900, 45)), ((1, 1, 1), (900, 900))],
)
def test_one_slice_is_one_panel_in_its_own_proportions(
    shape: tuple[int, int, int], size: tuple[int, int], tmp_path: Path
) -> None:
    image = np.zeros(shape, dtype=np.float32)
    labels = np.ones(shape, dtype=np.uint8)
    for given in (labels, labels * 0):
        volume, result = Volume(image, AFFINE), result_of(given, AFFINE)
        save_case_picture(tmp_path / "case.png", volume, result)
        save_slice_grid(tmp_path / "grid.png", volume, result)
        case, grid = imread(tmp_path / "case.png"), imread(tmp_path / "grid.png")
        assert np.array_equal(case, grid)
        wide, tall = size
        assert case.shape[1] == wide + 2 * GAP
        # The caption needs a height of its own, so a line of voxels stands in a taller panel.
        assert case.shape[0] == max(tall, 66) + 2 * GAP + 66


@pytest.mark.parametrize(
    ("modality", "mm", "area", "written"),
    [(None, 1.0, "25.0 % of the picture", False), ("DX", 0.5, "6.2 cm²", False), ("MR", 1.0, "25.0 cm²", True)],
)
def test_a_picture_claims_only_the_scale_and_place_that_its_file_tells(
    modality: str | None, mm: float, area: str, written: bool
) -> None:
    affine = np.diag([-mm, -mm, 1, 1])
    image = np.linspace(0, 255, 10_000).reshape(100, 100, 1).astype(np.uint8)
    labels = np.zeros(image.shape, dtype=np.uint8)
    labels[:50, :50] = 1
    scene = scene_of(Volume(image, affine, "x", modality), result_of(labels, affine))
    figure = figures.slice_figure(scene, "x", result_of(labels, affine))
    texts = [text.get_text() for text in (*figure.texts, *figure.axes[0].texts)]
    assert f"liver {area}" in texts
    assert ("R" in texts) == ("Axial" in texts) == written
    assert any(text.endswith(("cm", "mm")) for text in texts) == ("cm²" in area)


def test_an_x_ray_is_drawn_as_the_file_shows_it(tmp_path: Path) -> None:
    pixels = np.zeros((60, 80), dtype=np.uint8)  # rows, columns, as in the file
    pixels[5:15, 5:15] = 200
    labels = np.zeros_like(pixels)
    labels[40:50, 60:75] = 1
    affine = np.diag([-1.0, -1.0, 1.0, 1.0])
    volume = Volume(pixels.T[..., None], affine, "x", None)
    save_case_picture(tmp_path / "x.png", volume, result_of(labels.T[..., None], affine))
    picture = imread(tmp_path / "x.png")[GAP:-66, GAP:, :3]
    bright = np.argwhere(picture.min(axis=-1) > 0.9) / (900 / 80)
    assert bright.mean(axis=0) == pytest.approx((10, 10), abs=1)
    outline = colored(picture, LABELS[0].color, 0.2) * picture.shape[0] / (900 / 80)
    assert [*outline.min(axis=0), *outline.max(axis=0)] == pytest.approx((40, 60, 50, 75), abs=0.3)


def test_oblique_volume_is_drawn_along_its_own_axes(tmp_path: Path) -> None:
    angle = np.deg2rad(25)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    straight, oblique = phantom(), phantom(turn @ AFFINE)
    save_case_picture(tmp_path / "straight.png", *straight)
    save_case_picture(tmp_path / "oblique.png", *oblique)
    where = [colored(panels(tmp_path / f"{n}.png")[0], LABELS[0].color) for n in ("straight", "oblique")]
    np.testing.assert_allclose(where[0].mean(axis=0), where[1].mean(axis=0), atol=0.01)


def test_front_view_shows_the_right_lobe_on_the_left_and_the_tumor_through_the_liver() -> None:
    volume, result = phantom()
    labels = np.array(result.labelmap)
    labels[20:34, 24:40, 18:20] = 1  # a thin left lobe, at the top
    picture, extent = render_front(scene_of(volume, result_of(labels, AFFINE)), 200)
    assert extent > 34 * 2
    lit = picture.max(axis=-1) > 0.1
    assert lit[:, :100].sum() > 1.5 * lit[:, 100:].sum()
    assert lit[:100, 100:].sum() > lit[100:, 100:].sum()
    yellow = (picture[..., 1] > 0.75 * picture[..., 0]) & lit
    assert 100 < yellow.sum() < 0.5 * lit.sum()


def cut_liver(names: dict[int, str]) -> tuple[Volume, Result]:
    """The phantom with its liver cut into four in front and four behind them, as segments 1 to 8."""
    volume, result = phantom(tumor=False)
    labels = np.zeros_like(result.labelmap)
    labels[LIVER] = 1 + np.repeat(range(4), 5)[:, None, None] + np.repeat((4, 0), 8)[:, None]
    known = labels_for(names)
    measured = measure(labels, AFFINE, known)
    return volume, Result(labelmap=labels, affine=AFFINE, labels=known, measurements=measured, model="a model 1.0")


def test_segments_are_painted_onto_one_surface() -> None:
    volume, result = cut_liver(SEGMENTS)
    (body,) = scene_of(volume, result).bodies
    assert (set(body.whole.values), len(body.painted)) == (set(SEGMENTS), 8)
    picture, _extent = render_front(scene_of(volume, result), 200)
    lit = picture.max(axis=-1) > 0.3
    whole, _extent = render_front(scene_of(*phantom(tumor=False)), 200)
    assert (lit == (whole.max(axis=-1) > 0.3)).mean() > 0.98  # there is no seam between segments
    hues = picture / np.maximum(picture.max(axis=-1, keepdims=True), 1e-6)
    middle = hues[100, lit[100].nonzero()[0]]
    colors = np.array([label.color for label in result.labels]) / 255
    colors /= colors.max(axis=-1, keepdims=True)
    nearest = np.linalg.norm(middle[:, None] - colors, axis=-1).argmin(axis=1) + 1
    shown = [value for value, _pixels in itertools.groupby(nearest) if len(list(_pixels)) > 10]
    assert shown == [4, 3, 2, 1]  # from the right of the patient, and nothing of those behind


def test_a_liver_with_segments_and_a_tumor_is_one_body_with_a_lesion_in_it() -> None:
    volume, result = cut_liver(SEGMENTS | {9: "tumor", 10: "liver"})
    result.labelmap[TUMOR] = 9
    result.labelmap[LIVER[0].start : LIVER[0].start + 2, LIVER[1], LIVER[2]] = 10
    scene = scene_of(volume, result)
    liver, tumor = scene.bodies
    assert set(liver.whole.values) == set(range(1, 11))
    assert [part.values for part in liver.painted] == [(10,), *((number,) for number in SEGMENTS)]
    assert tumor.painted == (tumor.whole,)
    without = scene_of(*cut_liver(SEGMENTS | {9: "tumor"}))
    assert [overlay.name for overlay in without.overlays] == list(SEGMENTS.values())


def test_slices_go_through_the_middle_of_the_organ_that_segments_make_up() -> None:
    whole, cut = scene_of(*phantom(tumor=False)), scene_of(*cut_liver(SEGMENTS))
    assert [plane.index for plane in cut.planes] == [plane.index for plane in whole.planes]


def test_the_caption_of_segments_is_short_and_within_the_picture() -> None:
    _volume, result = cut_liver(SEGMENTS | {9: "tumor"})
    entries = figures.measured(result)
    assert [text.split()[0] for text, _color in entries] == ["liver", *ROMAN]
    assert [color for _text, color in entries] == [None, *(label.color for label in result.labels[:8])]
    for side, drawn in ((680, 10), (380, 9)):  # all of them, and the model where it has room
        figure, _axes = figures.panel_grid(rows=1, columns=2, side=side)
        figures.caption(figure, "case", entries, "Couinaud segments of the liver, CT 0.1.0")
        ends = [text.get_window_extent() for text in figure.texts[2:]]
        assert len(ends) == drawn
        assert all(left.x1 < right.x0 for left, right in itertools.pairwise(ends))
        assert ends[-1].x1 <= figure.get_figwidth() * 100
    empty = replace(result, labelmap=np.zeros_like(result.labelmap), measurements=Measurements())
    assert figures.measured(empty) == [("no liver found", None)]


def test_an_organ_does_not_tint_its_segments(tmp_path: Path) -> None:
    volume, bare = cut_liver(SEGMENTS)
    save_case_picture(tmp_path / "bare.png", volume, bare)
    save_case_picture(tmp_path / "both.png", volume, cut_liver(SEGMENTS | {9: "liver"})[1])
    pictures = [panels(tmp_path / f"{name}.png")[0] for name in ("bare", "both")]
    assert (np.abs(pictures[0] - pictures[1]).max(axis=-1) < 0.02).mean() > 0.98


def test_mosaic_takes_different_slices_from_the_top_down(tmp_path: Path) -> None:
    volume, result = phantom()
    scene = scene_of(volume, result)
    assert [plane.index for plane in axial_planes(scene, 4)] == [18, 16, 14, 12]
    assert [plane.index for plane in axial_planes(scene, 50)] == list(range(19, 11, -1))
    save_slice_grid(tmp_path / "grid.png", volume, result, n=5)
    assert len(colored(imread(tmp_path / "grid.png")[..., :3], LABELS[0].color)) > 100
    with pytest.raises(ValueError, match="0 slices"):
        save_slice_grid(tmp_path / "grid.png", volume, result, n=0)


def test_gray_window_is_fixed_for_ct_and_from_percentiles_otherwise() -> None:
    rng = np.random.default_rng(0)
    mr = rng.uniform(0, 400, (20, 20, 20)).astype(np.float32)
    mr[0, 0, 0] = np.nan
    assert display_window(np.full((4, 4, 4), -1000), None) == CT_WINDOW
    low, high = display_window(rng.integers(0, 256, (9, 9, 1)).astype(np.uint8), "CT")  # a picture of a CT
    assert low >= 0
    assert high <= 255
    assert display_window(mr, "CT") == CT_WINDOW
    low, high = display_window(mr, None)
    assert 0 <= low < 20
    assert 380 < high <= 400
    low, high = display_window(np.zeros((3, 3, 3)), "MR")
    assert low < high


def test_a_bad_path_leaves_no_rest_and_says_which(tmp_path: Path) -> None:
    (tmp_path / "case.png").mkdir()
    with pytest.raises(OutputError, match=r"case\.png could not be written because a folder has that name"):
        save_case_picture(tmp_path / "case.png", *phantom())
    assert [p.name for p in tmp_path.iterdir()] == ["case.png"]


def test_result_of_another_image_is_refused(tmp_path: Path) -> None:
    volume, _ = phantom()
    other = result_of(np.zeros((3, 3, 3), dtype=np.uint8), AFFINE)
    with pytest.raises(OutputError, match="does not belong to case 1"):
        save_case_picture(tmp_path / "case.png", volume, other)
