"""Instance normalization of a trained network, done faster on processors.

torch brings images to another order in memory for its own, and back for the next convolution, which takes longer than
all convolutions of nnU-Net's plain U-Net in bfloat16. Of one image it is the same as batch normalization by the
statistics of the batch, which torch does in either order. Normalization by groups of one channel is as fast, but loses
digits where a channel's mean is many times its deviation (torch 2.13).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

_KINDS = (torch.nn.InstanceNorm1d, torch.nn.InstanceNorm2d, torch.nn.InstanceNorm3d)


class OfOneImage(torch.nn.Module):
    """An instance normalization without statistics of its own, faster where it gets one image in half precision.

    In float32 it is done as torch does it: the sums of the fast way have fewer digits.

    Args:
        norm: the layer; its weights are shared.
    """

    def __init__(self, norm: torch.nn.modules.instancenorm._InstanceNorm) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The image [N, C, ...] with a mean of 0 and a variance of 1 in each channel, then scaled and moved."""
        if x.device.type == "cpu" and x.dtype != torch.float32 and len(x) == 1:
            # Without weights in float32 torch would round the mean to eight digits.
            weight = torch.ones(x.shape[1]) if self.weight is None else self.weight
            return F.batch_norm(x, None, None, weight, self.bias, training=True, eps=self.eps)
        return F.instance_norm(x, weight=self.weight, bias=self.bias, eps=self.eps)


def of_one_image(network: torch.nn.Module) -> torch.nn.Module:
    """The network with its instance normalizations replaced, in place, by layers that give the same; for inference."""
    if isinstance(network, _KINDS) and not network.track_running_stats:
        return OfOneImage(network)
    for name, layer in network.named_children():
        fast = of_one_image(layer)
        if fast is not layer:
            setattr(network, name, fast)
    return network
