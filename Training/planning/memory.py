"""How much memory a training step needs, without running one."""

from __future__ import annotations

import json
import math
from functools import lru_cache
from typing import Any

import torch
from torch.multiprocessing.reductions import StorageWeakRef

from LiverSegLib.networks import build_network
from Training.fit.case_loss import LOGITS_ON_DEVICE, SLAB_VOXELS

GIB = 2**30
# CUDA's context and the work space of the convolutions, as PyTorch reports them on common GPUs.
FIXED = 0.75 * GIB
# Weights, gradients, two moments of Adam, and the moving average, in float32.
_COPIES_OF_WEIGHTS = 5


def training_memory(
    name: str, arguments: dict[str, Any], patch_size: tuple[int, ...], batch_size: int, *, mixed: bool = False
) -> int:
    """Bytes that a training step takes at its peak, within a factor of two.

    The network runs on PyTorch's "meta" device, which knows the sizes of tensors and has no values, and the tensors
    that are kept for the backward pass are added up. Optimizer, loss and the two largest gradients come on top.

    Args:
        name: of the network registry.
        arguments: keyword arguments of the network, dimensions and channels included.
        patch_size: voxels.
        batch_size: patches a step.
        mixed: half precision in the forward pass; activations take half.

    Raises:
        ModelError: the network cannot be built.
        RuntimeError, ValueError: it does not take patches of this size.
    """
    weights, saved, largest, logits = _sizes(name, json.dumps(arguments), patch_size)
    # One image was measured; everything but the weights grows with the batch.
    activations = batch_size * (saved + 2 * largest) * (0.5 if mixed else 1.0)
    # Log-softmax, softmax, one-hot labels, their products and gradients, in float32 always.
    loss = batch_size * logits * 6
    return round(_COPIES_OF_WEIGHTS * weights + activations + loss + FIXED)


def validation_memory(name: str, arguments: dict[str, Any], voxels: int) -> int:
    """Bytes on the device that validating one image takes besides the windows that run through the network.

    Weights with what training keeps of them, the image, its label and the weights of the windows that cover a voxel;
    the logits as far as they stay on the device; the loss of one slab.

    Args:
        name, arguments: as in `training_memory`.
        voxels: of the image, on the model's grid.
    """
    classes = arguments["out_channels"]
    with torch.device("meta"):
        weights = sum(4 * p.numel() for p in build_network(name, arguments).parameters())
    logits = 4 * classes * voxels
    kept = (logits if logits < LOGITS_ON_DEVICE else 0) + voxels * (4 + 1 + 4)
    return round(_COPIES_OF_WEIGHTS * weights + kept + 40 * classes * min(voxels, SLAB_VOXELS) + FIXED)


@lru_cache(maxsize=1024)
def _sizes(name: str, written: str, patch_size: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Bytes in float32 for one image: weights, kept activations, the largest of them, and all logits.

    Planners ask for the same again and again, so that it is kept, by the arguments as JSON.
    """
    arguments: dict[str, Any] = json.loads(written)
    with torch.device("meta"):
        network = build_network(name, arguments).train()
        image = torch.empty(1, arguments["in_channels"], *patch_size)
    weights = {StorageWeakRef(p.untyped_storage()) for p in network.parameters()}
    kept: dict[StorageWeakRef, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if (reference := StorageWeakRef(storage)) not in weights:
            kept[reference] = storage  # holds it, so that its address is not given to another
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        outputs = network(image)
    outputs = outputs if isinstance(outputs, list | tuple) else [outputs]
    sizes = [storage.nbytes() for storage in kept.values()]
    logits = sum(4 * math.prod(output.shape) for output in outputs)
    total = sum(4 * p.numel() for p in network.parameters())
    return total, sum(sizes), max(sizes, default=0), logits
