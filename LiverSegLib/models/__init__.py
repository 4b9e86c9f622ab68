"""Model packages: folders or zips in the MONAI bundle layout, read as data and never executed."""

from LiverSegLib.models.package import ModelPackage, read_package
from LiverSegLib.models.store import find_package

__all__ = ["ModelPackage", "find_package", "read_package"]
