"""A random patient, scanned: `make_phantom`."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from LiverSegLib.phantom.anatomy import PHASES, Anatomy, Phase, draw_tissue
from LiverSegLib.phantom.canvas import Canvas
from LiverSegLib.phantom.compose import empty_canvas, paint_patient, plan_patient
from LiverSegLib.phantom.imaging import Affine, axis_codes, expose, orient, resample, store
from LiverSegLib.phantom.space import Array, Grid, even_axis, turn
from LiverSegLib.volume import Volume

Coverage = Literal["liver", "abdomen", "trunk"]
Spacing = tuple[float, float, float]
Shape = tuple[int, int, int]
# Highest and lowest z in mm, relative to the top of the liver.
_COVERAGE: dict[Coverage, tuple[float, float]] = {"liver": (35, -235), "abdomen": (60, -360), "trunk": (190, -460)}
# Anatomy is not drawn finer than this (mm); finer voxels are interpolated from it.
_FINEST = 1.2


@dataclass(frozen=True, kw_only=True)
class Phantom:
    """A made-up CT and what is in it.

    Args:
        volume: int16 HU [i, j, k] with its affine.
        labelmap: uint8 [i, j, k]; 1 liver, 2 tumor.
        phase: contrast phase.
    """

    volume: Volume
    labelmap: npt.NDArray[np.uint8]
    phase: Phase


def make_phantom(
    seed: int,
    *,
    spacing: Spacing | None = None,
    orientation: str | None = "LPS",
    oblique_degrees: float = 0.0,
    coverage: Coverage = "liver",
    phase: Phase | None = None,
    fatty: bool | None = None,
    lesions: int | None = None,
    lesion_mm: tuple[float, float] = (6.0, 50.0),
    mass: bool = False,
    arms: bool = False,
    ascites: bool = False,
    noise: float | None = None,
) -> Phantom:
    """Draw a random patient and scan it. The same arguments give the same phantom, bit for bit.

    Args:
        seed: the patient; the same seed is the same anatomy whatever the grid, orientation and scanner.
        spacing: mm along right-left, back-front, feet-head; None draws 2.0-2.5 in plane and 3 through plane.
        orientation: one of the 48 axis codes for i, j, k; None draws one.
        oblique_degrees: rotate the sampling grid about a random axis by up to this angle.
        coverage: "liver" (dome to kidneys), "abdomen" (to the pelvis) or "trunk" (chest to thighs).
        phase: contrast phase; None draws one, portal venous most often.
        fatty: fatty liver; None makes one patient in eight fatty.
        lesions: how many; None draws 0-6.
        lesion_mm: smallest and largest diameter of a lesion; its shape makes it up to a fifth longer or shorter.
        mass, ascites: a mass of 60-140 mm beside the liver (background), fluid around it.
        arms: arms beside the body, and the streaks of photon starvation that they cause.
        noise: standard deviation in HU; None draws 5-30.

    Raises:
        ValueError: `orientation`, `coverage`, `spacing` or `lesion_mm` makes no sense.
    """
    _check(spacing, coverage, orientation, lesion_mm)
    chosen = _choose(seed, spacing=spacing, code=orientation, phase=phase, fatty=fatty, lesions=lesions, noise=noise)
    anatomy = Anatomy.draw(np.random.default_rng([seed, 1]), ascites=ascites)
    affine, size = _sampling(anatomy, chosen.spacing, coverage, arms, oblique_degrees, seed)
    tissue = draw_tissue(np.random.default_rng([seed, 3]), chosen.phase, chosen.fatty)
    plan = plan_patient(anatomy, tissue, seed, lesions=chosen.lesions, lesion_mm=lesion_mm, mass=mass)
    canvas = empty_canvas(_working_grid(affine, size), plan.anatomy, tissue, seed)
    hu, truth = _sample(canvas, paint_patient(canvas, plan, seed, mass=mass, arms=arms), affine, size)
    stored = _scan(hu, affine, seed, chosen, streaks=arms)
    volume = Volume(*orient(stored, affine, chosen.code), f"phantom {seed}", "CT")
    return Phantom(volume=volume, labelmap=orient(truth, affine, chosen.code)[0], phase=chosen.phase)


def _check(spacing: Spacing | None, coverage: str, orientation: str | None, lesion_mm: tuple[float, float]) -> None:
    """Refuse what makes no sense before any work is done."""
    if orientation is not None and orientation not in axis_codes():
        raise ValueError(f"orientation is {orientation!r}; use three letters such as 'LPS' or 'RAS'.")
    if coverage not in _COVERAGE:
        raise ValueError(f"coverage is {coverage!r}; use one of {', '.join(_COVERAGE)}.")
    if spacing is not None and (len(spacing) != 3 or min(spacing) <= 0):
        raise ValueError(f"spacing is {spacing}; three positive numbers of mm are needed.")
    if not 0 < lesion_mm[0] <= lesion_mm[1]:
        raise ValueError(f"lesion_mm is {lesion_mm}; two positive diameters are needed, the smaller one first.")


@dataclass(frozen=True, kw_only=True)
class _Choices:
    """What is drawn where it is not given; see `make_phantom`."""

    spacing: Spacing
    phase: Phase
    fatty: bool
    lesions: int
    noise: float
    code: str


def _choose(seed: int, **given: Any) -> _Choices:
    """Draw everything, also what is given, so that what is not given stays the same; None is not given."""
    rng = np.random.default_rng([seed, 0])
    in_plane = float(rng.uniform(2.0, 2.5))
    drawn = _Choices(
        spacing=(in_plane, in_plane, 3.0),
        phase=PHASES[rng.choice(4, p=(0.25, 0.15, 0.5, 0.1))],
        fatty=bool(rng.uniform() < 0.125),
        lesions=int(rng.integers(0, 7)),
        noise=float(5 * 6 ** rng.uniform()),
        code=axis_codes()[rng.integers(48)],
    )
    return replace(drawn, **{name: value for name, value in given.items() if value is not None})


def _sampling(
    anatomy: Anatomy, spacing: Spacing, coverage: Coverage, arms: bool, oblique: float, seed: int
) -> tuple[Affine, Shape]:
    """RAS affine and shape of the scan: the body in the middle, with a random margin."""
    rng = np.random.default_rng([seed, 2])
    high, low = (float(limit * anatomy.scale[2]) for limit in _COVERAGE[coverage])
    wide = 2 * (132 * anatomy.scale[0] + anatomy.wall + 1.15 * anatomy.fat) + rng.uniform(10, 40) + 120 * arms
    middle = np.array([rng.uniform(-8, 8), -8 + rng.uniform(-8, 8), (high + low) / 2])
    shape = round(wide / spacing[0]), round(wide / spacing[1]), round((high - low) / spacing[2])
    affine = np.eye(4)
    affine[:3, :3] = turn(rng, oblique) @ np.diag(spacing)
    affine[:3, 3] = middle - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine, shape


def _working_grid(affine: Affine, size: Shape) -> Grid:
    """The axis-aligned grid on which the anatomy is painted: the scan's own where that is possible."""
    corners = np.array([*itertools.product(*((0, n - 1) for n in size), (1,))], float)
    world = (corners @ affine.T)[:, :3]
    axes = []
    for low, high, spacing in zip(world.min(0), world.max(0), np.linalg.norm(affine[:3, :3], axis=0), strict=True):
        step = max(float(spacing), _FINEST)
        axes.append(even_axis(low, step, max(2, int(np.ceil((high - low) / step - 1e-6)) + 1)))
    return Grid(*axes)


def _sample(canvas: Canvas, labels: Array, affine: Affine, size: Shape) -> tuple[Array, npt.NDArray[np.uint8]]:
    """HU and label map at the voxels of the scan."""
    hu = canvas.hu
    if hu.shape != size or not np.allclose(canvas.grid.affine, affine, atol=1e-3):
        hu = resample(hu, canvas.grid, affine, size, -1000.0)
        labels = resample(labels, canvas.grid, affine, size, 0.0)
    return hu, ((labels >= 0.5).astype(np.uint8) + (labels >= 1.5)).astype(np.uint8)


def _scan(hu: Array, affine: Affine, seed: int, chosen: _Choices, *, streaks: bool) -> npt.NDArray[np.int16]:
    """What the scanner makes of the patient's HU, which are changed."""
    rng = np.random.default_rng([seed, 4])
    straight = Grid(*(even_axis(o, s, n) for o, s, n in zip(affine[:3, 3], chosen.spacing, hu.shape, strict=True)))
    expose(hu, straight, rng, noise=chosen.noise, streaks=streaks)
    return store(hu, straight, rng)
