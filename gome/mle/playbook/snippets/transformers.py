"""Steps that learn from the training rows: to be fitted inside each fold."""

from __future__ import annotations

from itertools import combinations, combinations_with_replacement
from typing import Any, Self

import numpy as np
import pandas as pd
from scipy.sparse import issparse
from scipy.stats import rankdata
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.feature_extraction import FeatureHasher
from sklearn.preprocessing import StandardScaler

from gome.mle.playbook.snippets.data import named


class QuantileClipper(TransformerMixin, BaseEstimator):
    """Clips each column to its outer quantiles (winsorizing)."""

    def __init__(self, quantile: float) -> None:
        self.quantile = quantile

    def fit(self, x: pd.DataFrame, y: Any = None) -> Self:
        """Learn the quantiles."""
        values = pd.DataFrame(np.asarray(x, dtype=float))
        self.low_ = values.quantile(self.quantile).to_numpy()
        self.high_ = values.quantile(1 - self.quantile).to_numpy()
        return self

    def transform(self, x: pd.DataFrame) -> np.ndarray:
        """Clip; missing values stay missing."""
        return np.clip(np.asarray(x, dtype=float), self.low_, self.high_)


class FenceClipper(TransformerMixin, BaseEstimator):
    """Clips each column to Tukey's outer fences: three interquartile ranges beyond the quartiles."""

    def fit(self, x: pd.DataFrame, y: Any = None) -> Self:
        """Learn the fences; a column with no spread between its quartiles is left as it is."""
        quartiles = pd.DataFrame(np.asarray(x, dtype=float)).quantile([0.25, 0.75]).to_numpy()
        spread = quartiles[1] - quartiles[0]
        self.low_ = np.where(spread > 0, quartiles[0] - 3 * spread, -np.inf)
        self.high_ = np.where(spread > 0, quartiles[1] + 3 * spread, np.inf)
        return self

    def transform(self, x: pd.DataFrame) -> np.ndarray:
        """Clip; missing values stay missing."""
        return np.clip(np.asarray(x, dtype=float), self.low_, self.high_)


class SkewedLog(TransformerMixin, BaseEstimator):
    """Takes the signed logarithm of the columns that are skewed."""

    def fit(self, x: pd.DataFrame, y: Any = None) -> Self:
        """Find the columns with an absolute skewness above 1."""
        skewness = pd.DataFrame(np.asarray(x, dtype=float)).skew().to_numpy()
        self.skewed_ = np.abs(np.nan_to_num(skewness)) > 1
        return self

    def transform(self, x: pd.DataFrame) -> np.ndarray:
        """Signed log1p of those columns."""
        values = np.asarray(x, dtype=float)
        return np.where(self.skewed_, np.sign(values) * np.log1p(np.abs(values)), values)


class MissingFlags(TransformerMixin, BaseEstimator):
    """A 0/1 column for each column that has missing values in the training rows; one of zeros if none has."""

    def fit(self, x: pd.DataFrame, y: Any = None) -> Self:
        """Find those columns."""
        missing = np.isnan(np.asarray(x, dtype=float)).any(axis=0)
        self.columns_ = np.flatnonzero(missing) if missing.any() else np.array([0])
        return self

    def transform(self, x: pd.DataFrame) -> np.ndarray:
        """The flags."""
        return np.isnan(np.asarray(x, dtype=float)[:, self.columns_]).astype(float)


class QuantileBins(TransformerMixin, BaseEstimator):
    """Cuts each column at its quantiles: one 0/1 column per bin, none set for a missing value."""

    def __init__(self, bins: int) -> None:
        self.bins = bins

    def fit(self, x: pd.DataFrame, y: Any = None) -> Self:
        """Learn the cuts; equal ones are merged."""
        cuts = pd.DataFrame(np.asarray(x, dtype=float)).quantile(np.arange(1, self.bins) / self.bins)
        self.cuts_ = [np.unique(cuts[c].dropna()) for c in cuts]
        return self

    def transform(self, x: pd.DataFrame) -> np.ndarray:
        """One-hot bins of all columns side by side."""
        values = np.asarray(x, dtype=float)
        blocks = [
            np.eye(len(cuts) + 1)[np.searchsorted(cuts, values[:, i], side="right")]
            for i, cuts in enumerate(self.cuts_)
        ]
        known = np.repeat(~np.isnan(values), [block.shape[1] for block in blocks], axis=1)
        return np.hstack(blocks) * known


class CountEncoder(TransformerMixin, BaseEstimator):
    """Replaces each level by how often it occurs in the training rows."""

    def __init__(self, share: bool = False) -> None:
        self.share = share

    def fit(self, x: pd.DataFrame, y: Any = None) -> Self:
        """Count the levels."""
        self.counts_ = [x[c].value_counts(normalize=self.share) for c in x]
        return self

    def transform(self, x: pd.DataFrame) -> np.ndarray:
        """Counts (or shares); 0 for an unseen level."""
        columns = [x[c].map(counts).fillna(0) for c, counts in zip(x, self.counts_, strict=True)]
        return np.column_stack([column.to_numpy(dtype=float) for column in columns])


