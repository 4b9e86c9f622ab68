"""Files in and out: images, label maps, Slicer segmentations and measurements.

The file libraries (nibabel, Pillow, pydicom, SimpleITK) are imported by the functions that use them: importing this
package costs nothing, and a missing one only matters for its own format.
"""

from LiverSegLib.io.measurements import write_measurements_csv, write_measurements_json
from LiverSegLib.io.nifti import write_labelmap
from LiverSegLib.io.read import read_label_map, read_slice, read_volume
from LiverSegLib.io.seg_nrrd import write_seg_nrrd

__all__ = [
    "read_label_map",
    "read_slice",
    "read_volume",
    "write_labelmap",
    "write_measurements_csv",
    "write_measurements_json",
    "write_seg_nrrd",
]
