"""Experiments whose tables stand in the documents; each goes on where it was interrupted."""
