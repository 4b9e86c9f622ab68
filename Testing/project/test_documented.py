"""What the documents tell a reader to type works: each command is parsed, and run on small stand-ins for its files."""

from __future__ import annotations

import doctest
import importlib.util
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from LiverSegLib.cli import commands as liverseg
from LiverSegLib.phantom import make_phantom
from Testing import documented
from Testing.conftest import MakePackage
from Testing.documented import ROOT, Command
from Testing.recipe_data import SMALL, draw_slice, write_dicom_slice, write_msd, write_slices2d, write_xrays
from Training.__main__ import app as training
from Training.data.phantoms import write_dataset
from Training.planning.sweep import trials
from Training.recipe import load_recipe

COMMANDS = [command for document in documented.documents() for command in documented.commands(document)]
# Run by other tests, or by nobody, and why.
ELSEWHERE = {
    "make": "the whole suite, a demo or hours of training; the target exists",
    "pip": "installs; the extra exists",
    "torchrun": "four GPUs; test_training_loop.py runs two processes on a CPU",
    "srun": "a cluster",
    "python -m monai.bundle": "test_bundle_run.py",
    "python -m Testing.": "benchmarks and fuzzing; Testing/fuzz has tests of its own",
    "python -m Training evaluate Training/cases/": "real images that are no part of the repository",
    "python -m Training evaluate cases.yaml": "cases of one's own; test_evaluate.py evaluates altered ones",
    "python -m Training folds": "test_folds.py",
    "python -m Training export runs/cv/": "test_ensemble.py",
    "python -m Training evaluate prepared/first --split test --model packages/flipped": "test_ensemble.py",
    "python -m Training finetune": "test_finetune.py",
    "python -m Training plan liver_tumor3d_best --data data -o near.yaml": "test_plan.py",
    "python -m Training prepare near_lowres.yaml": "a recipe as any other; test_plan.py writes it",
    "python -m Training train near_lowres.yaml": "the same",
    "python -m Training export runs/near_lowres": "the same",
    "python -m Training calibrate": "needs them; test_evaluate.py and test_calibrate.py",
    "liverseg batch": "trees and lists of one's own; Testing/cli/test_batch_command.py",
    "liverseg compare": "two scans of one patient; Testing/followup/test_write.py",
    "liverseg tune": "Testing/cli/test_tune.py, with a tiny model: the built-in ones take a minute",
    "liverseg models": "Testing/cli/test_models.py, with a server of its own",
    "liverseg segment t1.nii.gz --channel": "a model of two sequences; test_channels.py runs one",
    "python -m Training predict packages/mr": "a model of two sequences; test_channels_training.py runs one",
    "liverseg info dicom_folder": "Testing/cli/test_handover.py, with a folder of its own",
    "liverseg segment dicom_folder -o out": "Testing/cli/test_handover.py, with a folder of its own",
    "liverseg segment ct.nii.gz -o out --report": "Testing/cli/test_handover.py",
    "liverseg report": "Testing/cli/test_handover.py, with images of its own",
    "liverseg segment ct.nii.gz --model totalseg_ct": "a model that has to be fetched first",
    "validate_iods": "a program of others, which fetches the standard",
    "SLICER_BACKGROUND_THREAD_PRIORITY=0": "an environment variable of Slicer",
}


def programs(command: Command) -> tuple[typer.Typer, list[str]] | None:
    """Our program that a command starts, and its arguments; None for the program of somebody else."""
    words = list(command.words)
    if words[0] == "liverseg":
        return liverseg.app, words[1:]
    if "Training" in words:
        return training, words[words.index("Training") + 1 :]
    return None


def parse(program: typer.Typer, arguments: list[str]) -> dict[str, Any]:
    """The values that the program's own parser reads from the arguments of one of its commands."""
    group: Any = typer.main.get_command(program)
    name, *rest = arguments
    values: dict[str, Any] = group.commands[name].make_context(name, rest).params
    return values


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_a_documented_command_is_understood(command: Command) -> None:
    found = programs(command)
    if found is None:
        understood_elsewhere(command)
        return
    program, arguments = found
    if arguments == ["--version"]:
        return
    if is_bare(command):
        assert {c.name or c.callback.__name__ for c in program.registered_commands if c.callback} >= set(arguments)
        return
    values = parse(program, arguments)
    name, changes = values.get("recipe"), values.get("set_")
    if name is None or name == "NAME" or name.endswith(".yaml"):
        return
    load_recipe(name, list(changes or []))
    for varied in values.get("vary") or []:
        assert len(trials(name, [varied], Path(), changes)) > 1


