"""Probes: how well a linear classifier tells the classes apart from the features of a layer.

Reference: Alain and Bengio, "Understanding intermediate layers using linear classifier probes", 2016; with the features
of Richter, Byttner, Krumnack, Schallner, Shenk, "Size Matters", 2021: maps averaged to 4x4 cells.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy as np

from dynpool.common.arguments import check_numbers, check_whole
from dynpool.common.extras import optional

from ..common.statistics import plural

__all__ = ["Probe", "check_classes", "fit_probe"]

MANY = 2**24  # numbers, from which on a fit uses several threads


@dataclass(frozen=True)
class Probe:
    """A fitted probe.

    Attributes:
        accuracy: share of the held-out images that it classifies correctly.
        images: number of held-out images.
        converged: whether the solver reached its tolerance.
        iterations: that the solver took.
    """

    accuracy: float
    images: int
    converged: bool
    iterations: int

    @property
    def error(self) -> float:
        """Standard error of the accuracy over held-out images, sqrt(p (1 - p) / n)."""
        return math.sqrt(self.accuracy * (1 - self.accuracy) / self.images)


def check_classes(labels: np.ndarray, held_out: np.ndarray) -> None:
    """Check that probes can be fitted to these labels.

    Raises:
        ValueError: for a single class, fewer images than classes, or held-out images of other classes.
    """
    classes, most = np.unique(labels), int(max(labels.max(initial=-1), held_out.max(initial=-1))) + 1
    if not len(held_out):
        raise ValueError("test_batches: there is no held-out image")
    if len(labels) < most:
        raise ValueError(f"train_batches: {plural(len(labels), 'image')} for {most} classes: a probe needs more images")
    if len(classes) < 2:
        raise ValueError(f"train_batches: all images are of class {classes[0]}; a probe needs two classes or more")
    others = np.setdiff1d(held_out, classes)
    if len(others):
        raise ValueError(
            f"test_batches: images of {'class' if len(others) == 1 else 'classes'} {', '.join(map(str, others))}, of "
            "which there are none to fit a probe to"
        )


def fit_probe(
    features: np.ndarray,
    labels: np.ndarray,
    held_out: np.ndarray,
    held_out_labels: np.ndarray,
    *,
    iterations: int = 1000,
    strength: float = 1.0,
) -> Probe:
    """Fit a probe to features and score it on held-out ones.

    It is scikit-learn's logistic regression (L-BFGS) on standardised features. The same data give the same probe.

    Args:
        features: (images, features), with `labels` (images,).
        labels: classes.
        held_out: (held-out images, features), with `held_out_labels`.
        held_out_labels: classes.
        iterations: of the solver at most.
        strength: scikit-learn's C, the inverse of the strength of the L2 penalty.

    Raises:
        TypeError: for an argument of a wrong type.
        ValueError: for features that do not match or labels that no probe can be fitted to.
    """
    check_whole(1, iterations=iterations)
    check_numbers("a finite number above 0", lambda value: 0 < value < math.inf, strength=strength)
    for name, values, classes in (("features", features, labels), ("held_out", held_out, held_out_labels)):
        if values.ndim != 2 or classes.shape != (len(values),) or values.shape[1] != features.shape[1]:
            raise ValueError(
                f"{name} must be (images, features) with a label each, got {values.shape} and labels {classes.shape}"
            )
    check_classes(labels, held_out_labels)
    with optional():
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
        from threadpoolctl import threadpool_limits

    solver = LogisticRegression(C=strength, max_iter=iterations)
    probe = make_pipeline(StandardScaler(), solver)
    converged = True
    threads = 1 if features.size < MANY else None  # which cost more than they gain with small matrices
    with warnings.catch_warnings(record=True) as caught, threadpool_limits(threads):
        warnings.simplefilter("always")
        probe.fit(features, labels)
    for warning in caught:
        if issubclass(warning.category, ConvergenceWarning):
            converged = False
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    accuracy = float((probe.predict(held_out) == held_out_labels).mean())
    return Probe(accuracy, len(held_out), converged, int(np.max(solver.n_iter_)))
