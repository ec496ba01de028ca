"""The answers of one view as the grader holds them, and the canonical form of identifiers and labels."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from dojo.errors import GradingError
from dojo.mle.compare import Truth
from dojo.mle.resample import Indices, Resamples
from dojo.mle.scorers import Values, undefined_reason
from dojo.task import TaskSpec

BLOCK_COLUMN = "__block__"
_NUMBER = re.compile(r"[+-]?(0|[1-9]\d*)(\.\d*)?([eE][+-]?\d{1,3})?", re.ASCII)
_TRUE, _FALSE = frozenset({"true", "1"}), frozenset({"false", "0"})
_BOOLEANS = ({"true", "false"}, {"0", "1"})
_CELL_BYTES = 64


def canonical(text: str) -> str:
    """One spelling for one identifier or label: blanks around it go, and `1`, `1.0`, `+1` and `1e0` are `1`.

    A leading zero makes it text: `007` stays `007` and is not `7`.
    """
    text = text.strip()
    if not _NUMBER.fullmatch(text):
        return text
    if text.lstrip("+-").isdigit():  # whole numbers of any length stay exact
        return "0" if text.lstrip("+-") == "0" else text.removeprefix("+")
    number = float(text)
    if number.is_integer() and abs(number) < 2**53:
        return str(int(number))
    return repr(number) if np.isfinite(number) else text


def label_resolver(classes: Sequence[str]) -> Callable[[str], int]:
    """A function from a label's text to its class code, -1 for what is none of the classes.

    Exact text wins, then the canonical form; where the classes are true and false or 1 and 0, any spelling of
    a boolean will do.
    """
    exact = {label: code for code, label in enumerate(classes)}
    loose = {canonical(label): code for label, code in exact.items()}
    if len(loose) < len(exact):  # classes such as "1" and "1.0" differ by spelling alone
        loose = {}
    words = {canonical(label).lower(): code for label, code in exact.items()}
    boolean = set(words) in _BOOLEANS and len(words) == len(exact)
    positive = words.get("true", words.get("1", -1))

    def resolve(text: str) -> int:
        code = exact.get(text)
        if code is None:
            code = loose.get(canonical(text))
        if code is None and boolean:
            word = canonical(text).lower()
            code = positive if word in _TRUE else 1 - positive if word in _FALSE else None
        return -1 if code is None else code

    return resolve


@dataclass(frozen=True)
class Answers:
    """The hidden rows of one view.

    Attributes:
        ids: identifiers as they are spelled in the file, in its order.
        classes: class labels; empty for numeric targets.
        truth: what a registered metric needs; None for a task with its own `grade.py`.
        frame: the file as it is, without the block column, for a task's own grader.
        blocks: codes of rows that belong together, or None.
        resamples: the view's bootstrap resamples.
        byte_cap: the largest submission that is read.
        graded: False where there are identifiers and no answers.
        raw: whether a task's own grader takes any columns (its answers do not hold the target).
        position: row by identifier, and by its canonical form where that is no other row's spelling.
    """

    ids: list[str]
    classes: tuple[str, ...]
    truth: Truth | None
    frame: pd.DataFrame
    blocks: Indices | None
    resamples: Resamples
    byte_cap: int
    graded: bool
    raw: bool
    position: dict[str, int] = field(repr=False, default_factory=dict)


def _texts(column: pd.Series) -> list[str]:
    """Cells as text; typed columns in the form in which pandas writes them to a CSV."""
    if pd.api.types.is_float_dtype(column.dtype):
        width: type = getattr(column.dtype, "numpy_dtype", column.dtype).type  # 0.1 of 32 bits is written 0.1
        return ["" if np.isnan(v) else str(v) for v in column.to_numpy(width, na_value=np.nan)]
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        # Whether midnight is written depends on the whole column.
        lines = column.to_csv(index=False, header=False, na_rep="-").splitlines()
        return ["" if line == "-" else line for line in lines]
    return ["" if missing else str(v) for v, missing in zip(column, column.isna(), strict=True)]


def read_frame(path: Path, inferred_but: str | None = None) -> pd.DataFrame:
    """A table with CSV cells as text and parquet cells typed.

    Args:
        path: a `.csv` or `.parquet` file.
        inferred_but: if given, pandas infers the type of every other CSV column.

    Raises:
        GradingError: the file cannot be read; its content is not quoted.
    """
    try:
        if path.suffix == ".parquet":
            return pd.read_parquet(path)
        if inferred_but is not None:
            return pd.read_csv(path, dtype={inferred_but: str}, low_memory=False)
        return pd.read_csv(path, dtype=str, keep_default_na=False, na_filter=False)
    except (OSError, ValueError) as exc:  # pandas' and pyarrow's parser errors are ValueErrors or OSErrors
        raise GradingError(f"the answers {path.name} cannot be read: {type(exc).__name__}") from exc


def byte_cap(ids: Sequence[str], columns: Sequence[str]) -> int:
    """The largest submission read: 64 KiB, and per row twice its identifier and 64 bytes per column."""
    header = 4 * sum(len(c.encode()) for c in columns)
    names = sum(len(i.encode()) for i in ids)
    return 65_536 + header + 2 * names + len(ids) * len(columns) * _CELL_BYTES


def submission_columns(spec: TaskSpec) -> tuple[str, ...]:
    """The columns of a submission, the identifier first."""
    predictions = spec.classes if spec.metric.needs == "probabilities" else (spec.target,)
    return (spec.id_column, *predictions)


def load_answers(spec: TaskSpec, path: Path, *, view: str, graded: bool = True) -> Answers:
    """Read and check `answers.{csv,parquet}`: identifier, target, optionally `__block__`.

    Args:
        spec: the task.
        path: the file.
        view: its view, for messages.
        graded: False for test rows without answers: only the identifiers are taken.

    Raises:
        GradingError: the file or a column is missing, identifiers repeat, a target is missing or not of the
            spec's kind, or the metric is undefined on these rows.
    """
    where = f"answers of {view}"
    columns = submission_columns(spec)
    if len(set(columns)) < len(columns):
        raise GradingError(f"a class is called {spec.id_column!r} like the identifier; rename one of them")
    frame = read_frame(path, spec.id_column if spec.metric.custom else None)
    if spec.id_column not in frame.columns:
        raise GradingError(f"{where}: no column {spec.id_column!r}")
    if frame.empty:
        raise GradingError(f"{where}: there are no rows")
    ids = _texts(frame[spec.id_column])
    position = {name: row for row, name in enumerate(ids)}
    if len(position) < len(ids):
        raise GradingError(f"{where}: {len(ids) - len(position)} identifiers occur twice")
    for row, name in enumerate(ids):
        position.setdefault(canonical(name), row)
    blocks: Indices | None = None
    if BLOCK_COLUMN in frame.columns:
        blocks = np.asarray(pd.factorize(pd.Series(_texts(frame[BLOCK_COLUMN])))[0], dtype=np.int64)
        frame = frame.drop(columns=BLOCK_COLUMN)
    resamples = Resamples(len(ids), blocks, seed=spec.seed)
    truth = None
    raw = False
    if not graded:
        frame = frame[[spec.id_column]]
    elif spec.metric.custom:
        raw = spec.target not in frame.columns
        if not raw:
            frame[spec.target] = labelled(spec, target_values(spec, frame[spec.target], where))
    else:
        if spec.target not in frame.columns:
            raise GradingError(f"{where}: no column {spec.target!r}")
        y = target_values(spec, frame[spec.target], where)
        reason = undefined_reason(spec.metric.name, y)
        if reason:
            raise GradingError(f"{where}: {spec.metric.name} is undefined, since {reason}")
        truth = Truth(spec.metric.name, spec.metric.direction, y, len(spec.classes), blocks, resamples)
    widest = max((len(c.encode()) for c in spec.classes), default=0)
    cap = byte_cap(ids, tuple(map(str, frame.columns)) if raw else columns) + len(ids) * 2 * widest
    return Answers(ids, spec.classes, truth, frame, blocks, resamples, cap, graded, raw, position)


def labelled(spec: TaskSpec, y: Values) -> Values:
    """Class codes back as class labels (object); numbers unchanged."""
    return np.asarray(spec.classes, dtype=object)[y] if np.issubdtype(y.dtype, np.integer) else y


def target_values(spec: TaskSpec, column: pd.Series, where: str) -> Values:
    """The answers as float64 values or int64 class codes, shape (n,).

    Raises:
        GradingError: a cell is missing, not a finite number, or none of the spec's classes.
    """
    if spec.problem in ("regression", "forecast"):
        try:
            if pd.api.types.is_numeric_dtype(column.dtype) and not pd.api.types.is_bool_dtype(column.dtype):
                values = column.to_numpy(np.float64, na_value=np.nan)
            else:
                values = np.asarray(_texts(column), dtype=object).astype(np.float64)  # Python's exact parser
        except ValueError as exc:
            raise GradingError(f"{where}: a target is missing or not a number") from exc
        bad = int(np.count_nonzero(~np.isfinite(values)))
        if bad:
            raise GradingError(f"{where}: {bad} targets are not finite numbers")
        return np.asarray(values)
    if len(spec.classes) < 2:
        raise GradingError("the task names no classes; list at least two")
    resolve = label_resolver(spec.classes)
    texts = pd.Series(_texts(column), dtype=object)
    codes = texts.map({text: resolve(text) for text in set(texts)}).to_numpy(np.int64)
    bad = int(np.count_nonzero(codes < 0))
    if bad:
        raise GradingError(f"{where}: {bad} targets are none of the task's classes")
    return np.asarray(codes)
