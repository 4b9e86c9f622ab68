"""nnU-Net v2's dataset.json: which labels a model has, and what its channels mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from LiverSegLib.labels import Label, labels_for
from LiverSegLib.models.arguments import whole
from LiverSegLib.models.text import is_name, shown

_LONGEST_NAME = 100
_MOST_INPUTS = 64
_MR = ("MR", "T1", "T2")
_LARGEST = 255
"""Labels are stored as uint8."""


def read_labels(dataset: Mapping[str, Any], names: Mapping[int, str]) -> tuple[tuple[Label, ...], tuple[int, ...]]:
    """The labels, and the value that each channel paints where the channels are regions that overlap (else ()).

    Args:
        dataset: the content of dataset.json.
        names: other names than the data set's, by value.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: something is missing, wrong or not supported.
    """
    given = {name: value for name, value in dataset["labels"].items() if name != "ignore"}
    foreground = {name: _values(value, name) for name, value in given.items()}
    foreground = {name: values for name, values in foreground.items() if set(values) != {0}}
    if any(len(values) > 1 for values in foreground.values()):
        painted = [whole(n, "regions_class_order", 1, _LARGEST) for n in dataset["regions_class_order"]]
        if len(painted) != len(foreground):
            raise ValueError(f"regions_class_order {shown(painted)} does not fit {len(foreground)} regions")
        found = dict(zip(painted, foreground, strict=True))  # where two paint the same value, it is the later one's
        regions = tuple(painted)
    else:
        found, regions = {values[0]: name for name, values in foreground.items()}, ()
        if sorted(found) != list(range(1, len(foreground) + 1)):
            raise ValueError(f"its labels {shown(given, 200)} are not numbered 0, 1, 2 and so on")
    if not found:
        raise ValueError("it has no labels but the background")
    return _named({value: names.get(value, name) for value, name in sorted(found.items())}), regions


def _values(value: Any, name: str) -> list[int]:
    """The values of a label, or of the labels that make up a region."""
    several = value if isinstance(value, list) and value else [value]
    return [
        whole(int(n) if isinstance(n, str) and n.isdecimal() else n, f"the label {shown(name)}", 0, _LARGEST)
        for n in several
    ]


def _named(names: dict[int, str]) -> tuple[Label, ...]:
    for value, name in names.items():
        if not is_name(name, _LONGEST_NAME):
            raise ValueError(f"it calls label {value} {shown(name)}, which is no plain name")
    labels = labels_for(names)
    known = [label.name for label in labels]
    twice = next((name for name in known if known.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"two of its labels mean {twice}")
    return labels


def read_inputs(dataset: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the images of a case, in the order of its channels.

    Raises:
        ValueError: there are none, too many or with gaps.
        KeyError, AttributeError: they are not told.
    """
    channels = dataset["modality"] if "modality" in dataset else dataset["channel_names"]
    named = {int(number): str(name) for number, name in channels.items()}
    if not 1 <= len(named) <= _MOST_INPUTS or sorted(named) != list(range(len(named))):
        raise ValueError(f"its channels {shown(channels, 100)} are not numbered 0, 1, 2 and so on")
    names = tuple(named[number] for number in range(len(named)))
    if not all(is_name(name, _LONGEST_NAME) for name in names):
        raise ValueError(f"its channels {shown(channels, 100)} have no plain names")
    return names


def read_modality(dataset: Mapping[str, Any]) -> str:
    """ "CT", "MR" or "" from the names of the channels; "" where they differ.

    Raises:
        ValueError, KeyError, AttributeError: as of `read_inputs`.
    """
    names = [name.upper() for name in read_inputs(dataset)]
    kinds = {"CT" if name == "CT" else "MR" if name.startswith(_MR) else "" for name in names}
    return kinds.pop() if len(kinds) == 1 else ""
