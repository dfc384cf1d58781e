"""Training runs and comparisons: configuration, data, models, methods, loop, checkpoints."""
