"""Pictures of a case, to look at before reading: `save_case_picture`, `save_slice_grid`, `save_animation`.

Slicer's own views draw the case picture where slicer-core and trame-slicer are installed and can render;
matplotlib and numpy draw it otherwise. matplotlib and Pillow are imported only when a picture is made.
"""

from LiverSegLib.pictures.animation import save_animation
from LiverSegLib.pictures.case_picture import save_case_picture
from LiverSegLib.pictures.slice_grid import save_slice_grid

__all__ = ["save_animation", "save_case_picture", "save_slice_grid"]
