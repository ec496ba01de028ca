"""Which rows are hidden: the split of labelled rows into training and validation, and the test part.

All splits are pure functions of (data, seed, chunk). Chunks of one seed do not overlap while they fit, so the
re-splits that make the final choice hold rows that no search validation has seen.
"""

from __future__ import annotations

import io
import runpy
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from dojo.errors import TaskError, boundary
from dojo.mle import tables
from dojo.task import TaskSpec

Rows = npt.NDArray[np.intp]

MAX_HELD = 10_000
"""More hidden rows than this make no score noticeably sharper, and cost training rows."""
HELP = "see docs/tasks.md"


@dataclass(frozen=True)
class Partition:
    """Row positions, ascending. Rows in neither part lie after the hidden ones in time and are left out."""

    train: Rows
    held: Rows


def make_generator(seed: int, purpose: str) -> np.random.Generator:
    """A random generator for one purpose; different purposes are independent."""
    return np.random.default_rng([seed, zlib.crc32(purpose.encode())])


def _chunk(position: npt.NDArray[np.float64], fraction: float, chunk: int) -> npt.NDArray[np.bool_]:
    """Which positions in [0, 1) lie in the `chunk`-th stretch of length `fraction`, going round at 1."""
    return np.mod(position - chunk * fraction, 1.0) < fraction


