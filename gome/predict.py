"""`gome predict`: the solution that a run ended with, on new rows.

The solution is run as in the final stage: confined, with all labelled rows as `train` and the new rows as
`test`. The run's own prepared data are used, so the task's package may have moved or gone.
"""

from __future__ import annotations

import csv
import difflib
import io
import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from dojo.environment import FINAL
from dojo.errors import Failure, TaskError
from dojo.mle import tables
from dojo.mle.environment import MleEnvironment
from dojo.mle.prepare import Prepared
from dojo.mle.source import read_source
from dojo.slot import Slot
from dojo.task import TaskSpec
from gome.api import read_state
from gome.config import RunConfig
from gome.errors import ConfigError
from gome.loop.backend import machine_cpus, machine_memory_mb
from gome.loop.blobs import DirectoryBlobs
from gome.loop.experiment import Experiment
from gome.loop.rundir import RunDir
from gome.loop.state import RunState
from gome.result import chosen

_INTEGER = re.compile(r"(0|-?[1-9]\d{0,17})$")


@dataclass(frozen=True)
class Predicted:
    """What was written, and what was done to the rows on the way, in sentences."""

    out: Path
    rows: int
    notes: tuple[str, ...]


def predict(
    run_dir: Path,
    rows: Path,
    out: Path,
    *,
    force: bool = False,
    encoding: str = "utf-8",
    seconds: float | None = None,
) -> Predicted:
    """Predict new rows and write them as a submission, in their order and with their ids.

    Args:
        run_dir: a finished run.
        rows: a .csv, .tsv or .parquet file with the columns of the training rows; the target and the id may be
            missing.
        out: the CSV file to write.
        force: whether to overwrite it.
        encoding: of a CSV file.
        seconds: limit on the run, below the task's own.

    Raises:
        ConfigError: the run has no result, `out` cannot be written, or the solution failed on these rows.
        ResumeError: not a run directory, or damaged.
        TaskError: the rows do not fit the training rows.
    """
    directory = RunDir(run_dir)
    state = read_state(directory.root)
    best = _result(state, run_dir)
    _check_out(out, rows, force)
    assert state.started is not None
    spec, config = state.started.task, RunConfig.model_validate(state.started.config)
    train, header = _labelled(directory)
    source = read_source(rows, encoding)
    notes = list(source.notes)
    frame = _features(source.frame, train, header, spec, rows, notes)
    own = source.frame.get(spec.id_column)
    ids = _ids(own, train[spec.id_column], len(frame), spec, notes)
    frame.insert(0, spec.id_column, ids)
    files = _files(best, directory, notes)
    directory.work.mkdir(exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="predict-", dir=directory.work))
    try:
        work.chmod(0o755)  # the sandbox may use a uid of its own
        prepared = _prepared(work, train, frame[header], spec, directory)
        predictions = _run(prepared, files, config, work, seconds)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    _write(out, predictions, [str(i) for i in ids], ids if own is None else own, spec.id_column)
    if spec.metric.needs == "probability":
        notes.append(f"Column {spec.target!r} holds the probability of {spec.classes[1]!r}.")
    return Predicted(out, len(frame), tuple(notes))


def _result(state: RunState, run_dir: Path) -> Experiment:
    if state.started is None:
        raise ConfigError(f"{run_dir}: the journal is empty; start a run first")
    if state.started.task.kind != "mle":
        raise ConfigError(f"{run_dir} is a run of kind {state.started.task.kind}: it predicts no rows")
    if state.finished is None:
        raise ConfigError(f"{run_dir} is not finished: go on with gome resume {run_dir}")
    best = chosen(state)
    if best is None:
        raise ConfigError(f"{run_dir} ended without a valid solution: there is nothing to predict with")
    return best


def _check_out(out: Path, rows: Path, force: bool) -> None:
    if out.suffix.lower() != ".csv":
        raise ConfigError(f"{out}: predictions are written as CSV; give a name that ends in .csv")
    if out.exists() and rows.exists() and out.samefile(rows):
        raise ConfigError(f"{out} is the file with the new rows; give another name")
    if out.is_dir() or (out.exists() and not force):
        raise ConfigError(f"{out} exists: give another name, or --force to overwrite it")
    parent = out.absolute().parent
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise ConfigError(f"cannot write to {parent}: give a name in a folder that you may write to")


def _labelled(directory: RunDir) -> tuple[pd.DataFrame, list[str]]:
    """All labelled rows, and the columns of the test rows in their order."""
    public = directory.data / FINAL / "public"
    found = [(public / f"train{s}", public / f"test{s}") for s in tables.FORMATS]
    for train, test in found:
        if train.is_file() and test.is_file():
            return tables.read_table(train), [str(c) for c in tables.read_table(test).columns]
    raise ConfigError(f"{public} is missing: the run's data were removed, predictions need them")


def _features(
    new: pd.DataFrame,
    train: pd.DataFrame,
    header: Sequence[str],
    spec: TaskSpec,
    path: Path,
    notes: list[str],
) -> pd.DataFrame:
    """The feature columns of the new rows, checked against the training rows."""
    wanted = [c for c in header if c != spec.id_column]
    missing = [c for c in wanted if c not in new.columns]
    if missing:
        near = difflib.get_close_matches(missing[0], [str(c) for c in new.columns], n=1)
        hint = f"; is it {near[0]!r}, misspelt?" if near else ""
        names = ", ".join(repr(c) for c in missing[:5]) + (" …" if len(missing) > 5 else "")
        raise TaskError(f"lacks {names}, which the solution was trained with{hint}", str(path))
    extra = [str(c) for c in new.columns if c not in (*wanted, spec.id_column, spec.target)]
    if extra:
        notes.append(f"Columns that the training rows lack were left out: {', '.join(extra[:5])}.")
    if spec.target in new.columns:
        notes.append(f"The target {spec.target!r} of the new rows was left out.")
    out = pd.DataFrame(index=range(len(new)))
    for name in wanted:
        out[name] = _like(new[name].reset_index(drop=True), train[name], f"{path}, column {name!r}")
    return out


