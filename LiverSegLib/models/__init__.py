"""Model packages: folders or zips in the MONAI bundle layout, read as data and never executed."""

from LiverSegLib.models.package import read_description, read_package
from LiverSegLib.models.spec import Guide, ModelDescription, ModelPackage, ModelSpec
from LiverSegLib.models.store import find_package, find_partner

__all__ = [
    "Guide",
    "ModelDescription",
    "ModelPackage",
    "ModelSpec",
    "find_package",
    "find_partner",
    "read_description",
    "read_package",
]
