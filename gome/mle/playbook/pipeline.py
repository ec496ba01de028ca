"""A whole solution as a small frozen value: what an edit changes, what the renderer turns into code."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Literal, Self, get_args

from pydantic import BaseModel, Field, ValidationError, model_validator

from dojo.model import Frozen
from dojo.task import TaskSpec
from gome.mle.playbook.parts import (
    Categorical,
    Code,
    Columns,
    Cv,
    Dates,
    Family,
    Forecast,
    Geo,
    Groups,
    Image,
    Interactions,
    Model,
    Numeric,
    Post,
    Selection,
    Series,
    Target,
    Text,
)

TAKES_NAN: frozenset[Family] = frozenset({"forest", "extra_trees", "hist_gb", "lightgbm"})
"""Families that fit on a matrix with NaN in it."""
TAKES_CATEGORIES: frozenset[Family] = frozenset({"hist_gb", "lightgbm"})
REGRESSION_FAMILIES: frozenset[Family] = frozenset(get_args(Family)) - {"logistic"}
CLASSIFIER_FAMILIES: frozenset[Family] = frozenset(get_args(Family)) - {"linear"}


class Ensemble(Frozen):
    """Further pipelines beside the spec's own, and how predictions are combined.

    The spec that holds the ensemble is its first member. `columns`, `post` and `cv` are the holder's.
    """

    method: Literal["none", "blend", "stack"] = "none"
    members: tuple[PipelineSpec, ...] = Field(default=(), max_length=7)
    weights: tuple[float, ...] = ()
    """One non-negative weight per member, the holder first; empty means equal ones (`blend` only)."""
    optimize: bool = False
    """Fit the weights of `blend` on out-of-fold predictions."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.method == "none") != (not self.members):
            raise ValueError(
                "ensemble.method `none` goes with no members, any other method with at least one"
            )
        if self.weights and len(self.weights) != len(self.members) + 1:
            raise ValueError(f"ensemble.weights needs {len(self.members) + 1} values, the holder's first")
        if self.weights and (min(self.weights) < 0 or sum(self.weights) <= 0):
            raise ValueError("ensemble.weights must be non-negative with a positive sum")
        if any(m.ensemble.method != "none" for m in self.members):
            raise ValueError("a member of an ensemble cannot itself be an ensemble")
        return self


