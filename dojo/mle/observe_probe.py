"""Small seeded probes: how much of a signal simple models can still explain. They run in milliseconds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dojo.mle.observe_columns import Columns, FloatArray, as_dates, codes, column, numbers

MAX_FEATURES = 48
_BINS = 8


@dataclass(frozen=True)
class Design:
    """A dense, complete, standardised view of the features of some rows.

    Attributes:
        matrix: rows × features, centred and scaled, without missing values.
        names: one per feature.
    """

    matrix: FloatArray
    names: tuple[str, ...]


def design(frame: pd.DataFrame, columns: Columns) -> Design:
    """Build the view: numbers as they are, frequencies of labels, parts of dates, lengths of texts.

    Labels are coded by frequency, never by the target, so that a probe on residuals cannot leak.
    """
    blocks: list[FloatArray] = []
    names: list[str] = []
    plain = (*columns.numeric, *columns.numeric_text)[:MAX_FEATURES]
    if plain:
        blocks.append(numbers(frame, plain))
        names += plain
    for name in columns.categorical[: MAX_FEATURES // 2]:
        code, levels = codes(column(frame, name))
        counts = np.bincount(code, minlength=len(levels)).astype(float)
        # Ties in frequency are broken by the code, else two equally common levels could not be told apart.
        rank = np.empty(len(counts))
        rank[np.argsort(counts, kind="stable")] = np.arange(len(counts))
        blocks.append(rank[code][:, None])
        names.append(name)
    for name in columns.date[:4]:
        for part, values in date_parts(column(frame, name)).items():
            blocks.append(values[:, None])
            names.append(f"{name} ({part})")
    for name in (*columns.text, *columns.code)[:4]:
        text = column(frame, name).astype("string").fillna("")
        lengths = np.fromiter((len(t) for t in text), float, len(text))
        blocks.append(lengths[:, None])
        names.append(f"length of {name}")
    if columns.wide:
        block, found = wide_summary(numbers(frame, columns.wide))
        blocks.append(block)
        names += found
    matrix = np.hstack(blocks) if blocks else np.empty((len(frame), 0))
    matrix, keep = standardise(matrix)
    return Design(matrix, tuple(n for n, k in zip(names, keep, strict=True) if k))


def standardise(matrix: FloatArray) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Fill missing values by the median, centre and scale; constant columns are dropped (see the mask)."""
    if matrix.size == 0:
        return matrix, np.zeros(matrix.shape[1], bool)
    gaps = np.isnan(matrix)
    if gaps.any():
        whole = ~gaps.all(axis=0)
        medians = np.zeros(matrix.shape[1])
        medians[whole] = np.nanmedian(matrix[:, whole], axis=0)
        matrix = np.where(gaps, medians, matrix)
    # Values near the limit of a float would overflow in the square.
    matrix = np.clip(matrix, -1e100, 1e100)
    scale = matrix.std(axis=0)
    keep = scale > 1e-12 * (1.0 + np.abs(matrix).max(axis=0))
    return (matrix[:, keep] - matrix[:, keep].mean(axis=0)) / scale[keep], keep


def date_parts(values: pd.Series) -> dict[str, FloatArray]:
    """Time axis (days), month, day of the week and, where there are times of day, the hour."""
    dates = as_dates(values)
    parts = {
        "time": dates.to_numpy("datetime64[s]").astype("int64") / 86_400.0,
        "month": dates.dt.month.to_numpy(float, na_value=np.nan),
        "weekday": dates.dt.dayofweek.to_numpy(float, na_value=np.nan),
        "hour": dates.dt.hour.to_numpy(float, na_value=np.nan),
    }
    parts["time"][dates.isna().to_numpy()] = np.nan
    return {k: v for k, v in parts.items() if len(np.unique(v[np.isfinite(v)])) > 1}


