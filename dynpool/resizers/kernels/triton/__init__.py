"""The operator as Triton kernels, and how they are launched."""
