"""A package takes its place: written beside it, loaded again, compared with what was trained, and only then moved."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from LiverSegLib.errors import LiverSegError, OutputError
from LiverSegLib.models import ModelSpec, read_package
from LiverSegLib.models.package import write_package
from LiverSegLib.models.weights import loaded_network
from LiverSegLib.networks import build_network, final_logits, reduction
from LiverSegLib.networks.mean import MeanOfSoftmax
from Training.errors import RunError

State = dict[str, torch.Tensor]
# Kernels stored as float16 move logits by a thousandth of their range; more means that something else is wrong.
_ROUNDING = 0.01


def check_place(folder: Path) -> None:
    """Refuse to replace what is no package.

    Raises:
        OutputError: `folder` holds something else.
    """
    if folder.exists() and not (folder / "configs").is_dir() and (folder.is_file() or any(folder.iterdir())):
        raise OutputError(f"{folder} is there and is no package; name another folder.")


def place_package(
    folder: Path,
    spec: ModelSpec,
    states: Sequence[State],
    source: str,
    *,
    card: str,
    license_text: str,
    torch_file: bool = True,
) -> None:
    """Write a package; one that is there is replaced as a whole, or stays where something goes wrong.

    Args:
        folder: package folder.
        spec: what the package says.
        states: the weights of its network; of several networks the mean of their probabilities is the result.
        source: what errors call the place where the weights come from.
        card: model card in Markdown.
        license_text: goes to LICENSE.
        torch_file: as for `write_package`.

    Raises:
        RunError: the package does not give what the weights give.
        OutputError: `folder` holds something else than a package.
    """
    folder = folder.resolve()
    check_place(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    first, *others = states
    with tempfile.TemporaryDirectory(prefix=".export-", dir=folder.parent) as temporary:
        new = Path(temporary) / folder.name
        for half in (True, False):
            shutil.rmtree(new, ignore_errors=True)
            texts = {"card": card, "license_text": license_text}
            write_package(new, spec, first, **texts, half=half, torch_file=torch_file, others=others)
            if _difference(new, spec, states) <= _ROUNDING:
                break
        else:
            raise RunError(f"The package of {source} does not give what its checkpoint gives; nothing was written.")
        _move(new, folder, Path(temporary) / "replaced")


def _move(new: Path, folder: Path, old: Path) -> None:
    """Put `new` in the place of `folder`, which is kept as `old` until that is done."""
    if folder.exists():
        folder.rename(old)
    try:
        new.rename(folder)
    except BaseException:
        if old.exists():
            old.rename(folder)
        raise


def _difference(folder: Path, spec: ModelSpec, states: Sequence[State]) -> float:
    """Largest difference between the logits of package and weights for noise, relative to their largest value."""
    members = [build_network(spec.network, spec.arguments).eval() for _ in states]
    try:
        for member, state in zip(members, states, strict=True):
            member.load_state_dict(state)
        network = loaded_network(read_package(folder)).eval()
    except (LiverSegError, RuntimeError) as error:
        raise RunError(f"The checkpoint of the best epoch cannot be written as a package: {error}") from error
    trained = members[0] if len(members) == 1 else MeanOfSoftmax(members)
    steps = reduction(spec.network, spec.arguments)
    noise = torch.rand(
        1,
        spec.arguments["in_channels"],
        *(n * max(2, -(-16 // n)) for n in steps),
        generator=torch.Generator().manual_seed(0),
    )
    with torch.inference_mode():
        expected, found = (final_logits(each(noise), noise.ndim) for each in (trained, network))
    return float((expected - found).abs().max() / expected.abs().max().clamp(min=1e-6))
