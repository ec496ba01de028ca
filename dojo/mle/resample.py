"""Bootstrap resamples of rows or of blocks of rows, and metrics computed on all of them at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from dojo.mle.delong import Floats
from dojo.mle.scorers import Values

Counts = NDArray[np.uint16]
Indices = NDArray[np.int64]

REPLICATES = 200
_FEWEST_REPLICATES = 50
_MOST_CELLS = 40_000_000
_CACHED_CELLS = 8_000_000
_CHUNK_CELLS = 2_000_000


class Resamples:
    """Seeded bootstrap resamples, the same for every submission on a view.

    Args:
        n: number of rows.
        blocks: shape (n,) block codes 0 … b-1; whole blocks are drawn. None draws single rows.
        seed: fixes the draws.
        replicates: number of resamples; by default 200, and fewer (at least 50) above 200,000 rows, where a
            standard error matters less than the seconds it takes.
    """

    def __init__(
        self, n: int, blocks: Indices | None = None, *, seed: int = 0, replicates: int | None = None
    ) -> None:
        self.n = n
        affordable = max(_FEWEST_REPLICATES, _MOST_CELLS // max(1, n))
        self.replicates = min(REPLICATES, affordable) if replicates is None else replicates
        self._blocks = blocks
        self._seed = seed
        self._cache: list[Counts] | None = None

    def _draw(self) -> Iterator[Counts]:
        units = self.n if self._blocks is None else int(self._blocks.max()) + 1
        rng = np.random.default_rng(self._seed)
        step = max(1, min(self.replicates, _CHUNK_CELLS // max(1, self.n)))
        for start in range(0, self.replicates, step):
            rows = min(step, self.replicates - start)
            drawn = np.stack(
                [np.bincount(rng.integers(0, units, units), minlength=units) for _ in range(rows)]
            ).astype(np.uint16)
            yield drawn if self._blocks is None else drawn[:, self._blocks]

    def counts(self) -> Iterator[Counts]:
        """How often each row was drawn: chunks of shape (some replicates, n)."""
        if self._cache is None and self.n * self.replicates <= _CACHED_CELLS:
            self._cache = list(self._draw())
        yield from self._draw() if self._cache is None else self._cache

    def indices(self) -> Iterator[Indices]:
        """The rows drawn, one array per replicate."""
        for chunk in self.counts():
            for row in chunk:
                yield np.repeat(np.arange(self.n), row)


def _weighted_median(y: Floats, p: Floats, counts: Counts) -> Floats:
    errors = np.abs(y - p)
    order = np.argsort(errors, kind="stable")
    below = np.cumsum(counts[:, order], axis=1, dtype=np.int64)
    total = below[:, -1:]
    low = errors[order][np.argmax(below >= (total + 1) // 2, axis=1)]
    high = errors[order][np.argmax(below >= total // 2 + 1, axis=1)]
    return np.asarray((low + high) / 2.0)


def _tie_starts(ordered: Floats) -> Indices:
    return np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))


def _weighted_midranks(values: Floats, counts: Counts) -> Floats:
    """Midranks within each resample, up to a constant; shape (replicates, n)."""
    order = np.argsort(values, kind="stable")
    starts = _tie_starts(values[order])
    sizes = np.diff(np.append(starts, len(values)))
    group = np.add.reduceat(counts[:, order], starts, axis=1, dtype=np.float64)
    middle = np.cumsum(group, axis=1) - group / 2.0
    ranks = np.empty(counts.shape)
    ranks[:, order] = np.repeat(middle, sizes, axis=1)
    return ranks


def _spearman(y: Floats, p: Floats, counts: Counts) -> Floats:
    weight = counts.astype(np.float64)
    total = weight.sum(axis=1, keepdims=True)
    a, b = _weighted_midranks(y, counts), _weighted_midranks(p, counts)
    a = a - (weight * a).sum(axis=1, keepdims=True) / total
    b = b - (weight * b).sum(axis=1, keepdims=True) / total
    cross = (weight * a * b).sum(axis=1)
    scale = np.sqrt((weight * a * a).sum(axis=1) * (weight * b * b).sum(axis=1))
    return np.asarray(np.divide(cross, scale, out=np.zeros(len(cross)), where=scale > 0))


def _average_precision(y: Values, p: Floats, counts: Counts) -> Floats:
    order = np.argsort(-p, kind="stable")
    starts = _tie_starts(p[order])
    drawn = np.add.reduceat(counts[:, order], starts, axis=1, dtype=np.float64)
    hits = np.add.reduceat(counts[:, order] * (y[order] == 1), starts, axis=1, dtype=np.float64)
    above = np.cumsum(drawn, axis=1)
    found = np.cumsum(hits, axis=1)
    precision = np.divide(found, above, out=np.zeros_like(found), where=above > 0)
    positives = found[:, -1]
    gained = (precision * hits).sum(axis=1)
    return np.asarray(np.divide(gained, positives, out=np.full(len(gained), np.nan), where=positives > 0))


BATCHED: dict[str, Callable[[Values, Floats, Counts], Floats]] = {
    "medae": _weighted_median,
    "spearman": _spearman,
    "average_precision": _average_precision,
}
"""Metrics without an influence vector, computed on a chunk of resamples at once."""


def replicate(name: str, y: Values, p: Floats, resamples: Resamples) -> Floats:
    """The metric on every resample, shape (replicates,); NaN where a resample leaves it undefined."""
    return np.concatenate([BATCHED[name](y, p, counts) for counts in resamples.counts()])
