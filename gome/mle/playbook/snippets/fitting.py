"""Targets, models, folds."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import pandas as pd
from scipy.special import expit, softmax
from sklearn.model_selection import GroupKFold, KFold, StratifiedKFold, TimeSeriesSplit
from sklearn.preprocessing import PowerTransformer, QuantileTransformer, StandardScaler

from gome.mle.playbook.snippets.data import as_dates, as_numbers, role_of


class LogTarget:
    """The target as its signed log1p."""

    def forward(self, y: np.ndarray) -> np.ndarray:
        """Transform, remembering the range."""
        scaled = np.sign(y) * np.log1p(np.abs(y))
        self.low, self.high = scaled.min(), scaled.max()
        return np.asarray(scaled)

    def backward(self, scaled: np.ndarray) -> np.ndarray:
        """Transform back; far extrapolations are cut, they would explode."""
        margin = 0.5 * (self.high - self.low)
        scaled = np.clip(scaled, self.low - margin, self.high + margin)
        return np.asarray(np.sign(scaled) * np.expm1(np.abs(scaled)))


class RootTarget:
    """The target as its signed square root."""

    def forward(self, y: np.ndarray) -> np.ndarray:
        """Transform."""
        return np.asarray(np.sign(y) * np.sqrt(np.abs(y)))

    def backward(self, scaled: np.ndarray) -> np.ndarray:
        """Transform back."""
        return np.asarray(np.sign(scaled) * scaled**2)


class ScaledTarget:
    """The target through a scikit-learn transformer, and back."""

    def __init__(self, transformer: Any) -> None:
        self.transformer = transformer

    def forward(self, y: np.ndarray) -> np.ndarray:
        """Transform, remembering the range."""
        scaled = self.transformer.fit_transform(y.reshape(-1, 1)).ravel()
        self.low, self.high, self.mean = scaled.min(), scaled.max(), y.mean()
        return np.asarray(scaled)

    def backward(self, scaled: np.ndarray) -> np.ndarray:
        """Transform back; far extrapolations are cut to where the inverse is defined."""
        margin = 0.5 * (self.high - self.low)
        scaled = np.clip(scaled, self.low - margin, self.high + margin)
        y = self.transformer.inverse_transform(scaled.reshape(-1, 1)).ravel()
        return np.where(np.isfinite(y), y, self.mean)


def power_target(y: np.ndarray) -> ScaledTarget:
    """Box-Cox for a positive target, else Yeo-Johnson."""
    return ScaledTarget(PowerTransformer("box-cox" if y.min() > 0 else "yeo-johnson"))


def rank_target(y: np.ndarray, seed: int) -> ScaledTarget:
    """Ranks as quantiles of the normal distribution."""
    quantiles = min(1000, len(y))
    return ScaledTarget(
        QuantileTransformer(n_quantiles=quantiles, output_distribution="normal", random_state=seed)
    )


def standard_target() -> ScaledTarget:
    """Mean 0, standard deviation 1."""
    return ScaledTarget(StandardScaler())


class FloorTarget:
    """The target moved up to start at 0 if it has negative values: some losses need that."""

    def forward(self, y: np.ndarray) -> np.ndarray:
        """Move."""
        self.floor = min(float(y.min()), 0.0)
        return y - self.floor

    def backward(self, scaled: np.ndarray) -> np.ndarray:
        """Move back."""
        return scaled + self.floor


class Constant:
    """Predicts the mean, or the class shares: for training rows too few or too alike to fit a model."""

    def fit(self, y: np.ndarray, n_classes: int | None = None) -> Self:
        """Learn the mean or the shares."""
        self.value = y.mean() if n_classes is None else np.bincount(y, minlength=n_classes) / len(y)
        return self

    def predict(self, rows: int) -> np.ndarray:
        """The same for each row."""
        return np.repeat(np.asarray(self.value)[None], rows, axis=0)


def class_probabilities(model: Any, x: Any, n_classes: int) -> np.ndarray:
    """Probabilities of all classes, 0 for those the model has not seen."""
    if hasattr(model, "predict_proba"):
        seen = model.predict_proba(x)
    else:  # a margin, squashed: ordered like a probability, not calibrated
        margin = model.decision_function(x)
        seen = (
            softmax(margin, axis=1) if margin.ndim == 2 else np.column_stack([expit(-margin), expit(margin)])
        )
    probabilities = np.zeros((x.shape[0], n_classes))
    probabilities[:, model.classes_] = np.nan_to_num(seen)
    return probabilities


def hold_out(y: np.ndarray, seed: int) -> np.ndarray:
    """Marks about a tenth of the rows for early stopping; rare classes stay in training."""
    random = np.random.default_rng(seed)
    groups = [np.flatnonzero(y == k) for k in np.unique(y)] if y.dtype.kind == "i" else [np.arange(len(y))]
    held = np.zeros(len(y), dtype=bool)
    for rows in groups:
        held[random.permutation(rows)[: len(rows) // 10]] = True
    return held


def splittable(y: np.ndarray) -> bool:
    """Whether a tenth of the rows can be held out with each class on both sides."""
    if y.dtype.kind != "i":
        return len(y) >= 20
    counts = np.unique(y, return_counts=True)[1]
    return bool(counts.min() >= 2 and len(y) >= 10 * len(counts))


def sample_rows(y: np.ndarray, limit: int, seed: int) -> np.ndarray:
    """Positions of at most `limit` random rows, one of each class first."""
    random = np.random.default_rng(seed)
    order = random.permutation(len(y))
    if y.dtype.kind == "i":
        first = np.unique(y[order], return_index=True)[1]
        order = np.concatenate([order[first], np.delete(order, first)])
    return np.sort(order[:limit])


Folds = list[tuple[np.ndarray, np.ndarray]]


def random_folds(y: np.ndarray, folds: int, seed: int) -> Folds:
    """Shuffled folds, fewer if there are fewer rows."""
    if len(y) < 2:
        return []
    return list(KFold(min(folds, len(y)), shuffle=True, random_state=seed).split(y))


def stratified_folds(y: np.ndarray, folds: int, seed: int) -> Folds:
    """Folds with equal class shares; random ones if no class has two rows."""
    most = int(np.bincount(y).max())
    if most < 2:
        return random_folds(y, folds, seed)
    splitter = StratifiedKFold(min(folds, most), shuffle=True, random_state=seed)
    return list(splitter.split(y, y))


def group_folds(y: np.ndarray, groups: pd.Series, folds: int, seed: int) -> Folds:
    """Folds that keep the rows of a group together; random ones if there is one group only."""
    codes = pd.factorize(groups.astype("string").fillna(""))[0]
    count = int(codes.max()) + 1
    if count < 2:
        return random_folds(y, folds, seed)
    return list(GroupKFold(min(folds, count), shuffle=True, random_state=seed).split(y, groups=codes))


def time_order(times: pd.Series) -> np.ndarray:
    """Positions of the rows from the earliest to the latest."""
    role = role_of(times)
    values = as_numbers(times) if role == "num" else as_dates(times, day_first=role == "day_first")
    return np.argsort(values.fillna(values.min()).to_numpy(), kind="stable")


def time_folds(times: pd.Series, folds: int) -> Folds:
    """Folds that are predicted from earlier rows only; the first rows are never predicted."""
    order = time_order(times)
    if len(order) < 3:
        return []
    splitter = TimeSeriesSplit(min(folds, len(order) - 1))
    return [(order[before], order[after]) for before, after in splitter.split(order)]
