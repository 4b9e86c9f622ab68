"""Learning from corrections: a package, a handful of cases that a person has corrected, and a better package."""
