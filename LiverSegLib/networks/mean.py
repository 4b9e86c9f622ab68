"""Several networks of one kind as one."""

from __future__ import annotations

from collections.abc import Sequence

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
