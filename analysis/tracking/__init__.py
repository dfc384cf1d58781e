"""I_min of a model while it is trained."""
