"""Each row's influence on a metric: the delta method, vectorised.

For a metric that is a smooth function of means over rows, its influence vector is the linearised
contribution of each row, with mean 0. Then se² = sum(influence²)/n², and for two predictions on the same rows
the standard error of the difference follows from the difference of the two vectors. Small-sample factors
(n/(n-1), or by class for AUC) are contained in the vectors.
Source: the infinitesimal jackknife, Efron 1982, "The Jackknife, the Bootstrap and Other Resampling Plans".
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dojo.mle.delong import Floats, auc_influence
from dojo.mle.scorers import Values, ovr_classes, smape_rows

RowLoss = Callable[[Values, Values, int], Floats]
DELONG = frozenset({"auc", "gini", "auc_macro_ovr"})


def _logloss_rows(y: Values, p: Values, k: int) -> Floats:
    chosen = np.where(y == 1, p, 1.0 - p) if p.ndim == 1 else p[np.arange(len(y)), y]
    return np.asarray(-np.log(np.clip(chosen, np.finfo(np.float64).eps, 1.0)))  # scikit-learn's clip


def _percentage_rows(y: Values, p: Values, k: int) -> Floats:
    smallest = np.finfo(np.float64).eps  # as scikit-learn
    return np.asarray(np.abs(y - p) / np.maximum(np.abs(y), smallest))


def _hits(y: Values, p: Values, k: int) -> Floats:
    return np.asarray(y == p, dtype=np.float64)


ROW_LOSSES: dict[str, RowLoss] = {
    "mse": lambda y, p, k: np.square(y - p),
    "mae": lambda y, p, k: np.abs(y - p),
    "mape": _percentage_rows,
    "smape": lambda y, p, k: smape_rows(y, p),
    "accuracy": _hits,
    "f1_micro": _hits,
    "logloss": _logloss_rows,
    "brier": lambda y, p, k: np.square(y - p),
}
"""Metrics that are the mean of a per-row loss."""

ROOT_LOSSES: dict[str, RowLoss] = {
    "rmse": lambda y, p, k: np.square(y - p),
    "rmsle": lambda y, p, k: np.square(np.log1p(y) - np.log1p(p)),
}
"""Metrics that are the square root of the mean of a per-row loss."""


def mean_influence(losses: Floats) -> Floats:
    """Influence of each row on the mean of `losses`, shape (n,)."""
    n = len(losses)
    centred = losses - losses.mean()
    return np.asarray(centred * np.sqrt(n / (n - 1)) if n > 1 else centred)


def _r2(y: Floats, p: Floats) -> Floats:
    loss, spread = np.square(y - p), np.square(y - y.mean())
    mse, variance = loss.mean(), spread.mean()
    return mean_influence(-loss / variance + mse / variance**2 * spread)


def _pearson(y: Floats, p: Floats) -> Floats:
    if p.min() == p.max() or y.min() == y.max():
        return np.zeros(len(y))
    x, z = y - y.mean(), p - p.mean()
    x, z = x / np.abs(x).max(), z / np.abs(z).max()
    x, z = x / np.sqrt(np.mean(x * x)), z / np.sqrt(np.mean(z * z))
    return mean_influence(x * z - np.mean(x * z) / 2.0 * (x * x + z * z))


def _safe_divide(a: Floats, b: Floats) -> Floats:
    return np.asarray(np.divide(a, b, out=np.zeros(len(b)), where=b > 0))


def _balanced_gradient(share: Floats) -> Floats:
    truth = share.sum(axis=1)
    present = np.count_nonzero(truth)
    recall = _safe_divide(np.diag(share), truth)
    slope = _safe_divide(np.ones(len(truth)), truth) / present
    return np.asarray(np.diag(slope) - (recall * slope)[:, None])


def _f1_gradient(share: Floats, average: str) -> Floats:
    truth, predicted = share.sum(axis=1), share.sum(axis=0)
    total = truth + predicted
    f1 = _safe_divide(2.0 * np.diag(share), total)
    if average == "binary":
        weight = np.arange(len(total)) == 1
    elif average == "macro":
        weight = (total > 0) / np.count_nonzero(total)
    else:
        weight = truth
    slope = _safe_divide(weight.astype(np.float64), total)
    gradient = np.diag(2.0 * slope) - (slope * f1)[:, None] - (slope * f1)[None, :]
    return np.asarray(gradient + f1[:, None] if average == "weighted" else gradient)


def _mcc_gradient(share: Floats) -> Floats:
    truth, predicted = share.sum(axis=1), share.sum(axis=0)
    a, b = 1.0 - predicted @ predicted, 1.0 - truth @ truth
    if a <= 1e-15 or b <= 1e-15:
        return np.zeros_like(share)
    root = np.sqrt(a * b)
    mcc = (np.trace(share) - truth @ predicted) / root
    covariance = np.eye(len(share)) - predicted[:, None] - truth[None, :]
    return np.asarray(covariance / root + mcc * (predicted[None, :] / a + truth[:, None] / b))


def _kappa_gradient(share: Floats) -> Floats:
    rank = np.arange(len(share), dtype=np.float64)
    weight = np.square(rank[:, None] - rank[None, :])
    truth, predicted = share.sum(axis=1), share.sum(axis=0)
    observed = float((weight * share).sum())
    expected = float(truth @ weight @ predicted)
    if expected <= 0:
        return np.zeros_like(share)
    slope = (weight @ predicted)[:, None] + (truth @ weight)[None, :]
    return np.asarray(-weight / expected + observed / expected**2 * slope)


CONFUSION_GRADIENTS: dict[str, Callable[[Floats], Floats]] = {
    "balanced_accuracy": _balanced_gradient,
    "f1": lambda share: _f1_gradient(share, "binary"),
    "f1_macro": lambda share: _f1_gradient(share, "macro"),
    "f1_weighted": lambda share: _f1_gradient(share, "weighted"),
    "mcc": _mcc_gradient,
    "qwk": _kappa_gradient,
}
"""Metrics that are functions of the confusion matrix: their gradient in its cells, as shares of rows."""


def confusion_share(y: Values, p: Values, k: int) -> Floats:
    """The confusion matrix as shares of all rows, shape (k, k): truth by row, prediction by column."""
    return np.bincount(y * k + p, minlength=k * k).reshape(k, k) / len(y)


def influence(name: str, y: Values, p: Values, k: int = 0) -> Floats | None:
    """The influence vector of a metric at a prediction, shape (n,); None where only resampling will do.

    Arguments as in `dojo.mle.scorers.compute`.
    """
    with np.errstate(all="ignore"):
        if name in ROW_LOSSES:
            return mean_influence(ROW_LOSSES[name](y, p, k))
        if name in ROOT_LOSSES:
            losses = ROOT_LOSSES[name](y, p, k)
            root = np.sqrt(losses.mean())
            return mean_influence(losses) / (2.0 * root) if root > 0 else np.zeros(len(y))
        if name in CONFUSION_GRADIENTS:
            gradient = CONFUSION_GRADIENTS[name](confusion_share(y, p, k))
            return mean_influence(gradient[y, p])
        if name in {"auc", "gini"}:
            return auc_influence(y == 1, p)[1] * (2.0 if name == "gini" else 1.0)
        if name == "auc_macro_ovr":
            return np.asarray(np.mean([auc_influence(y == c, p[:, c])[1] for c in ovr_classes(y, k)], axis=0))
        if name == "r2":
            return _r2(y, p)
        if name == "pearson":
            return _pearson(y, p)
    return None
