"""Observations: named facts for diagnosis, computed by the harness from training rows and labels only.

`profile` describes the data, `observe` the out-of-fold predictions of the last result. Nothing here has seen
a validation or test label. Out-of-fold files are written by the candidate program and are treated as hostile:
whatever is wrong with them becomes an observation, never an exception.

Large tables are sampled with the task's own seed, so equal input gives equal observations. What depends on
the training rows alone is kept between calls with the same frame, which must therefore not be changed in place.
"""

from __future__ import annotations

import warnings
from collections import deque

import numpy as np
import pandas as pd

from dojo.environment import Observation
from dojo.mle import observe_data as data
from dojo.mle import observe_result as result
from dojo.mle.observe_columns import FloatArray, Notes, columns_of
from dojo.mle.observe_oof import Oof, align, target_numbers
from dojo.mle.observe_probe import additive_share, linear_share, nearest, neighbour_share, tree_share
from dojo.mle.observe_sample import NEIGHBOURS, pick, sample_of
from dojo.mle.observe_time import forecast_facts
from dojo.task import TaskSpec

PROFILE_ROWS = 12_000
LIMIT = 120
"""At most this many observations; a record of an experiment holds 128."""


def profile(spec: TaskSpec, train: pd.DataFrame) -> list[Observation]:
    """Facts about the training data. The same for every experiment of a run.

    Args:
        spec: the task.
        train: labelled rows, with the target.

    Returns:
        At most 120 observations with finite values; empty if the target column is missing.
    """
    notes = Notes()
    if spec.target not in train.columns or len(train) == 0:
        return []
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        frame = train if len(train) <= PROFILE_ROWS else train.iloc[pick(len(train), PROFILE_ROWS, spec.seed)]
        columns = columns_of(spec, frame)
        target = target_numbers(spec, frame)
        filled = np.nan_to_num(target, nan=float(np.nanmedian(target)) if np.isfinite(target).any() else 0.0)
        filled = np.clip(filled, -1e100, 1e100)
        data.shape_facts(notes, spec, train, columns)
        data.target_facts(notes, spec, target)
        data.missing_facts(notes, frame, columns, filled)
        data.number_facts(notes, frame, columns)
        data.label_facts(notes, frame, columns, filled)
        data.text_facts(notes, frame, columns)
        data.date_facts(notes, frame, columns)
        data.wide_facts(notes, spec, frame, columns)
        if spec.problem == "forecast":
            forecast_facts(notes, spec, train, target_numbers(spec, train))
        else:
            _probe_facts(notes, spec, _prepared(spec, train))
    return notes.items[:LIMIT]


def observe(spec: TaskSpec, train: pd.DataFrame, oof: pd.DataFrame | None) -> list[Observation]:
    """Facts about a result from its out-of-fold predictions and the training labels.

    Args:
        spec: the task.
        train: the labelled rows of the view the solution was run on.
        oof: what the solution wrote, unchecked; None if it wrote nothing.

    Returns:
        At most 120 observations with finite values, `oof_missing` always first.
    """
    notes = Notes()
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        if oof is None:
            notes.add("oof_missing", 1.0, "the solution wrote no out-of-fold predictions")
            return notes.items
        aligned = align(spec, train, oof) if spec.target in train.columns else "there is no target"
        if isinstance(aligned, str):
            notes.add("oof_missing", 1.0, f"the out-of-fold predictions cannot be used: {aligned}")
            return notes.items
        _result_facts(notes, spec, _prepared(spec, train), aligned)
    return notes.items[:LIMIT]


def _result_facts(notes: Notes, spec: TaskSpec, prepared: _Prepared, oof: Oof) -> None:
    notes.add("oof_missing", 0.0, "out-of-fold predictions are there")
    notes.add("oof_share", oof.share, f"{oof.share:.0%} of the training rows have one")
    for problem in oof.problems:
        notes.add("oof_problem", problem, problem)
    if spec.problem in ("binary", "multiclass"):
        loss = result.class_result(notes, spec, oof)
        residual = oof.residual
    else:
        residual = result.number_result(notes, spec, oof)
        loss = np.abs(residual)
    result.fold_facts(notes, oof)
    sample = prepared.sample
    result.order_facts(notes, oof, sample.order, residual)
    where = np.full(len(prepared.train), -1, np.int64)
    where[oof.rows] = np.arange(len(oof.rows))
    found = where[sample.rows]
    keep = found >= 0
    if int(keep.sum()) >= 10:
        result.structure_facts(notes, sample, keep, residual[found[keep]], spec.seed)
        result.error_facts(notes, sample, keep, loss[found[keep], 0])


def _probe_facts(notes: Notes, spec: TaskSpec, prepared: _Prepared) -> None:
    """How far simple models get on the target: which shape the signal has."""
    sample = prepared.sample
    signal = _signal(spec, target_numbers(spec, prepared.train.iloc[sample.rows]))
    good = np.isfinite(signal).all(axis=1)
    if int(good.sum()) < 60:
        return
    matrix = sample.view.matrix[good]
    linear = linear_share(matrix, signal[good], spec.seed)
    additive = additive_share(sample.bins[good], signal[good], spec.seed)
    tree = tree_share(matrix, signal[good], spec.seed, depth=6)
    notes.add(
        "probe_linear", linear, f"a linear model of the raw features explains {linear:.1%} of the target"
    )
    notes.add("probe_additive", additive, f"one-variable steps explain {additive:.1%} of the target")
    notes.add("probe_tree", tree, f"a small tree explains {tree:.1%} of the target")
    bend = tree - linear
    notes.add(
        "nonlinearity", bend, f"a small tree explains {bend:+.1%} more of the target than a linear model"
    )
    if good.all() and sample.near is not None:
        near = neighbour_share(sample.near, signal)
        notes.add("probe_neighbours", near, f"the nearest rows explain {near:.1%} of the target")
        fewer = np.clip(sample.view.matrix[: len(sample.near) // 2], -5, 5)
        more = near - neighbour_share(nearest(fewer, NEIGHBOURS), signal)
        notes.add("more_data_gain", more, f"twice the rows let the nearest rows explain {more:+.1%} more")


def _signal(spec: TaskSpec, target: FloatArray) -> FloatArray:
    """The target as columns of numbers; skewed positive ones on the log scale; classes as 0/1 columns."""
    if spec.problem in ("binary", "multiclass"):
        classes = min(8, max(2, len(spec.classes)))
        count = np.bincount(target[target >= 0].astype(int), minlength=classes)
        common = np.argsort(-count, kind="stable")[: 1 if len(spec.classes) == 2 else classes]
        return np.column_stack([(target == c).astype(float) for c in common])
    clean = np.clip(target, -1e100, 1e100)
    finite = clean[np.isfinite(clean)]
    if len(finite) and finite.min() >= 0 and np.median(finite) < 0.8 * finite.mean():
        clean = np.log1p(clean)
    return clean[:, None]


class _Prepared:
    """One training frame and what is worth keeping about it."""

    def __init__(self, spec: TaskSpec, train: pd.DataFrame) -> None:
        self.spec = spec
        self.train = train
        self.sample = sample_of(spec, train)


_KEPT: deque[_Prepared] = deque(maxlen=4)


def _prepared(spec: TaskSpec, train: pd.DataFrame) -> _Prepared:
    """The prepared form of a frame; the last four frames are kept, by identity."""
    for kept in _KEPT:
        if kept.train is train and kept.spec == spec:
            return kept
    _KEPT.append(_Prepared(spec, train))
    return _KEPT[-1]
