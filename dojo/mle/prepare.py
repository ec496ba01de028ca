"""From a task package to prepared data: labelled rows, test rows without target, and the answers apart.

Prepared data live in the user's cache, one folder per content of the package, made once, checked on every use and
made again when damaged. Two runs that prepare the same task at once do not collide.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import runpy
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import platformdirs
from pydantic import ValidationError

from dojo.errors import TaskError, boundary
from dojo.mle import splits, tables
from dojo.mle.fetch import fetch_members
from dojo.mle.package import TASK_FILE, Task, sha256
from dojo.model import Frozen
from dojo.task import TaskSpec

LAYOUT = "1"
"""Raised when the form of prepared data changes, so that old ones are made again."""
MAX_CLASSES = 1000
_PACKAGE_FILES = (TASK_FILE, "prepare.py", "split.py", "grade.py")


@dataclass(frozen=True)
class Prepared:
    """Prepared data of one task. Picklable; holds paths, no data.

    `answers` is None when the user's own test file has no answers: the test score is then unknown.
    """

    spec: TaskSpec
    """As in the package, with the classes filled in from the data where `task.toml` lists none."""
    labelled: Path
    test: Path
    answers: Path | None
    fingerprint: str
    """Hash of the prepared values, the metric and the task's own grading and splitting code."""
    grade_py: Path | None = None
    split_py: Path | None = None
    notes: tuple[str, ...] = ()
    """What was changed on the way, in sentences."""
    n_labelled: int = 0
    n_test: int = 0
    horizon: int | None = None
    """Forecasts: the number of points in time in the test part, and so in every validation part."""


class Manifest(Frozen):
    """What was prepared, with the checksums by which damage is seen."""

    layout: str
    files: dict[str, str]
    classes: tuple[str, ...]
    fingerprint: str
    notes: tuple[str, ...]
    n_labelled: int
    n_test: int
    horizon: int | None


def cache_root() -> Path:
    """Where prepared data live: `tasks` in the user's cache folder (`$XDG_CACHE_HOME/gome` on Linux)."""
    return Path(platformdirs.user_cache_dir("gome")) / "tasks"


def prepared_folder(task: Task) -> Path:
    """Where the prepared data of this content of the package live, whether or not they are there."""
    return cache_root() / f"{task.spec.id}-{_package_hash(task)[:16]}"


def is_prepared(task: Task) -> bool:
    """Whether prepared data are there (not whether they are intact)."""
    return (prepared_folder(task) / "manifest.json").is_file()


def prepare_task(task: Task, progress: Callable[[str], None] | None = None) -> Prepared:
    """Prepare a task's data, or find them in the cache.

    Raises:
        TaskError: the data cannot be had, or do not fit `task.toml`.
    """
    say = progress or (lambda _: None)
    home = prepared_folder(task)
    try:
        home.parent.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise TaskError(f"cannot be made ({exc.strerror}); set XDG_CACHE_HOME", str(home.parent)) from exc
    with _locked(home.with_name(home.name + ".lock")):
        manifest = _intact(home)
        if manifest is None:
            if home.exists():
                say(f"{task.spec.id}: prepared data are damaged; making them again")
            manifest = _build(task, home, say)
    return _prepared(task, home, manifest)


def _prepared(task: Task, home: Path, manifest: Manifest) -> Prepared:
    names = {Path(name).stem: home / name for name in manifest.files}
    return Prepared(
        spec=task.spec.model_copy(update={"classes": manifest.classes}),
        labelled=names["labelled"],
        test=names["test"],
        answers=names.get("answers"),
        fingerprint=manifest.fingerprint,
        grade_py=task.grade_py,
        split_py=task.split_py,
        notes=manifest.notes,
        n_labelled=manifest.n_labelled,
        n_test=manifest.n_test,
        horizon=manifest.horizon,
    )


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _package_hash(task: Task) -> str:
    data = task.file.data
    names = [*_PACKAGE_FILES, *(name for name in (data.data, data.train, data.test, data.answers) if name)]
    digest = hashlib.sha256(LAYOUT.encode())
    for name in names:
        path = task.root / name
        if path.is_file():
            digest.update(f"{name}:{sha256(path)}\n".encode())
    return digest.hexdigest()


def _intact(home: Path) -> Manifest | None:
    try:
        manifest = Manifest.model_validate_json((home / "manifest.json").read_bytes())
    except (OSError, ValidationError):
        return None
    for name, expected in manifest.files.items():
        path = home / name
        if not path.is_file() or sha256(path) != expected:
            return None
    return manifest


def _build(task: Task, home: Path, say: Callable[[str], None]) -> Manifest:
    work = Path(tempfile.mkdtemp(prefix=f".{home.name}-", dir=home.parent))
    try:
        source = _source_files(task, work, say)
        say(f"{task.spec.id}: splitting")
        manifest = _write(task, _read_parts(task, source), work / "done")
        if home.exists():
            shutil.rmtree(home)
        (work / "done").rename(home)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    say(f"{task.spec.id}: {manifest.n_labelled} labelled and {manifest.n_test} test rows")
    return manifest


def _source_files(task: Task, work: Path, say: Callable[[str], None]) -> Path:
    """The folder in which the files of `[data]` lie, after the package's own step."""
    step = task.prepare_py
    if step is None:
        return task.root
    raw, out = work / "raw", work / "out"
    raw.mkdir()
    out.mkdir()
    for entry in task.file.download:
        fetch_members(entry, raw, say)
    for path in task.root.iterdir():  # data beside prepare.py are raw data too
        if path.is_file() and path.suffix not in (".py", ".toml", ".md", ".json"):
            shutil.copy2(path, raw / path.name)
    say(f"{task.spec.id}: preparing")
    with boundary(TaskError, f"{step}: prepare() failed"):
        function = runpy.run_path(str(step), run_name="task_prepare").get("prepare")
        if not callable(function):
            raise TaskError("defines no function prepare(raw, out); see docs/tasks.md", str(step))
        function(raw, out)
    return out


