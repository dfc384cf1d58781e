"""N-Jet: convolutions whose kernels are Gaussian derivatives of a learned scale (Pintea et al., IEEE TIP 2021)."""

from .basis import njet_basis, njet_kernel
from .layer import FixedSubsampling2d, NJetConv2d
from .networks import njet_network

__all__ = ["FixedSubsampling2d", "NJetConv2d", "njet_basis", "njet_kernel", "njet_network"]
