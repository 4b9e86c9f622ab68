"""End to end in a real Slicer: the phantom CT, a click on Segment, segments with the right volume.

Run by ctest, or by hand: `Slicer --no-splash --testing --python-script LiverSegEndToEndTest.py`.
"""

# unittest's ways, as Slicer's ctest macro wants them.
# ruff: noqa: PT009, PT027

import time
import unittest
from collections.abc import Callable

import qt
import slicer


class LiverSegEndToEndTest(unittest.TestCase):
    """What a user does in the panel."""

    def setUp(self) -> None:
        slicer.mrmlScene.Clear()

    def test_module_is_there(self) -> None:
        self.assertTrue(hasattr(slicer.modules, "liverseg"))
        self.assertIsNotNone(slicer.util.getModuleLogic("LiverSeg"))

    def test_panel_follows_the_parameter_node(self) -> None:
        from LiverSegUI.sample_data import addSampleVolume

        widget = slicer.util.getModuleWidget("LiverSeg")
        node = addSampleVolume()
        slicer.util.selectModule("LiverSeg")
        choices = widget.logic.getParameterNode()
        choices.inputVolume = node
        self.assertEqual(widget.ui.inputSelector.currentNode(), node)
        choices.segmentTumor = False
        self.assertFalse(widget.ui.tumorBox.isChecked())
        choices.segmentTumor = True

    def test_what_cannot_be_segmented_is_refused_in_a_sentence(self) -> None:
        from LiverSegLib.errors import LiverSegError

        empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Empty")
        with self.assertRaises(LiverSegError) as caught:
            slicer.util.getModuleLogic("LiverSeg").start(empty)
        self.assertIn("Empty holds no voxels", str(caught.exception))

    def test_a_stopped_job_leaves_the_scene_as_it_was(self) -> None:
        from LiverSegUI.install import missingPackages
        from LiverSegUI.sample_data import addSampleVolume

        if missingPackages():
            self.skipTest(f"not installed: {missingPackages()}")
        logic = slicer.util.getModuleLogic("LiverSeg")
        job = logic.start(addSampleVolume(), device="cpu")
        job.cancel()
        logic.wait([job])
        self.assertEqual(job.state, "cancelled")
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode"), 0)

    def test_click_segment(self) -> None:
        from LiverSegUI.install import missingPackages
        from LiverSegUI.sample_data import addSampleVolume

        from LiverSegLib.sample import make_sample

        if missingPackages():
            self.skipTest(f"not installed: {missingPackages()}")
        volume = addSampleVolume()
        slicer.util.selectModule("LiverSeg")
        widget = slicer.util.getModuleWidget("LiverSeg")
        widget.ui.inputSelector.setCurrentNode(volume)
        widget.ui.segmentButton.click()
        self.wait_for(lambda: not widget.logic.runner.jobs)
        job = widget.logic.runner.lastJob
        self.assertEqual(job.state, "finished", job.message)
        truth = make_sample()[1] > 0
        segment = slicer.util.arrayFromSegmentBinaryLabelmap(job.segmentationNode, "LiverSeg_liver", volume)
        found = segment.transpose(2, 1, 0) > 0
        dice = 2 * (truth & found).sum() / (truth.sum() + found.sum())
        print(f"Dice {dice:.3f}; seconds {job.timings}")
        self.assertGreater(dice, 0.7)

    def wait_for(self, condition: Callable[[], bool], seconds: float = 300.0) -> None:
        """Let the application's event loop run."""
        end = time.monotonic() + seconds
        loop, timer = qt.QEventLoop(), qt.QTimer()
        timer.timeout.connect(lambda: loop.quit() if condition() or time.monotonic() > end else None)
        timer.start(20)
        loop.exec()
        timer.stop()
        self.assertTrue(condition(), "it took too long")


if __name__ == "__main__":
    outcome = unittest.main(argv=["LiverSegEndToEndTest"], exit=False).result
    slicer.util.exit(slicer.util.EXIT_SUCCESS if outcome.wasSuccessful() else slicer.util.EXIT_FAILURE)
