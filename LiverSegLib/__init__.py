"""Liver segmentation: everything that turns an image into segments and numbers.

Importing this package costs nothing: torch, MONAI and the file libraries are imported where they are used.
"""

__version__ = "0.1.0"
