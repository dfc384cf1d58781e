"""The sizes of a model while it runs: the tree of resolutions, its alphas, and what users set and read of it."""
