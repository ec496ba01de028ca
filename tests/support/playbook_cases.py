"""Tasks, pipelines and observations made for testing the playbook."""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Iterator

from dojo.environment import Feedback, Observation
from dojo.score import Comparison, Score
from dojo.task import Metric, TaskSpec
from gome.loop.experiment import Experiment
from gome.loop.proposal import Diagnosis, Proposal
from gome.loop.strategy import StepContext
from gome.mle.playbook.baseline import baseline
from gome.mle.playbook.pipeline import PipelineSpec, apply, check
from gome.mle.playbook.render import render
from gome.mle.playbook.rules.base import Rule, Sign, Situation

METRICS = {
    "regression": ("rmse", "rmsle", "mae", "pearson", "mape"),
    "binary": ("auc", "f1", "brier", "logloss", "balanced_accuracy"),
    "multiclass": ("accuracy", "f1_macro", "logloss", "qwk"),
    "forecast": ("mae",),
}
NEEDS = {"auc": "probability", "brier": "probability"}


def task(problem: str = "regression", modality: str = "tabular", metric: str = "rmse") -> TaskSpec:
    """A task of that kind, without data."""
    needs = "value"
    if problem in ("binary", "multiclass"):
        needs = NEEDS.get(metric, "label")
        if metric == "logloss":
            needs = "probability" if problem == "binary" else "probabilities"
    direction = "min" if metric in ("rmse", "rmsle", "mae", "mape", "brier", "logloss") else "max"
    classes = {"binary": ("no", "yes"), "multiclass": tuple("abcdefghij")}.get(problem, ())
    return TaskSpec(
        id="made",
        problem=problem,
        modality=modality,
        metric=Metric(name=metric, direction=direction, needs=needs),
        target="y",
        classes=classes,
        text_columns=("note",) if modality == "text" else (),
        image_shape=(16, 16) if modality == "image" else None,
        series_prefix="v" if modality == "series" and problem != "forecast" else None,
        time="when" if problem == "forecast" else None,
    )


def tasks() -> Iterator[TaskSpec]:
    """One task per sensible kind."""
    for problem, names in METRICS.items():
        for metric in names:
            if problem == "forecast":
                yield task(problem, "series", metric)
                continue
            for modality in ("tabular", "text", "series", "image"):
                if modality != "image" or problem != "regression":
                    yield task(problem, modality, metric)


FAMILIES = (
    {},
    {"model.family": "ridge"},
    {"model.family": "logistic"},
    {"model.family": "lightgbm"},
    {"model.family": "hist_gb"},
    {"model.family": "forest"},
    {"model.family": "extra_trees"},
    {"model.family": "knn"},
    {"model.family": "svm"},
)
EXTRAS = (
    {},
    {"numeric.scaling": "standard"},
    {"dates.parts": ["month"]},
    {"series.kernels": 1000},
    {"target.transform": "log1p"},
    {"model.class_weight": "balanced"},
    {"forecast.method": "holt_winters"},
    {"cv.predict": "folds"},
)


def pipelines(spec: TaskSpec) -> Iterator[PipelineSpec]:
    """Pipelines around the baseline, those that fit the task."""
    for family, extra in itertools.product(FAMILIES, EXTRAS):
        try:
            pipeline = apply(baseline(spec), {**family, **extra})
            check(pipeline, spec)
        except ValueError:
            continue
        yield pipeline


def observed(name: str, value: float | str) -> Observation:
    """An observation without a text of its own."""
    return Observation(name=name, value=value, text=f"{name} is {value}")


