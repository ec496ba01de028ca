"""What kind of task a table with a target is: problem, metric, split, ids, texts — and why, in sentences.

Every choice can be overridden by the caller; every guess is said. Nothing is guessed that could silently make the
score mean something else: such tables are refused with what to do.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from dojo.errors import TaskError
from dojo.mle import columns, tables
from dojo.mle.metrics import default_metric, get_metric, list_metrics
from dojo.mle.package import RESERVED
from dojo.mle.problem import Wishes, class_names, decide_problem, some
from dojo.task import Modality, Problem, SplitKind

MIN_ROWS = 20
_ID_NAMES = frozenset({"id", "row_id", "rowid", "uid", "uuid", "index", "idx", "key"})


@dataclass
class Inference:
    """A cleaned table and what was found out about it."""

    frame: pd.DataFrame
    target: str
    problem: Problem
    metric: str
    id_column: str
    group: str | None
    time: str | None
    split: SplitKind
    modality: Modality = "tabular"
    classes: tuple[str, ...] = ()
    text_columns: tuple[str, ...] = ()
    image_shape: tuple[int, int] | None = None
    series_prefix: str | None = None
    horizon: int | None = None
    kinds: dict[str, columns.Kind] = field(default_factory=dict)
    """What each column but the target holds."""
    said: list[str] = field(default_factory=list)
    """What was inferred or repaired, in sentences."""


def infer(frame: pd.DataFrame, wishes: Wishes) -> Inference:
    """Find out what task a table is.

    Args:
        frame: the table as read (text cells from CSV, types from parquet).
        wishes: the target, and what else the user has settled.

    Raises:
        TaskError: the table makes no task; the message says what to do.
    """
    said: list[str] = []
    _check_roles(frame, wishes)
    frame = _drop_unlabelled(frame, wishes.target, said)
    if len(frame) < MIN_ROWS:
        raise TaskError(
            f"{len(frame)} labelled rows are too few to learn and judge; at least {MIN_ROWS}", "rows"
        )
    frame = _drop_empty_columns(frame, wishes, said)
    frame, problem = decide_problem(frame, wishes, said)
    classes = class_names(frame[wishes.target], problem, said)
    id_column = _id_column(frame, wishes, classes, said)
    frame = _time(frame, wishes, said)
    _group(frame, wishes, said)
    if problem == "regression" and wishes.time and _only_time(frame, wishes, id_column):
        problem = "forecast"
        said.append(
            "There is nothing but time to predict from: taken as a forecast (--kind regression to change)."
        )
    metric = _metric(frame, wishes, problem, classes, said)
    split = _split(problem, wishes, said)
    result = Inference(
        frame=frame,
        target=wishes.target,
        problem=problem,
        metric=metric,
        id_column=id_column,
        group=wishes.group,
        time=wishes.time,
        split=split,
        classes=classes,
        said=said,
    )
    _features(result)
    if problem == "forecast":
        _forecast(result)
    return result


def _check_roles(frame: pd.DataFrame, wishes: Wishes) -> None:
    roles = {
        "--target": wishes.target,
        "--id": wishes.id_column,
        "--group": wishes.group,
        "--time": wishes.time,
    }
    names = [str(c) for c in frame.columns]
    for option, name in roles.items():
        if name is not None and name not in names:
            lower = {n.casefold(): n for n in names}
            near = difflib.get_close_matches(name.casefold().strip(), lower, n=2, cutoff=0.5)
            hint = (
                f"did you mean {' or '.join(repr(lower[n]) for n in near)}?"
                if near
                else f"there are {some(names)}"
            )
            raise TaskError(f"no column {name!r}; {hint}", option)
        if name == RESERVED:
            raise TaskError(f"{RESERVED!r} is a reserved name; rename the column", option)
    for option in ("--id", "--group", "--time"):
        if roles[option] == wishes.target:
            raise TaskError(f"column {wishes.target!r} is the target; give another one", option)
    if wishes.group is not None and wishes.group == wishes.id_column:
        raise TaskError(f"column {wishes.group!r} is the id too; a group must hold several rows", "--group")


def _drop_unlabelled(frame: pd.DataFrame, target: str, said: list[str]) -> pd.DataFrame:
    gone = tables.is_missing(frame[target])
    if gone.all():
        raise TaskError(f"all {len(frame)} cells are empty; name the column to predict", f"target {target!r}")
    if gone.any():
        words = sorted({str(v) for v in frame.loc[gone, target] if isinstance(v, str) and v})
        why = f" (cells that pandas reads as missing: {some(words, 3)})" if words else ""
        said.append(f"{int(gone.sum())} of {len(frame)} rows have no target and were left out{why}.")
        frame = frame[~gone]
    return frame.reset_index(drop=True)


def _drop_empty_columns(frame: pd.DataFrame, wishes: Wishes, said: list[str]) -> pd.DataFrame:
    empty = [name for name in frame.columns if tables.is_missing(frame[name]).all()]
    for option, name in (("--id", wishes.id_column), ("--group", wishes.group), ("--time", wishes.time)):
        if name in empty:
            raise TaskError(f"all cells of {name!r} are empty; give another column", option)
    if not empty:
        return frame
    said.append(f"Columns without any value were left out: {some(map(str, empty))}.")
    frame = frame.drop(columns=empty)
    if frame.shape[1] < 2:
        raise TaskError("no column is left to predict from", f"target {wishes.target!r}")
    return frame


def _id_column(frame: pd.DataFrame, wishes: Wishes, classes: tuple[str, ...], said: list[str]) -> str:
    if wishes.id_column is not None:
        why = _id_trouble(frame[wishes.id_column])
        if why:
            raise TaskError(f"column {wishes.id_column!r} {why}; leave --id out and ids are made", "--id")
        if wishes.id_column in classes:
            raise TaskError(f"column {wishes.id_column!r} is called like a class; rename the column", "--id")
        return wishes.id_column
    taken = {wishes.target, wishes.time, wishes.group, *classes}
    names = [str(c) for c in frame.columns if c not in taken]
    likely = [n for n in names if n.casefold() in _ID_NAMES]
    if names and names[0].casefold().endswith("id") and names[0] not in likely:
        likely.append(names[0])
    for name in likely:
        why = _id_trouble(frame[name])
        if not why:
            said.append(f"Column {name!r} is unique: taken as the id.")
            return name
        said.append(f"Column {name!r} {why}: kept as a feature, not taken as the id.")
    candidates = ("id", "row_id", *(f"row_id_{i}" for i in range(2, 1000)))
    made = next(n for n in candidates if n not in frame.columns and n not in classes)
    said.append(f"No id column: ids are made, as {made!r}.")
    return made


def _id_trouble(column: pd.Series) -> str:
    """Why a column cannot be the id; empty if it can."""
    if tables.is_missing(column).any():
        return "has empty cells"
    twice = tables.duplicate_ids(column)
    return f"is not unique ({twice[0]!r} is there twice, {len(twice)} duplicates)" if twice else ""


def _time(frame: pd.DataFrame, wishes: Wishes, said: list[str]) -> pd.DataFrame:
    if wishes.time is None:
        return frame
    column, option = frame[wishes.time], "--time"
    where = f"{option} {wishes.time!r}"
    key = tables.time_key(column, where)
    if len(np.unique(key)) < 5:
        raise TaskError(
            f"has {len(np.unique(key))} distinct times; at least 5 are needed to split by time", where
        )
    short = column.astype(str).str.fullmatch(r"\d{1,2}[/.-]\d{1,2}[/.-]\d{2,4}.*")
    if short.any():  # what day and month are was told by the whole column; a solution sees a part of it
        parsed = tables.parse_dates(column, where)
        midnight = bool((parsed == parsed.dt.normalize()).all())
        frame = frame.assign(
            **{wishes.time: parsed.dt.strftime("%Y-%m-%d" if midnight else "%Y-%m-%d %H:%M:%S")}
        )
        said.append(
            f"Dates in {wishes.time!r} are rewritten as YYYY-MM-DD ({column.iloc[0]} → {frame[wishes.time].iloc[0]})."
        )
    return frame


def _group(frame: pd.DataFrame, wishes: Wishes, said: list[str]) -> None:
    if wishes.group is None:
        return
    column = frame[wishes.group]
    where = f"--group {wishes.group!r}"
    if tables.is_missing(column).any():
        raise TaskError(
            f"{int(tables.is_missing(column).sum())} rows have no group; fill them or drop these rows", where
        )
    groups = column.nunique()
    if groups < 5:
        raise TaskError(
            f"has {groups} groups; at least 5 are needed for training, validation and test", where
        )
    if groups == len(column):
        said.append(f"Every row is a group of its own in {wishes.group!r}: the same as a random split.")


def _only_time(frame: pd.DataFrame, wishes: Wishes, id_column: str) -> bool:
    return wishes.kind is None and set(frame.columns) <= {wishes.target, wishes.time, wishes.group, id_column}


def _metric(
    frame: pd.DataFrame, wishes: Wishes, problem: Problem, classes: tuple[str, ...], said: list[str]
) -> str:
    if wishes.metric is not None:
        name = get_metric(wishes.metric, problem).metric.name
    else:
        imbalance = 1.0
        if classes:
            counts = tables.labels(frame[wishes.target]).value_counts()
            imbalance = float(counts.max() / counts.min())
        name = default_metric(problem, len(classes), imbalance)
        others = [m.metric.name for m in list_metrics(problem) if m.metric.name != name]
        said.append(f"Metric: {name} (--metric for another: {', '.join(others[:6])} …).")
    if name == "rmsle" and (tables.numbers(frame[wishes.target]) < 0).any():
        raise TaskError("rmsle needs a target without negative values; take rmse or mae", "--metric")
    return name


def _split(problem: Problem, wishes: Wishes, said: list[str]) -> SplitKind:
    if problem == "forecast" and wishes.time is None:
        raise TaskError("a forecast needs the column that tells the time: --time COLUMN", "--kind")
    if wishes.time is not None:
        said.append(f"Split by time ({wishes.time!r}): validation lies after training, test after both.")
        return "time"
    if wishes.group is not None:
        said.append(f"Split by {wishes.group!r}: no group is in training and in validation or test.")
        return "group"
    kind: SplitKind = "stratified" if problem in ("binary", "multiclass") else "random"
    said.append(f"Split: {kind}, 20 % of the rows for the test, 20 % of the rest for validation.")
    return kind


def _features(result: Inference) -> None:
    """Kinds of the columns, modality, and warnings about columns that give the target away."""
    frame, said = result.frame, result.said
    features = frame.drop(columns=[c for c in (result.target, result.id_column) if c in frame.columns])
    shape = columns.find_shape(features)
    if shape is not None:
        result.modality = shape.modality
        result.image_shape = shape.image_shape
        result.series_prefix = shape.prefix if shape.modality == "series" else None
        what = "one series" if shape.modality == "series" else "one grey image"
        said.append(f"Columns {shape.prefix}0 … {shape.prefix}{shape.length - 1} hold {what} per row.")
        return
    result.kinds = {str(name): columns.column_kind(features[name]) for name in features.columns}
    roles = {result.group, result.time}
    result.text_columns = tuple(n for n, k in result.kinds.items() if k == "text" and n not in roles)
    if result.text_columns:
        others = [n for n in result.kinds if n not in result.text_columns and n not in roles]
        result.modality = "text" if len(others) <= 2 else "tabular"
        said.append(f"Free text in {some(result.text_columns)}.")
    if result.problem == "forecast":
        result.modality = "series"
    counts = pd.Series(list(result.kinds.values())).value_counts()
    plural = {"category": "categories", "boolean": "booleans", "text": "texts"}
    listed = [f"{n} {plural.get(str(k), f'{k}s') if n > 1 else k}" for k, n in counts.items()]
    said.append(f"{len(result.kinds)} feature columns: {', '.join(listed)}.")
    dates = [n for n, k in result.kinds.items() if k == "date"]
    if dates and result.time is None:
        said.append(
            f"Column {dates[0]!r} holds dates: if new rows will be later ones, say --time {dates[0]!r}."
        )
    target = frame[result.target].astype(str)
    copies = [n for n in result.kinds if (features[n].astype(str) == target).all()]
    if copies:
        said.append(
            f"Warning: {some(copies)} equals the target in every row; remove it if it is not known beforehand."
        )


def _forecast(result: Inference) -> None:
    points = len(np.unique(tables.time_key(result.frame[str(result.time)], f"--time {result.time!r}")))
    if points < MIN_ROWS:
        raise TaskError(f"{points} points in time are too few for a forecast; at least {MIN_ROWS}", "--time")
    result.horizon = max(1, min(48, points // 8))
    result.said.append(
        f"Horizon: the last {result.horizon} of {points} points in time are the test (horizon in task.toml)."
    )
