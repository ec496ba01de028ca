"""Features of one series per row. Series have no missing values here (see `fill_series`)."""

from __future__ import annotations

from itertools import combinations
from typing import Any, Self

import numpy as np
import pandas as pd
from scipy.stats import kurtosis, skew
from sklearn.base import BaseEstimator, TransformerMixin

from gome.mle.playbook.snippets.data import named


def fill_series(x: pd.DataFrame) -> pd.DataFrame:
    """Fill gaps by interpolation along each row, ends by the nearest value, empty series by 0."""
    return x.interpolate(axis=1, limit_direction="both").fillna(0.0)


def unit_series(x: pd.DataFrame) -> np.ndarray:
    """Each series with mean 0 and standard deviation 1; a constant one is 0."""
    values = named(x, "series:").to_numpy(dtype=float)
    spread = values.std(axis=1, keepdims=True)
    return (values - values.mean(axis=1, keepdims=True)) / np.where(spread > 1e-12, spread, 1.0)


def block(values: np.ndarray, name: str, index: pd.Index) -> pd.DataFrame:
    """A matrix as numeric columns with numbered names."""
    return pd.DataFrame(values, index=index, columns=[f"num:{name} {i}" for i in range(values.shape[1])])


def series_summary(x: pd.DataFrame) -> pd.DataFrame:
    """Location, spread, shape, trend and roughness of each series."""
    values = named(x, "series:").to_numpy(dtype=float)
    scaled = unit_series(x)
    length = values.shape[1]
    time = np.linspace(-1, 1, length)
    steps = np.diff(scaled, axis=1) if length > 1 else np.zeros_like(scaled)
    columns = {
        "mean": values.mean(axis=1),
        "deviation": values.std(axis=1),
        "minimum": values.min(axis=1),
        "maximum": values.max(axis=1),
        "skewness": np.nan_to_num(skew(scaled, axis=1)),
        "kurtosis": np.nan_to_num(kurtosis(scaled, axis=1)),
        "slope": scaled @ time / max(float(time @ time), 1e-12),
        "position of maximum": values.argmax(axis=1) / length,
        "position of minimum": values.argmin(axis=1) / length,
        "roughness": np.abs(steps).mean(axis=1),
        "mean crossings": (np.diff(np.signbit(scaled), axis=1)).sum(axis=1) / length,
        "turning points": (np.diff(np.signbit(steps), axis=1)).sum(axis=1) / length,
    }
    for share in (0.05, 0.25, 0.5, 0.75, 0.95):
        columns[f"quantile {share}"] = np.quantile(values, share, axis=1)
    return pd.DataFrame({f"num:series {k}": v for k, v in columns.items()}, index=x.index)


def series_differences(x: pd.DataFrame) -> pd.DataFrame:
    """First differences."""
    return block(np.diff(named(x, "series:").to_numpy(dtype=float), axis=1), "difference", x.index)


def series_autocorrelation(x: pd.DataFrame, lags: int) -> pd.DataFrame:
    """Autocorrelations of each series at the first lags."""
    scaled = unit_series(x)
    length = scaled.shape[1]
    values = [
        (scaled[:, lag:] * scaled[:, :-lag]).sum(axis=1) / length
        for lag in range(1, min(lags, length - 1) + 1)
    ]
    return block(np.column_stack([np.zeros(len(x)), *values]), "autocorrelation", x.index)


def series_spectrum(x: pd.DataFrame, count: int) -> pd.DataFrame:
    """Magnitudes of the lowest Fourier frequencies; they do not change when a series is rotated in time."""
    magnitudes = np.abs(np.fft.rfft(unit_series(x), axis=1)) / np.sqrt(len(x.columns))
    return block(magnitudes[:, : count + 1], "frequency", x.index)


def series_intervals(x: pd.DataFrame, count: int) -> pd.DataFrame:
    """Mean, standard deviation and slope over random intervals (time series forest, arXiv:1302.2277)."""
    values = named(x, "series:").to_numpy(dtype=float)
    length = values.shape[1]
    random = np.random.default_rng(0)
    columns = []
    for _ in range(count):
        width = int(random.integers(min(3, length), max(length // 2, min(3, length)) + 1))
        start = int(random.integers(0, length - width + 1))
        part = values[:, start : start + width]
        time = np.arange(width) - (width - 1) / 2
        columns += [part.mean(axis=1), part.std(axis=1), part @ time / max(float(time @ time), 1.0)]
    return block(np.column_stack(columns), "interval", x.index)


class RandomConvolutions(TransformerMixin, BaseEstimator):
    """Share of positive values and maximum of dilated convolutions with random kernels.

    After ROCKET (arXiv:1910.13051), with the 84 cheap two-valued kernels of MiniRocket (arXiv:2012.08791):
    nine weights, six of them -1 and three of them 2, at random dilations, and biases drawn from the quantiles
    of the output on training series.
    """

    def __init__(self, kernels: int, seed: int) -> None:
        self.kernels = kernels
        self.seed = seed

    def fit(self, x: pd.DataFrame, y: Any = None) -> Self:
        """Draw kernels, dilations and biases."""
        random = np.random.default_rng(self.seed)
        series = unit_series(x)
        triples = list(combinations(range(9), 3))
        longest = max(0.0, float(np.log2(max(series.shape[1] - 1, 1) / 8)))
        drawn = [
            (int(2 ** random.uniform(0, longest)), triples[random.integers(len(triples))])
            for _ in range(self.kernels)
        ]
        self.kernels_ = sorted(drawn)  # equal dilations together: they share their shifted copies
        rows = random.integers(0, len(series), self.kernels)
        shares = random.uniform(0.05, 0.95, self.kernels)
        outputs = self._outputs(series[np.unique(rows)])
        where = np.searchsorted(np.unique(rows), rows)
        self.biases_ = [np.quantile(out[r], s) for out, r, s in zip(outputs, where, shares, strict=True)]
        return self

    def transform(self, x: pd.DataFrame) -> np.ndarray:
        """Two features for each kernel."""
        features = np.empty((len(x), 2 * len(self.kernels_)))
        for i, output in enumerate(self._outputs(unit_series(x))):
            features[:, 2 * i] = (output > self.biases_[i]).mean(axis=1)
            features[:, 2 * i + 1] = output.max(axis=1)
        return features

    def _outputs(self, series: np.ndarray) -> Any:
        shifted: np.ndarray = np.empty(0)
        total: np.ndarray = np.empty(0)
        last = 0
        for dilation, triple in self.kernels_:
            if dilation != last:
                padded = np.pad(series.astype(np.float32), ((0, 0), (4 * dilation, 4 * dilation)))
                shifted = np.stack([padded[:, k * dilation :][:, : series.shape[1]] for k in range(9)])
                total, last = -shifted.sum(axis=0), dilation
            yield total + 3 * (shifted[triple[0]] + shifted[triple[1]] + shifted[triple[2]])
