"""AUC with DeLong's variance, in O(n log n).

Sources: DeLong, DeLong and Clarke-Pearson 1988 (Biometrics 44:837-845) for the covariance of correlated
AUCs; Sun and Xu 2014 (IEEE Signal Processing Letters 21:1389-1393) for computing it from midranks.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def midranks(values: Floats) -> Floats:
    """1-based ranks of a vector, ties sharing the mean of their ranks."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    ends = np.append(starts[1:], len(values))
    ranks = np.empty(len(values))
    ranks[order] = np.repeat((starts + ends + 1) / 2.0, ends - starts)
    return ranks


def auc_influence(positive: Bools, scores: Floats) -> tuple[float, Floats]:
    """The AUC and each row's scaled influence on it.

    The placement value of a positive row is the share of negative rows it beats (ties count half), and the
    other way round for a negative row. Centred and scaled by n/m·sqrt(m/(m-1)) within each class of m rows,
    they give DeLong's variance as sum(influence²)/n², and the covariance of two AUCs on the same rows as
    sum(a·b)/n²; so the difference of two influence vectors is all a paired comparison needs.

    Args:
        positive: shape (n,), which rows are of the positive class.
        scores: shape (n,), higher for more likely positive.

    Raises:
        ValueError: one of the two classes is missing.
    """
    n = len(scores)
    m = int(np.count_nonzero(positive))
    k = n - m
    if m == 0 or k == 0:
        raise ValueError("AUC needs rows of both classes")
    everywhere = midranks(scores)
    placement = np.empty(n)
    placement[positive] = (everywhere[positive] - midranks(scores[positive])) / k
    placement[~positive] = 1.0 - (everywhere[~positive] - midranks(scores[~positive])) / m
    auc = float(placement[positive].mean())
    influence = np.zeros(n)
    for rows, size in ((positive, m), (~positive, k)):
        if size > 1:
            influence[rows] = (placement[rows] - auc) * (n / size) * np.sqrt(size / (size - 1))
    return auc, influence
