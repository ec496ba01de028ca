"""A pipeline in words, for the head of a solution and for reports."""

from __future__ import annotations

from dojo.model import Frozen
from dojo.task import TaskSpec
from gome.mle.playbook.pipeline import Ensemble, PipelineSpec, as_member

FAMILY_NAMES = {
    "linear": "linear regression",
    "ridge": "ridge",
    "lasso": "lasso",
    "elastic": "elastic net",
    "logistic": "logistic regression",
    "knn": "nearest neighbours",
    "svm": "support vector machine",
    "forest": "random forest",
    "extra_trees": "extremely randomised trees",
    "hist_gb": "histogram gradient boosting",
    "lightgbm": "LightGBM",
    "mlp": "multi-layer perceptron",
    "bayes": "naive Bayes",
}
_METHOD_NAMES = {
    "naive": "last value",
    "seasonal_naive": "last season repeated",
    "drift": "line through first and last value",
    "holt_winters": "exponential smoothing (Holt-Winters)",
}


def model_name(spec: PipelineSpec, task: TaskSpec) -> str:
    """The model in words."""
    name = FAMILY_NAMES[spec.model.family]
    if task.problem == "forecast":
        if spec.forecast.method in _METHOD_NAMES:
            return _METHOD_NAMES[spec.forecast.method]
        return f"{name} on {'past values' if spec.forecast.method == 'lags' else 'features of time'}"
    return name


def describe(spec: PipelineSpec, task: TaskSpec) -> list[str]:
    """A title, and one line for each part that differs from its default.

    Column names are not repeated: they may hold anything, and the code lists them.
    """
    members = [spec, *spec.ensemble.members]
    names = [model_name(m, task) for m in members]
    joined = {"none": "", "blend": "Blend of ", "stack": "Stack of "}[spec.ensemble.method]
    title = joined + ", ".join(names)
    lines = [f"{title[:1].upper()}{title[1:]} for a {task.problem} task on {task.modality} data."]
    for number, member in enumerate(members, start=1):
        prefix = f"member {number}: " if len(members) > 1 else ""
        shown = member if number == 1 else as_member(member)
        lines += [prefix + line for line in _settings(shown)]
    if len(lines) == 1:
        lines.append("everything else at the usual defaults")
    return lines


def _settings(spec: PipelineSpec) -> list[str]:
    lines = []
    effective = spec.effective()
    for name in type(spec).model_fields:
        part = getattr(effective, name)
        if isinstance(part, Ensemble) or name == "columns":
            continue
        settings = list(_differing(part, ""))
        if settings:
            lines.append(f"{name}: {', '.join(settings)}")
    return lines


def _differing(part: Frozen, prefix: str) -> list[str]:
    found: list[str] = []
    for name, field in type(part).model_fields.items():
        value = getattr(part, name)
        if isinstance(value, Frozen):
            found += _differing(value, f"{name} ")
        elif value != field.default:
            text = "+".join(map(str, value)) if isinstance(value, tuple) else str(value)
            found.append(f"{prefix}{name.replace('_', ' ')} {text}".replace(" True", ""))
    return found