def _like(new: pd.Series, train: pd.Series, where: str) -> pd.Series:
    """A new column in the type of the training column; numbers must stay numbers."""
    gone = tables.is_missing(train)
    numeric = bool(np.isfinite(tables.numbers(train)[~gone]).all()) and not gone.all()
    if numeric:
        values, absent = tables.numbers(new), tables.is_missing(new)
        bad = np.flatnonzero(~np.isfinite(values) & ~absent)
        if bad.size:
            cell = str(new.iloc[int(bad[0])])[:40]
            raise TaskError(
                f"{bad.size} cells are no numbers (first: {cell!r} in data row {int(bad[0]) + 1}), but the "
                "training rows have numbers there; correct them or leave them empty",
                where,
            )
    typed = not (pd.api.types.is_string_dtype(train.dtype) or pd.api.types.is_object_dtype(train.dtype))
    if not typed or new.dtype == train.dtype:
        return new
    if numeric and pd.api.types.is_numeric_dtype(train.dtype):
        return pd.Series(tables.numbers(new))
    try:
        return new.where(~tables.is_missing(new)).astype(train.dtype)
    except (ValueError, TypeError) as exc:
        raise TaskError(
            f"cannot be read as {train.dtype}, the type of the training rows: {tables.one_line(exc)}", where
        ) from None


def _ids(own: pd.Series | None, trained: pd.Series, n: int, spec: TaskSpec, notes: list[str]) -> pd.Series:
    """Ids for the solution to see: the user's where they are plain and unique, else numbers in their place.

    A solution reads the file with its own parser; an id such as `007` would come back as `7`.
    """
    if own is not None:
        text = own.astype(str)
        whole = text.str.fullmatch(_INTEGER.pattern)
        plain = whole.all() or not np.isfinite(tables.numbers(text)).any()
        if own.is_unique and not tables.is_missing(own).any() and plain and text.str.strip().eq(text).all():
            return own.reset_index(drop=True)
    else:
        notes.append(f"The rows have no id column {spec.id_column!r}; they are numbered from 0.")
        return pd.Series(range(n))
    known = tables.numbers(trained)
    first = int(known.max()) + 1 if np.isfinite(known).all() and len(known) else 0
    return pd.Series(range(first, first + n))


def _files(best: Experiment, directory: RunDir, notes: list[str]) -> dict[str, str]:
    """The chosen solution's files; those in `best/` count, since they may have been edited."""
    blobs = DirectoryBlobs(directory.blobs)
    files = {}
    for name, blob in best.files.items():
        path = directory.best / name
        stored = blobs.get(blob).decode()
        files[name] = path.read_text(encoding="utf-8") if path.is_file() else stored
        if files[name] != stored:
            notes.append(f"{path} was edited after the run; the edited file was used.")
    return files


def _prepared(
    work: Path, train: pd.DataFrame, test: pd.DataFrame, spec: TaskSpec, directory: RunDir
) -> Prepared:
    suffix = next(s for s in tables.FORMATS if (directory.data / FINAL / "public" / f"train{s}").is_file())
    labelled, rows = work / f"labelled{suffix}", work / f"new{suffix}"
    tables.write_table(train, labelled)
    tables.write_table(test, rows)
    return Prepared(spec=spec, labelled=labelled, test=rows, answers=None, fingerprint="predict")


def _run(
    prepared: Prepared, files: dict[str, str], config: RunConfig, work: Path, seconds: float | None
) -> bytes:
    slot = Slot.cpu(cpus=machine_cpus(), memory_mb=int(machine_memory_mb() * 0.8))
    environment = MleEnvironment(
        prepared, data=work / "data", scratch=work / "scratch", sandbox=config.sandbox
    )
    try:
        done = environment.run(files, view=FINAL, seed=config.seed, slot=slot, seconds=seconds)
        failure: Failure | None = done.failure
        if failure is None and done.submission is not None:
            failure = environment.check_submission(done.submission, view=FINAL)
        if failure is not None or done.submission is None:
            why = f"{failure.kind}: {failure.message[-400:]}" if failure else "it wrote no submission.csv"
            raise ConfigError(f"the solution failed on these rows: {why}")
        return done.submission
    finally:
        environment.close()


def _write(out: Path, submission: bytes, keys: Sequence[str], shown: pd.Series, id_column: str) -> None:
    """Write the predictions in the order of the new rows, with the ids that the user knows."""
    table = list(csv.reader(io.StringIO(submission.decode("utf-8-sig"))))
    header, body = table[0], [row for row in table[1:] if row]
    at = header.index(id_column)
    by_id = {_key(row[at]): row for row in body}
    temporary = out.with_name(f".{out.name}.tmp")
    with temporary.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow([id_column, *(name for i, name in enumerate(header) if i != at)])
        for key, name in zip(keys, shown, strict=True):
            row = by_id[_key(key)]
            writer.writerow([name, *(cell for i, cell in enumerate(row) if i != at)])
    temporary.replace(out)


def _key(text: str) -> str:
    """An id as text, whole numbers without a fraction (`7.0` is `7`)."""
    stripped = text.strip()
    return stripped.removesuffix(".0") if re.fullmatch(r"-?\d+\.0", stripped) else stripped