NEUTRAL = {
    "rows": 1000.0,
    "missing_max": 0.0,
    "residual_slope": 0.0,
    "calibration_slope": 1.0,
    "overconfidence": 0.0,
}
HELPERS = {
    "id_like_column": "number",
    "date_span_days": 900.0,
    "forecast_length": 300.0,
    "season_length": 12.0,
}
"""Observations that edits and gates look at besides the signs."""
MOODS: tuple[dict[str, float], ...] = (
    {},
    {"residual_slope": -0.4, "calibration_slope": 0.4, "overconfidence": 0.3},
    {"residual_slope": 0.5, "calibration_slope": 2.0, "overconfidence": -0.3},
    {"rows": 5000.0},
    {"rows": 5000.0, "r2": 0.1},
    {"categorical_columns": 3.0, "level_like_columns": 3.0},
)


def showing(rule: Rule, *, fully: bool = True) -> dict[str, Observation]:
    """Observations at which all signs of the rule show in full, or, not fully, at which none shows."""
    mentioned = re.findall(r"{(\w+)", rule.hypothesis)
    values: dict[str, float | str] = {**dict.fromkeys(mentioned, 0.5), **NEUTRAL, **HELPERS}
    for sign in rule.when:
        values[sign.name] = sign.full if fully else _beyond(sign)
    return {n: observed(n, v) for n, v in values.items()}


def _beyond(sign: Sign) -> float:
    if sign.absolute:
        return 0.0
    return sign.start - 2.0 * (sign.full - sign.start) - 1e-6 * (1 if sign.full > sign.start else -1)


def situations(rule: Rule) -> Iterator[Situation]:
    """Situations in which the rule speaks."""
    for spec in tasks():
        if not rule.fits(spec):
            continue
        for pipeline in pipelines(spec):
            for mood in MOODS:
                seen = showing(rule)
                signs = {s.name for s in rule.when}
                seen |= {n: observed(n, v) for n, v in mood.items() if n not in signs}
                situation = Situation(spec, pipeline, seen)
                if rule.strength(situation) is not None:
                    yield situation


def experiment(
    spec: TaskSpec,
    pipeline: PipelineSpec,
    *,
    name: str = "t0-s000",
    trace: int = 0,
    parent: str | None = None,
    status: str = "accepted",
    score: float = 1.0,
    observations: tuple[Observation, ...] = (),
    edit: dict | None = None,
    key: str = "",
    p_better: float | None = None,
    component: str = "draft",
) -> Experiment:
    """An experiment as the loop would record it."""
    comparison = None
    if p_better is not None:
        comparison = Comparison(
            delta=0.1 if p_better > 0.5 else -0.1, se=0.1, p_better=p_better, n=100, method="paired"
        )
    return Experiment(
        id=name,
        trace=trace,
        step=int(name[-3:]),
        parent=parent,
        proposal=Proposal(
            purpose="draft" if parent is None else "improve",
            component=component,
            hypothesis="made for a test",
            diagnosis=Diagnosis(cause="test"),
            edit=edit if edit is not None else {"spec": pipeline.to_json(), "origin": "draft"},
            edit_key=key,
        ),
        status=status,
        score=Score(
            value=score,
            metric=spec.metric.name,
            direction=spec.metric.direction,
            split="validation",
            n=100,
            se=0.1,
        ),
        comparison=comparison,
        feedback=Feedback(observations=observations),
    )


def context(spec: TaskSpec, pipeline: PipelineSpec | None = None, **changes) -> StepContext:
    """A step's context; with a pipeline its parent is that pipeline's first experiment."""
    seed = changes.pop("seed", 0)
    observations = changes.pop("observations", ())
    score = changes.pop("score", 1.0)
    parent = files = None
    if pipeline is not None:
        parent = experiment(spec, pipeline, observations=observations, score=score)
        files = render(pipeline, spec)
    values = {
        "task": spec,
        "profile": (),
        "trace": 0,
        "traces": 3,
        "step": 1 if parent else 0,
        "purpose": "improve" if parent else "draft",
        "parent": parent,
        "parent_files": files or {},
        "history": (parent,) if parent else (),
        "recalled": (),
        "tried": frozenset(),
        "in_flight": (),
        "merge_with": (),
        "progress": 0.2,
        "rng": random.Random(seed),
    }
    return StepContext(**(values | changes))
