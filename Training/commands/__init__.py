"""The commands of `python -m Training`, a module for each part of the work."""
