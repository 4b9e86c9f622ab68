"""Recipes made from recipes: fingerprint of the data, plan for the memory at hand, sweeps."""
