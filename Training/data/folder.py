"""The prepared folder: the one place that knows the names of its files."""

from __future__ import annotations

from pathlib import Path

from Training.recipe import Recipe, load_recipe


class PreparedFolder:
    """What `prepare` leaves and training reads.

    Args:
        path: the folder; it need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.recipe_file, self.index, self.split = path / "recipe.yaml", path / "index.json", path / "split.json"
        self.report, self.facts = path / "report.md", path / "report.json"
        self.cases = path / "cases"

    def __str__(self) -> str:
        return str(self.path)

    @property
    def complete(self) -> bool:
        """Whether it holds prepared data."""
        return self.index.is_file()

    def recipe(self, changes: list[str] | None = None) -> Recipe:
        """The recipe that it was prepared for, with changes such as "split.fold=2".

        Raises:
            RecipeError: it cannot be read, or a change is impossible.
        """
        return load_recipe(self.recipe_file, changes)

    def image(self, case: str) -> Path:
        """The image of a case, .npy."""
        return self.cases / f"{case}_image.npy"

    def label(self, case: str) -> Path:
        """The label of a case, .npy, uint8."""
        return self.cases / f"{case}_label.npy"
