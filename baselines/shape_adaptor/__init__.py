"""Shape Adaptor: a learned mixture of a branch of lower resolution and one that keeps it (Liu et al., ECCV 2020)."""
