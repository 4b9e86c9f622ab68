"""Pictures of the panel, rendered from the real `.ui` file: `python -m Testing.headless.screenshots FOLDER`.

Options: `--model PATH` (the built-in one by default), `--width PIXELS`, `--dark`. Makes panel_idle.png,
panel_running.png, panel.png (finished), panel_error.png and panel_batch.png of runs on the sample phantom.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import matplotlib
import numpy as np
import slicer.util
from PySide6.QtGui import QColor, QFont, QFontDatabase, QPalette
from PySide6.QtWidgets import QApplication

from Testing.headless.host import Host

_DARK = {
    "Window": "#353535",
    "WindowText": "#ffffff",
    "Base": "#191919",
    "AlternateBase": "#353535",
    "Text": "#ffffff",
    "Button": "#353535",
    "ButtonText": "#ffffff",
    "Highlight": "#2a82da",
    "Link": "#3ca4ff",
}


def main() -> None:
    """Take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="")
    parser.add_argument("--width", type=int, default=400)
    parser.add_argument("--dark", action="store_true")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as settings:
        host = Host(Path(settings))
        _style(host.application, options.dark)
        take(host, options.folder, options.model, options.width)
        host.close()


def take(host: Host, folder: Path, model: str, width: int) -> None:
    """One picture for each state."""
    from LiverSegUI.sample_data import addSampleVolume

    node, ui = addSampleVolume(), host.widget.ui
    host.parent.show()
    host.select("LiverSeg")
    host.widget.panel.chooseModel(model)
    grab(host, folder / "panel_idle.png", width)
    ui.segmentButton.click()
    host.spin_until(lambda: ui.progressBar.property("value") > 20, 300)
    grab(host, folder / "panel_running.png", width)
    host.spin_until(lambda: not host.widget.logic.runner.jobs, 300)
    ui.segmentButton.click()  # once more, now that the model is ready
    host.spin_until(lambda: not host.widget.logic.runner.jobs, 300)
    grab(host, folder / "panel.png", width)
    blank = slicer.util.addVolumeFromArray(np.zeros((20, 20, 20), np.int16), name="Blank CT")
    ui.inputSelector.setCurrentNode(blank)
    ui.segmentButton.click()
    host.spin_until(lambda: not host.widget.logic.runner.jobs, 60)
    grab(host, folder / "panel_error.png", width)
    ui.inputSelector.setCurrentNode(node)
    take_batch(host, folder / "panel_batch.png", width)


def take_batch(host: Host, path: Path, width: int) -> None:
    """The batch while its last volume is at work; only its part of the panel is unfolded."""
    from LiverSegUI.sample_data import addSampleVolume

    ui = host.widget.ui
    for _ in range(2):
        addSampleVolume()
    for section in (ui.inputsButton, ui.outputsButton, ui.resultsButton):
        section.setProperty("collapsed", True)
    ui.batchSection.setProperty("collapsed", False)
    host.spin(0.3)
    ui.batchAllButton.click()
    ui.batchRunButton.click()
    runner = host.widget.logic.runner
    host.spin_until(lambda: len(runner.jobs) == 1 and ui.progressBar.property("value") > 30, 300)
    grab(host, path, width)
    host.spin_until(lambda: not runner.jobs, 300)


def grab(host: Host, path: Path, width: int) -> None:
    """Save what the panel shows at a width in pixels."""
    host.parent.resize(width, 100)
    host.spin(0.05)
    host.parent.resize(width, max(host.parent.sizeHint().height(), host.parent.heightForWidth(width)))
    host.spin(0.1)
    host.parent.grab().save(str(path))


def _style(application: QApplication, dark: bool) -> None:
    for font in Path(matplotlib.get_data_path(), "fonts", "ttf").glob("DejaVuSans*.ttf"):
        QFontDatabase.addApplicationFont(str(font))
    application.setFont(QFont("DejaVu Sans", 9))
    application.setStyle("Fusion")
    if dark:
        palette = QPalette()
        for role, color in _DARK.items():
            palette.setColor(getattr(QPalette.ColorRole, role), QColor(color))
        application.setPalette(palette)


if __name__ == "__main__":
    main()
