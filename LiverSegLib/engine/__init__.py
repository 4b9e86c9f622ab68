"""The stages between an image and its label map, each a function of arrays or tensors."""
