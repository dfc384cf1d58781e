"""I_min of a model during training."""
