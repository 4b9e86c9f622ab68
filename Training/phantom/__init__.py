"""A procedural abdomen CT: data for tests and demonstrations that need no download."""

from Training.phantom.build import Phantom, make_phantom
from Training.phantom.dataset import write_dataset

__all__ = ["Phantom", "make_phantom", "write_dataset"]
