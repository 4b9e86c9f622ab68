"""Parts of a run that the person who trains has written: a network, a loss, a transform, in one Python file.

The file is run with all that its owner may do on this machine: take none from others that you have not read. Only the
command that names it runs it; no recipe, run folder or package can.
"""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from Training.errors import RunError
from Training.recipe import Recipe

PARTS = ("network", "loss", "transform")
Sample = dict[str, Any]


class OwnCode:
    """The functions of a file; each may be missing.

    `network(recipe)`: a module that gives logits [N, labels + 1, ...] of images [N, 1, ...], or a list of them, the
    finest first; the recipe's own network is not built then. `loss(recipe)`: what gives a loss of outputs and labels
    [N, 1, ...] while training; validation keeps the recipe's. `transform(sample, rng)`: changes a training sample,
    float32 image and uint8 label [1, *patch], after all else; `rng` is the sample's own, so that runs can be repeated.

    Args:
        path: the file.

    Raises:
        RunError: it cannot be read or run, or has none of these functions.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self._module = _run(self.path)
        self.parts = tuple(name for name in PARTS if callable(getattr(self._module, name, None)))
        if not self.parts:
            raise RunError(f"{path} has none of the functions {', '.join(PARTS)}; write one of them.")

    def __reduce__(self) -> tuple[Any, ...]:
        # Loader processes that begin anew run the file themselves.
        return OwnCode, (self.path,)

    def network(self, recipe: Recipe) -> torch.nn.Module | None:
        """The network; None where the recipe's is meant."""
        made: torch.nn.Module | None = self._made("network", torch.nn.Module, recipe)
        return made

    def loss(self, recipe: Recipe) -> Callable[[Any, torch.Tensor], torch.Tensor] | None:
        """The loss while training; None where the recipe's is meant."""
        made: Callable[[Any, torch.Tensor], torch.Tensor] | None = self._made("loss", Callable, recipe)
        return made

    def transformed(self, sample: Sample, seed: int) -> Sample:
        """A training sample after the file's transform."""
        if "transform" not in self.parts:
            return sample
        changed = self._module.transform(sample, np.random.default_rng(seed))
        if not isinstance(changed, dict) or any(changed[key].shape != sample[key].shape for key in ("image", "label")):
            raise RunError(f"transform of {self.path} does not give a sample of the same shape; mend it.")
        kinds = {"image": torch.float32, "label": torch.uint8}
        return {**changed, **{key: torch.as_tensor(changed[key]).to(kind) for key, kind in kinds.items()}}

    def _made(self, name: str, kind: Any, recipe: Recipe) -> Any:
        if name not in self.parts:
            return None
        try:
            made = getattr(self._module, name)(recipe)
        except Exception as error:
            raise RunError(f"{name} of {self.path} failed: {type(error).__name__}: {error}; mend it.") from error
        if not isinstance(made, kind):
            raise RunError(f"{name} of {self.path} gives {type(made).__name__}, which is no {name}; mend it.")
        return made


def _run(path: Path) -> ModuleType:
    """The file as a module.

    Raises:
        RunError: it cannot be read, or fails.
    """
    spec = importlib.util.spec_from_file_location(f"own_code_{path.stem}", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise RunError(f"{path} is no Python file; give --code the path of one that ends in .py.")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise RunError(f"{path} cannot be run: {type(error).__name__}: {error}; mend it.") from error
    return module


def has_own_network(file: Path) -> bool:
    """Whether a file has a function `network`; it is read and not run."""
    try:
        body = ast.parse(file.read_text(encoding="utf-8")).body
    except (OSError, SyntaxError, ValueError):
        return file.exists()
    names = {part.name for part in body if isinstance(part, ast.FunctionDef | ast.ClassDef)}
    targets = (target for part in body if isinstance(part, ast.Assign) for target in part.targets)
    imported = (alias for part in body if isinstance(part, ast.Import | ast.ImportFrom) for alias in part.names)
    names |= {target.id for target in targets if isinstance(target, ast.Name)}
    names |= {alias.asname or alias.name for alias in imported}
    return "network" in names or "*" in names
