"""The standalone package that makes liver segmentation models."""
