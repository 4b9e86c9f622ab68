"""One PNG per case, to look at before reading: `save_case_picture` and `save_slice_grid`.

Slicer's own views draw the case picture where slicer-core and trame-slicer are installed and can render;
matplotlib and numpy draw it otherwise. matplotlib is imported only when a picture is made.
"""

from LiverSegLib.pictures.case_picture import save_case_picture
from LiverSegLib.pictures.slice_grid import save_slice_grid

__all__ = ["save_case_picture", "save_slice_grid"]
