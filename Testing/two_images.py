"""A model of two images that calls what is bright in the first the liver, and what is bright in the second a tumor."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from LiverSegLib.networks import build_network
from Testing.conftest import toy_spec, write_toy

INPUTS = ("T1", "T2")


def write_two_images(folder: Path, **changes: Any) -> Path:
    """Write the package: above 100 in T1 is liver, above 100 in T2 is tumor, wherever that lies.

    Args:
        folder: of the package.
        changes: fields of its spec.
    """
    arguments: dict[str, Any] = {"spatial_dims": 3, "in_channels": 2, "out_channels": 3}
    arguments |= {"features": [4] * 6, "norm": "batch"}
    state = build_network("BasicUNet", arguments).state_dict()
    for name, tensor in state.items():
        if "running" not in name and "adn" not in name:
            tensor.zero_()
    for block in ("conv_0", "upcat_1.convs"):
        for conv in ("conv_0", "conv_1"):
            for channel in (0, 1):  # each goes past all the layers by itself
                state[f"{block}.{conv}.conv.weight"][channel, channel, 1, 1, 1] = 1.0
    # The window makes 0.5 of 100; the tumor's logit outweighs the liver's.
    for label, (slope, offset) in enumerate([(10.0, -5.0), (40.0, -20.0)], start=1):
        state["final_conv.weight"][label, label - 1] = slope
        state["final_conv.bias"][label] = offset
    options: dict[str, Any] = {"modality": "MR", "inputs": INPUTS}
    return write_toy(folder, replace(toy_spec("BasicUNet", arguments, 3, 2), **(options | changes)), state)
