"""Pictures of a case, to look at before reading: `save_case_picture`, `save_slice_grid`, `save_animation`.

matplotlib is imported only when a picture is made.
"""

from LiverSegLib.pictures.animation import save_animation
from LiverSegLib.pictures.case_picture import save_case_picture, save_slice_grid

__all__ = ["save_animation", "save_case_picture", "save_slice_grid"]
