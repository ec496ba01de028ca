"""Combining members and finishing predictions; whatever is learned here is learned on out-of-fold rows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.optimize import nnls
from scipy.special import logit
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression, RidgeCV

from gome.mle.playbook.snippets.fitting import Folds, class_probabilities

Score = Callable[[np.ndarray, np.ndarray], float]


def blend_weights(oofs: list[np.ndarray], y: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Non-negative weights with sum 1 that fit the target best by least squares."""
    goal = np.eye(oofs[0].shape[1])[y] if oofs[0].ndim == 2 else y
    weights = nnls(np.column_stack([oof[known].ravel() for oof in oofs]), goal[known].ravel().astype(float))[
        0
    ]
    return weights / weights.sum() if weights.sum() > 0 else np.full(len(oofs), 1 / len(oofs))


def stack_values(
    oofs: list[np.ndarray], news: list[np.ndarray], y: np.ndarray, folds: Folds
) -> list[np.ndarray]:
    """A ridge regression on the members' predictions: (out-of-fold, new)."""
    x, x_new = np.column_stack(oofs), np.column_stack(news)
    known = ~np.isnan(x).any(axis=1)
    stacked = np.where(known, x.mean(axis=1), np.nan)
    for _, outer in folds:
        inner = known.copy()
        inner[outer] = False
        if inner.sum() >= 5:
            stacked[outer] = RidgeCV(np.logspace(-3, 3, 7)).fit(x[inner], y[inner]).predict(x[outer])
    if known.sum() < 5:
        return [stacked, x_new.mean(axis=1)]
    return [stacked, RidgeCV(np.logspace(-3, 3, 7)).fit(x[known], y[known]).predict(x_new)]


def stack_classes(
    oofs: list[np.ndarray], news: list[np.ndarray], y: np.ndarray, folds: Folds
) -> list[np.ndarray]:
    """A logistic regression on the members' log probabilities: (out-of-fold, new)."""
    n_classes = oofs[0].shape[1]
    x, x_new = (np.log(np.clip(np.concatenate(parts, axis=1), 1e-6, 1)) for parts in (oofs, news))
    known = ~np.isnan(x).any(axis=1)
    stacked, new = np.mean(oofs, axis=0), np.mean(news, axis=0)
    for _, outer in folds:
        inner = known.copy()
        inner[outer] = False
        if len(np.unique(y[inner])) >= 2:
            model = LogisticRegression(C=0.1, max_iter=500).fit(x[inner], y[inner])
            stacked[outer] = class_probabilities(model, x[outer], n_classes)
    if len(np.unique(y[known])) >= 2:
        model = LogisticRegression(C=0.1, max_iter=500).fit(x[known], y[known])
        new = class_probabilities(model, x_new, n_classes)
    return [stacked, new]


def calibrate_sigmoid(oof: np.ndarray, new: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
    """Platt scaling of each class against the rest, learned on out-of-fold rows."""
    known = ~np.isnan(oof).any(axis=1)
    results = [oof.copy(), new.copy()]
    for k in range(oof.shape[1]):
        truth = y[known] == k
        if 0 < truth.sum() < len(truth):
            margin = logit(np.clip(oof[known, k], 1e-6, 1 - 1e-6)).reshape(-1, 1)
            model = LogisticRegression(C=1e6).fit(margin, truth)
            for values in results:
                column = logit(np.clip(np.nan_to_num(values[:, k]), 1e-6, 1 - 1e-6)).reshape(-1, 1)
                values[:, k] = model.predict_proba(column)[:, 1]
    results[0][~known] = np.nan
    return [values / values.sum(axis=1, keepdims=True) for values in results]


def calibrate_isotonic(oof: np.ndarray, new: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
    """Isotonic regression of each class against the rest, learned on out-of-fold rows."""
    known = ~np.isnan(oof).any(axis=1)
    results = [oof.copy(), new.copy()]
    for k in range(oof.shape[1]):
        model = IsotonicRegression(y_min=1e-4, y_max=1 - 1e-4, out_of_bounds="clip")
        model.fit(oof[known, k], y[known] == k)
        for values in results:
            values[:, k] = model.predict(np.nan_to_num(values[:, k]))
    results[0][~known] = np.nan
    return [values / values.sum(axis=1, keepdims=True) for values in results]


def tune_class_weights(probabilities: np.ndarray, y: np.ndarray, score: Score) -> np.ndarray:
    """Factors on the class probabilities that make the labels of the largest product score best."""
    weights = np.ones(probabilities.shape[1])
    best = score(y, probabilities.argmax(axis=1))
    for step in (2.0, 1.4, 1.15):
        for k in range(len(weights)):
            for factor in step ** np.array([-3, -2, -1, 1, 2, 3]):
                trial = weights.copy()
                trial[k] *= factor
                value = score(y, (probabilities * trial).argmax(axis=1))
                if value > best:
                    best, weights = value, trial
    return weights


def tune_cut_points(values: np.ndarray, y: np.ndarray, n_classes: int, score: Score) -> np.ndarray:
    """Where to cut a number into ordered classes: first at the class shares, then moved to score best."""
    shares = np.cumsum(np.bincount(y, minlength=n_classes))[:-1] / len(y)
    cuts = np.quantile(values, shares)
    best = score(y, np.searchsorted(cuts, values))
    spread = max(float(values.std()), 1e-9)
    for step in (0.4, 0.2, 0.1, 0.05):
        for k in range(len(cuts)):
            for move in (-step * spread, step * spread):
                trial = cuts.copy()
                trial[k] += move
                value = score(y, np.searchsorted(np.sort(trial), values))
                if value > best:
                    best, cuts = value, np.sort(trial)
    return cuts
