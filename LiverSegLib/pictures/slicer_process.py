"""Runs `slicer_views` in a process of its own, so that a crash in OpenGL cannot take the caller down."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from LiverSegLib.pictures.scene import Box, Scene
from LiverSegLib.stopping import temporary

# Side of one panel in pixels.
TILE = 680
_PACKAGES = ("slicer-core", "trame-slicer")
_COMMAND = (sys.executable, "-m", "LiverSegLib.pictures.slicer_views")
# A software renderer on a busy machine; the first start also reads a gigabyte of libraries.
_TIMEOUT_S = 120.0
_FAILURES: list[str] = []


class SlicerViewsError(Exception):
    """Slicer's views could not draw; the message says why."""


def why_not() -> str | None:
    """Why Slicer's views should not be tried here, or None.

    A failure is remembered for the life of the process: a machine without OpenGL has none for the next case
    of a batch either, and finding that out costs seconds each time.
    """
    if _FAILURES:
        return _FAILURES[0]
    for package in _PACKAGES:
        try:
            importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            return f"{package} is not installed"
    return None


def render_tiles(scene: Scene) -> npt.NDArray[np.uint8]:
    """Have Slicer draw the axial, coronal, sagittal and front view.

    Returns:
        RGB, shape [4, TILE, TILE, 3], first row at the top.

    Raises:
        SlicerViewsError: the process failed, crashed or took too long.
    """
    try:
        folder = tempfile.mkdtemp(prefix="liverseg_picture_")
        with temporary(Path(folder)):
            _write_job(scene, Path(folder))
            _run(folder)
            tiles: npt.NDArray[np.uint8] = np.load(Path(folder, "tiles.npy"), allow_pickle=False)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        reason = f"{type(error).__name__}: {error}"
    except SlicerViewsError as error:
        reason = str(error)
    else:
        if tiles.shape == (4, TILE, TILE, 3) and tiles.dtype == np.uint8:
            return tiles
        reason = f"it gave {tiles.dtype} tiles of shape {tiles.shape}"
    _FAILURES.append(reason)
    raise SlicerViewsError(reason)


def _write_job(scene: Scene, folder: Path) -> None:
    """Leave image, label map and what to draw in `folder`; only the part of the volume that is in view."""
    part = _in_view(scene)
    image = scene.image[part]
    if image.dtype not in (np.int16, np.uint8, np.uint16):
        low, high = scene.window
        image = np.nan_to_num(image.astype(np.float32), nan=low, posinf=high, neginf=low)
    np.save(folder / "image.npy", np.ascontiguousarray(image.transpose(2, 1, 0)))
    # Two voxels of background around the segments, which closed surfaces need.
    i, j, k = (slice(max(0, side.start - 2), side.stop + 2) for side in scene.box)
    labels = scene.labelmap[i, j, k]
    np.save(folder / "labels.npy", np.ascontiguousarray(labels.transpose(2, 1, 0)))
    job: dict[str, Any] = {
        "tile": TILE,
        "affine": _affine_of(part, scene).tolist(),
        "labels_affine": _affine_of((i, j, k), scene).tolist(),
        "window": scene.window,
        "overlays": [{"name": o.name, "color": o.color, "values": o.values} for o in scene.overlays],
        "planes": [
            {
                "name": plane.name,
                "center": (scene.affine @ [*plane.center, 1.0])[:3].tolist(),
                "right": (-scene.affine[:3, plane.across] / scene.spacing[plane.across]).tolist(),
                "up": (scene.affine[:3, plane.up] / scene.spacing[plane.up]).tolist(),
                "extent_mm": plane.extent_mm,
            }
            for plane in scene.planes
        ],
    }
    (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")


def _affine_of(part: Box, scene: Scene) -> npt.NDArray[np.float64]:
    """4x4, voxel index of a part of the volume -> RAS mm."""
    shift = np.eye(4)
    shift[:3, 3] = [side.start for side in part]
    return scene.affine @ shift


def _in_view(scene: Scene) -> Box:
    """The box of voxels that any panel shows, so that a whole-body scan is not copied for a liver."""
    parts = []
    for axis in range(3):
        low, high = scene.box[axis].start, scene.box[axis].stop
        for plane in scene.planes:
            half = plane.extent_mm / scene.spacing[axis] / 2 if axis != plane.axis else 0.0
            low = min(low, int(plane.center[axis] - half) - 1)
            high = max(high, int(plane.center[axis] + half) + 3)
        parts.append(slice(max(0, low), min(scene.image.shape[axis], high)))
    return parts[0], parts[1], parts[2]


def _run(folder: str) -> None:
    """Run the child process to its end; raise with what it said last when it does not succeed."""
    environment = dict(os.environ)
    # A display left over from a closed session makes VTK abort; without one it renders offscreen.
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        environment.pop(name, None)
    package_root = str(Path(__file__).resolve().parents[2])
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [package_root, environment.get("PYTHONPATH")]))
    try:
        done = subprocess.run(
            [*_COMMAND, folder], env=environment, capture_output=True, timeout=_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise SlicerViewsError(f"no picture within {_TIMEOUT_S:.0f} s") from error
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise SlicerViewsError(f"exit status {done.returncode}: {said[-1] if said else 'no message'}")
