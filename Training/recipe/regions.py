"""What counts as which label when a result is scored: the same while training as in an evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from operator import or_
from typing import Any

import numpy as np
import numpy.typing as npt

from LiverSegLib.labels import Label, label_for, labels_for, values_of
from LiverSegLib.request import Settings


def names_users_see(labels: Mapping[int, str]) -> dict[str, int]:
    """The names that packages, results and scores give to a recipe's labels (cancer is tumor), with their values."""
    return {label_for(value, name).name: value for value, name in labels.items()}


def region(classes: Any, name: str, values: Mapping[str, int]) -> Any:
    """Where `name` is, with its parts: the liver holds its tumors.

    Args:
        classes: label map of any shape, array or tensor.
        name: one of `values`.
        values: names with their values in `classes`.

    Returns:
        Booleans of the same kind and shape.
    """
    return reduce(or_, (classes == value for value in values_of(name, _labels(values))))


def clean(labelmap: npt.NDArray[np.uint8], values: Mapping[str, int]) -> None:
    """Clean a whole image's label map [i, j, k] in place as users get it who change no setting."""
    # Here, as it needs torch, and the names above do not.
    from LiverSegLib.engine.postprocess import postprocess

    postprocess(labelmap, _labels(values), Settings())


def _labels(values: Mapping[str, int]) -> tuple[Label, ...]:
    return labels_for({value: name for name, value in values.items()})