def wide_summary(block: FloatArray) -> tuple[FloatArray, list[str]]:
    """Summary of series or pixel rows: level, spread, roughness and sixteen evenly spaced values."""
    filled = np.where(np.isnan(block), 0.0, block)
    steps = np.abs(np.diff(filled, axis=1)).mean(axis=1) if filled.shape[1] > 1 else np.zeros(len(filled))
    spaced = np.unique(np.linspace(0, filled.shape[1] - 1, 16).astype(int))
    parts = [filled.mean(axis=1), filled.std(axis=1), filled.min(axis=1), filled.max(axis=1), steps]
    names = ["mean", "spread", "minimum", "maximum", "roughness", *(f"point {i}" for i in spaced)]
    return np.column_stack([*parts, filled[:, spaced]]), names


def halves(n: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Two random halves of `n` rows."""
    order = np.random.default_rng(seed).permutation(n)
    return order[: n // 2], order[n // 2 :]


def explained(truth: FloatArray, guess: FloatArray) -> float:
    """Share of variance explained (all outputs together), at least 0."""
    total = float(((truth - truth.mean(axis=0)) ** 2).sum())
    if total <= 0:
        return 0.0
    return max(0.0, 1.0 - float(((truth - guess) ** 2).sum()) / total)


def tree_share(matrix: FloatArray, signal: FloatArray, seed: int, *, depth: int = 4) -> float:
    """Share of the signal's variance a shallow tree explains on the half it has not seen."""
    from sklearn.tree import DecisionTreeRegressor

    n = len(signal)
    if n < 60 or matrix.shape[1] == 0:
        return 0.0
    fit, rest = halves(n, seed)
    tree = DecisionTreeRegressor(max_depth=depth, min_samples_leaf=max(8, n // 100), random_state=seed)
    tree.fit(matrix[fit].astype(np.float32), signal[fit])
    return explained(
        signal[rest], np.asarray(tree.predict(matrix[rest].astype(np.float32))).reshape(signal[rest].shape)
    )


def linear_share(matrix: FloatArray, signal: FloatArray, seed: int) -> float:
    """Share of the signal's variance a ridge regression explains on the half it has not seen."""
    n, p = matrix.shape
    if n < 40 or p == 0:
        return 0.0
    fit, rest = halves(n, seed)
    # Clipping tames heavy tails, which a linear fit would otherwise chase.
    clipped = np.clip(matrix, -5, 5)
    centre = signal[fit].mean(axis=0)
    gram = clipped[fit].T @ clipped[fit] + 0.01 * len(fit) * np.eye(p)
    weights = np.linalg.solve(gram, clipped[fit].T @ (signal[fit] - centre))
    return explained(signal[rest], clipped[rest] @ weights + centre)


def additive_share(bins: NDArray[np.int64], signal: FloatArray, seed: int) -> float:
    """Share explained by a sum of one-variable step functions (one backfitting pass), on the unseen half.

    `bins` are the features cut at quantiles (see `quantile_bins`).

    What a tree explains beyond this needs interactions (Hastie & Tibshirani, Generalized Additive Models).
    """
    n, p = bins.shape
    if n < 60 or p == 0:
        return 0.0
    fit, rest = halves(n, seed)
    target = signal[:, int(np.argmax(signal.var(axis=0)))]
    left = target - target[fit].mean()
    guess = np.full(n, target[fit].mean())
    for best in np.argsort(-bin_strength(bins[fit], left[fit]), kind="stable")[:12]:
        code = bins[:, best]
        count = np.bincount(code[fit], minlength=_BINS)
        means = np.bincount(code[fit], left[fit], minlength=_BINS) / (count + 10.0)
        guess += means[code]
        left = left - means[code]
    return explained(target[rest], guess[rest])


def product_share(matrix: FloatArray, bins: NDArray[np.int64], signal: FloatArray, seed: int) -> float:
    """Share of the signal explained by products of two features on the unseen half.

    A greedy tree cannot see a pure product, which has no effect of either variable alone. Only the dozen
    features are paired whose level says most about the *size* of the signal.
    """
    main = np.abs(signal[:, int(np.argmax(signal.var(axis=0)))])
    strength = bin_strength(bins, main)
    top = np.sort(np.argsort(-strength, kind="stable")[:12])
    first, second = np.triu_indices(len(top), 1)
    if len(first) == 0:
        return 0.0
    chosen = np.clip(matrix[:, top], -3, 3)
    return linear_share(chosen[:, first] * chosen[:, second], signal, seed)


def quantile_bins(matrix: FloatArray) -> NDArray[np.int64]:
    """Bin numbers by quantiles of each column."""
    edges = np.quantile(matrix, np.linspace(0, 1, _BINS + 1)[1:-1], axis=0)
    binned = [np.searchsorted(edges[:, j], matrix[:, j], side="right") for j in range(matrix.shape[1])]
    return np.stack(binned, axis=1).astype(np.int64)


def bin_strength(bins: NDArray[np.int64], signal: FloatArray) -> FloatArray:
    """Between-bin variance of the signal for each column."""
    centred = signal - signal.mean()
    out = np.empty(bins.shape[1])
    for j in range(bins.shape[1]):
        count = np.bincount(bins[:, j], minlength=_BINS)
        total = np.bincount(bins[:, j], centred, minlength=_BINS)
        out[j] = float((total**2 / np.maximum(count, 1)).sum())
    return out


def neighbour_share(order: NDArray[np.int64] | None, signal: FloatArray) -> float:
    """Share of the signal's variance explained by the mean over the nearest other rows.

    Args:
        order: for each of the first rows the indices of its nearest others (rows × k), or None.
        signal: rows × outputs.
    """
    if order is None:
        return 0.0
    n, k = order.shape
    near = signal[:n]
    # The mean of k noisy values has variance 1/k of its own: shrink it.
    guess = near[order].mean(axis=1) * (k / (k + 2.0)) + near.mean(axis=0) * (2.0 / (k + 2.0))
    return explained(near, guess)


def nearest(matrix: FloatArray, k: int) -> NDArray[np.int64]:
    """Indices of the `k` nearest other rows of each row (Euclidean)."""
    small = matrix.astype(np.float32)
    square = (small**2).sum(axis=1)
    distance = square[:, None] + square[None, :] - 2.0 * small @ small.T
    np.fill_diagonal(distance, np.inf)
    return np.argpartition(distance, k, axis=1)[:, :k]


def group_share(code: NDArray[np.int64], signal: FloatArray) -> float:
    """Adjusted share of variance between groups (eta squared, corrected for the number of groups)."""
    n = len(code)
    levels = int(code.max()) + 1 if n else 0
    if levels < 2 or n <= levels + 2:
        return 0.0
    centred = signal - signal.mean(axis=0)
    total = float((centred**2).sum())
    if total <= 0:
        return 0.0
    count = np.maximum(np.bincount(code, minlength=levels), 1)
    between = 0.0
    for j in range(signal.shape[1]):
        between += float((np.bincount(code, centred[:, j], minlength=levels) ** 2 / count).sum())
    used = int((np.bincount(code, minlength=levels) > 0).sum())
    return max(0.0, 1.0 - (1.0 - between / total) * (n - 1) / max(1, n - used))


def ranks(values: FloatArray) -> FloatArray:
    """Average ranks."""
    _, inverse, count = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(count)
    return (ends - (count - 1) / 2.0)[inverse]


def correlation(a: FloatArray, b: FloatArray) -> float:
    """Pearson correlation; 0 where one side is constant."""
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a**2).sum()) * np.sqrt((b**2).sum()))
    return float((a * b).sum()) / scale if scale > 0 and np.isfinite(scale) else 0.0


def spearman(a: FloatArray, b: FloatArray) -> float:
    """Rank correlation."""
    return correlation(ranks(a), ranks(b)) if len(a) > 2 else 0.0


def skewness(values: FloatArray) -> float:
    """Third standardised moment; 0 where constant."""
    centred = values - values.mean() if len(values) else values
    scale = centred.std() if len(values) else 0.0
    return float(((centred / scale) ** 3).mean()) if scale > 0 and np.isfinite(scale) else 0.0


def kurtosis(values: FloatArray) -> float:
    """Excess fourth standardised moment; 0 where constant."""
    centred = values - values.mean() if len(values) else values
    scale = centred.std() if len(values) else 0.0
    return float(((centred / scale) ** 4).mean()) - 3.0 if scale > 0 and np.isfinite(scale) else 0.0
