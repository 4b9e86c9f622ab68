"""The three 2D networks on slices whose masks are clean, trained alike and compared on patients whom none has seen.

    python -m Testing.experiments.networks2d -o runs/networks2d --data ../shared/data

The recipes are `unet2d_vgg16`, `unet2d_bn` and `unet2d_attention`, made small enough for a CPU by the options; the last
two differ in the gate alone. What is there already is not made again, and a training that was interrupted goes on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from LiverSegLib.engine.segmenter import Segmenter
from Training.data.folder import PreparedFolder
from Training.data.prepare import prepare
from Training.evaluation.cases import load_cases
from Training.evaluation.compare import Comparison, compare
from Training.evaluation.evaluate import evaluate
from Training.evaluation.scores import SCORES
from Training.fit.run_folder import RunFolder
from Training.fit.train import Hardware, train
from Training.markdown import table
from Training.packages.export import export
from Training.recipe import Recipe, load_recipe
from Training.recipe.sources import FilesSource
from Training.reports.comparison_report import write_comparison

NETWORKS = ("unet2d_vgg16", "unet2d_bn", "unet2d_attention")
CPU = Hardware(accelerator="cpu", devices="1")
METRICS = {"f_score": "F-score", "miou": "mIoU", "mpa": "mPA"}
_PART_OF_WIDTH = 2


def recipes(epochs: int, pixels: int, precision: str) -> list[Recipe]:
    """The three, with clean masks; who has slices under two numbers is one patient."""
    # The recipe that inflates a 2D network knows which slices have a clean mask, and who is who.
    known = load_recipe("liver_tumor2d_slices").sources[0]
    assert isinstance(known, FilesSource)
    found = []
    for name in NETWORKS:
        changes = [
            f"preprocess.size=[{pixels}, {pixels}, -1]",
            f"patch_size=[{pixels}, {pixels}]",
            f"optimization.max_epochs={epochs}",
            f"optimization.precision={precision}",
        ]
        recipe = load_recipe(name, changes)
        clean = {"masks": known.masks, "exclude": known.exclude, "patients": known.patients}
        source = recipe.sources[0].model_copy(update=clean)
        network = recipe.network
        if "channels" in network.arguments:
            half = [n // _PART_OF_WIDTH for n in network.arguments["channels"]]
            network = network.model_copy(update={"arguments": network.arguments | {"channels": half}})
        found.append(recipe.model_copy(update={"sources": [source], "network": network}))
    return found


def scored(recipe: Recipe, prepared: Path, out: Path, workers: int) -> Path:
    """Train, export and evaluate one network, as far as that is not done; the folder of its scores."""
    run, package, scores = out / "runs" / recipe.name, out / "packages" / recipe.name, out / "scores" / recipe.name
    if not package.is_dir():
        resume = RunFolder(run).last.is_file()
        train(recipe, prepared, run, resume=resume, workers=workers, hardware=CPU)
        export(run, package, torch_file=False)
    if not (scores / SCORES).is_file():
        cases = load_cases(prepared, split="test")
        evaluate(cases, Segmenter(package, "cpu"), scores, title=recipe.name, pictures_below=0.0)
    return scores


def summary(comparison: Comparison) -> str:
    """Means with their intervals, and the paired differences."""
    lines = []
    for row in comparison.rows:
        if row.metric in METRICS:
            cells = (f"{one.mean:.3f} [{one.ci_low:.3f}, {one.ci_high:.3f}]" for one in row.runs)
            lines.append([METRICS[row.metric], *cells])
    return table(("", *comparison.runs), lines, text_columns=4)


def main(
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for all that is made; the same one goes on.")],
    data: Annotated[Path, typer.Option(help="Folder with slices2d and slices2d_clean.")] = Path("../shared/data"),
    epochs: Annotated[int, typer.Option(min=1, help="Of each network; the recipes have 50.")] = 12,
    pixels: Annotated[int, typer.Option(min=32, help="Width and height of a slice; the recipes have 256.")] = 128,
    precision: Annotated[str, typer.Option(help="bf16-mixed where the processor is faster with it.")] = "32-true",
    workers: Annotated[int, typer.Option(min=0, help="Loader processes.")] = 1,
) -> None:
    """Train the three networks alike and compare them."""
    out = out.resolve()
    wanted = recipes(epochs, pixels, precision)
    prepared = out / "prepared"
    if not PreparedFolder(prepared).complete:
        prepare(wanted[1], data.resolve(), prepared)
    found = compare([scored(recipe, prepared, out, workers) for recipe in wanted])
    page = write_comparison(out / "comparison", found)
    text = summary(found)
    (out / "table.md").write_text(text + "\n", encoding="utf-8")
    print(text)
    print(f"Page with all metrics, differences and plots: {page}")


if __name__ == "__main__":
    typer.run(main)
