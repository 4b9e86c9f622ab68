"""Several networks of one kind as one."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

import torch

from LiverSegLib.networks.registry import final_logits


class MeanOfNetworks(torch.nn.Module):
    """The mean of the logits of networks that were trained alike, on parts of the data for example.

    Args:
        networks: one at least.
    """

    def __init__(self, networks: Sequence[torch.nn.Module]) -> None:
        super().__init__()
        self.networks = torch.nn.ModuleList(networks)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits float32 [N, out_channels, ...] of images [N, in_channels, ...]."""
        first, *others = self.networks
        total: torch.Tensor = final_logits(first(x), x.ndim).float()
        for network in others:
            total = total + final_logits(network(x), x.ndim).float()
        return total / len(self.networks)


class MeanOfSoftmax(MeanOfNetworks):
    """The mean of the probabilities of networks, given as its logarithm, so that it is used as logits are."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits float32 [N, out_channels, ...] whose softmax is the mean of the networks' softmax."""
        parts = [final_logits(network(x), x.ndim).float().log_softmax(1) for network in self.networks]
        # The sum of numbers that may be too small for a float, by their logarithms; the mean differs by a constant.
        total = parts[0]
        for part in parts[1:]:
            total = torch.logaddexp(total, part)
        return total


def mean_of_softmax(network: torch.nn.Module, folder: str, names: Sequence[str]) -> MeanOfSoftmax:
    """What MONAI's bundle runner builds from a package of several networks.

    Args:
        network: one of them, with any weights.
        folder: the package's.
        names: the safetensors files of their weights in it.
    """
    from safetensors.torch import load_file

    members = [copy.deepcopy(network) for _ in names]
    for member, name in zip(members, names, strict=True):
        member.load_state_dict(load_file(Path(folder) / name))
    return MeanOfSoftmax(members)
