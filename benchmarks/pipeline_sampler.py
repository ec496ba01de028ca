"""Random but sensible pipelines of all strengths: what a mixed field of practitioners might hand in.

Each pipeline draws a skill (two of three above 0.58), then a model family, and leaves the default of each
setting with a chance that grows with the skill. Families that nobody would hand in for a kind of task are left
out (unregularised regression on term counts), usual ones are drawn more often. Nothing here looks at a task's
data, columns or name, only at its kind.
"""

from __future__ import annotations

import random
from typing import Any

from dojo.task import TaskSpec
from gome.mle.playbook.baseline import MANY_CLASSES
from gome.mle.playbook.pipeline import PipelineSpec, apply, check
from gome.mle.playbook.render import render
from gome.mle.playbook.render_model import has_image, has_series, has_text, is_numeric

Choices = dict[str, list[Any]]

FAMILY: dict[str, Choices] = {
    "linear": {},
    "ridge": {"model.ridge.alpha": [0.1, 3.0, 10.0, 100.0]},
    "lasso": {"model.lasso.alpha": [0.001, 0.01, 0.1]},
    "elastic": {"model.elastic.alpha": [0.001, 0.01, 0.1]},
    "logistic": {"model.logistic.c": [0.01, 0.1, 3.0, 10.0]},
    "knn": {
        "model.knn.k": [1, 10, 30],
        "model.knn.weights": ["distance"],
        "model.knn.metric": ["manhattan", "cosine"],
    },
    "svm": {"model.svm.c": [0.1, 10.0], "model.svm.kernel": ["linear"]},
    "forest": {
        "model.forest.trees": [30, 300],
        "model.forest.min_leaf": [3, 10],
        "model.forest.max_features": ["third", "half", "sqrt"],
    },
    "extra_trees": {
        "model.extra_trees.trees": [30, 300],
        "model.extra_trees.min_leaf": [3],
        "model.extra_trees.max_features": ["half", "all"],
    },
    "hist_gb": {
        "model.hist_gb.learning_rate": [0.03, 0.3],
        "model.hist_gb.trees": [50, 300],
        "model.hist_gb.leaves": [7, 63],
    },
    "lightgbm": {
        "model.lightgbm.learning_rate": [0.03, 0.3],
        "model.lightgbm.trees": [50, 300, 600],
        "model.lightgbm.leaves": [7, 15, 63],
        "model.lightgbm.min_leaf": [5, 50],
        "model.lightgbm.feature_fraction": [0.5, 0.8],
        "model.lightgbm.bagging_fraction": [0.7],
        "model.lightgbm.early_stopping": [50],
        "numeric.imputation": ["none"],
        "categorical.encoding": ["native"],
    },
    "mlp": {
        "model.mlp.hidden": [[50], [100, 50]],
        "model.mlp.early_stopping": [True],
        "model.mlp.epochs": [50],
    },
    "bayes": {"model.bayes.smoothing": [0.1, 10.0]},
}
TABLE: Choices = {
    "numeric.imputation": ["median"],
    "numeric.indicators": [True],
    "numeric.outliers": ["clip", "winsor"],
    "numeric.log_skewed": [True],
    "numeric.scaling": ["standard", "standard", "quantile"],
    "categorical.encoding": ["ordinal", "target", "frequency"],
    "categorical.high_encoding": ["target", "frequency", "hashing"],
    "categorical.integer_levels": [12],
    "dates.parts": [["year", "month", "dayofweek"], ["month", "hour"]],
    "dates.cyclic": [True],
    "dates.cyclic_integers": [True],
    "geo.xyz": [True],
    "interactions.pairs": [5],
    "groups.statistics": [["mean"], ["mean", "std"]],
    "selection.method": ["importance"],
}
TEXT: Choices = {
    "text.analyzer": ["char", "word_char", "word_char"],
    "text.word_ngrams": [2],
    "text.sublinear_tf": [True],
    "text.min_df": [2],
    "text.statistics": [True],
    "text.vectorizer": ["count"],
}
CODE: Choices = {"code.tokens": [True], "code.ngrams": [2, 3], "code.statistics": [True]}
SERIES: Choices = {
    "series.summary": [True],
    "series.fft": [20, 60],
    "series.autocorrelation": [20],
    "series.differences": [True],
    "series.intervals": [50],
    "series.kernels": [200, 500],
    "series.normalize": ["zscore"],
    "numeric.scaling": ["standard"],
}
IMAGE: Choices = {
    "image.deskew": [True],
    "image.gradients": [True],
    "image.pca": [20, 50],
    "numeric.scaling": ["standard"],
}
FORECAST: Choices = {
    "forecast.method": ["seasonal_naive", "drift", "naive", "holt_winters", "lags", "lags"],
    "forecast.degree": [2],
    "forecast.harmonics": [1, 3],
    "forecast.seasonal_dummies": [True],
    "forecast.damped": [True],
    "forecast.seasonal": ["multiplicative", "none"],
    "forecast.lags": [6, 24],
    "forecast.difference": [True],
    "forecast.window": [60, 120],
    "forecast.anchor": [True],
}