def understood_elsewhere(command: Command) -> None:
    """A command of make, pip or another module of Python: what it names is there."""
    words = command.words
    if words[0] == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        assert {word for word in words[1:] if "=" not in word} <= set(targets)
    elif words[0] == "pip" and words[-1].startswith(".["):
        project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
        for extra in words[-1][2:-1].split(","):
            assert re.search(rf"^{extra} = \[", project, re.MULTILINE), extra
    elif words[:2] == ("python", "-m"):
        assert importlib.util.find_spec(words[2]) is not None


def is_run_elsewhere(command: Command) -> bool:
    return any(" ".join(command.words).startswith(start) for start in ELSEWHERE)


def test_every_documented_command_is_run_by_a_test() -> None:
    run = {*map(str, README), *map(str, FIRST), *map(str, TRAINING)}
    forgotten = [str(c) for c in COMMANDS if not is_run_elsewhere(c) and not is_bare(c) and str(c) not in run]
    assert forgotten == []


def is_bare(command: Command) -> bool:
    """Only the name of a program or of its command, in a sentence."""
    found = programs(command)
    return command.is_mention and found is not None and len(found[1]) <= 1


def our_commands(document: str) -> list[Command]:
    found = [command for command in COMMANDS if command.document == document and programs(command) is not None]
    return [command for command in found if not is_run_elsewhere(command) and not is_bare(command)]


def first_example(document: str) -> list[Command]:
    """The block that makes phantoms."""
    block = next(block for block in documented.blocks(document, "sh") if "-m Training phantom" in block)
    return [Command(document, words) for words in documented.lines(block) if words[0] != "pip"]


FIRST = [*first_example("README.md"), *first_example("docs/training.md")]
README = [command for command in our_commands("README.md") if command not in FIRST]
TRAINING = [
    command
    for document in sorted({command.document for command in COMMANDS} - {"README.md"}, reverse=True)
    for command in our_commands(document)
    if command not in FIRST
]


def start(command: Command, changes: Sequence[str] = ()) -> str:
    """Run a command in this process; its failure is the test's. `changes` of a recipe come before its own."""
    found = programs(command)
    assert found is not None
    program, (name, *arguments) = found
    arguments = [*(f"--set={change}" for change in changes), *(word.replace("cuda:0", "cpu") for word in arguments)]
    done = CliRunner().invoke(program, [name, *arguments])
    assert done.exit_code == 0, (str(command), done.output, done.exception)
    return done.output


