"""How good a model is: metrics, lesions, statistics, comparisons, altered cases, predictions."""
