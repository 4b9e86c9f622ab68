"""An organ that is made of pieces, the liver of its segments: joined, chosen, cleaned and measured as one."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from LiverSegLib.engine.postprocess import postprocess
from LiverSegLib.engine.region import check_targets, select_labels
from LiverSegLib.errors import InputError
from LiverSegLib.labels import labels_for
from LiverSegLib.measure import measure
from LiverSegLib.request import Settings
from LiverSegLib.volume import Result

AFFINE = np.diag([2.0, 2, 2, 1])
SEGMENTS = {number: f"liver_segment_{number}" for number in range(1, 9)}
SIZES = (1, 2, 3, 4, 5, 6, 7, 12)
TUMOR = 9


def a_labelmap() -> npt.NDArray[np.uint8]:
    """Segments side by side in one block, 16 voxels for each of `SIZES`: 640 together."""
    labelmap = np.zeros((46, 8, 8), np.uint8, order="F")
    labelmap[3:43, 2:6, 2:6] = np.repeat(np.arange(1, 9), SIZES)[:, None, None]
    return labelmap


def a_result(labelmap: npt.NDArray[np.uint8], names: dict[int, str]) -> Result:
    labels = labels_for(names)
    measured = measure(labelmap, AFFINE, labels, labelmap * 10.0, "HU")
    return Result(labelmap=labelmap, affine=AFFINE, labels=labels, measurements=measured)


class TestMeasured:
    def test_shares_of_the_organ_add_up(self) -> None:
        measured = a_result(a_labelmap(), SEGMENTS).measurements
        assert [part.name for part in measured.segments] == list(SEGMENTS.values())
        shares = [part.organ_percent for part in measured.segments]
        assert shares == pytest.approx([100 * size / 40 for size in SIZES])
        assert sum(share or 0 for share in shares) == pytest.approx(100)
        (liver,) = measured.organs
        assert (liver.name, liver.voxels, liver.organ_percent) == ("liver", 640, None)
        assert liver.volume_ml == pytest.approx(640 * 0.008) == measured.volume_ml("liver")
        assert liver.mean_intensity == pytest.approx(10 * np.average(range(1, 9), weights=SIZES))
        assert (measured.shared_organ, measured.lesions, measured.tumor_burden_percent) == ("liver", (), None)

    def test_a_lesion_is_no_share_but_lies_in_the_organ(self) -> None:
        labelmap = a_labelmap()
        labelmap[31:41, 2:6, 2:6] = TUMOR  # of the twelve slices of the eighth
        measured = a_result(labelmap, SEGMENTS | {TUMOR: "tumor"}).measurements
        shares = [part.organ_percent for part in measured.segments]
        assert shares == pytest.approx([*(100 * size / 30 for size in (*SIZES[:7], 2)), None])
        assert measured.volume_ml("liver") == pytest.approx(640 * 0.008)
        assert measured.tumor_burden_percent == pytest.approx(25)

    def test_an_organ_with_a_label_of_its_own_is_no_second_row(self) -> None:
        measured = a_result(a_labelmap(), SEGMENTS | {20: "liver"}).measurements
        assert measured.organs == ()
        assert measured.volume_ml("liver") == pytest.approx(640 * 0.008)
        assert [part.organ_percent for part in measured.segments][-1] is None

    def test_some_segments_are_no_share_of_an_organ_that_nobody_knows(self) -> None:
        measured = a_result(a_labelmap(), {2: SEGMENTS[2], 3: SEGMENTS[3]}).measurements
        assert (measured.organs, measured.shared_organ) == ((), None)

    def test_nothing_found_has_no_shares(self) -> None:
        measured = a_result(np.zeros((4, 4, 4), np.uint8), SEGMENTS).measurements
        assert (measured.shared_organ, measured.volume_ml("liver")) == (None, 0)


class TestChosen:
    def test_the_organ_is_its_mask(self) -> None:
        result = a_result(a_labelmap(), SEGMENTS)
        assert np.array_equal(result.mask("liver"), a_labelmap() > 0)
        assert int(result.mask("liver_segment_3").sum()) == 48

    def test_the_organ_as_a_target_means_its_pieces(self) -> None:
        result = a_result(a_labelmap(), SEGMENTS | {TUMOR: "tumor", 10: "spleen"})
        assert check_targets(["liver"], result.labels, "Toy") == frozenset(SEGMENTS.values())
        liver = select_labels(result, check_targets(["Liver"], result.labels, "Toy"))
        assert [label.name for label in liver.labels] == list(SEGMENTS.values())
        assert [organ.name for organ in liver.measurements.organs] == ["liver"]

    def test_one_piece_keeps_its_share_and_the_volume_of_all(self) -> None:
        result = a_result(a_labelmap(), SEGMENTS | {10: "spleen"})
        wanted = check_targets(["segment_2", "couinaud 3"], result.labels, "Toy")
        lateral = select_labels(result, wanted)
        assert set(np.unique(lateral.labelmap)) == {0, 2, 3}
        assert [part.organ_percent for part in lateral.measurements.segments] == pytest.approx([5, 7.5])
        assert lateral.measurements.volume_ml("liver") == pytest.approx(640 * 0.008)
        with pytest.raises(KeyError, match="liver is not among"):
            lateral.mask("liver")  # what is left is not all of it
        spleen = select_labels(a_result(a_labelmap(), SEGMENTS | {10: "spleen"}), frozenset({"spleen"}))
        assert spleen.measurements.organs == ()

    def test_pieces_that_are_not_wanted_become_their_organ(self) -> None:
        result = a_result(a_labelmap(), SEGMENTS | {20: "liver"})
        whole = select_labels(result, check_targets(["liver"], result.labels, "Toy"))
        assert int((whole.labelmap == 20).sum()) == 640
        one = select_labels(a_result(a_labelmap(), SEGMENTS | {20: "liver"}), frozenset({"liver_segment_8"}))
        assert [part.name for part in one.measurements.segments] == ["liver_segment_8"]

    def test_an_organ_of_which_a_piece_is_missing_is_refused(self) -> None:
        with pytest.raises(InputError, match="does not segment 'liver'; choose among liver_segment_2, liver_segment_3"):
            check_targets(["liver"], labels_for({2: SEGMENTS[2], 3: SEGMENTS[3]}), "Toy")


class TestCleaned:
    def cleaned(self, labelmap: npt.NDArray[np.uint8], names: dict[int, str]) -> npt.NDArray[np.uint8]:
        made = labelmap.copy(order="K")
        postprocess(made, labels_for(names), Settings())
        return made

    def test_only_specks_away_from_the_organ_go(self) -> None:
        labelmap = a_labelmap()
        labelmap[40, 2, 2] = 1  # a piece may be in parts
        expected = labelmap.copy()
        labelmap[1, 1, 1] = 4  # far from all others
        assert np.array_equal(self.cleaned(labelmap, SEGMENTS), expected)

    def test_a_hole_in_pieces_has_no_value_to_be_filled_with(self) -> None:
        labelmap = a_labelmap()
        labelmap[35, 3:5, 3:5] = 0
        assert np.array_equal(self.cleaned(labelmap, SEGMENTS), labelmap)
        filled = self.cleaned(labelmap, SEGMENTS | {20: "liver"})
        assert (filled[35, 3:5, 3:5] == 20).all()

    def test_pieces_hold_the_rest_of_their_organ_together(self) -> None:
        labelmap = a_labelmap()
        labelmap[2], labelmap[43] = np.where(labelmap[3], 20, 0), np.where(labelmap[42], 20, 0)
        assert np.array_equal(self.cleaned(labelmap, SEGMENTS | {20: "liver"}), labelmap)

    @pytest.mark.parametrize("organ", [{}, {20: "liver"}], ids=["pieces", "pieces and organ"])
    def test_lesions_must_touch_a_piece(self, organ: dict[int, str]) -> None:
        labelmap = a_labelmap()
        labelmap[10:12, 1, 3] = TUMOR
        expected = labelmap.copy()
        labelmap[45, 7, 7] = TUMOR
        assert np.array_equal(self.cleaned(labelmap, SEGMENTS | organ | {TUMOR: "tumor"}), expected)
