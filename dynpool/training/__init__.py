"""The comparative training run: config, data, models, methods, loop, checkpoints."""
