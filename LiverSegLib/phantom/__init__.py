"""A procedural abdomen CT: data for tests, demonstrations and training that need no download."""

from LiverSegLib.phantom.build import Phantom, make_phantom

__all__ = ["Phantom", "make_phantom"]
