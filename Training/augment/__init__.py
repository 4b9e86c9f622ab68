"""Augmentation: what CT needs and MONAI lacks, and the pipeline of a recipe."""
