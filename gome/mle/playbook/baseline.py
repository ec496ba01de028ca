"""The baseline of a task and first drafts: default pipelines of the field, nothing tuned, no feature added.

One rule per modality (contracts: "scikit-learn's defaults with plain imputation and encoding"):

- tables: a random forest on mean-imputed numbers and one-hot categories;
- texts, and tables with text columns: tf-idf of words with logistic regression or ridge;
- series: a random forest on the raw values;
- images: logistic regression or ridge on the pixels;
- forecasts: the least-squares line through time.
"""

from __future__ import annotations

from typing import Any

from dojo.task import TaskSpec
from gome.mle.playbook.pipeline import PipelineSpec, apply, check
from gome.mle.playbook.render_model import is_numeric

MANY_CLASSES = 20
"""Boosting fits one tree per class and round: above this it is no cheap first draft."""
_SCALED = {"numeric.scaling": "standard"}


def baseline(task: TaskSpec) -> PipelineSpec:
    """The default pipeline for this kind of task."""
    return _pipeline(task, _order(task)[0])


def drafts(task: TaskSpec, n: int) -> list[PipelineSpec]:
    """First solutions of different model families, all at the defaults of their libraries.

    Args:
        task: the public task.
        n: how many. Beyond the number of families they repeat from the start.
    """
    order = _order(task)
    return [_pipeline(task, order[i % len(order)]) for i in range(n)]


def _pipeline(task: TaskSpec, name: str) -> PipelineSpec:
    spec = apply(PipelineSpec(), _changes(task, name))
    check(spec, task)
    return spec


def _order(task: TaskSpec) -> list[str]:
    linear = "ridge" if is_numeric(task) else "logistic"
    if task.problem == "forecast":
        return ["line", "seasonal_naive", "drift", "naive", "forest"]
    if task.modality == "text" or task.text_columns:
        return [linear, "bayes", "knn", "forest"]
    if task.modality == "series":
        return ["forest", "knn", linear]
    if task.modality == "image":
        return [linear, "knn", "forest"]
    boosting = ["lightgbm"] if is_numeric(task) or len(task.classes) <= MANY_CLASSES else []
    return ["forest", linear, "knn", "extra_trees", *boosting]


def _changes(task: TaskSpec, name: str) -> dict[str, Any]:
    """A draft as changes of the default pipeline."""
    if task.problem == "forecast":
        if name == "line":
            return {"model.family": "linear", "forecast.method": "regression"}
        if name == "forest":
            return {"model.family": "forest", "forecast.method": "lags"}
        return {"model.family": "linear", "forecast.method": name}
    changes: dict[str, Any] = {"model.family": name}
    distances = name in ("ridge", "logistic", "knn")
    if distances and task.modality != "image" and not (task.modality == "text" or task.text_columns):
        changes |= _SCALED
    return changes