class PipelineSpec(Frozen):
    """Every choice of one solution. `PipelineSpec()` is the plain default; JSON lists only what differs."""

    columns: Columns = Columns()
    numeric: Numeric = Numeric()
    categorical: Categorical = Categorical()
    dates: Dates = Dates()
    text: Text = Text()
    series: Series = Series()
    image: Image = Image()
    code: Code = Code()
    geo: Geo = Geo()
    interactions: Interactions = Interactions()
    groups: Groups = Groups()
    selection: Selection = Selection()
    target: Target = Target()
    model: Model = Model()
    forecast: Forecast = Forecast()
    post: Post = Post()
    cv: Cv = Cv()
    ensemble: Ensemble = Field(default_factory=lambda: Ensemble())  # refers to this very class

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        family = self.model.family
        if self.numeric.imputation == "none" and family not in TAKES_NAN:
            raise ValueError(
                f"numeric.imputation=none conflicts with model.family={family}, which takes no missing values"
            )
        if self.categorical.encoding == "native":
            if family not in TAKES_CATEGORIES:
                raise ValueError(f"categorical.encoding=native conflicts with model.family={family}")
            if self.selection.method != "none":
                raise ValueError("categorical.encoding=native conflicts with feature selection")
        if self.text.char_min > self.text.char_max:
            raise ValueError("text.char_min is above text.char_max")
        return self

    def to_json(self) -> dict[str, Any]:
        """The fields that differ from the default, JSON-able; `PipelineSpec.model_validate` reads it back."""
        data = self.model_dump(mode="json", exclude_defaults=True)
        if self.ensemble.method == "none":
            data.pop("ensemble", None)
        else:
            data["ensemble"]["members"] = [m.to_json() for m in self.ensemble.members]
        return data

    def effective(self) -> PipelineSpec:
        """The same pipeline with hyper-parameters of unused model families set back to their defaults."""
        families = {f: getattr(self.model, f) for f in _TUNED if f == self.model.family}
        head = self.model.model_dump(include={"family", "class_weight", "bagging"})
        members = tuple(as_member(m).effective() for m in self.ensemble.members)
        return self.model_copy(
            update={
                "model": Model(**head, **families),
                "ensemble": self.ensemble.model_copy(update={"members": members}),
            }
        )

    def key(self) -> str:
        """16 hexadecimal digits: equal for pipelines that do the same, stable when fields are added."""
        text = json.dumps(self.effective().to_json(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


Ensemble.model_rebuild()
_TUNED = tuple(
    name for name, field in Model.model_fields.items() if isinstance(field.default, Frozen)
)  # families that have hyper-parameters


def as_member(spec: PipelineSpec) -> PipelineSpec:
    """The spec without its ensemble and without what the holder of an ensemble decides."""
    own = {"ensemble": Ensemble(), "post": Post(), "cv": Cv(), "columns": Columns()}
    return spec.model_copy(update=own)


def apply(spec: PipelineSpec, changes: Mapping[str, Any]) -> PipelineSpec:
    """Apply dotted-path changes, all at once, so that fields which depend on each other can change together.

    Args:
        spec: the pipeline to start from; it is not changed.
        changes: `{"model.family": "lightgbm", "model.lightgbm.leaves": 63}`; a number in a path indexes a
            list (`ensemble.members.0.target.transform`); a value may be a whole part (a dict).

    Raises:
        ValueError: for an unknown path, a value out of its range, or a conflict between fields. The message
            names the path and the rule that is broken.
    """
    data = spec.model_dump(mode="json")
    for path, value in sorted(changes.items()):
        _set(data, path, value)
    try:
        return PipelineSpec.model_validate(data)
    except ValidationError as error:
        details = "; ".join(
            f"{'.'.join(map(str, e['loc']))}: {e['msg'].removeprefix('Value error, ')}".removeprefix(": ")
            for e in error.errors()
        )
        raise ValueError(f"cannot apply {json.dumps(dict(changes), default=str)[:200]}: {details}") from None


def _set(data: dict[str, Any], path: str, value: Any) -> None:
    node: Any = data
    *parents, last = path.split(".")
    for step in parents:
        node = _child(node, step, path)
    _child(node, last, path)
    node[int(last) if isinstance(node, list) else last] = _plain(value)


def _child(node: Any, step: str, path: str) -> Any:
    if isinstance(node, dict) and step in node:
        return node[step]
    if isinstance(node, list) and step.isdigit() and int(step) < len(node):
        return node[int(step)]
    raise ValueError(f"no such field: {path} (at `{step}`)")


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value


def diff(a: PipelineSpec, b: PipelineSpec) -> dict[str, Any]:
    """The smallest changes that `apply` needs to make `b` of `a`. Lists are replaced as a whole."""
    changes: dict[str, Any] = {}
    _diff(a, b, "", changes)
    return changes


def _diff(a: Frozen, b: Frozen, prefix: str, changes: dict[str, Any]) -> None:
    for name in type(a).model_fields:
        old, new = getattr(a, name), getattr(b, name)
        if old == new:
            continue
        if isinstance(old, Frozen):
            _diff(old, new, f"{prefix}{name}.", changes)
        elif name == "members":
            changes[prefix + name] = [m.to_json() for m in new]
        else:
            changes[prefix + name] = list(new) if isinstance(new, tuple) else new


def without_effect(spec: PipelineSpec, changes: Mapping[str, Any]) -> bool:
    """Whether the changes would leave the pipeline doing the same (for example: another family's settings).

    Raises:
        ValueError: as `apply`.
    """
    return apply(spec, changes).key() == spec.key()


def check(spec: PipelineSpec, task: TaskSpec) -> None:
    """Refuse what the kind of task rules out.

    Raises:
        ValueError: naming the field and what to set instead.
    """
    numeric = task.problem in ("regression", "forecast")
    allowed = REGRESSION_FAMILIES if numeric else CLASSIFIER_FAMILIES
    for member in (spec, *spec.ensemble.members):
        if member.model.family not in allowed:
            raise ValueError(
                f"model.family={member.model.family} does not fit a {task.problem} task; "
                f"choose one of {', '.join(sorted(allowed))}"
            )
        if not numeric and member.target.transform != "none":
            raise ValueError(f"target.transform has no meaning for a {task.problem} task")
        _check_features(member, task)
    if spec.post.calibration != "none" and task.metric.needs not in ("probability", "probabilities"):
        raise ValueError("post.calibration needs a metric on probabilities")
    if spec.post.threshold != "none" and task.metric.needs != "label":
        raise ValueError("post.threshold needs a metric on labels")
    if spec.post.threshold != "none" and numeric:
        raise ValueError("post.threshold needs a classification task")
    if (spec.post.round == "integer" or spec.post.clip) and not numeric:
        raise ValueError("post.clip and post.round=integer need a numeric target")
    if spec.post.round == "cutpoints" and (numeric or task.metric.needs != "label"):
        raise ValueError("post.round=cutpoints needs a classification task with a metric on labels")
    if spec.cv.scheme == "group" and task.group is None:
        raise ValueError("cv.scheme=group needs a task with a group column")
    if spec.cv.scheme == "stratified" and numeric:
        raise ValueError("cv.scheme=stratified needs a classification task")
    if spec.cv.scheme == "time" and task.time is None:
        raise ValueError("cv.scheme=time needs a task with a time column")


def _check_features(spec: PipelineSpec, task: TaskSpec) -> None:
    """Refuse a member that would be left without any feature."""
    series, forecast, dates = spec.series, spec.forecast, spec.dates
    if task.problem == "forecast":
        seasonal = forecast.harmonics or forecast.seasonal_dummies
        dated = dates.parts or dates.cyclic or dates.weekend
        if forecast.method == "regression" and not (forecast.degree or seasonal or dated):
            raise ValueError("forecast.degree=0 leaves no features: set a degree, harmonics or date parts")
    elif task.image_shape and not (spec.image.pixels or spec.image.gradients):
        raise ValueError("image.pixels=False leaves no features: set image.gradients")
    elif task.series_prefix and not (
        (series.values or series.summary or series.differences or series.autocorrelation)
        or (series.fft or series.kernels or series.intervals)
    ):
        raise ValueError("series.values=False leaves no features: set series.summary, fft or kernels")
    elif task.modality == "text" and spec.text.vectorizer == "none" and not spec.text.statistics:
        raise ValueError("text.vectorizer=none leaves no features: set text.statistics")
