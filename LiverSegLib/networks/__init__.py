"""Networks by name: MONAI's own, and ours where MONAI has none."""

import importlib
from typing import Any

from LiverSegLib.networks.registry import (
    NETWORKS,
    OURS,
    build_network,
    canonical_name,
    check_arguments,
    final_logits,
    network_outline,
    reduction,
    target_path,
)

__all__ = [
    "NETWORKS",
    "build_network",
    "canonical_name",
    "check_arguments",
    "final_logits",
    "network_outline",
    "reduction",
    "target_path",
]


def __getattr__(name: str) -> Any:
    """Our networks by attribute, so that `_target_: LiverSegLib.networks.PyramidUNet` works without importing torch."""
    if name not in OURS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{OURS[name]}"), name)
