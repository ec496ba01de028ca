"""What does not change between two looks at the same training rows, computed once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dojo.mle.observe_columns import (
    Columns,
    FloatArray,
    as_floats,
    codes,
    column,
    columns_of,
    geo_pair,
    numbers,
)
from dojo.mle.observe_probe import (
    Design,
    date_parts,
    design,
    nearest,
    quantile_bins,
    ranks,
    standardise,
)
from dojo.task import TaskSpec

RESULT_ROWS = 1_500
WIDE_ROWS = 800
NEAR_ROWS = 600
NEIGHBOURS = 8


@dataclass(frozen=True)
class Sample:
    """A seeded sample of the training rows with everything the probes need.

    Attributes:
        rows: sorted positions in the training frame.
        columns: its columns by kind.
        view: features of these rows.
        bins: the features cut at quantiles.
        near: for the first `NEAR_ROWS` rows the nearest others, in the feature space.
        labels: level codes by categorical column.
        seasons: level codes by part of a date.
        place: for the same rows as `near` the nearest others on the map; None without coordinates.
        length: characters of the first text column; None without one.
        gaps: number of missing cells per row; None where there are none.
        order: positions that sort all training rows in time; None without a time column.
    """

    rows: NDArray[np.int64]
    columns: Columns
    view: Design
    bins: NDArray[np.int64]
    near: NDArray[np.int64] | None
    labels: dict[str, NDArray[np.int64]]
    seasons: dict[str, NDArray[np.int64]]
    place: NDArray[np.int64] | None
    length: FloatArray | None
    gaps: FloatArray | None
    order: FloatArray | None


def sample_of(spec: TaskSpec, train: pd.DataFrame) -> Sample:
    """Draw and prepare the sample."""
    wide = train.shape[1] > 150
    rows = pick(len(train), WIDE_ROWS if wide else RESULT_ROWS, spec.seed)
    frame = train.iloc[rows]
    columns = columns_of(spec, frame)
    view = design(frame, columns)
    seasons = {
        f"{part} of {name}": codes(pd.Series(values), least=8)[0]
        for name in columns.date[:2]
        for part, values in date_parts(column(frame, name)).items()
        if part != "time"
    }
    pair = geo_pair(frame, columns.numeric)
    place = _neighbours(standardise(numbers(frame, pair))[0]) if pair else None
    length = None
    if columns.text:
        texts = column(frame, columns.text[0]).astype("string").fillna("")
        length = np.fromiter((len(t) for t in texts), float, len(texts))
    used = [*columns.numeric[:100], *columns.categorical]
    gaps = frame[used].isna().to_numpy().sum(axis=1).astype(float) if used else np.zeros(0)
    timed = spec.time is not None and spec.time in train.columns
    return Sample(
        rows=rows,
        columns=columns,
        view=view,
        bins=quantile_bins(view.matrix) if view.matrix.shape[1] else np.zeros((len(rows), 0), np.int64),
        near=_neighbours(view.matrix),
        labels={n: codes(column(frame, n), least=8)[0] for n in columns.categorical[:12]},
        seasons=seasons,
        place=place,
        length=length,
        gaps=gaps if gaps.any() else None,
        order=time_ranks(column(train, str(spec.time))) if timed else None,
    )


def _neighbours(matrix: FloatArray) -> NDArray[np.int64] | None:
    matrix = matrix[:NEAR_ROWS]
    if len(matrix) < 60 or matrix.shape[1] == 0:
        return None
    return nearest(np.clip(matrix, -5, 5), NEIGHBOURS)


def time_ranks(key: pd.Series) -> FloatArray:
    """Sortable numbers of a time column: numbers as such, else dates, else order of appearance."""
    values = as_floats(key)
    if np.isfinite(values).all():
        return ranks(values)
    parsed = date_parts(key).get("time")
    if parsed is not None and np.isfinite(parsed).all():
        return ranks(parsed)
    return np.arange(len(key), dtype=float)


def pick(n: int, most: int, seed: int) -> NDArray[np.int64]:
    """Sorted positions of a seeded sample without replacement."""
    if n <= most:
        return np.arange(n, dtype=np.int64)
    return np.sort(np.random.default_rng(seed).choice(n, most, replace=False)).astype(np.int64)
