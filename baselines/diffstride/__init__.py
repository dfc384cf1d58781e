"""DiffStride: pooling in the frequency domain with learned strides (Riad et al., ICLR 2022)."""
