"""A training run: batches, losses, schedules, the Lightning module, history and checkpoints."""
