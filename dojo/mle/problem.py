"""Regression or classes: what kind of problem a target column is, and which classes it has."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from dojo.errors import TaskError
from dojo.mle import columns, tables
from dojo.mle.metrics import get_metric
from dojo.task import Problem

MIN_CLASS_ROWS = 8
"""Rows of the rarer of two classes, so that training, validation and test all get some."""
FEW_VALUES = 10
"""Whole numbers with at most this many distinct values are taken for classes."""
MAX_CLASSES = 200
_MOSTLY = 0.8
_POSITIVE = frozenset({"1", "yes", "y", "true", "t", "positive", "pos"})


@dataclass(frozen=True)
class Wishes:
    """What the user said; None where the data decide."""

    target: str
    metric: str | None = None
    id_column: str | None = None
    group: str | None = None
    time: str | None = None
    kind: Problem | None = None


def some(names: Iterable[str], limit: int = 8) -> str:
    """The first names, quoted, and how many more there are."""
    names = list(names)
    return ", ".join(repr(n) for n in names[:limit]) + (
        f" and {len(names) - limit} more" if len(names) > limit else ""
    )


def decide_problem(frame: pd.DataFrame, wishes: Wishes, said: list[str]) -> tuple[pd.DataFrame, Problem]:
    """The table with a target of its kind (amounts become numbers), and that kind.

    Raises:
        TaskError: the target is neither clearly a number nor clearly a class, or has one value only.
    """
    target = frame[wishes.target]
    where = f"target {wishes.target!r}"
    kind = wishes.kind or _kind_of_metric(wishes.metric)
    values = tables.numbers(target)
    numeric = np.isfinite(values)
    if np.isinf(values).any():
        raise TaskError(
            f"{int(np.isinf(values).sum())} cells are infinite; repair or remove these rows", where
        )
    if not numeric.all() and kind in (None, "regression", "forecast"):
        cells = target.astype(str).str.strip()
        if columns.is_amount(cells):
            frame = frame.assign(**{wishes.target: columns.amount_text(cells)})
            said.append(f"Target cells like {cells.iloc[0]!r} were read as numbers.")
            target = frame[wishes.target]
            values = tables.numbers(target)
            numeric = np.isfinite(values)
    if not numeric.all() and (
        kind in ("regression", "forecast") or (kind is None and numeric.mean() >= _MOSTLY)
    ):
        row = int(np.flatnonzero(~numeric)[0])
        instead = "" if kind else ", or say --kind multiclass to take all as classes"
        raise TaskError(
            f"{int((~numeric).sum())} of {len(target)} cells are no number (first: {str(target.iloc[row])[:40]!r} in "
            f"data row {row + 1}); repair them{instead}",
            where,
        )
    distinct = target.astype(str).str.strip().nunique() if not numeric.all() else len(np.unique(values))
    if distinct < 2:
        raise TaskError(
            f"has one value only ({str(target.iloc[0])[:40]!r}); there is nothing to learn", where
        )
    return frame, _kind(wishes, kind, values if numeric.all() else None, distinct, len(target), said)


def _kind_of_metric(metric: str | None) -> Problem | None:
    """The kind of problem when the metric leaves no choice; classification is settled by the classes."""
    if metric is None:
        return None
    fitting = {p for p in ("regression", "binary", "multiclass") if _fits(metric, p)}
    return "regression" if fitting == {"regression"} else None


def _fits(metric: str, problem: Problem) -> bool:
    try:
        return bool(get_metric(metric, problem))
    except TaskError:
        return False


def _kind(
    wishes: Wishes,
    kind: Problem | None,
    values: npt.NDArray[np.float64] | None,
    distinct: int,
    rows: int,
    said: list[str],
) -> Problem:
    target = wishes.target
    where = f"target {target!r}"
    if kind in ("regression", "forecast"):
        return kind
    if kind == "binary" and distinct != 2:
        raise TaskError(f"has {distinct} values, not two; say --kind multiclass or regression", where)
    if kind == "multiclass" and distinct == 2:
        raise TaskError("has two values; say --kind binary", where)
    whole = values is not None and bool(np.all(values == np.round(values)))
    if kind is None and wishes.metric and not _fits(wishes.metric, "regression"):
        if values is not None and distinct > 2 and (not whole or distinct > MAX_CLASSES):
            get_metric(wishes.metric, "regression")  # says which metrics fit
        kind = "binary" if distinct == 2 else "multiclass"
    if kind is None and values is not None and distinct > 2:
        if not whole or distinct > FEW_VALUES or rows < 5 * distinct:
            if whole and distinct <= 30:
                said.append(
                    f"Target {target!r} holds {distinct} whole numbers: taken as an amount "
                    "(--kind multiclass for classes)."
                )
            return "regression"
        said.append(
            f"Target {target!r} holds only {distinct} whole numbers: taken as classes "
            "(--kind regression for an amount)."
        )
    if distinct > MAX_CLASSES or distinct > rows / 2:
        raise TaskError(
            f"has {distinct} distinct values in {rows} rows: too many for classes (at most {MAX_CLASSES}) and no "
            "numbers; name another target, or merge rare classes",
            where,
        )
    return "binary" if distinct == 2 else "multiclass"


def class_names(target: pd.Series, problem: Problem, said: list[str]) -> tuple[str, ...]:
    """The classes in submission order, the positive one of two last; empty for numeric targets.

    Raises:
        TaskError: too few rows of a class.
    """
    if problem not in ("binary", "multiclass"):
        return ()
    labels = tables.labels(target)
    counts = labels.value_counts()
    names = tables.sorted_labels({str(v) for v in counts.index})
    if len(names) < 2:
        raise TaskError(
            f"has one class only ({names[0]!r}); there is nothing to learn", f"target {target.name!r}"
        )
    if problem == "binary":
        if names[0].casefold() in _POSITIVE and names[1].casefold() not in _POSITIVE:
            names = (names[1], names[0])
        rare = int(counts.min())
        if rare < MIN_CLASS_ROWS:
            raise TaskError(
                f"class {counts.idxmin()!r} has {rare} rows; at least {MIN_CLASS_ROWS} are needed for training, "
                "validation and test",
                f"target {target.name!r}",
            )
        share = counts[names[1]] / len(labels)
        said.append(f"Two classes; {names[1]!r} is the positive one ({share:.1%} of the rows).")
    else:
        said.append(
            f"{len(names)} classes, the largest with {counts.max()} rows, the smallest with {counts.min()}."
        )
        single = counts.index[counts == 1]
        if len(single):
            said.append(
                f"Classes with one row only stay in training and are never tested: {some(map(str, single), 5)}."
            )
    return names