def split_random(n: int, fraction: float, chunk: int, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """A random part of `n` rows; at least one row on either side."""
    held = min(max(1, round(n * fraction)), n - 1)
    mask = np.zeros(n, dtype=bool)
    order = rng.permutation(n)
    mask[order[(chunk * held + np.arange(held)) % n]] = True
    return mask


def split_stratified(
    labels: pd.Series, fraction: float, chunk: int, rng: np.random.Generator
) -> npt.NDArray[np.bool_]:
    """A random part with every class in proportion (within one row); a class of one row stays in training."""
    position = np.full(len(labels), np.nan)
    codes, uniques = pd.factorize(labels, sort=True)
    for code in range(len(uniques)):
        rows = np.flatnonzero(codes == code)
        if len(rows) > 1:
            position[rng.permutation(rows)] = (np.arange(len(rows)) + rng.random()) / len(rows)
    mask = np.zeros(len(labels), dtype=bool)
    known = np.flatnonzero(~np.isnan(position))
    mask[known] = _chunk(position[known], min(fraction, 0.5), chunk)
    if not mask.any() and known.size:
        mask[known[rng.integers(known.size)]] = True
    return mask


def split_group(
    groups: pd.Series, fraction: float, chunk: int, rng: np.random.Generator
) -> npt.NDArray[np.bool_]:
    """Whole groups, chosen at random, that hold about `fraction` of the rows. Needs two groups."""
    codes, uniques = pd.factorize(groups, sort=True)
    counts = np.bincount(codes, minlength=len(uniques))
    order = rng.permutation(len(uniques))
    ends = np.cumsum(counts[order]) / len(groups)
    middles = ends - counts[order] / (2 * len(groups))
    chosen = _chunk(middles, fraction, chunk)
    if not chosen.any():
        centre = ((chunk + 0.5) * fraction) % 1.0
        chosen[int(np.argmin(np.abs(middles - centre)))] = True
    if chosen.all():
        chosen[int(np.argmax(counts[order]))] = False
    return np.isin(codes, order[chosen])


def split_time(
    times: npt.NDArray[np.float64], fraction: float, chunk: int, horizon: int | None
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """(training, hidden) masks: hidden rows follow all training rows in time.

    Chunk 0 hides the end. Later chunks move the origin back by half a window (a whole one when windows are
    short), as rolling-origin evaluation does, and leave out what lies after the window.

    Args:
        times: sortable time of each row, shape `(n,)`; equal times stay on one side.
        fraction: the part of the rows to hide, when `horizon` is None.
        chunk: 0 for the search split, 1… for re-splits.
        horizon: how many distinct points in time to hide.
    """
    if horizon is not None:
        points = np.unique(times)
        window, total = horizon, len(points)
    else:
        points = np.sort(times)
        window, total = max(1, round(len(times) * fraction)), len(times)
    window = min(window, total - 1)
    step = max(1, min(window, (total - window) // 8))
    stop = max(total - chunk * step, window + 1)
    low = points[stop - window]
    if low == points[0]:
        later = points[points > points[0]]
        low = later[0]
    high = points[stop] if stop < total else np.inf
    if high <= low:
        high = np.inf
    return times < low, (times >= low) & (times < high)


def partition(
    spec: TaskSpec,
    labelled: pd.DataFrame,
    *,
    fraction: float,
    chunk: int = 0,
    purpose: str = "validation",
    horizon: int | None = None,
    split_py: Path | None = None,
) -> Partition:
    """Split labelled rows as the task says.

    Args:
        spec: the task; its `split`, `seed`, `group`, `time` and `target` count.
        labelled: all rows that may be split.
        fraction: the part to hide (not looked at by a `split.py` nor when `horizon` is given).
        chunk: which of the non-overlapping hidden parts.
        purpose: `validation` or `test`; independent draws.
        horizon: for forecasts, the number of points in time to hide.
        split_py: the task's own split.

    Raises:
        TaskError: the data cannot be split that way.
    """
    n = len(labelled)
    where = spec.id
    if n < 2:
        raise TaskError(
            f"{n} labelled rows cannot be split; at least 2 are needed, 50 to learn anything", where
        )
    if purpose == "validation":
        fraction = min(fraction, MAX_HELD / n)
    rng = make_generator(spec.seed, purpose)
    if spec.split == "custom":
        held = _custom(spec, labelled, split_py, chunk, purpose)
        return _checked(~held, held, where)
    if spec.split == "time":
        column = required_column(labelled, spec.time, "time", where)
        times = tables.time_key(column, f"{where}: column {spec.time!r}")
        if len(np.unique(times)) < 2:
            raise TaskError(f"all rows have the same time; a time split needs at least two; {HELP}", where)
        return _checked(*split_time(times, fraction, chunk, horizon), where)
    if spec.split == "group":
        column = required_column(labelled, spec.group, "group", where)
        if column.nunique() < 2:
            raise TaskError(
                f"column {spec.group!r} holds one group only; a group split needs two; {HELP}", where
            )
        held = split_group(column.astype(str), fraction, chunk, rng)
    elif spec.split == "stratified":
        held = split_stratified(tables.label_text(labelled[spec.target]), fraction, chunk, rng)
    else:
        held = split_random(n, fraction, chunk, rng)
    return _checked(~held, held, where)


def required_column(frame: pd.DataFrame, name: str | None, role: str, where: str) -> pd.Series:
    """A column that the split needs.

    Raises:
        TaskError: the task names none, or the data lack it.
    """
    if name is None:
        raise TaskError(f'the split needs a {role} column: set {role} = "COLUMN" in task.toml; {HELP}', where)
    if name not in frame.columns:
        raise TaskError(f"the {role} column {name!r} is not in the data; {HELP}", where)
    return frame[name]


def _checked(train: npt.NDArray[np.bool_], held: npt.NDArray[np.bool_], where: str) -> Partition:
    if not train.any() or not held.any():
        empty = "training" if not train.any() else "hidden"
        raise TaskError(f"the split leaves no {empty} row; give more rows or another split; {HELP}", where)
    return Partition(np.flatnonzero(train), np.flatnonzero(held))


def _custom(
    spec: TaskSpec, labelled: pd.DataFrame, split_py: Path | None, chunk: int, purpose: str
) -> npt.NDArray[np.bool_]:
    if split_py is None:
        raise TaskError(f'split = "custom" needs a split.py in the task package; {HELP}', spec.id)
    seed = int(make_generator(spec.seed, f"{purpose}-{chunk}").integers(2**31))
    if labelled.dtypes.map(
        pd.api.types.is_string_dtype
    ).all():  # a CSV: give it the types anyone would expect
        labelled = pd.read_csv(io.StringIO(labelled.to_csv(index=False)))
    with boundary(TaskError, f"{split_py}: split() failed"):
        function = runpy.run_path(str(split_py), run_name="task_split").get("split")
        if not callable(function):
            raise TaskError(f"defines no function split(labelled, seed); {HELP}", str(split_py))
        result = np.asarray(function(labelled, seed))
    n = len(labelled)
    if result.dtype == bool and result.shape == (n,):
        return result
    if np.issubdtype(result.dtype, np.integer) and result.ndim == 1:
        if result.size and (result.min() < 0 or result.max() >= n):
            raise TaskError(f"split() returned row positions outside 0…{n - 1}; {HELP}", str(split_py))
        mask = np.zeros(n, dtype=bool)
        mask[result] = True
        return mask
    raise TaskError(
        f"split() must return a boolean mask of {n} rows or row positions, not {result.dtype} "
        f"of shape {result.shape}; {HELP}",
        str(split_py),
    )
