"""A task's own `grade.py`, run inside the grader's process.

```
grade(submission: pandas.DataFrame, answers: pandas.DataFrame) -> float      # required
row_losses(submission, answers) -> array of shape (n,)                       # optional; its mean is the score
validate(submission, answers) -> None                                        # optional; raises to refuse
```

What `grade` raises as a ValueError, KeyError or AssertionError that names the submission, and whatever
`validate` raises, is shown to the agent as the reason of a refusal: it must not quote answers.

Both frames hold the same rows in the same order. With `row_losses` a score's standard error is that of a
mean; without it, whole rows are resampled under fresh identifiers and graded again.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd

from dojo.errors import Failure, GradingError, boundary
from dojo.mle.answers import Answers, labelled
from dojo.mle.compare import Evaluation
from dojo.mle.delong import Floats
from dojo.mle.influence import mean_influence
from dojo.mle.refusal import quote, refuse, too_large
from dojo.mle.submission import align_ids, header_names, parse_submission, read_cells
from dojo.task import TaskSpec

_REFUSALS = (ValueError, KeyError, AssertionError)
_MOST_COLUMNS = 10_000


class _Undefined(Exception):
    """A resample on which the task's metric has no value."""


def _load_module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("task_grade", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise GradingError(f"{path.name}: no such grader file")
    module = importlib.util.module_from_spec(spec)
    with boundary(GradingError, f"{path.name} cannot be imported"):
        spec.loader.exec_module(module)
    if not callable(getattr(module, "grade", None)):
        raise GradingError(f"{path.name}: define grade(submission, answers) -> float")
    return module


class CustomGrader:
    """The functions of one `grade.py`.

    Raises:
        GradingError: the file is missing, cannot be imported, or defines no `grade`.
    """

    def __init__(self, spec: TaskSpec, path: Path) -> None:
        self._spec = spec
        self._name = path.name
        module = _load_module(path)
        self._grade: Callable[..., Any] = module.grade
        self._row_losses: Callable[..., Any] | None = getattr(module, "row_losses", None)
        self._validate: Callable[..., Any] | None = getattr(module, "validate", None)

    def parse(self, data: bytes, answers: Answers) -> pd.DataFrame | Failure:
        """The submission as a frame in the order of the answers.

        Where the answers hold the target, the predictions are checked and typed as for any metric. Otherwise
        any columns are taken, numbers where a whole column reads as numbers.
        """
        spec = self._spec
        if answers.raw:
            return self._parse_raw(data, answers)
        values = parse_submission(data, spec, answers)
        if isinstance(values, Failure):
            return values
        columns: dict[str, Any] = {spec.id_column: answers.frame[spec.id_column].to_numpy()}
        if values.ndim == 2:
            columns.update({name: values[:, at] for at, name in enumerate(spec.classes)})
        else:
            columns[spec.target] = labelled(spec, values)
        return pd.DataFrame(columns)

    def _parse_raw(self, data: bytes, answers: Answers) -> pd.DataFrame | Failure:
        spec = self._spec
        if len(data) > answers.byte_cap:
            return too_large(len(data), answers.byte_cap)
        names = header_names(data)
        if isinstance(names, Failure):
            return names
        if names.count(spec.id_column) != 1 or len(set(names)) < len(names) or len(names) > _MOST_COLUMNS:
            return refuse(
                "wrong_columns", f"write one column {quote(spec.id_column)} and distinct other columns"
            )
        cells = read_cells(data, names)
        if isinstance(cells, Failure):
            return cells
        rows = align_ids(cells.pop(spec.id_column), answers)
        if isinstance(rows, Failure):
            return rows
        columns: dict[str, Any] = {}
        for name, column in cells.items():
            text = column.to_pandas()
            numeric = pd.to_numeric(text, errors="coerce")
            columns[name] = text if numeric.isna().any() else numeric
        frame = (
            pd.DataFrame(columns) if rows is None else pd.DataFrame(columns).iloc[rows].reset_index(drop=True)
        )
        frame.insert(0, spec.id_column, answers.frame[spec.id_column].to_numpy())
        return frame

    def _call(self, function: Callable[..., Any], submission: pd.DataFrame, answers: pd.DataFrame) -> Any:
        # Copies, because a grader may sort or add columns in place.
        with boundary(GradingError, f"{self._name}: {function.__name__}", through=_REFUSALS):
            return function(submission.copy(), answers.copy())

    def _number(self, submission: pd.DataFrame, answers: pd.DataFrame) -> float:
        value = self._call(self._grade, submission, answers)
        with boundary(GradingError, f"{self._name}: grade must return a number"):
            return float(value)

    def evaluate(self, submission: pd.DataFrame, answers: Answers) -> Evaluation | Failure:
        """Validate and grade; a refusal that names the submission is its own fault.

        Raises:
            GradingError: anything else that went wrong in `grade.py`.
        """
        frame = answers.frame
        if self._validate is not None:
            try:
                self._call(self._validate, submission, frame)
            except _REFUSALS as exc:
                return refuse("grader_refused", _text(exc))
        try:
            value = self._number(submission, frame)
        except _REFUSALS as exc:
            if "submission" in f"{type(exc).__name__} {exc}".lower():
                return refuse("grader_refused", _text(exc))
            raise GradingError(f"{self._name}: grade: {type(exc).__name__}: {_text(exc)}") from exc
        if not math.isfinite(value):
            return refuse(
                "not_finite_score", "the metric is not finite for this submission; check its values"
            )
        if self._row_losses is not None:
            return Evaluation(value, influence=self._influence(value, submission, frame))
        return Evaluation(value, replicates=self._replicates(submission, answers))

    def _influence(self, value: float, submission: pd.DataFrame, frame: pd.DataFrame) -> Floats:
        with boundary(GradingError, f"{self._name}: row_losses"):
            if self._row_losses is None:
                raise ValueError("not defined")
            losses = np.asarray(self._row_losses(submission.copy(), frame.copy()), dtype=np.float64)
        if losses.shape != (len(frame),) or not np.isfinite(losses).all():
            raise GradingError(f"{self._name}: row_losses must return {len(frame)} finite numbers")
        if not math.isclose(float(losses.mean()), value, rel_tol=1e-6, abs_tol=1e-9):
            raise GradingError(
                f"{self._name}: the mean of row_losses is {losses.mean():.6g} and grade gives {value:.6g}; "
                "make them equal or remove row_losses"
            )
        return mean_influence(losses)

    def _replicates(self, submission: pd.DataFrame, answers: Answers) -> Floats:
        ids = np.arange(len(answers.ids))
        values = []
        for drawn in answers.resamples.indices():
            count = len(drawn)
            fresh = ids if count == len(ids) else np.arange(count)
            pair = [f.iloc[drawn].reset_index(drop=True) for f in (submission, answers.frame)]
            for frame in pair:
                frame[self._spec.id_column] = (
                    fresh  # a grader that merges by identifier must find them unique
                )
            try:
                # A resample may lack a class or hold a constant; the metric is then undefined on it.
                with boundary(_Undefined, "resample"):
                    values.append(self._number(pair[0], pair[1]))
            except (_Undefined, GradingError):
                values.append(math.nan)
        return np.asarray(values, dtype=np.float64)


def _text(exc: BaseException) -> str:
    message = exc.args[0] if len(exc.args) == 1 else exc
    return " ".join(str(message).split()) or type(exc).__name__
