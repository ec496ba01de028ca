"""The rows of a task: labelled rows, test rows and answers, read from a package's files and checked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from dojo.errors import TaskError
from dojo.mle import splits, tables
from dojo.mle.package import Task
from dojo.task import TaskSpec

MAX_CLASSES = 1000


@dataclass
class Parts:
    """Tables on their way; `answers` holds id and target of the test rows."""

    labelled: pd.DataFrame
    test: pd.DataFrame
    answers: pd.DataFrame | None
    notes: list[str]


def read_parts(task: Task, source: Path) -> Parts:
    """Read the files of `[data]` from `source`, check them, and carve the test part where the task has none.

    Raises:
        TaskError: the data do not fit `task.toml`.
    """
    data = task.file.data
    notes: list[str] = []
    if data.data:
        whole = _clean(task.spec, _read(source, data.data), data.data, notes)
        return _carve(task, whole, notes)
    assert data.train and data.test  # `inspect_package` has checked it
    spec = task.spec
    labelled = _clean(spec, _read(source, data.train), data.train, notes)
    test = _read(source, data.test)
    _check_rows(test, data.test)
    answers = _read(source, data.answers) if data.answers else None
    if spec.id_column not in labelled.columns and spec.id_column not in test.columns and answers is None:
        labelled, test = _number_rows(spec, labelled, test)
    splits.required_column(labelled, spec.id_column, "id", data.train)
    splits.required_column(test, spec.id_column, "id", data.test)
    if answers is None and spec.target in test.columns:
        answers = test[[spec.id_column, spec.target]]
    test = test.drop(columns=spec.target, errors="ignore")
    if answers is not None:
        _check_answers(spec, test, answers, data.answers or data.test)
        if spec.problem in ("binary", "multiclass"):
            labelled, answers = _same_labels(spec.target, labelled, answers)
    _check_ids(spec, test, data.test)
    return Parts(labelled, test, answers, notes)


def _read(source: Path, name: str) -> pd.DataFrame:
    path = source / name
    if not path.is_file():
        raise TaskError(f"prepare.py did not write {name!r}, which task.toml names under [data]", name)
    return tables.read_table(path)


def _check_rows(frame: pd.DataFrame, where: str) -> None:
    if len(frame) == 0:
        raise TaskError("has no rows", where)


def _clean(spec: TaskSpec, frame: pd.DataFrame, where: str, notes: list[str]) -> pd.DataFrame:
    """Labelled rows with a usable target."""
    _check_rows(frame, where)
    target = splits.required_column(frame, spec.target, "target", where)
    gone = tables.is_missing(target)
    if gone.all():
        raise TaskError(f"target {spec.target!r} is empty in all {len(frame)} rows", where)
    if gone.any():
        notes.append(f"{int(gone.sum())} rows without target {spec.target!r} were left out")
        frame = frame[~gone].reset_index(drop=True)
    frame = frame.assign(**{spec.target: _clean_target(spec, frame[spec.target], where)})
    if spec.id_column in frame.columns:
        _check_ids(spec, frame, where)
    return frame


def _clean_target(spec: TaskSpec, target: pd.Series, where: str) -> pd.Series:
    if spec.problem in ("binary", "multiclass"):
        labels = tables.labels(target)
        labels.index = target.index
        if pd.api.types.is_integer_dtype(target.dtype) or pd.api.types.is_bool_dtype(target.dtype):
            return target  # typed parquet columns read back as they are
        return labels
    values = tables.numbers(target)
    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size:
        cell = str(target.iloc[int(bad[0])])[:40]
        raise TaskError(
            f"target {spec.target!r} is no finite number in {bad.size} rows (first: {cell!r} in data row "
            f"{int(bad[0]) + 1}); repair them, or set problem to a classification",
            where,
        )
    return target


def _check_ids(spec: TaskSpec, frame: pd.DataFrame, where: str) -> None:
    column = splits.required_column(frame, spec.id_column, "id", where)
    if tables.is_missing(column).any():
        raise TaskError(
            f"id column {spec.id_column!r} has empty cells; fill them or name another id column", where
        )
    twice = tables.duplicate_ids(column)
    if twice:
        raise TaskError(
            f"id column {spec.id_column!r} is not unique ({twice[0]!r} is there twice, {len(twice)} "
            "duplicates); name a unique column, or none and ids are made",
            where,
        )


def _check_answers(spec: TaskSpec, test: pd.DataFrame, answers: pd.DataFrame, where: str) -> None:
    for name in (spec.id_column, spec.target):
        splits.required_column(answers, name, "answers'", where)
    if tables.is_missing(answers[spec.target]).any():
        raise TaskError(f"target {spec.target!r} has empty cells; every test row needs an answer", where)
    if set(answers[spec.id_column]) != set(test[spec.id_column]) or len(answers) != len(test):
        raise TaskError(f"does not hold exactly the ids of the test rows in {spec.id_column!r}", where)
    _clean_target(spec, answers[spec.target], where)


def _same_labels(target: str, *frames: pd.DataFrame) -> list[pd.DataFrame]:
    """The frames with labels in one canonical form; each alone might be taken for another kind of label."""
    joint = tables.labels(pd.concat([frame[target].astype(object) for frame in frames])).to_numpy()
    ends = np.cumsum([len(frame) for frame in frames])[:-1]
    return [frame.assign(**{target: part}) for frame, part in zip(frames, np.split(joint, ends), strict=True)]


def _number_rows(spec: TaskSpec, labelled: pd.DataFrame, test: pd.DataFrame) -> list[pd.DataFrame]:
    """Both tables with ids of ours, shuffled unless their order means something."""
    rng = splits.make_generator(spec.seed, "order")
    numbered = []
    start = 0
    for frame in (labelled, test):
        if spec.split in ("random", "stratified", "group"):
            frame = frame.iloc[rng.permutation(len(frame))].reset_index(drop=True)
        frame.insert(0, spec.id_column, range(start, start + len(frame)))
        numbered.append(frame)
        start += len(frame)
    return numbered


def _carve(task: Task, whole: pd.DataFrame, notes: list[str]) -> Parts:
    """Hold the test part out of one table."""
    spec, data = task.spec, task.file.data
    part = splits.partition(
        spec,
        whole,
        fraction=data.test_fraction,
        purpose="test",
        horizon=data.horizon if spec.problem == "forecast" else None,
        split_py=task.split_py,
    )
    labelled, test = part.train, part.held
    if spec.split in ("random", "stratified", "group"):
        # Neither the order of the rows nor our ids may tell anything: files are often sorted by class.
        rng = splits.make_generator(spec.seed, "order")
        labelled, test = rng.permutation(labelled), rng.permutation(test)
    elif spec.split == "time":
        times = tables.time_key(whole[str(spec.time)], f"{spec.id}: column {spec.time!r}")
        labelled = labelled[np.argsort(times[labelled], kind="stable")]
        test = test[np.argsort(times[test], kind="stable")]
    if spec.id_column not in whole.columns:
        ids = np.empty(len(whole), dtype=np.int64)
        ids[np.concatenate([labelled, test])] = np.arange(len(whole))
        whole.insert(0, spec.id_column, ids)
    held = whole.iloc[test].reset_index(drop=True)
    return Parts(
        labelled=whole.iloc[labelled].reset_index(drop=True),
        test=held.drop(columns=spec.target),
        answers=held[[spec.id_column, spec.target]],
        notes=notes,
    )


def class_labels(spec: TaskSpec, parts: Parts) -> tuple[str, ...]:
    """The classes in submission order: those of `task.toml`, else those of the data, sorted.

    Raises:
        TaskError: one class, too many, or one that `task.toml` does not list.
    """
    if spec.problem not in ("binary", "multiclass"):
        return ()
    seen = {str(v) for v in tables.label_text(parts.labelled[spec.target])}
    found = set(seen)
    if parts.answers is not None:
        found |= {str(v) for v in tables.label_text(parts.answers[spec.target])}
    where = f"{spec.id}: target {spec.target!r}"
    if len(seen) < 2:
        raise TaskError(f"has one class only ({next(iter(seen))!r}); there is nothing to learn", where)
    if spec.problem == "binary" and len(found) != 2:
        raise TaskError(f'has {len(found)} classes; set problem = "multiclass"', where)
    if len(found) > MAX_CLASSES:
        raise TaskError(f"has {len(found)} classes, more than {MAX_CLASSES}; is it a regression?", where)
    if not spec.classes:
        return tables.sorted_labels(found)
    unknown = found - set(spec.classes)
    if unknown:
        raise TaskError(f"holds {sorted(unknown)[0]!r}, which is not among the classes of task.toml", where)
    return spec.classes


def check_test_columns(spec: TaskSpec, parts: Parts) -> None:
    """Leave out test columns that training rows lack, and see that the columns with a role are there."""
    known = set(parts.labelled.columns)
    extra = [name for name in parts.test.columns if name not in known]
    if extra:
        parts.notes.append(
            f"test columns that training rows lack were left out: {', '.join(map(str, extra[:5]))}"
        )
        parts.test = parts.test.drop(columns=extra)
    roles = {"id": spec.id_column, "group": spec.group, "time": spec.time}
    for role, name in roles.items():
        for frame, part in ((parts.labelled, "labelled"), (parts.test, "test")):
            if name is not None and name not in frame.columns:
                raise TaskError(f"the {role} column {name!r} is not in the {part} rows", spec.id)


def horizon_of(spec: TaskSpec, test: pd.DataFrame) -> int | None:
    """How many points in time the test part of a forecast holds; None for other problems."""
    if spec.problem != "forecast" or spec.time is None:
        return None
    return len(np.unique(tables.time_key(test[spec.time], f"{spec.id}: column {spec.time!r}")))
