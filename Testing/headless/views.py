"""Slice and 3D views of a segmented phantom, drawn by Slicer: `python -m Testing.headless.views PICTURE.png`.

The phantom of Sample Data goes through the module's logic with the built-in model; the segmentation node is read back
from the scene and drawn by Slicer's own displayable managers (needs the extra `slicer`).
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import numpy as np
import slicer.util

from LiverSegLib import slicer_bridge
from LiverSegLib.labels import labels_for
from LiverSegLib.measure import measure
from LiverSegLib.volume import Result
from Testing.headless.host import Host
from Testing.headless.slicer_views import save_slicer_picture


def main() -> None:
    """Segment, read back, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("picture", type=Path)
    picture = parser.parse_args().picture
    with tempfile.TemporaryDirectory() as settings:
        host = Host(Path(settings))
        draw(host, picture)
        host.close()


def draw(host: Host, picture: Path) -> None:
    """The picture of what stands in the scene after `logic.segment`."""
    from LiverSegUI.sample_data import addSampleVolume

    node = addSampleVolume()
    segmentation = host.widget.logic.segment(node, device="cpu")
    found = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, "LiverSeg_liver", node).transpose(2, 1, 0)
    labelmap = (found > 0).astype(np.uint8)
    volume = slicer_bridge.read_volume_node(node)
    labels = labels_for({1: "liver"})
    numbers = measure(labelmap, volume.affine, labels)
    model = host.widget.logic.runner.lastJob.model
    result = Result(labelmap=labelmap, affine=volume.affine, labels=labels, measurements=numbers, model=model)
    save_slicer_picture(picture, volume, result)


if __name__ == "__main__":
    main()
