"""Grading within one process: views, parsed submissions, cached evaluations. See `dojo.mle.grader`."""

from __future__ import annotations

import hashlib
import io
import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dojo.environment import Observation
from dojo.errors import Failure, GradingError, boundary
from dojo.mle.answers import Answers, byte_cap, load_answers
from dojo.mle.compare import Evaluation, compare, count_blocks, custom_comparison, evaluate, standard_error
from dojo.mle.custom import CustomGrader
from dojo.mle.metrics import get_metric
from dojo.mle.refusal import refuse
from dojo.mle.submission import header_names, parse_submission
from dojo.score import Comparison, Score, Split
from dojo.task import TaskSpec

_CACHED_BYTES = 256 * 1024 * 1024
_MOST_CACHED = 64
_OOF_EXTRA_COLUMNS = 16


@dataclass(frozen=True)
class _Graded:
    prediction: Any
    """An array, or for a task's own grader a frame."""
    evaluation: Evaluation
    se: float | None


@dataclass
class _View:
    answers: Answers
    train: Path | None
    frame: pd.DataFrame | None = None


class GradingRoom:
    """All views of one task. Not shared between threads.

    Args:
        spec: the task.
        grade_py: the task's own grader, for a custom metric.

    Raises:
        GradingError: the spec's metric is not what the registry says, or `grade.py` cannot be used.
    """

    def __init__(self, spec: TaskSpec, grade_py: Path | None) -> None:
        self.spec = spec
        self._custom: CustomGrader | None = None
        if spec.metric.custom:
            if grade_py is None:
                raise GradingError(
                    f"metric {spec.metric.name!r} is the task's own, and no grade.py was given"
                )
            self._custom = CustomGrader(spec, grade_py)
        else:
            with boundary(GradingError, "metric", through=(GradingError,)):
                known = get_metric(spec.metric.name, spec.problem).metric
            if known != spec.metric:
                raise GradingError(
                    f"metric {spec.metric.name!r} ({spec.metric.direction}, {spec.metric.needs}) of the task "
                    f"must be {known.name!r}, {known.direction}, {known.needs}"
                )
        self._views: dict[str, _View] = {}
        self._graded: OrderedDict[tuple[str, bytes], _Graded | Failure] = OrderedDict()

    def load(self, view: str, answers: Path | None, train: Path | None, test: Path | None) -> int:
        """Load a view's answers (again), or the identifiers of its test rows where it has none.

        Returns:
            The byte cap of the view's submissions.
        """
        path = answers or test
        if path is None:
            raise GradingError(f"view {view!r} has neither answers nor test rows")
        loaded = load_answers(self.spec, path, view=view, graded=answers is not None)
        self._views[view] = _View(loaded, train)
        for key in [key for key in self._graded if key[0] == view]:
            del self._graded[key]
        return loaded.byte_cap

    def _view(self, view: str) -> _View:
        if view not in self._views:
            raise GradingError(f"view {view!r} was not loaded")
        return self._views[view]

    def check(self, data: bytes, view: str) -> Failure | None:
        """Whether a submission has the right form, without scoring it."""
        answers = self._view(view).answers
        parsed = (
            self._custom.parse(data, answers) if self._custom else parse_submission(data, self.spec, answers)
        )
        return parsed if isinstance(parsed, Failure) else None

    def grade(self, data: bytes, view: str, split: Split) -> Score | Failure:
        """Score a submission."""
        graded = self._evaluate(data, view)
        if isinstance(graded, Failure):
            return graded
        metric = self.spec.metric
        return Score(
            value=graded.evaluation.value,
            metric=metric.name,
            direction=metric.direction,
            split=split,
            n=len(self._view(view).answers.ids),
            se=graded.se,
        )

    def compare(self, child: bytes, parent: bytes, view: str) -> Comparison:
        """Compare two submissions, both of which must be valid."""
        pair = []
        for name, data in (("child", child), ("parent", parent)):
            graded = self._evaluate(data, view)
            if isinstance(graded, Failure):
                raise GradingError(f"the {name} is not a valid submission: {graded.kind}: {graded.message}")
            pair.append(graded)
        answers = self._view(view).answers
        differs = _differs(pair[0].prediction, pair[1].prediction)
        truth = answers.truth
        if truth is not None:
            return compare(truth, pair[0].evaluation, pair[1].evaluation, differs)
        return custom_comparison(
            self.spec.metric.direction, answers.blocks, pair[0].evaluation, pair[1].evaluation, differs
        )

    def _evaluate(self, data: bytes, view: str) -> _Graded | Failure:
        answers = self._view(view).answers
        key = (view, hashlib.sha256(data).digest())
        if key in self._graded:
            self._graded.move_to_end(key)
            return self._graded[key]
        if not answers.graded:
            raise GradingError(f"view {view!r} has no answers")
        graded = self._evaluate_custom(data, answers) if self._custom else self._evaluate_known(data, answers)
        self._graded[key] = graded
        columns = 2 + len(self.spec.classes)
        room = max(2, min(_MOST_CACHED, _CACHED_BYTES // (8 * columns * len(answers.ids))))
        while len(self._graded) > room:
            self._graded.popitem(last=False)
        return graded

    def _evaluate_known(self, data: bytes, answers: Answers) -> _Graded | Failure:
        if answers.truth is None:
            raise GradingError("the answers were loaded for another kind of metric")
        parsed = parse_submission(data, self.spec, answers)
        if isinstance(parsed, Failure):
            return parsed
        return _finite(parsed, evaluate(answers.truth, parsed), answers, answers.truth.units)

    def _evaluate_custom(self, data: bytes, answers: Answers) -> _Graded | Failure:
        if self._custom is None:
            raise GradingError("no grade.py was loaded")
        parsed = self._custom.parse(data, answers)
        if isinstance(parsed, Failure):
            return parsed
        evaluation = self._custom.evaluate(parsed, answers)
        if isinstance(evaluation, Failure):
            return evaluation
        units = len(answers.ids) if answers.blocks is None else count_blocks(answers.blocks)
        return _finite(parsed, evaluation, answers, units)

    def observe(self, view: str, oof: bytes | None) -> Sequence[Observation]:
        """Facts from out-of-fold predictions and the training labels."""
        train = self._train(view)
        with boundary(GradingError, "observe"):
            from dojo.mle.observe import observe

            if oof is None:
                return observe(self.spec, train, None)
            frame = _read_oof(oof, self.spec, train)
            if isinstance(frame, Failure):
                told = Observation(name="oof_refused", value=frame.kind, text=f"oof.csv: {frame.message}")
                return (*observe(self.spec, train, None), told)
            return observe(self.spec, train, frame)

    def profile(self, view: str) -> Sequence[Observation]:
        """Facts about the training data."""
        train = self._train(view)
        with boundary(GradingError, "profile"):
            from dojo.mle.observe import profile

            return profile(self.spec, train)

    def _train(self, view: str) -> pd.DataFrame:
        at = self._view(view)
        if at.train is None:
            raise GradingError(f"view {view!r} was loaded without its training table")
        if at.frame is None:
            with boundary(GradingError, f"training table of {view}"):
                if at.train.suffix == ".parquet":
                    at.frame = pd.read_parquet(at.train)
                else:
                    at.frame = pd.read_csv(at.train, dtype={self.spec.id_column: str}, low_memory=False)
        return at.frame


def _finite(prediction: Any, evaluation: Evaluation, answers: Answers, units: int) -> _Graded | Failure:
    se = standard_error(evaluation, answers.blocks, units)
    if not math.isfinite(evaluation.value) or (se is not None and not math.isfinite(se)):
        return refuse("value_too_large", "the metric overflows: some predictions are astronomically large")
    return _Graded(prediction, evaluation, se)


def _differs(a: Any, b: Any) -> NDArray[np.bool_]:
    if isinstance(a, pd.DataFrame):
        if list(a.columns) != list(b.columns):
            return np.ones(len(a), dtype=bool)
        return np.asarray((a.astype(object).to_numpy() != b.astype(object).to_numpy()).any(axis=1))
    unequal = a != b
    return np.asarray(unequal.any(axis=1) if unequal.ndim == 2 else unequal)


def _read_oof(data: bytes, spec: TaskSpec, train: pd.DataFrame) -> pd.DataFrame | Failure:
    """`oof.csv` as a frame, capped in bytes and columns; its content is for the observer to judge."""
    names = header_names(data)
    if isinstance(names, Failure):
        return names
    expected = 2 + max(1, len(spec.classes))
    cap = (
        byte_cap(train[spec.id_column].astype(str).tolist(), [""] * expected)
        if spec.id_column in train
        else 0
    )
    if len(names) > expected + _OOF_EXTRA_COLUMNS or len(data) > 2 * cap or b"\0" in data:
        return refuse("too_large", "it holds more bytes or columns than one line per training row needs")
    try:
        return pd.read_csv(io.BytesIO(data), dtype={spec.id_column: str}, low_memory=False)
    except (ValueError, OverflowError) as exc:  # parser and decoding errors are ValueErrors
        return refuse("not_csv", f"it cannot be parsed as CSV: {type(exc).__name__}")