def families(task: TaskSpec) -> list[str]:
    """Model families that a field would use on this kind of task; doubles are more frequent."""
    numeric = is_numeric(task)
    linear = ["ridge"] if numeric else ["logistic"]
    if task.problem == "forecast":
        return ["linear", "linear", "ridge", "forest", "lightgbm"]
    if has_text(PipelineSpec(), task):
        tables = ["lightgbm", "lightgbm", "extra_trees"] if task.modality != "text" else []
        return [*linear * 4, "ridge", "svm", *([] if numeric else ["bayes"]), "knn", *tables]
    if has_series(task) or has_image(task):
        return [*linear * 2, "ridge", "ridge", "knn", "svm", "svm", "forest", "extra_trees", "extra_trees"]
    if len(task.classes) > MANY_CLASSES:
        return ["forest", "extra_trees", "extra_trees", "knn", "bayes", "ridge"]
    return ["forest", "extra_trees", "hist_gb", "hist_gb", *["lightgbm"] * 5, *linear, "knn"]


def choices(task: TaskSpec, family: str) -> Choices:
    """Settings that may leave their default."""
    found: Choices = {}
    if task.problem == "forecast":
        found |= FORECAST
    elif has_series(task):
        found |= SERIES
    elif has_image(task):
        found |= IMAGE
    elif task.modality == "text":
        found |= TEXT
    else:
        found |= TABLE
        if has_text(PipelineSpec(), task):
            found |= TEXT | CODE
    if is_numeric(task):
        found |= {"target.transform": ["log1p", "standardize", "sqrt"], "post.clip": [True]}
    else:
        found |= {"model.class_weight": ["balanced"]}
        if task.metric.needs in ("probability", "probabilities"):
            found |= {"post.calibration": ["sigmoid", "isotonic"]}
        elif task.metric.name != "accuracy":
            found |= {"post.threshold": ["tune"]}
    return found | FAMILY[family] | {"model.bagging": [3]}


def sample(task: TaskSpec, rng: random.Random) -> PipelineSpec:
    """One random pipeline that fits the task."""
    while True:
        skill = rng.random() ** 0.5
        family = rng.choice(families(task))
        changes: dict[str, Any] = {"model.family": family}
        if family in ("knn", "svm", "mlp", "logistic", "ridge", "lasso", "elastic") and rng.random() < 0.8:
            changes["numeric.scaling"] = "standard"
        for path, values in choices(task, family).items():
            if rng.random() < 0.6 * skill:
                changes[path] = rng.choice(values)
        try:
            spec = apply(PipelineSpec(), changes)
            check(spec, task)
        except ValueError:  # settings that exclude each other: draw again
            continue
        return spec


def population(task: TaskSpec, seed: int, count: int) -> list[PipelineSpec]:
    """The first `count` pipelines of a seed that differ in their code; a larger count only adds to them."""
    rng = random.Random(f"reference population {seed} {task.problem} {task.modality}")
    found: dict[str, PipelineSpec] = {}
    while len(found) < count:
        spec = sample(task, rng)
        code = render(spec, task)["solution.py"].split('"""', 2)[
            2
        ]  # settings without effect change the head only
        found.setdefault(code, spec)
    return list(found.values())
