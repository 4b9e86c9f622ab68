"""The phantom CT of Slicer's Sample Data, made on the spot: to try everything without patient data or a download."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from LiverSegLib.volume import Volume

# Not among the seeds that the built-in model was trained on (5000 to 5043).
_SEED = 20260
_SPACING_MM = (2.5, 2.5, 4.0)


def make_sample() -> tuple[Volume, npt.NDArray[np.uint8]]:
    """A portal-venous abdomen with lesions in its liver; always the same.

    Returns:
        The CT (int16 HU) and its true label map: 1 liver, 2 tumor; both [i, j, k].
    """
    from LiverSegLib.phantom import make_phantom

    phantom = make_phantom(_SEED, phase="portal", lesions=3, spacing=_SPACING_MM, coverage="abdomen")
    return replace(phantom.volume, name="Liver phantom CT", modality="CT"), phantom.labelmap