class HashEncoder(TransformerMixin, BaseEstimator):
    """Hashes the levels of all columns into one sparse block of a fixed width."""

    def __init__(self, width: int) -> None:
        self.width = width

    def fit(self, x: pd.DataFrame, y: Any = None) -> Self:
        """Nothing to learn."""
        self.fitted_ = True
        return self

    def transform(self, x: pd.DataFrame) -> Any:
        """One row of hashed `column=level` pairs per row."""
        rows = ([f"{c}={v}" for c, v in zip(x.columns, row, strict=True)] for row in x.to_numpy())
        return FeatureHasher(self.width, input_type="string").transform(rows)


class LevelCrosses(TransformerMixin, BaseEstimator):
    """Joins pairs of categorical columns with few levels to new ones."""

    def __init__(self, pairs: int, prefixes: tuple[str, ...]) -> None:
        self.pairs = pairs
        self.prefixes = prefixes

    def fit(self, x: pd.DataFrame, y: Any = None) -> Self:
        """Choose the pairs with the fewest joint levels."""
        levels = named(x, *self.prefixes).nunique()
        usable = levels[(levels > 1) & (levels <= 50)].sort_values(kind="stable").index
        pairs = sorted(combinations(usable, 2), key=lambda pair: levels[pair[0]] * levels[pair[1]])
        self.pairs_ = pairs[: self.pairs]
        return self

    def transform(self, x: pd.DataFrame) -> pd.DataFrame:
        """Append the joined columns."""
        crosses = {f"cat:{a} × {b}": x[a].astype(str) + " × " + x[b].astype(str) for a, b in self.pairs_}
        return pd.concat([x, pd.DataFrame(crosses, index=x.index)], axis=1)


def most_associated(x: pd.DataFrame, y: np.ndarray, count: int) -> list[str]:
    """The numeric columns with the highest absolute rank correlation with the target (or with any class)."""
    numbers = named(x, "num:")
    numbers = numbers.loc[:, numbers.nunique() > 1]
    if y.dtype.kind == "i":  # class numbers
        frequent = np.argsort(-np.bincount(y), kind="stable")[:10]
        targets = [(y == k).astype(float) for k in frequent]
    else:
        targets = [rankdata(y)]
    ranks = numbers.rank().fillna((len(x) + 1) / 2).to_numpy()
    ranks = (ranks - ranks.mean(axis=0)) / np.maximum(ranks.std(axis=0), 1e-12)
    strength = np.max([np.abs((t - t.mean()) @ ranks) / max(t.std(), 1e-12) for t in targets], axis=0)
    return [str(numbers.columns[i]) for i in np.argsort(-strength, kind="stable")[:count]]


class PairFeatures(TransformerMixin, BaseEstimator):
    """Ratios, products, differences or sums of pairs of the columns most associated with the target."""

    def __init__(self, pairs: int, operations: tuple[str, ...]) -> None:
        self.pairs = pairs
        self.operations = operations

    def fit(self, x: pd.DataFrame, y: np.ndarray) -> Self:
        """Choose the pairs."""
        columns = most_associated(x, y, int(np.ceil(np.sqrt(2 * self.pairs))) + 1)
        ranked = sorted(combinations(range(len(columns)), 2), key=sum)  # the strongest together first
        self.pairs_ = [(columns[i], columns[j]) for i, j in ranked[: self.pairs]]
        return self

    def transform(self, x: pd.DataFrame) -> pd.DataFrame:
        """Append the new columns; a division by zero is a missing value."""
        columns: dict[str, pd.Series] = {}
        for a, b in self.pairs_:
            if "ratio" in self.operations:
                columns[f"{a} / {b}"] = x[a] / x[b].where(x[b] != 0)
            if "product" in self.operations:
                columns[f"{a} * {b}"] = x[a] * x[b]
            if "difference" in self.operations:
                columns[f"{a} - {b}"] = x[a] - x[b]
            if "sum" in self.operations:
                columns[f"{a} + {b}"] = x[a] + x[b]
        new = pd.DataFrame(columns, index=x.index).clip(-1e30, 1e30)
        return pd.concat([x, new], axis=1)


class PolynomialTerms(TransformerMixin, BaseEstimator):
    """Products of standardised columns, of those most associated with the target."""

    def __init__(self, degree: int, columns: int) -> None:
        self.degree = degree
        self.columns = columns

    def fit(self, x: pd.DataFrame, y: np.ndarray) -> Self:
        """Choose the columns and learn their scales."""
        self.columns_ = most_associated(x, y, self.columns)
        self.mean_ = x[self.columns_].mean()
        self.scale_ = x[self.columns_].std().replace(0.0, 1.0).fillna(1.0)
        return self

    def transform(self, x: pd.DataFrame) -> pd.DataFrame:
        """Append the products."""
        scaled = ((x[self.columns_] - self.mean_) / self.scale_).clip(-100, 100).to_numpy()
        places = range(len(self.columns_))
        terms = [t for k in range(2, self.degree + 1) for t in combinations_with_replacement(places, k)]
        products = [scaled[:, list(term)].prod(axis=1) for term in terms]
        names = ["num:" + " * ".join(self.columns_[i] for i in term) for term in terms]
        return pd.concat([x, pd.DataFrame(dict(zip(names, products, strict=True)), index=x.index)], axis=1)


