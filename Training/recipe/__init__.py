"""A recipe: everything that makes a model, as checked data."""

from Training.recipe.recipe import CONFIGS, Recipe, RecipeError, load_recipe, parse_recipe

__all__ = ["CONFIGS", "Recipe", "RecipeError", "load_recipe", "parse_recipe"]
