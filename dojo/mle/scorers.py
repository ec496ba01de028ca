"""Computing metrics. scikit-learn does it wherever it has the metric; AUC comes with DeLong's placements.

Shapes throughout: `y` is (n,) float64 for numeric targets and (n,) int64 class codes otherwise; `p` is (n,)
float64 values, (n,) int64 codes, (n,) float64 probabilities of class 1, or (n, k) float64 probabilities.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn import metrics as skm

from dojo.mle.delong import Floats, auc_influence, midranks

Values = NDArray[Any]
Scorer = Callable[[Values, Values, int], float]


def correlation(a: Floats, b: Floats) -> float:
    """Pearson correlation; 0 where one of the vectors is constant."""
    if a.min() == a.max() or b.min() == b.max():
        return 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        x, z = a - a.mean(), b - b.mean()
        x, z = x / np.abs(x).max(), z / np.abs(z).max()  # so that squares neither overflow nor vanish
        return float(np.clip(x @ z / np.sqrt((x @ x) * (z @ z)), -1.0, 1.0))


def smape_rows(y: Floats, p: Floats) -> Floats:
    """2|y-p|/(|y|+|p|) by row, 0 where both are 0."""
    scale = np.abs(y) + np.abs(p)
    return np.asarray(np.divide(2.0 * np.abs(y - p), scale, out=np.zeros(len(y)), where=scale > 0))


def ovr_classes(y: Values, k: int) -> list[int]:
    """Classes with rows in them and outside them: those for which a one-versus-rest AUC exists."""
    counts = np.bincount(y, minlength=k)
    return [c for c in range(k) if 0 < counts[c] < len(y)]


def _macro_auc(y: Values, p: Values, k: int) -> float:
    return float(np.mean([auc_influence(y == c, p[:, c])[0] for c in ovr_classes(y, k)]))


def _logloss(y: Values, p: Values, k: int) -> float:
    return float(skm.log_loss(y, p, labels=np.arange(max(k, 2))))


SCORERS: dict[str, Scorer] = {
    "rmse": lambda y, p, k: skm.root_mean_squared_error(y, p),
    "mse": lambda y, p, k: skm.mean_squared_error(y, p),
    "mae": lambda y, p, k: skm.mean_absolute_error(y, p),
    "rmsle": lambda y, p, k: skm.root_mean_squared_log_error(y, p),
    "r2": lambda y, p, k: skm.r2_score(y, p),
    "mape": lambda y, p, k: skm.mean_absolute_percentage_error(y, p),
    "smape": lambda y, p, k: float(smape_rows(y, p).mean()),
    "medae": lambda y, p, k: skm.median_absolute_error(y, p),
    "pearson": lambda y, p, k: correlation(y, p),
    "spearman": lambda y, p, k: correlation(midranks(y), midranks(p)),
    "accuracy": lambda y, p, k: skm.accuracy_score(y, p),
    "balanced_accuracy": lambda y, p, k: skm.balanced_accuracy_score(y, p),
    "f1": lambda y, p, k: skm.f1_score(y, p, zero_division=0),
    "f1_macro": lambda y, p, k: skm.f1_score(y, p, average="macro", zero_division=0),
    "f1_micro": lambda y, p, k: skm.f1_score(y, p, average="micro", zero_division=0),
    "f1_weighted": lambda y, p, k: skm.f1_score(y, p, average="weighted", zero_division=0),
    "mcc": lambda y, p, k: skm.matthews_corrcoef(y, p),
    "qwk": lambda y, p, k: skm.cohen_kappa_score(y, p, labels=np.arange(k), weights="quadratic"),
    "auc": lambda y, p, k: auc_influence(y == 1, p)[0],
    "gini": lambda y, p, k: 2.0 * auc_influence(y == 1, p)[0] - 1.0,
    "auc_macro_ovr": _macro_auc,
    "logloss": _logloss,
    "brier": lambda y, p, k: skm.brier_score_loss(y, p, pos_label=1),
    "average_precision": lambda y, p, k: skm.average_precision_score(y, p),
}
"""Every metric of the registry by name."""

_TWO_CLASSES = frozenset({"auc", "gini", "auc_macro_ovr", "average_precision", "qwk"})
_VARYING = frozenset({"r2", "pearson", "spearman"})


def undefined_reason(name: str, y: Values) -> str:
    """Why the metric has no value on these answers whatever is predicted; empty if it has one."""
    if len(y) == 0:
        return "there are no rows"
    if name in _TWO_CLASSES and y.min() == y.max():
        return "the hidden rows hold one class only"
    if name in _VARYING and y.min() == y.max():
        return "the hidden target is constant"
    if name == "rmsle" and y.min() <= -1:
        return "the hidden target holds values of -1 or below"
    return ""


def compute(name: str, y: Values, p: Values, k: int = 0) -> float:
    """The metric's value; may be infinite or NaN where predictions are too large to square.

    Args:
        name: a name of the registry.
        y: the answers.
        p: the predictions.
        k: number of classes; 0 for numeric targets.
    """
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        # scikit-learn warns of classes missing on one side; its value then is what we define it to be.
        warnings.simplefilter("ignore")
        return float(SCORERS[name](y, p, k))
