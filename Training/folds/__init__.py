"""Cross-validation: every fold of a recipe trained and scored, and all patients in one summary."""
