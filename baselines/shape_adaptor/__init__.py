"""Shape Adaptor: a learned mixture of a downsampled and a full-resolution branch (Liu et al., ECCV 2020)."""
