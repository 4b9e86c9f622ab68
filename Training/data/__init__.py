"""From raw images and masks to a prepared folder: sources, checks, the model's grid, splits, patches."""