@pytest.fixture
def workplace(tmp_path: Path, threshold_package: MakePackage, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A reader's folder: images, and packages by the names that the documents use."""
    monkeypatch.chdir(tmp_path)
    phantom = make_phantom(1, spacing=(8.0, 8.0, 8.0), coverage="liver")
    # The liver alone: a 3D model works on voxels of 1.5 mm, and its time grows with the box.
    liver = tuple(slice(at.min(), at.max() + 1) for at in phantom.labelmap.nonzero())
    nib.save(nib.Nifti1Image(phantom.volume.array[liver], phantom.volume.affine), tmp_path / "ct.nii.gz")
    (tmp_path / "dicom_folder").mkdir()
    for index in range(4):
        write_dicom_slice(tmp_path / "dicom_folder" / f"{index}.dcm", draw_slice(1)[0].T, "p", index)
    write_xrays(tmp_path, 1)
    for name in ("picture.jpg", "chest.png"):
        with Image.open(tmp_path / "xray" / "1.jpg") as picture:
            picture.save(tmp_path / name)
    shutil.make_archive(str(tmp_path / "my_package"), "zip", threshold_package(name="packed"))
    for name in ("lesions", "lungs"):
        threshold_package(dims=2, name=name, labels=1, pixdim=(-1.0, -1.0, -1.0))
    (tmp_path / "Training").symlink_to(ROOT / "Training")
    return tmp_path


def test_the_commands_of_the_readme_run(workplace: Path) -> None:
    for command in README:
        start(command)
    written = {path.relative_to(workplace).as_posix() for path in workplace.rglob("*.seg.nrrd")}
    assert written >= {"ct/ct.seg.nrrd", "out/ct.seg.nrrd", "liver.seg.nrrd", "chest/chest.seg.nrrd"}


def test_the_python_of_the_readme_runs(workplace: Path) -> None:
    names: dict[str, object] = {}
    for block in documented.blocks("README.md", "python"):
        if "slicer" not in block:  # test_module.py runs those in the host
            exec(block, names)
    assert (workplace / "liver.seg.nrrd").is_file()


EXAMPLES = documented.examples()


ANYTHING = "anything\n"


class Checker(doctest.OutputChecker):
    """Takes any output of an example that shows none."""

    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        return want == ANYTHING or super().check_output(want, got, optionflags)


@pytest.mark.parametrize("module", EXAMPLES)
@pytest.mark.usefixtures("workplace")
def test_the_examples_of_a_module_run(module: str) -> None:
    """An example with +SKIP is run as well, with whatever it prints: its numbers depend on the image."""
    for test in EXAMPLES[module]:
        for example in test.examples:
            if example.options.pop(doctest.SKIP, False):
                example.want = ANYTHING
        runner = doctest.DocTestRunner(Checker(), verbose=False)
        shown: list[str] = []
        runner.run(test, out=shown.append)
        assert runner.failures == 0, "".join(shown)


def small(command: Command) -> list[str]:
    """Overrides that let a documented command run in seconds on drawn data."""
    _program, arguments = programs(command) or (None, [])
    if arguments[0] not in ("prepare", "preview", "train", "plan", "sweep", "evaluate"):
        return []
    name = {"mine.yaml": "liver_tumor3d_best", "mine3d.yaml": "liver_tumor3d_ct"}.get(arguments[1], arguments[1])
    tested = "split={validation_fraction: 0.25, test_fraction: 0.25}"  # the pages evaluate the part for testing
    splits = dict.fromkeys(("liver3d_monai", "unet2d_vgg16", "unet2d_bn", "unet2d_attention"), tested)
    splits |= {"liver3d_mr": "split={folds: 4}", "liver_tumor3d_best": "split={folds: 5}"}
    changes = [*SMALL.get(name, []), *([splits[name]] if name in splits else [])]
    if arguments[1] == "mine3d.yaml":  # inflated from the starter: its network, and no tumors
        changes = [change.replace("2: 2", "2: 1") for change in changes if not change.startswith("network.")]
    return changes


def by_name(command: Command) -> Command:
    """What stands for any recipe or prepared folder, with one."""
    one = {"NAME": "liver_tumor3d", "PREPARED": "prepared/best"}
    words = command.words
    for any_one, this in one.items():
        words = tuple(word.replace(any_one, this) for word in words)
    return Command(command.document, words)


# What the pages take for granted where they show a command.
FIRST_OF_ALL = """
python -m Training prepare liver3d_phantom --data data -o prepared/first
python -m Training prepare liver_tumor3d_best --data data -o prepared/best
python -m Training prepare lung_xray2d --data data -o prepared/lung_xray2d
python -m Training train lung_xray2d --data prepared/lung_xray2d --run runs/lung_xray2d
python -m Training export runs/lung_xray2d -o packages/lung_xray2d
python -m Training export runs/lung_xray2d -o packages/infection
python -m Training prepare liver_tumor2d_slices --data data -o prepared/slices
python -m Training train liver_tumor2d_slices --data prepared/slices --run runs/slices
python -m Training prepare liver_tumor3d_ct --data data -o prepared/ct
"""
LAST = "--run runs/segments --init runs/segments_first/checkpoints/last.ckpt"
BEFORE = {
    f"python -m Training train liver_segments3d_ct --data prepared/segments {LAST}": """
python -m Training prepare liver_segments3d_ct --data data -o prepared/segments
python -m Training train liver_segments3d_ct --data prepared/segments --run runs/segments_first
""",
    "python -m Training export runs/mine -o packages/mine --results scores/mine": (
        "python -m Training evaluate prepared/mine --model packages/mine -o scores/mine"
    ),
}


# The page on clouds asks for as many loaders as their machines have cores.
@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")
@pytest.mark.slow
def test_the_commands_of_training_run_in_their_order(workplace: Path) -> None:
    """Minutes: every recipe that the pages show is prepared and trained, small."""
    write_msd(write_slices2d(workplace / "data"), count=6)
    write_xrays(workplace / "data")
    write_dataset(workplace / "data" / "Task09_Spleen", 4, 5, spacing=(6.0, 6.0, 6.0), coverage="liver", lesions=0)
    for words in documented.lines(FIRST_OF_ALL):
        start(Command("", words), small(Command("", words)))
    for command in map(by_name, TRAINING):
        for words in documented.lines(BEFORE.get(" ".join(command.words), "")):
            start(Command("", words), small(Command("", words)))
        start(command, small(command))
    assert list((workplace / "scores" / "unet2d").glob("*.html"))
