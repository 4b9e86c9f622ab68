"""A result for the archive of a hospital: a DICOM segmentation and a report of its measurements."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from LiverSegLib.errors import OutputError
from LiverSegLib.io.atomic import Opener, atomic_file
from LiverSegLib.io.dicom.seg_writer import Algorithm, build_seg, segments_of
from LiverSegLib.io.dicom.source import Source
from LiverSegLib.io.dicom.sr import build_sr
from LiverSegLib.volume import Result


def check_highdicom() -> None:
    """Refuse in a sentence where DICOM cannot be written.

    Raises:
        OutputError: highdicom is missing.
    """
    try:
        import highdicom  # noqa: F401 (asked here once, so that the reason is told well)
    except ImportError as error:
        raise OutputError("Writing DICOM needs highdicom; install it with: pip install 'liverseg[dicom]'.") from error


def write_dicom(
    seg_path: Path,
    sr_path: Path,
    result: Result,
    source: Source,
    *,
    version: str = "",
    by_hand: Sequence[str] = (),
    opener: Opener = atomic_file,
) -> None:
    """Write a DICOM SEG and a DICOM SR that refer to each other and to the source images.

    Both have the patient and the study of the source, and are series of their own in it.

    Args:
        seg_path, sr_path: the files; existing ones are replaced only by complete ones.
        result: what the segmenter gave.
        source: the images that it was made of, from `read_source`.
        version: of the model.
        by_hand: names of the labels that a person drew or changed, or that came from elsewhere.
        opener: opens a file; given where it must appear together with others.

    Raises:
        InputError: the result is of other images, or nothing can refer to them.
        OutputError: highdicom is missing, or a file cannot be written; whatever stood there before is unchanged.
    """
    check_highdicom()
    algorithm = Algorithm(name=result.model, version=version, by_hand=tuple(by_hand))
    segments = segments_of(result)
    seg = build_seg(source, result, segments, algorithm)
    report = build_sr(source, result, segments, seg, algorithm)
    for path, dataset in ((seg_path, seg), (sr_path, report)):
        with opener(path) as file:
            dataset.save_as(file)
