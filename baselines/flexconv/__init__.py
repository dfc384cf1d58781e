"""FlexConv: convolutions with a kernel from a small network and a mask of learned size (Romero et al., ICLR 2022)."""

from .antialiasing import kernel_bandwidth, magnet_bandwidth, nyquist
from .layer import FlexConv2d
from .magnet import MAGNet
from .networks import flexconv_network
from .regulariser import antialiasing_loss

__all__ = [
    "FlexConv2d",
    "MAGNet",
    "antialiasing_loss",
    "flexconv_network",
    "kernel_bandwidth",
    "magnet_bandwidth",
    "nyquist",
]
