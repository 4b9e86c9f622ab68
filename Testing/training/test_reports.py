"""What tells people about a run: curves, first batch, case pictures, machine, and the page of it all."""

from __future__ import annotations

import csv
import json
import math
import threading
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.image import imread
from typer.testing import CliRunner

from LiverSegLib.errors import OutputError
from LiverSegLib.labels import label_for
from LiverSegLib.volume import Volume
from Training.__main__ import app
from Training.errors import DataError, RunError
from Training.evaluation.pictures import save_triplet
from Training.evaluation.scores import write_scores
from Training.fit.curves import plot_history
from Training.fit.preview import save_preview, views
from Training.fit.run_folder import RunFolder, best_epoch
from Training.fit.system import system_report, system_rows
from Training.markdown import table
from Training.reports import html
from Training.reports.run_report import report

LABELS = (label_for(1, "liver"), label_for(2, "tumor"))
COLUMNS = [
    "epoch",
    "train_loss",
    "val_loss",
    "val_dice",
    "val_dice_liver",
    "val_dice_tumor",
    "val_accuracy",
    "learning_rate",
    "seconds",
]
AFFINE = np.diag([2.0, 2.0, 4.0, 1.0])


def write_history(run: Path, rows: list[dict[str, Any]], columns: list[str] = COLUMNS) -> Path:
    run.mkdir(parents=True, exist_ok=True)
    with (run / "history.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)
    return run


def epochs(count: int, every: int = 1) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for epoch in range(count):
        row: dict[str, Any] = {"epoch": epoch, "train_loss": 1 / (epoch + 1), "learning_rate": 1e-3, "seconds": 30}
        if epoch % every == every - 1:
            dice = 0.8 - 0.01 * abs(epoch - 5)
            row |= {
                "val_loss": 1.1 / (epoch + 1),
                "val_dice": dice,
                "val_dice_liver": dice + 0.1,
                "val_dice_tumor": dice - 0.1,
                "val_accuracy": 0.99,
            }
        rows.append(row)
    return rows


def colored(picture: np.ndarray, color: tuple[int, int, int], tolerance: float = 0.06) -> np.ndarray:
    near = np.abs(picture[..., :3] - np.array(color) / 255).max(axis=-1) < tolerance
    return np.argwhere(near)


def test_a_history_keeps_what_can_be_read_of_each_column(tmp_path: Path) -> None:
    rows = epochs(6, every=2)
    rows[3] |= {"val_dice": "nan", "val_loss": "a crash cut this"}
    history = RunFolder(write_history(tmp_path, rows)).history()
    assert history["train_loss"][0] == [0, 1, 2, 3, 4, 5]
    assert history["val_dice"][0] == [1, 5]
    assert history["val_loss"][0] == [1, 5]
    best = best_epoch(history)
    assert best is not None
    assert best[0] == 5
    assert best[1] == pytest.approx(0.8)


def test_curves_have_a_panel_for_each_thing_recorded_and_none_for_others(tmp_path: Path) -> None:
    whole = imread(plot_history(RunFolder(write_history(tmp_path / "whole", epochs(30, every=3)))))
    loss_only = imread(
        plot_history(
            RunFolder(write_history(tmp_path / "loss", [{"epoch": 0, "train_loss": 1}], ["epoch", "train_loss"]))
        )
    )
    assert whole.shape[0] > 1.5 * loss_only.shape[0]
    assert whole.shape[1] > 1.5 * loss_only.shape[1]
    # The validation Dice, in the upper right panel, is drawn in blue.
    panel = whole[: whole.shape[0] // 2, whole.shape[1] // 2 :]
    assert len(colored(panel, (0, 114, 178))) > 300


@pytest.mark.parametrize("value", [0.0, 1.0, -0.5, 1e9, math.inf])
def test_one_epoch_of_any_values_is_drawn(value: float, tmp_path: Path) -> None:
    row = dict.fromkeys(COLUMNS, value) | {"epoch": 0, "train_loss": 0.5}
    assert imread(plot_history(RunFolder(write_history(tmp_path, [row])))).std() > 0.01


@pytest.mark.parametrize("text", [None, "", "epoch\n", "loss\n1\n", "epoch,seconds\n0,5\n", "\x00\xff"])
def test_a_history_without_anything_to_draw_is_refused_in_one_sentence(text: str | None, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "history.csv").write_text(text, encoding="latin-1")
    with pytest.raises(RunError, match=r"train|table"):
        plot_history(RunFolder(tmp_path))
    assert not (tmp_path / "history.png").exists()


def test_curves_are_drawn_in_threads_at_once(tmp_path: Path) -> None:
    runs = [write_history(tmp_path / str(number), epochs(4)) for number in range(3)]
    threads = [threading.Thread(target=plot_history, args=(RunFolder(run),)) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    first, *others = [imread(run / "history.png")[40:] for run in runs]  # without the title, which is the run's name
    assert all(np.array_equal(first, other) for other in others)


def ball(shape: tuple[int, ...], center: tuple[float, ...], radius: float) -> np.ndarray:
    index = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
    return np.linalg.norm(index - np.array(center), axis=-1) < radius


def test_a_preview_shows_each_sample_plain_and_outlined(tmp_path: Path) -> None:
    label = np.zeros((3, 1, 40, 30), dtype=np.uint8)
    label[:2, 0, 10:30, 8:20] = 1
    label[1, 0, 15:20, 10:15] = 2
    batch = {"image": torch.rand(3, 1, 40, 30), "label": torch.tensor(label)}
    save_preview(batch, tmp_path / "2d.png", {1: "liver", 2: "tumor"})
    picture = imread(tmp_path / "2d.png")
    liver = colored(picture[: round(picture.shape[0] * 0.92)], LABELS[0].color)  # without the legend
    assert len(liver) > 200
    # The first panel of the row is plain, the second has the outline.
    quarter = picture.shape[1] / 4
    assert not (liver[:, 1] < 0.95 * quarter).any()
    assert ((liver[:, 1] > quarter) & (liver[:, 1] < 2 * quarter)).any()


def test_a_preview_in_3d_cuts_through_the_middle_of_the_labels_in_true_proportions(tmp_path: Path) -> None:
    mask = ball((40, 30, 20), (28, 9, 5), 4).astype(np.uint8)
    image = mask + np.linspace(0, 0.5, 40)[:, None, None]
    shown = views(image, mask, (1.0, 1.0, 3.0))
    assert [title for title, *_ in shown] == ["z 6 of 20", "y 10 of 30", "x 29 of 40"]
    assert [aspect for *_, aspect in shown] == [1.0, 3.0, 3.0]
    axial, coronal, sagittal = (cut for _, _, cut, _ in shown)
    assert (axial.shape, coronal.shape, sagittal.shape) == ((30, 40), (20, 40), (20, 30))
    assert coronal.any(axis=1).argmax() == pytest.approx(20 - 1 - 5 - 3, abs=1)  # z runs upwards
    batch = {"image": image[None, None].repeat(12, axis=0), "label": mask[None, None].repeat(12, axis=0)}
    save_preview(batch, tmp_path / "3d.png", {1: "liver"}, (1.0, 1.0, 3.0))
    rows, columns = imread(tmp_path / "3d.png").shape[:2]
    assert rows > 1.5 * columns  # eight rows of samples, not twelve


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_a_preview_of_a_blank_batch_is_drawn(value: float, tmp_path: Path) -> None:
    batch = {"image": np.full((1, 1, 8, 8, 8), value), "label": np.zeros((1, 1, 8, 8, 8))}
    save_preview(batch, tmp_path / "blank.png", {1: "liver"})
    assert (tmp_path / "blank.png").is_file()


def drawn_case(depth: int = 12) -> tuple[Volume, np.ndarray]:
    image = np.full((50, 40, depth), -1000, dtype=np.int16)
    image[4:46, 4:36] = 0
    labels = np.zeros(image.shape, dtype=np.uint8)
    labels[28:42, 16:32, depth // 3 :] = 1
    return Volume(image, AFFINE, "case 7", "CT"), labels


def thirds(path: Path) -> list[np.ndarray]:
    """Image, reference and prediction of the first row."""
    picture = imread(path)
    return np.array_split(picture[: picture.shape[0] // 3], 3, axis=1)


def test_a_triplet_shows_reference_and_prediction_where_they_are(tmp_path: Path) -> None:
    volume, reference = drawn_case()
    predicted = np.roll(reference, -15, axis=0)
    save_triplet(volume, reference, predicted, LABELS, tmp_path / "t.png")
    image, truth, found = (colored(part, LABELS[0].color) for part in thirds(tmp_path / "t.png"))
    assert len(image) == 0
    assert len(truth) > 50
    # Radiological: what lies further left in the patient (low i) is further right on the picture.
    assert found[:, 1].mean() > truth[:, 1].mean() + 30


def test_a_triplet_of_a_volume_has_a_second_row_for_the_worst_slice(tmp_path: Path) -> None:
    volume, reference = drawn_case()
    wrong = reference.copy()
    wrong[:, :, 2] = 1
    save_triplet(volume, reference, reference, LABELS, tmp_path / "right.png")
    save_triplet(volume, reference, wrong, LABELS, tmp_path / "wrong.png")
    assert imread(tmp_path / "wrong.png").shape[0] > 1.6 * imread(tmp_path / "right.png").shape[0]


def test_a_triplet_of_one_slice_and_of_nothing_is_drawn(tmp_path: Path) -> None:
    volume, reference = drawn_case()
    flat = Volume(volume.array[:, :, 6:7], AFFINE, "x", "DX")
    save_triplet(flat, reference[:, :, 6:7], reference[:, :, 6:7] * 0, LABELS, tmp_path / "flat.png")
    rows, columns = imread(tmp_path / "flat.png").shape[:2]
    assert columns > 2 * rows
    _, truth, found = (colored(part, LABELS[0].color) for part in thirds(tmp_path / "flat.png"))
    assert len(truth) > 50
    assert len(found) == 0
    save_triplet(volume, reference * 0, reference * 0, LABELS, tmp_path / "nothing.png")
    assert (tmp_path / "nothing.png").is_file()


def test_a_triplet_of_another_image_is_refused(tmp_path: Path) -> None:
    volume, reference = drawn_case()
    with pytest.raises(OutputError, match="case 7"):
        save_triplet(volume, reference[1:], reference[1:], LABELS, tmp_path / "t.png")


def test_the_system_report_is_plain_data_with_what_a_run_depends_on() -> None:
    found = system_report()
    assert json.loads(json.dumps(found)) == found
    assert found["packages"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert found["cores"] >= 1
    assert found["memory_gb"] is None or found["memory_gb"] >= (found["memory_free_gb"] or 0) > 0
    assert len(found["gpus"]) == torch.cuda.device_count()


def test_what_the_system_does_not_tell_is_said_so() -> None:
    rows = dict(system_rows({"cpu": None, "memory_gb": None, "gpus": []}))
    assert rows["CPU"] == rows["Memory"] == "not told"
    assert rows["GPU"] == "none"
    gpu = {"name": "H1", "memory_gb": 80.0, "memory_free_gb": 79.5}
    assert dict(system_rows({"gpus": [gpu]}))["GPU 0"] == "H1, 80.0 GB, 79.5 GB free"


def test_the_system_command_prints_the_table() -> None:
    done = CliRunner().invoke(app, ["system"])
    assert done.exit_code == 0
    assert "CPU" in done.output
    assert torch.__version__ in done.output


class Page(HTMLParser):
    """Tags that are open, texts, and the addresses that a page names."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("img", "meta", "br", "hr", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


RECIPE = """name: toy & co
spatial_dims: 2
labels: {1: liver, 2: tumor}
network: {name: UNet}
optimization: {max_epochs: 9}
card: {title: "Toy <script>alert(1)</script>"}
"""


def make_run(run: Path) -> Path:
    write_history(run, epochs(7))
    (run / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    (run / "model.txt").write_text("\n".join(f"Conv2d-{n} <weights>" for n in range(60)), encoding="utf-8")
    (run / "system.json").write_text(json.dumps(system_report()), encoding="utf-8")
    (run / "checkpoints").mkdir()
    (run / "checkpoints" / "best.ckpt").touch()
    batch = {"image": np.random.default_rng(0).random((1, 1, 16, 16)), "label": np.ones((1, 1, 16, 16))}
    save_preview(batch, run / "first_batch.png", {1: "liver"})
    return run


def test_the_page_of_a_run_holds_everything_in_itself(tmp_path: Path) -> None:
    data = tmp_path / "prepared"
    data.mkdir()
    (data / "report.md").write_text("# Data\n\n| case | note |\n|---|---|\n| <b>a</b> | fine |\n", encoding="utf-8")
    path = report(make_run(tmp_path / "run"), tmp_path / "page.html", data=data)
    page = Page(path.read_text(encoding="utf-8"))
    assert page.open == []
    assert "script" not in page.tags
    assert "b" not in page.tags
    assert page.tags.count("img") == 2
    assert all(link.startswith("data:image/png;base64,") for link in page.links)
    for text in (
        "Toy <script>alert(1)</script>",
        "toy & co",
        "7 of at most 9",
        "5, validation Dice 0.8000",
        "4 min",
        "0.9000",
        "best.ckpt",
        "Conv2d-59 <weights>",
        "<b>a</b>",
        torch.__version__,
    ):
        assert text in page.text, text


def test_the_page_of_a_run_shows_its_scores_and_links_to_their_page(tmp_path: Path) -> None:
    from Training.evaluation.scores import CaseScore, summarize

    folder = tmp_path / "scores & more"
    folder.mkdir()
    write_scores(folder, summarize([CaseScore(case="p <1>", patient="p", error="broken")], ["liver"], 2.0, "CTs"))
    (folder / "report.html").touch()
    path = report(make_run(tmp_path / "run"), tmp_path / "pages", results=[folder])
    page = Page(path.read_text(encoding="utf-8"))
    assert path == tmp_path / "pages" / "report.html"
    assert "Evaluation: CTs" in page.text
    assert "../scores%20%26%20more/report.html" in page.links


HOSTILE = (
    "![x](http://evil.example/x.png)",
    "[x](javascript:alert(1))",
    "<img src=http://evil.example/x onerror=alert(1)>",
    "a*b*_c_`d`&lt;&amp;",
    "C:\\_scans\\p|1\\",
    "two\nlines\n\n# and a heading",
    "<https://evil.example>",
)


@pytest.mark.parametrize("name", HOSTILE)
def test_whatever_a_name_holds_is_text_on_a_page(name: str, tmp_path: Path) -> None:
    once = table(("name", "n"), [(name, 1), ("next", 2)])
    rows = [f"- {name.splitlines()[0]}", f"> {name.splitlines()[0]}"]
    html.write_page(tmp_path / "page.html", name, [html.markdown(once, *rows), html.folded(name), html.alarm(name)])
    page = Page((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert page.links == []
    assert page.open == []
    assert {tag for tag in page.tags if tag not in ("html", "head", "meta", "title", "style", "body", "h1", "div")} == {
        *("table", "thead", "tbody", "tr", "th", "td", "ul", "li", "blockquote", "p", "pre")
    }
    assert page.tags.count("tr") == 3
    assert page.tags.count("td") == 4
    assert page.text.count(name) >= 3
    assert " ".join(name.split()) in page.text


def test_a_table_of_text_and_numbers_is_one_on_paper_and_on_a_page() -> None:
    text = table(("case", "Dice"), [("a", 0.5)])
    assert text == "| case | Dice |\n| --- | ---: |\n| a | 0.5 |"
    assert '<td style="text-align:right">0.5</td>' in html.markdown(text)
    assert "<table>" in html.markdown(table(("", ""), [("Recipe", "toy")], text_columns=2))


def test_a_run_that_has_only_just_begun_has_a_page_too(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("name: [broken", encoding="utf-8")
    text = report(tmp_path, tmp_path / "out").read_text(encoding="utf-8")
    assert "No epoch has ended yet" in text
    assert "name: [broken" in text


def test_a_page_of_no_run_or_without_the_named_parts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is not a run"):
        report(tmp_path, tmp_path / "out")
    run = make_run(tmp_path / "run")
    with pytest.raises(DataError, match=r"report\.md"):
        report(run, tmp_path / "out", data=tmp_path)
    with pytest.raises(DataError, match=r"scores\.json"):
        report(run, tmp_path / "out", results=[tmp_path])
    assert not (tmp_path / "out" / "report.html").exists()


def test_the_report_command_says_where_the_page_is(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    done = CliRunner().invoke(app, ["report", str(run), "-o", str(tmp_path / "o.html")])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "o.html").stat().st_size > 20_000


def test_the_first_batch_of_a_run_keeps_the_proportions_of_its_voxels(tmp_path: Path) -> None:
    from types import SimpleNamespace

    from Training.fit.callbacks import Extras
    from Training.recipe import load_recipe

    recipe = load_recipe("liver3d_mr")  # 2.5 x 2.5 x 5.5 mm
    image = torch.rand(1, 1, 32, 32, 16, generator=torch.Generator().manual_seed(0))
    batch: dict[str, Any] = {"image": image, "label": torch.ones_like(image)}
    start: Any = SimpleNamespace(global_step=0)
    Extras(RunFolder(tmp_path), recipe).on_train_batch_start(start, start, batch, 0)
    save_preview(batch, tmp_path / "true.png", recipe.labels, (2.5, 2.5, 5.5))
    save_preview(batch, tmp_path / "flat.png", recipe.labels)
    first = (tmp_path / "first_batch.png").read_bytes()
    assert first == (tmp_path / "true.png").read_bytes()
    assert first != (tmp_path / "flat.png").read_bytes()
