"""Repair of solutions that failed: cheaper, smaller, or without the part that broke."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dojo.errors import Failure
from dojo.task import TaskSpec
from gome.mle.playbook.diagnose import effective
from gome.mle.playbook.pipeline import PipelineSpec, apply
from gome.mle.playbook.rules.base import TREES


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
    {"text.max_features": 20000, "text.analyzer": "word"},
    {"categorical.encoding": "ordinal", "categorical.high_encoding": "ordinal", "categorical.crosses": 0},
    {"interactions.polynomial": 1, "interactions.pairs": 0},
    {"series.kernels": 500},
    {"ensemble.method": "none", "ensemble.members": [], "ensemble.weights": []},
    {"model.svm.max_rows": 3000},
)
"""What is given up when memory is short."""
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
    task: TaskSpec, spec: PipelineSpec, failure: Failure, edit: Mapping[str, Any]
) -> PipelineSpec | None:
    """A pipeline without what made this one fail.

    Args:
        task: the public task.
        spec: the pipeline that failed.
        failure: how.
        edit: the changes that led to it; its parts are taken back where nothing better is known.

    Returns:
        A different pipeline that fits the task, or None where nothing is left to try.
    """
    if failure.boundary == "infra":
        return None
    if failure.kind in ("timed_out", "budget_time"):
        return _first(task, spec, (*_used(task, spec, CHEAPER)[:2], *_shrunk(spec), *CHEAPER))
    if failure.kind in ("out_of_memory", "quota", "killed"):
        return _first(task, spec, (*_used(task, spec, SMALLER)[:2], *_shrunk(spec), *SMALLER))
    for rule in ERRORS:
        if rule.pattern.search(failure.message):
            mended = _first(task, spec, rule.changes)
            if mended is not None:
                return mended
    return _taken_back(task, spec, edit)


def _used(task: TaskSpec, spec: PipelineSpec, options: tuple[Mapping[str, Any], ...]) -> list[dict[str, Any]]:
    """The first option with an effect, and the first two together, since one run is all there is."""
    found = [c for option in options if (c := _option(task, spec, option)) is not None]
    if len(found) > 1:
        return [{**found[0], **found[1]}, found[0]]
    return found


def _option(task: TaskSpec, spec: PipelineSpec, option: Mapping[str, Any]) -> dict[str, Any] | None:
    changes = {path: value for path, value in option.items() if not _grows(_get(spec, path), value)}
    return effective(task, spec, changes) if changes else None


def _grows(now: Any, value: Any) -> bool:
    """Whether a cheaper option would make a number larger than it is."""
    number = isinstance(now, int | float) and not isinstance(now, bool) and isinstance(value, int | float)
    return bool(number and value > now)


def _shrunk(spec: PipelineSpec) -> list[dict[str, Any]]:
    """Everything that counts trees, kernels or terms, made smaller at once."""
    out = {}
    for path, (factor, least) in _SHRINK.items():
        now = _get(spec, path)
        if now > least:
            out[path] = max(least, int(now * factor))
    if spec.model.family in TREES and spec.model.family != "hist_gb" and spec.model.family != "lightgbm":
        out[f"model.{spec.model.family}.min_leaf"] = max(5, _get(spec, f"model.{spec.model.family}.min_leaf"))
    return [out] if out else []


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
