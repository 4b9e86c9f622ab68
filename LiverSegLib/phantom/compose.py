"""Putting a patient together, part by part, in an order in which every part respects the earlier ones."""

from __future__ import annotations

import numpy as np

from LiverSegLib.phantom import gut, organs, skeleton, trunk
from LiverSegLib.phantom import lesions as lesion_parts
from LiverSegLib.phantom.anatomy import Anatomy, Tissue
from LiverSegLib.phantom.canvas import Canvas
from LiverSegLib.phantom.liver import LiverPlan, liver_box, liver_distance, plan_liver
from LiverSegLib.phantom.space import Array, Grid, Noise, even_axis, smooth_max
from LiverSegLib.phantom.vessels import paint_vessels


def paint_patient(canvas: Canvas, plan: LiverPlan, seed: int, *, mass: bool, arms: bool) -> Array:
    """Paint everything; returns a float field: 0 outside, up to 1 in the liver, up to 2 in lesions."""
    cavity, below, skin = _paint_trunk(canvas, seed)
    _prepare(canvas, cavity, below, seed, mass=mass)
    organs.paint_gallbladder(canvas, stream(seed, "gall-bladder"))
    labels = _paint_liver(canvas, plan, seed)
    organs.paint_spleen(canvas, stream(seed, "spleen"))
    gut.paint_stomach(canvas, stream(seed, "stomach"))
    organs.paint_pancreas(canvas, stream(seed, "pancreas"))
    gut.paint_colon(canvas, stream(seed, "colon"))
    gut.paint_small_bowel(canvas, stream(seed, "bowel"))
    if arms:
        trunk.paint_arms(canvas, skin, stream(seed, "arms"))
    trunk.paint_table(canvas, skin, stream(seed, "table"))
    return labels


def stream(seed: int, name: str) -> np.random.Generator:
    """Randomness of one body part, so that no part changes when another is left out."""
    return np.random.default_rng([seed, *name.encode()])


def _spaces(canvas: Canvas) -> tuple[Array, Array]:
    """Distances (mm) to the cavity and to the space under the diaphragm."""
    height, slope = canvas.anatomy.diaphragm(canvas.grid)
    below = (canvas.grid.z[None, None] - height[:, :, None]) * slope[:, :, None]
    return canvas.anatomy.cavity(canvas.grid), below


def _paint_trunk(canvas: Canvas, seed: int) -> tuple[Array, Array, Array]:
    """Wall, bones, chest; returns the distances to the cavity, to the abdomen and to the skin."""
    cavity, below = _spaces(canvas)
    skin = trunk.paint_wall(canvas, cavity)
    _paint_fluid(canvas, cavity, below)
    skeleton.paint_ribs(canvas, cavity, stream(seed, "ribs"))
    trunk.paint_chest(canvas, cavity, -below, stream(seed, "chest"))
    canvas.paint(smooth_max(np.abs(below + 1.5) - 1.5, cavity, 1.0), canvas.tissue.muscle)
    skeleton.paint_spine(canvas, skeleton.spine_distance(canvas), stream(seed, "spine"))
    return cavity, below, skin


def _prepare(canvas: Canvas, cavity: Array, below: Array, seed: int, *, mass: bool) -> None:
    """Give organs the room under the diaphragm, in front of the spine; place what the liver respects."""
    bodies = skeleton.spine_distance(canvas)
    np.maximum(cavity, below, out=canvas.shell)
    np.maximum(np.maximum(cavity + 1.5, below + 3.0), 3.0 - bodies, out=canvas.free)
    skeleton.paint_pelvis(canvas, cavity, stream(seed, "pelvis"))
    organs.paint_great_vessels(canvas)
    organs.paint_kidneys(canvas, stream(seed, "kidneys"))
    if mass:
        lesion_parts.paint_mass(canvas, stream(seed, "mass"))


def plan_patient(
    anatomy: Anatomy, tissue: Tissue, seed: int, *, lesions: int, lesion_mm: tuple[float, float], mass: bool
) -> LiverPlan:
    """Decide on a coarse grid of fixed extent what must not depend on the scan."""
    axes = [even_axis(first, 4.0, count) for first, count in ((-170, 86), (-120, 61), (-310, 83))]
    canvas = empty_canvas(Grid(*axes), anatomy, tissue, seed)
    _prepare(canvas, *_spaces(canvas), seed, mass=mass)
    return plan_liver(canvas, stream(seed, "plan"), lesions, lesion_mm)


def empty_canvas(grid: Grid, anatomy: Anatomy, tissue: Tissue, seed: int) -> Canvas:
    """An empty canvas: air, and no room taken."""
    air, free = np.full(grid.shape, -1000, np.float32), np.full(grid.shape, -999, np.float32)
    grain = Noise(stream(seed, "grain"), 4.5)
    return Canvas(grid=grid, anatomy=anatomy, tissue=tissue, hu=air, free=free, shell=free.copy(), grain=grain)


def _paint_fluid(canvas: Canvas, cavity: Array, below: Array) -> None:
    """Ascites: fluid under the wall and the diaphragm, and in the flanks."""
    if not canvas.anatomy.ascites:
        return
    _, y, _ = canvas.grid.coordinates()
    shell = np.maximum(cavity, below)
    fluid = np.maximum(shell, -(shell + canvas.ascites() + 10))
    canvas.paint(np.maximum(fluid, -62 * canvas.anatomy.scale[1] - y), 12.0)


def _paint_liver(canvas: Canvas, plan: LiverPlan, seed: int) -> Array:
    """The liver with its vessels and lesions; returns the label field of `paint_patient`."""
    grid, anatomy, tissue = canvas.grid, canvas.anatomy, canvas.tissue
    box = liver_box(canvas)
    distance = liver_distance(canvas, box)
    canvas.paint(distance - 0.6, tissue.fat + 60, box)
    texture = 2.5 * canvas.grain(grid, box) + 2 * anatomy.bumps(grid, box)
    canvas.paint(distance, tissue.liver + texture, box)
    canvas.occupy(distance, box)
    paint_vessels(canvas, distance, box, plan.vessel_ends, stream(seed, "vessels"))
    whole = np.full(grid.shape, 99, np.float32)
    whole[box] = distance
    spots = lesion_parts.paint_lesions(canvas, whole, plan, stream(seed, "lesions"))
    return grid.cover(whole) + grid.cover(np.maximum(spots, whole))
