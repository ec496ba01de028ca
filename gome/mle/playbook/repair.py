"""Repair of solutions that failed: cheaper, smaller, or without the part that broke."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dojo.environment import Observation
from dojo.errors import Failure
from dojo.task import TaskSpec
from gome.mle.playbook.diagnose import effective
from gome.mle.playbook.pipeline import PipelineSpec, apply


@dataclass(frozen=True)
class Repair:
    """One way to mend: what it does, and the changes that do it (several are tried in order)."""

    id: str
    pattern: re.Pattern[str]
    changes: tuple[Mapping[str, Any], ...]


def _error(text: str) -> re.Pattern[str]:
    return re.compile(text, re.IGNORECASE)


ERRORS: tuple[Repair, ...] = (
    Repair(
        "gaps",
        _error(r"input.*contains nan|does not accept missing values|contains infinity|missing values"),
        ({"numeric.imputation": "median", "numeric.outliers": "clip"}, {"numeric.imputation": "median"}),
    ),
    Repair(
        "class-too-small",
        _error(r"n_splits=\d+ cannot be greater|least populated class|members in each class|only one class"),
        ({"cv.folds": 2}, {"cv.scheme": "random", "cv.folds": 2}),
    ),
    Repair(
        "too-many-components",
        _error(r"n_components|must be between 1 and|number of features .* must be"),
        ({"text.svd": 0, "image.pca": 0}, {"text.svd": 0}, {"image.pca": 0}),
    ),
    Repair(
        "empty-vocabulary",
        _error(r"empty vocabulary|no terms remain|max_df corresponds to"),
        ({"text.min_df": 1, "text.stop_words": False}, {"text.vectorizer": "none"}),
    ),
    Repair(
        "negative-values",
        _error(r"negative values|must be non-negative|strictly positive|should be positive"),
        (
            {"target.transform": "none"},
            {"model.lightgbm.loss": "default", "model.hist_gb.loss": "default"},
            {"forecast.seasonal": "additive"},
            {"model.family": "logistic"},
            {"model.family": "ridge"},
        ),
    ),
    Repair(
        "no-convergence",
        _error(r"did not converge|svd .*converge|linalgerror|singular matrix|ill-conditioned"),
        (
            {"model.ridge.alpha": 100.0, "numeric.scaling": "standard"},
            {"numeric.scaling": "standard"},
            {"interactions.polynomial": 1},
            {"forecast.method": "regression"},
        ),
    ),
    Repair(
        "categories",
        _error(r"unknown categor|could not convert string|categorical_feature|pandas dtypes must be"),
        ({"categorical.encoding": "onehot"}, {"categorical.encoding": "ordinal"}),
    ),
    Repair(
        "calibration",
        _error(r"calibrat|isotonic"),
        ({"post.calibration": "none"},),
    ),
    Repair(
        "feature-selection",
        _error(r"no features were selected|k should be|feature.*select"),
        ({"selection.method": "none"},),
    ),
    Repair(
        "too-little-history",
        _error(r"seasonal periods|not enough|too few|less than two full|out of bounds"),
        (
            {"forecast.lags": 6, "forecast.window": 0},
            {"forecast.method": "regression", "forecast.harmonics": 2},
            {"forecast.method": "drift"},
        ),
    ),
)
"""Patterns over the message and the traceback, most telling first."""

CHEAPER: tuple[Mapping[str, Any], ...] = (
    {"image.shifts": 0},
    {"ensemble.method": "none", "ensemble.members": [], "ensemble.weights": []},
    {"model.bagging": 1},
    {"numeric.imputation": "median"},
    {"interactions.polynomial": 1, "interactions.pairs": 0},
    {"text.analyzer": "word", "text.max_features": 20000},
    {"cv.folds": 3, "cv.predict": "refit"},
    {"model.svm.max_rows": 3000},
    {"cv.folds": 2},
)
"""What is given up when time is short, dearest first."""
SMALLER: tuple[Mapping[str, Any], ...] = (
    {"image.shifts": 0},
    {"interactions.polynomial": 1, "interactions.pairs": 0},
    {"text.max_features": 20000, "text.analyzer": "word"},
    {"categorical.encoding": "ordinal", "categorical.high_encoding": "ordinal", "categorical.crosses": 0},
    {"series.kernels": 500},
    {"ensemble.method": "none", "ensemble.members": [], "ensemble.weights": []},
    {"model.svm.max_rows": 3000},
)
"""What is given up when memory is short."""
_WEIGHT = {
    "iterative": 2, "knn": 2, "stack": 2, "blend": 2, "folds": 1, "word_char": 3, "char": 2, "word": 1,
    "onehot": 2, "same": 2, "ordinal": 1,
}  # fmt: skip
"""How dear choices are, relative to the others of the same setting (0 where not listed)."""
_SHRINK = {
    "model.lightgbm.trees": (0.4, 60),
    "model.hist_gb.trees": (0.4, 60),
    "model.forest.trees": (0.3, 40),
    "model.extra_trees.trees": (0.3, 40),
    "model.mlp.epochs": (0.3, 20),
    "series.kernels": (0.3, 100),
    "series.intervals": (0.3, 10),
    "text.max_features": (0.3, 2000),
}


def mend(
    task: TaskSpec,
    spec: PipelineSpec,
    failure: Failure,
    edit: Mapping[str, Any],
    profile: Sequence[Observation] = (),
) -> PipelineSpec | None:
    """A pipeline without what made this one fail.

    Args:
        task: the public task.
        spec: the pipeline that failed.
        failure: how.
        edit: the changes that led to it; its parts are taken back where nothing better is known.
        profile: facts about the data; parts that the data does not have are not looked for the cause.

    Returns:
        A different pipeline that fits the task, or None where nothing is left to try.
    """
    if failure.boundary == "infra":
        return None
    if failure.kind in ("timed_out", "out_of_memory", "quota", "killed"):
        return _lighten(task, spec, CHEAPER if failure.kind == "timed_out" else SMALLER, profile)
    for rule in ERRORS:
        if rule.pattern.search(failure.message):
            mended = _first(task, spec, rule.changes)
            if mended is not None:
                return mended
    return _taken_back(task, spec, edit)


def _lighten(
    task: TaskSpec,
    spec: PipelineSpec,
    options: tuple[Mapping[str, Any], ...],
    profile: Sequence[Observation],
) -> PipelineSpec | None:
    """Give up the dearest part there is and shrink all counts at once: each try costs a whole run."""
    absent = _absent(task, profile)
    shrunk = {p: v for p, v in _shrunk(spec).items() if p.split(".")[0] not in absent}
    for option in options:
        lighter = {
            path: value
            for path, value in option.items()
            if path.split(".")[0] not in absent and _lighter(_get(spec, path), value)
        }
        if lighter and (changes := effective(task, spec, {**shrunk, **lighter})):
            return apply(spec, changes)
    return _first(task, spec, (shrunk,)) if shrunk else None


def _absent(task: TaskSpec, profile: Sequence[Observation]) -> set[str]:
    """Parts of a pipeline that have nothing to work on in this task."""
    count = {o.name: o.value for o in profile}
    absent = {part for part in ("series", "image") if task.modality != part}
    if task.modality != "text" and not task.text_columns and not count.get("text_columns", 0):
        absent.add("text")
    if profile and not count.get("categorical_columns", 0):
        absent.add("categorical")
    return absent


def _lighter(now: Any, value: Any) -> bool:
    """Whether the value costs less than the present one."""
    if isinstance(now, bool) or isinstance(value, bool):
        return bool(now != value)
    if isinstance(now, int | float) and isinstance(value, int | float):
        return bool(value < now)
    if isinstance(now, list):
        return bool(now) and now != value
    return _WEIGHT.get(now, 0) > _WEIGHT.get(value, 0)


def _shrunk(spec: PipelineSpec) -> dict[str, Any]:
    """Everything that counts trees, kernels or terms, made smaller at once."""
    out: dict[str, Any] = {}
    for path, (factor, least) in _SHRINK.items():
        now = _get(spec, path)
        if now > least:
            out[path] = max(least, int(now * factor))
    return out


def _first(task: TaskSpec, spec: PipelineSpec, options: tuple[Mapping[str, Any], ...]) -> PipelineSpec | None:
    for option in options:
        changes = effective(task, spec, option)
        if changes is not None:
            return apply(spec, changes)
    return None


def _taken_back(task: TaskSpec, spec: PipelineSpec, edit: Mapping[str, Any]) -> PipelineSpec | None:
    """The pipeline with the last half of the edit set back to the defaults."""
    plain = PipelineSpec()
    paths = [p for p in sorted(edit) if not p.startswith(("ensemble.", "model.family"))]
    if len(paths) < 2:
        return None  # taking back the whole edit is the parent again
    changes = effective(task, spec, {p: _get(plain, p) for p in paths[len(paths) // 2 :]})
    return apply(spec, changes) if changes else None


def _get(spec: PipelineSpec, path: str) -> Any:
    node: Any = spec
    for step in path.split("."):
        node = node[int(step)] if step.isdigit() else getattr(node, step)
    return list(node) if isinstance(node, tuple) else node
