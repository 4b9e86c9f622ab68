"""How the patient lies: a header that is wrong about it, or was lost, must not make a liver vanish."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from LiverSegLib.engine.geometry import GridLabels

_ENOUGH = 0.94
"""A look that is surer than this needs no other: those at scans as they are were, some at altered ones were not."""
_CLEARLY = 0.03
"""How much surer a turned look has to be."""


@dataclass(frozen=True)
class Turn:
    """A turn about the patient's long axis, in degrees, against what the header says."""

    degrees: int

    @property
    def matrix(self) -> npt.NDArray[np.float64]:
        """4x4, exact for multiples of 90 degrees: turned so, the axes of an image are only exchanged."""
        a = np.radians(self.degrees)
        cosine, sine = np.round(np.cos(a)), np.round(np.sin(a))
        return np.array([[cosine, -sine, 0, 0], [sine, cosine, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])


STRAIGHT = Turn(0)
_OTHERS = (Turn(90), Turn(180), Turn(270))


def find_turned(find: Callable[[Turn], GridLabels]) -> tuple[GridLabels, Turn]:
    """What a model finds, and how the image was turned for it; where it is sure at once nothing is turned.

    Args:
        find: gives what the model finds in the turned image.
    """
    looks = [(find(STRAIGHT), STRAIGHT)]
    if _sureness(looks[0][0]) >= _ENOUGH:
        return looks[0]
    looks += [(find(turn), turn) for turn in _OTHERS]
    best = max(looks, key=lambda look: _sureness(look[0]))
    return best if _sureness(best[0]) >= max(_ENOUGH, _sureness(looks[0][0]) + _CLEARLY) else looks[0]


def _sureness(found: GridLabels) -> float:
    return -1.0 if found.certainty is None else found.certainty
