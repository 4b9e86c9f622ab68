"""Which images of a data set's cases a source takes, by their names or numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from Training.errors import DataError, listed


def chosen_channels(keys: Sequence[int | str], channels: Mapping[int, str], file: Path) -> list[int]:
    """The numbers of the channels that a case is made of, in the recipe's order.

    Args:
        keys: their names or numbers; all where there are none.
        channels: number -> name, of the data set.
        file: the dataset.json that tells them.

    Raises:
        DataError: there is no such channel.
    """
    numbers = {name: number for number, name in channels.items()}
    chosen = [key if isinstance(key, int) else numbers.get(key, -1) for key in keys]
    for key, number in zip(keys, chosen, strict=True):
        if number not in channels:
            raise DataError(f"{file} has no channel {key}; name one of {listed(numbers)}.", file)
    return chosen or sorted(channels)
