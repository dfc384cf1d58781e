"""The parts of a run, in their order, and the share of the time that each may take."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PARTS", "Part"]


@dataclass(frozen=True)
class Part:
    """One part of a run.

    Attributes:
        name: how it is called.
        module: the module whose ``main(context)`` does it, in a process of its own.
        share: of the time, beside those of the other parts; what a part leaves goes to those after it.
        by_default: whether it runs if no parts are named.
        interpreted: whether Triton interprets its kernels in it where there is no GPU.
    """

    name: str
    module: str
    share: float
    by_default: bool = True
    interpreted: bool = False


PARTS = (
    Part("warm", "benchmarks.gpu.warm", 0.16),
    Part("verify", "benchmarks.gpu.verify", 0.10, interpreted=True),
    Part("integrate", "benchmarks.gpu.integrate", 0.26),
    Part("headline", "benchmarks.gpu.headline", 0.26),
    Part("step", "benchmarks.gpu.step", 0.14),
    Part("cifar", "benchmarks.gpu.cifar", 1.0, by_default=False),
    Part("profile", "benchmarks.gpu.profiling", 0.08),
)
