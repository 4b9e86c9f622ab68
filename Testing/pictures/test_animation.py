"""The film through a volume: slices in order, true proportions, the patient's right on the left."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from nibabel import orientations
from PIL import Image

from LiverSegLib.errors import OutputError
from LiverSegLib.labels import label_for
from LiverSegLib.measure import Measurements
from LiverSegLib.pictures import save_animation
from LiverSegLib.pictures.animation import slices_shown
from LiverSegLib.pictures.gray import blend, gray_pixels
from LiverSegLib.pictures.scene import Overlay
from LiverSegLib.volume import Result, Volume

LABELS = (label_for(1, "liver"), label_for(2, "tumor"))
AFFINE = np.diag([2.0, 3.0, 4.0, 1.0])


def case(affine: npt.NDArray[np.float64] = AFFINE, depth: int = 12) -> tuple[Volume, Result]:
    """In RAS order: a body with a liver at the right, in front, in the upper half; a tumor in it."""
    image = np.full((60, 50, depth), -1000, dtype=np.int16)
    image[4:56, 4:46] = 0
    labels = np.zeros(image.shape, dtype=np.uint8)
    labels[34:52, 26:40, depth // 2 :] = 1
    labels[40:46, 30:34, depth - 2] = 2
    image[labels > 0] = 60
    return Volume(image, affine, "case 1", "CT"), Result(
        labelmap=labels, affine=affine, labels=LABELS, measurements=Measurements()
    )


def turned(codes: str) -> tuple[Volume, Result]:
    volume, result = case()
    turn = orientations.ornt_transform(orientations.axcodes2ornt("RAS"), orientations.axcodes2ornt(codes))
    affine = AFFINE @ orientations.inv_ornt_aff(turn, volume.array.shape)
    image = orientations.apply_orientation(volume.array, turn)
    labels = orientations.apply_orientation(result.labelmap, turn)
    return Volume(image, affine, "case 1", "CT"), Result(
        labelmap=labels, affine=affine, labels=LABELS, measurements=Measurements()
    )


def frames(path: Path) -> list[npt.NDArray[np.int16]]:
    with Image.open(path) as film:
        shown = []
        for number in range(film.n_frames):  # type: ignore[attr-defined]
            film.seek(number)
            shown.append(np.asarray(film.convert("RGB")).astype(np.int16))
        return shown


def where(frame: npt.NDArray[np.int16], color: tuple[int, int, int]) -> npt.NDArray[np.intp]:
    """Rows and columns of a color, without the line of text below."""
    return np.argwhere(np.abs(frame[:-22] - color).max(axis=-1) < 8)


def test_a_film_shows_every_slice_from_head_to_feet_with_its_segments(tmp_path: Path) -> None:
    save_animation(tmp_path / "film.gif", *case())
    shown = frames(tmp_path / "film.gif")
    assert len(shown) == 12
    assert [len(where(frame, LABELS[0].color)) > 0 for frame in shown] == [True] * 6 + [False] * 6
    assert [number for number, frame in enumerate(shown) if len(where(frame, LABELS[1].color))] == [1]


@pytest.mark.parametrize("codes", ["RAS", "LPS", "LAS", "PIR", "SAL"])
def test_proportions_and_sides_are_right_in_any_orientation(codes: str, tmp_path: Path) -> None:
    save_animation(tmp_path / "film.gif", *turned(codes), side=200)
    frame = frames(tmp_path / "film.gif")[3]
    rows, columns = frame.shape[0] - 22, frame.shape[1]
    # 52 x 2 mm by 42 x 3 mm of body with a margin of 8 mm on each side: 4 and 3 voxels.
    assert columns / rows == pytest.approx((60 * 2) / (48 * 3), abs=0.03)
    assert max(rows, columns) == 200
    liver = where(frame, LABELS[0].color)
    assert liver[:, 1].mean() < 0.45 * columns  # the patient's right on the left
    assert liver[:, 0].mean() < 0.5 * rows  # the front on top
    width, height = np.ptp(liver[:, 1]), np.ptp(liver[:, 0])
    assert width / height == pytest.approx((18 * 2) / (14 * 3), abs=0.08)


def test_a_long_volume_is_shown_in_even_steps_with_both_ends(tmp_path: Path) -> None:
    assert slices_shown(5, 80) == [4, 3, 2, 1, 0]
    chosen = slices_shown(500, 80)
    assert (len(chosen), chosen[0], chosen[-1]) == (80, 499, 0)
    assert set(np.diff(chosen)) <= {-6, -7}
    save_animation(tmp_path / "film.gif", *case(depth=40), frames=7, side=64)
    assert len(frames(tmp_path / "film.gif")) == 7


def test_a_film_of_noise_stays_within_a_few_megabytes(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(50, 20, (96, 96, 80)).astype(np.float32)
    result = Result(labelmap=np.zeros(noise.shape, np.uint8), affine=AFFINE, labels=LABELS, measurements=Measurements())
    save_animation(tmp_path / "film.gif", Volume(noise, AFFINE, "noise", "CT"), result)
    assert (tmp_path / "film.gif").stat().st_size < 10_000_000


def test_films_that_cannot_be_made_are_refused_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    volume, result = case()
    with pytest.raises(OutputError, match=r"\.gif or \.mp4"):
        save_animation(tmp_path / "film.avi", volume, result)
    one = Result(labelmap=result.labelmap[:, :, :1], affine=AFFINE, labels=LABELS, measurements=Measurements())
    with pytest.raises(OutputError, match="single slice"):
        save_animation(tmp_path / "film.gif", Volume(volume.array[:, :, :1], AFFINE, "x", "CT"), one)
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    with pytest.raises(OutputError, match=r"ffmpeg, which is not installed; write a \.gif"):
        save_animation(tmp_path / "film.mp4", volume, result)
    (tmp_path / "taken.gif").mkdir()
    with pytest.raises(OutputError, match=r"taken\.gif could not be written"):
        save_animation(tmp_path / "taken.gif", volume, result)
    assert [path.name for path in tmp_path.iterdir()] == ["taken.gif"]


@pytest.mark.parametrize("code", [0, 1])
def test_an_mp4_gets_every_frame_and_is_there_only_when_ffmpeg_succeeds(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[list[str], bytes]] = []

    def run(command: list[str], *, input: bytes, **_kwargs: Any) -> subprocess.CompletedProcess[bytes]:  # noqa: A002
        calls.append((command, input))
        Path(command[-1]).write_bytes(b"film")
        return subprocess.CompletedProcess(command, code, b"", b"codec missing\n")

    monkeypatch.setattr(shutil, "which", lambda _name: "/usr/bin/ffmpeg")
    monkeypatch.setattr(subprocess, "run", run)
    path = tmp_path / "film.mp4"
    if code:
        with pytest.raises(OutputError, match="codec missing"):
            save_animation(path, *case(), side=100)
        assert list(tmp_path.iterdir()) == []
        return
    save_animation(path, *case(), side=100)
    columns, rows = map(int, calls[0][0][calls[0][0].index("-s") + 1].split("x"))
    assert len(calls[0][1]) == 12 * columns * rows * 3
    assert columns % 2 == rows % 2 == 0  # what the encoder wants
    assert path.read_bytes() == b"film"
    assert [p.name for p in tmp_path.iterdir()] == ["film.mp4"]


def test_a_blend_leaves_the_rest_of_the_picture_as_it_was() -> None:
    gray = np.arange(100, dtype=np.uint8).reshape(10, 10)
    labels = np.zeros((10, 10), np.uint8)
    labels[2:8, 3:9] = 1
    picture = blend(gray, labels, [Overlay("liver", (200, 100, 0), (1,))])
    outside = labels == 0
    assert np.array_equal(picture[outside], np.repeat(gray[outside][:, None], 3, axis=1))
    assert picture[2, 3].tolist() == [200, 100, 0]
    assert picture[5, 5].tolist() == [round(55 + 0.35 * (200 - 55)), round(55 + 0.35 * 45), round(55 * 0.65)]


def test_grays_are_clipped_to_the_window_and_what_is_not_finite_is_black_or_white() -> None:
    values = np.array([-np.inf, np.nan, -50, 0, 50, 100, 400, np.inf])
    assert gray_pixels(values, (0, 100)).tolist() == [0, 0, 0, 0, 128, 255, 255, 255]