@dataclass
class _Parts:
    """Tables on their way; `answers` holds id and target of the test rows."""

    labelled: pd.DataFrame
    test: pd.DataFrame
    answers: pd.DataFrame | None
    notes: list[str]


def _read_parts(task: Task, source: Path) -> _Parts:
    data = task.file.data
    notes: list[str] = []
    if data.data:
        whole = _clean(task.spec, _read(source, data.data), data.data, notes)
        return _carve(task, whole, notes)
    assert data.train and data.test  # `inspect_package` has checked it
    spec = task.spec
    labelled = _clean(spec, _read(source, data.train), data.train, notes)
    test = _read(source, data.test)
    _check_columns(test, data.test)
    answers = _read(source, data.answers) if data.answers else None
    if answers is None and spec.target in test.columns:
        if spec.id_column not in test.columns:
            test.insert(0, spec.id_column, range(len(labelled), len(labelled) + len(test)))
        answers = test[[spec.id_column, spec.target]]
    test = test.drop(columns=spec.target, errors="ignore")
    if spec.id_column not in labelled.columns:
        labelled.insert(0, spec.id_column, range(len(labelled)))
    if answers is not None:
        _check_answers(spec, test, answers, data.answers or data.test)
        if spec.problem in ("binary", "multiclass"):
            labelled, answers = _same_labels(spec.target, labelled, answers)
    _check_ids(spec, test, data.test)
    return _Parts(labelled, test, answers, notes)


def _read(source: Path, name: str) -> pd.DataFrame:
    path = source / name
    if not path.is_file():
        raise TaskError(f"prepare.py did not write {name!r}, which task.toml names under [data]", name)
    return tables.read_table(path)


def _check_columns(frame: pd.DataFrame, where: str) -> None:
    twice = frame.columns[frame.columns.duplicated()]
    if len(twice):
        raise TaskError(f"column {twice[0]!r} is there twice; rename one", where)
    if len(frame) == 0:
        raise TaskError("has no rows", where)


def _clean(spec: TaskSpec, frame: pd.DataFrame, where: str, notes: list[str]) -> pd.DataFrame:
    """Labelled rows with a usable target."""
    _check_columns(frame, where)
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
    twice = column[column.duplicated()]
    if len(twice):
        raise TaskError(
            f"id column {spec.id_column!r} is not unique ({twice.iloc[0]!r} is there twice, {len(twice)} "
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


def _carve(task: Task, whole: pd.DataFrame, notes: list[str]) -> _Parts:
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
        # Neither the order of the rows nor the ids we give may tell anything: files are often sorted by class.
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
    return _Parts(
        labelled=whole.iloc[labelled].reset_index(drop=True),
        test=held.drop(columns=spec.target),
        answers=held[[spec.id_column, spec.target]],
        notes=notes,
    )


def _classes(spec: TaskSpec, parts: _Parts) -> tuple[str, ...]:
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


def _write(task: Task, parts: _Parts, home: Path) -> Manifest:
    spec = task.spec
    _check_test_columns(spec, parts)
    classes = _classes(spec, parts)
    suffix = Path(task.file.data.data or task.file.data.train or "x.csv").suffix
    private = home / "private"
    (home / "data").mkdir(parents=True)
    private.mkdir(mode=0o700)
    names = {f"data/labelled{suffix}": parts.labelled, f"data/test{suffix}": parts.test}
    if parts.answers is not None:
        answers = parts.answers[[spec.id_column, spec.target]]
        if classes:
            answers = answers.assign(**{spec.target: tables.label_text(answers[spec.target]).to_numpy()})
        if spec.split == "group":
            keyed = parts.test.set_index(spec.id_column)[str(spec.group)]
            answers = answers.assign(__block__=keyed.loc[answers[spec.id_column]].to_numpy())
        names[f"private/answers{suffix}"] = answers
    for name, frame in names.items():
        tables.write_table(frame, home / name)
    for path in private.iterdir():
        path.chmod(0o600)
    manifest = Manifest(
        layout=LAYOUT,
        files={name: sha256(home / name) for name in names},
        classes=classes,
        fingerprint=_fingerprint(task, list(names.values())),
        notes=tuple(parts.notes),
        n_labelled=len(parts.labelled),
        n_test=len(parts.test),
        horizon=_horizon(spec, parts.test),
    )
    with (home / "manifest.json").open("w", encoding="utf-8") as handle:
        json.dump(manifest.model_dump(mode="json"), handle, indent=1)
        handle.flush()
        os.fsync(handle.fileno())
    return manifest


def _check_test_columns(spec: TaskSpec, parts: _Parts) -> None:
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


def _horizon(spec: TaskSpec, test: pd.DataFrame) -> int | None:
    if spec.problem != "forecast" or spec.time is None:
        return None
    return len(np.unique(tables.time_key(test[spec.time], f"{spec.id}: column {spec.time!r}")))


def _fingerprint(task: Task, frames: list[pd.DataFrame]) -> str:
    digest = hashlib.sha256(
        f"{task.spec.metric.name}|{task.spec.metric.direction}|{task.spec.target}".encode()
    )
    for frame in frames:
        digest.update(tables.content_hash(frame).encode())
    for path in (task.grade_py, task.split_py):
        digest.update(sha256(path).encode() if path else b"-")
    return digest.hexdigest()