class GroupStatistics(TransformerMixin, BaseEstimator):
    """Statistics of numeric columns within the levels of categorical ones."""

    def __init__(
        self,
        statistics: tuple[str, ...],
        deviation: bool,
        categories: int,
        numerics: int,
        prefixes: tuple[str, ...],
    ) -> None:
        self.statistics = statistics
        self.deviation = deviation
        self.categories = categories
        self.numerics = numerics
        self.prefixes = prefixes

    def fit(self, x: pd.DataFrame, y: np.ndarray) -> Self:
        """Choose the columns and learn the tables."""
        levels = named(x, *self.prefixes).nunique()
        usable = levels[(levels > 1) & (levels < len(x) / 3)].sort_values(ascending=False, kind="stable")
        self.categories_ = list(usable.index[: self.categories])
        self.numerics_ = most_associated(x, y, self.numerics)
        wanted = list(dict.fromkeys([*self.statistics, *(["mean"] if self.deviation else [])]))
        self.tables_ = {
            c: x.groupby(c)[self.numerics_].agg(wanted) for c in self.categories_ if self.numerics_
        }
        self.overall_ = x[self.numerics_].agg(wanted) if self.numerics_ else pd.DataFrame()
        return self

    def transform(self, x: pd.DataFrame) -> pd.DataFrame:
        """Append the statistics; an unseen level gets those of all rows."""
        columns: dict[str, pd.Series] = {}
        for c, table in self.tables_.items():
            for n in self.numerics_:
                for statistic in self.statistics:
                    values = x[c].map(table[(n, statistic)]).astype("float64")
                    columns[f"{n} {statistic} by {c}"] = values.fillna(self.overall_.loc[statistic, n])
                if self.deviation:
                    mean = x[c].map(table[(n, "mean")]).astype("float64")
                    columns[f"{n} deviation by {c}"] = x[n] - mean.fillna(self.overall_.loc["mean", n])
        return pd.concat([x, pd.DataFrame(columns, index=x.index)], axis=1)


class DropConstant(TransformerMixin, BaseEstimator):
    """Drops features that have one value only; keeps all if there is no other."""

    def fit(self, x: Any, y: Any = None) -> Self:
        """Find the features with a variance."""
        variance = np.nan_to_num(StandardScaler(with_mean=False).fit(x).var_)
        self.keep_ = np.flatnonzero(variance > 0) if (variance > 0).any() else np.arange(x.shape[1])
        return self

    def transform(self, x: Any) -> Any:
        """Keep those."""
        return x[:, self.keep_]


class TermSvd(TransformerMixin, BaseEstimator):
    """Truncated SVD with no more components than the matrix has."""

    def __init__(self, components: int, seed: int) -> None:
        self.components = components
        self.seed = seed

    def fit(self, x: Any, y: Any = None) -> Self:
        """Fit, unless the matrix is too small to be reduced."""
        count = min(self.components, min(x.shape) - 1)
        self.svd_ = TruncatedSVD(count, random_state=self.seed).fit(x) if count >= 1 else None
        return self

    def transform(self, x: Any) -> np.ndarray:
        """The components as a dense matrix."""
        if self.svd_ is not None:
            return np.asarray(self.svd_.transform(x))
        return np.asarray(x.toarray() if issparse(x) else x)


class PixelPca(TransformerMixin, BaseEstimator):
    """Principal components, no more than there are rows or columns."""

    def __init__(self, components: int, seed: int) -> None:
        self.components = components
        self.seed = seed

    def fit(self, x: Any, y: Any = None) -> Self:
        """Fit."""
        self.pca_ = PCA(min(self.components, *np.shape(x)), random_state=self.seed).fit(np.asarray(x))
        return self

    def transform(self, x: Any) -> np.ndarray:
        """The components."""
        return np.asarray(self.pca_.transform(np.asarray(x)))


def join_texts(x: pd.DataFrame) -> pd.Series:
    """One document per row: all its texts."""
    return x.agg(" ".join, axis=1)


def many_levels(x: pd.DataFrame, prefixes: tuple[str, ...], limit: int, above: bool) -> list[str]:
    """The categorical columns with more (or not more) levels than the limit."""
    levels = named(x, *prefixes).nunique()
    return [str(c) for c in levels.index if (levels[c] > limit) == above]


def share_of_columns(x: Any, share: float) -> int:
    """How many columns a share of them is, at least one."""
    return max(1, round(share * x.shape[1]))
