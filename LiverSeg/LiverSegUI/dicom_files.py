"""The DICOM files that a volume of the scene was loaded from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from LiverSegLib.errors import InputError

_INSTANCES = "DICOM.instanceUIDs"
"""The attribute in which Slicer's DICOM plugins keep the images of a volume, with blanks between them."""


def imagesOf(volumeNode: Any, name: str) -> list[Path]:
    """The files of a volume's images, each once, as Slicer's DICOM database has them.

    Args:
        volumeNode: the volume, or None.
        name: of its segmentation, for messages.

    Raises:
        InputError: it was not loaded from DICOM, or files are gone.
    """
    if volumeNode is None:
        raise InputError(
            _("{name} belongs to no volume; choose its source volume in the Segment Editor.").format(name=name)
        )
    name, database = volumeNode.GetName(), getattr(slicer, "dicomDatabase", None)
    uids = (volumeNode.GetAttribute(_INSTANCES) or "").split()
    if not uids or database is None:
        text = _(
            "{name} was not loaded from DICOM, so no DICOM can refer to it; import its series in the DICOM module, "
            "load and segment that, or export a label map instead."
        )
        raise InputError(text.format(name=name))
    files = [str(database.fileForInstance(uid) or "") for uid in uids]
    gone = sum(not file or not Path(file).is_file() for file in files)
    if gone:
        text = _("{gone} of {count} DICOM images of {name} are gone from Slicer's database; import the series again.")
        raise InputError(text.format(gone=gone, count=len(files), name=name))
    return [Path(file) for file in dict.fromkeys(files)]
