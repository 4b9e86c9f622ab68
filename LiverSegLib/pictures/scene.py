"""What is to be drawn, without saying how: `Scene`, `Plane`, `Overlay`, `Body`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from LiverSegLib.volume import spacing_of

Box = tuple[slice, slice, slice]
# Letters at the low and the high end of each RAS axis.
AXIS_LETTERS = (("L", "R"), ("P", "A"), ("I", "S"))


@dataclass(frozen=True)
class Overlay:
    """One segment: `values` are the label map's values that belong to it; color is RGB, 0 to 255.

    `part_of` is the name of the organ that it is a piece of, or a lesion in.
    """

    name: str
    color: tuple[int, int, int]
    values: tuple[int, ...]
    is_lesion: bool = False
    part_of: str | None = None

    def mask(self, labelmap: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
        """Boolean mask of the segment, in the shape of `labelmap` (any part of a label map)."""
        table = np.zeros(256, dtype=bool)
        table[list(self.values)] = True
        return table[labelmap]


@dataclass(frozen=True)
class Body:
    """What has one surface: a segment alone, or an organ whose pieces are painted onto it.

    Args:
        whole: all of it, with its lesions.
        painted: its pieces, and what is left of the organ; only one is the body itself.
    """

    whole: Overlay
    painted: tuple[Overlay, ...]


@dataclass(frozen=True, kw_only=True)
class Plane:
    """One slice in radiological convention: the patient's right, or front, is on the image's left.

    Args:
        name: "Axial", "Coronal" or "Sagittal".
        axis: array axis that the plane is perpendicular to.
        across: array axis that runs from the image's right to its left.
        up: array axis that runs from the image's bottom to its top.
        center: voxel index (i, j, k) in the middle of the image; whole at `axis`.
        extent_mm: width of the field of view in mm.
        aspect: its height divided by its width; 1 but for a picture of one slice, which keeps its own.
    """

    name: str
    axis: int
    across: int
    up: int
    center: tuple[float, float, float]
    extent_mm: float
    aspect: float = 1.0

    @property
    def index(self) -> int:
        """Slice number along `axis`, from 0."""
        return round(self.center[self.axis])

    @property
    def letters(self) -> tuple[str, str, str, str]:
        """Orientation letters at the image's left, right, top and bottom."""
        right, left = AXIS_LETTERS[self.across]
        bottom, top = AXIS_LETTERS[self.up]
        return left, right, top, bottom

    def cut(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The plane's pixels, shape [rows, columns], first row at the top, of an [i, j, k] array."""
        # Indexing gives a view, where np.take would copy a flipped volume; the other axes stay in order.
        where: list[slice | int] = [slice(None)] * 3
        where[self.axis] = self.index
        return array[tuple(where)].T[::-1, ::-1]

    def edges_mm(self, shape: tuple[int, ...], spacing: tuple[float, ...]) -> tuple[float, float, float, float]:
        """Left, right, bottom and top edge of the cut in mm from the middle of the image."""
        u, v = self.across, self.up
        return (
            (self.center[u] - shape[u] + 0.5) * spacing[u],
            (self.center[u] + 0.5) * spacing[u],
            (-0.5 - self.center[v]) * spacing[v],
            (shape[v] - 0.5 - self.center[v]) * spacing[v],
        )


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A case made ready for drawing.

    Args:
        image: voxel values, [i, j, k] along R, A, S; a view of the caller's array.
        labelmap: uint8, same shape.
        affine: 4x4, voxel index of `image` -> RAS mm.
        window: darkest and brightest voxel value shown.
        overlays: the segments that are present, outer ones first.
        box: smallest box of voxels that holds all segments; the whole volume where there are none.
        body: box of the body where air tells it from its surroundings; else the whole volume.
        planes: axial, coronal, sagittal; of a single slice only that slice.
        placed: whether the file tells where in the patient the voxels lie; a plain picture or X-ray does not.
    """

    image: npt.NDArray[Any]
    labelmap: npt.NDArray[np.uint8]
    affine: npt.NDArray[np.float64]
    window: tuple[float, float]
    overlays: tuple[Overlay, ...]
    box: Box
    body: Box
    planes: tuple[Plane, ...] = ()
    placed: bool = True

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel distances along i, j, k in mm."""
        return spacing_of(self.affine)

    @property
    def bodies(self) -> tuple[Body, ...]:
        """The segments by their surfaces, outer ones first."""
        found: dict[str, list[Overlay]] = {}
        for overlay in self.overlays:
            organ = None if overlay.is_lesion else overlay.part_of
            found.setdefault(organ or overlay.name, []).append(overlay)
        return tuple(self._body(organ, members) for organ, members in found.items())

    def _body(self, organ: str, members: list[Overlay]) -> Body:
        if len(members) == 1:
            return Body(members[0], tuple(members))
        inside = [overlay for overlay in self.overlays if overlay.part_of == organ]
        values = tuple({value: None for overlay in (*members, *inside) for value in overlay.values})
        held = {value for overlay in inside for value in overlay.values}
        rest = [replace(member, values=tuple({*member.values} - held)) for member in members if member not in inside]
        pieces = [member for member in members if member in inside]
        return Body(replace(members[0], values=values), tuple(part for part in (*rest, *pieces) if part.values))

    @property
    def in_mm(self) -> bool:
        """Whether lengths mean anything: a picture that tells no pixel size is read with 1 mm."""
        return self.placed or not np.allclose(self.spacing, 1.0)
