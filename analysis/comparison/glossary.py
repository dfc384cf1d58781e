"""The words of a report, explained."""

from __future__ import annotations

from collections.abc import Sequence

from ..common.metric import MIOU, Metric

__all__ = ["glossary"]

_MIOU = "the mean over classes of the pixels that mask and prediction share / those that either has, of all images."
_OTHER_AXES = (
    "where data is a series, the series and its samples; where it is a clip, the clip, and its frames along the depth."
)


def glossary(metric: Metric, axes: Sequence[str]) -> dict[str, str]:
    """What the terms of a report mean, in the order in which it explains them.

    Args:
        metric: what the runs are judged by.
        axes: the names of the input's axes, as `axis_names` gives them.
    """
    return {
        **({metric.title: _MIOU} if metric is MIOU else {}),
        **({"Image, pixel": _OTHER_AXES} if len(axes) != 2 else {}),
        "Spread between runs": "√(s₁² + s₂²), with s₁ and s₂ the standard deviations of the two methods compared: a"
        " guide, not a test of significance.",
        "p": "the probability of a difference at least as large if both methods were equally good: paired Student's"
        " t-test over runs with the same seed, corrected for the number of pairs (Holm). With few seeds the test seldom"
        " detects even a real difference.",
        "p of equivalence": "the probability of a mean at least as close to zero if the methods differed by the margin:"
        " two one-sided paired t-tests (TOST), corrected likewise.",
        "d_z": "effect size of paired differences: their mean / their standard deviation over the seeds.",
        "Pareto front": "the methods that no other method beats: none is at least as good at no more GMACs and"
        " better in one of the two.",
        "GMACs, MMACs": "10⁹ and 10⁶ multiply-accumulate operations in one forward pass of one image, at the sizes of"
        " the last epoch.",
        "I_min": "the largest r_min over the layers. r_min is a layer's receptive field along the path on which it"
        " grows least. If the input is smaller than I_min, some layers have a receptive field larger than the image."
        f" {' × '.join(axes).capitalize()} in pixels.",
        "Unproductive layer": "a layer whose input already has a receptive field at least as large as the image.",
        "Stride": "input size / output size = 1 / scale factor; "
        f"{' and '.join(f'one for the {name}' for name in axes)} of each resolution.",
        "Budget": "the target for a run's GMACs (gmacs_budget). The notes name every run that misses its budget by more"
        " than 2 %, and by how much.",
    }
