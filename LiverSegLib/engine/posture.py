"""How the patient lies: a header that is wrong about it, or was lost, must not make a liver vanish.

Nor must a liver on the left: a patient with situs inversus is one whose image is mirrored.
"""

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


_ENDS = ("left and right", "front and back", "head and feet")


@dataclass(frozen=True)
class Turn:
    """How a patient lies against what the header says.

    Args:
        degrees: turned about the patient's long axis.
        exchanged: axes of RAS whose ends are exchanged, 0 for left and right.
    """

    degrees: int = 0
    exchanged: tuple[int, ...] = ()

    @property
    def matrix(self) -> npt.NDArray[np.float64]:
        """4x4, exact for multiples of 90 degrees: turned so, the axes of an image are only exchanged and reversed."""
        a = np.radians(self.degrees)
        cosine, sine = np.round(np.cos(a)), np.round(np.sin(a))
        turned = np.array([[cosine, -sine, 0, 0], [sine, cosine, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
        turned[:, list(self.exchanged)] *= -1
        return turned

    def sentence(self, name: str) -> str:
        """What the user should know of the volume `name`."""
        if not self.exchanged:
            return f"The patient in {name} lies turned by {self.degrees} degrees against what its header says."
        ends = " and ".join(f"{ends} exchanged" for ends in (_ENDS[axis] for axis in self.exchanged))
        inverse = ", or the patient's liver lies on the left (situs inversus)" if self.exchanged == (0,) else ""
        return f"{name} seems to have {ends} against what its header says{inverse}; check its orientation."


STRAIGHT = Turn()
_TURNED = (Turn(90), Turn(180), Turn(270))
_EXCHANGED = tuple(Turn(exchanged=axes) for axes in ((0,), (1,), (2,), (0, 2), (1, 2), (0, 1, 2)))


def find_turned(find: Callable[[Turn], GridLabels]) -> tuple[GridLabels, Turn]:
    """What a model finds, and how the image was turned for it; where it is sure at once nothing is turned.

    Turned patients are looked for first; mirrored and upside-down ones, which are rarer, only where that finds nothing.

    Args:
        find: gives what the model finds in the turned image.
    """
    straight = (find(STRAIGHT), STRAIGHT)
    needed = max(_ENOUGH, _sureness(straight[0]) + _CLEARLY)
    if _sureness(straight[0]) >= _ENOUGH:
        return straight
    for turns in (_TURNED, _EXCHANGED):
        best = max(((find(turn), turn) for turn in turns), key=lambda look: _sureness(look[0]))
        if _sureness(best[0]) >= needed:
            return best
    return straight


def _sureness(found: GridLabels) -> float:
    return -1.0 if found.certainty is None else found.certainty
