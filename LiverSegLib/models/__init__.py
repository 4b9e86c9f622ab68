"""Model packages: folders or zips in the MONAI bundle layout, read as data and never executed."""

from LiverSegLib.models.package import read_description, read_package
from LiverSegLib.models.spec import ModelDescription, ModelPackage, ModelSpec
from LiverSegLib.models.store import find_package

__all__ = ["ModelDescription", "ModelPackage", "ModelSpec", "find_package", "read_description", "read_package"]
