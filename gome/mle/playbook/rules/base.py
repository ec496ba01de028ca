"""What a rule is: conditions over observations and the current pipeline, a cause, and an edit.

A rule is data: gates (`where`) that must hold, observations (`when`) that must show and that give the
strength, texts, and changes to the pipeline. Values that depend on the current pipeline are small functions
of the situation (`times`, `tail` …).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dojo.environment import Observation
from dojo.task import TaskSpec
from gome.loop.proposal import StepSize
from gome.mle.playbook.pipeline import PipelineSpec

LINEAR = ("linear", "ridge", "lasso", "elastic", "logistic")
SMOOTH = (*LINEAR, "knn", "svm", "mlp")
"""Families to which the scale and the shape of a feature matter."""
TREES = ("forest", "extra_trees", "hist_gb", "lightgbm")
BOOSTING = ("hist_gb", "lightgbm")


@dataclass(frozen=True)
class Situation:
    """What a rule may look at: the task, the parent's pipeline, and what was observed.

    Attributes:
        task: the public task.
        spec: the pipeline of the parent.
        seen: observations by name: facts about the data and about the parent's out-of-fold predictions.
        load: share of the time limit the parent used (0 where unknown).
    """

    task: TaskSpec
    spec: PipelineSpec
    seen: Mapping[str, Observation]
    load: float = 0.0

    def number(self, name: str) -> float | None:
        """The value of a numeric observation, or None."""
        found = self.seen.get(name)
        return found.value if found is not None and isinstance(found.value, float | int) else None

    def word(self, name: str) -> str | None:
        """The value of an observation in words, or None."""
        found = self.seen.get(name)
        return found.value if found is not None and isinstance(found.value, str) else None

    def setting(self, path: str) -> Any:
        """The pipeline's value at a dotted path."""
        node: Any = self.spec
        for step in path.split("."):
            node = getattr(node, step)
        return node


Gate = Callable[[Situation], bool]


@dataclass(frozen=True)
class Sign:
    """An observation that speaks for a rule: it shows from `start` on, fully at `full`.

    With `start` above `full` small values speak for the rule. `absolute` looks at the size alone.
    """

    name: str
    start: float
    full: float
    absolute: bool = False

    def strength(self, situation: Situation) -> float | None:
        """0.25 at `start`, 1 at `full` and beyond; None where it does not show or was not observed."""
        value = situation.number(self.name)
        if value is None:
            return None
        value = abs(value) if self.absolute else value
        share = (value - self.start) / (self.full - self.start)
        return 0.25 + 0.75 * min(1.0, share) if share >= 0 else None


def above(name: str, start: float, full: float) -> Sign:
    """A sign that shows where the observation is at least `start`."""
    return Sign(name, start, full)


def below(name: str, start: float, full: float) -> Sign:
    """A sign that shows where the observation is at most `start`."""
    return Sign(name, start, full)


def size(name: str, start: float, full: float) -> Sign:
    """A sign that shows where the size of the observation is at least `start`."""
    return Sign(name, start, full, absolute=True)


def at_least(name: str, value: float) -> Sign:
    """A sign that shows in full where the observation is at least `value`."""
    return Sign(name, value - 1e-9, value)


@dataclass(frozen=True)
class Rule:
    """One rule.

    Attributes:
        id: stable name.
        component: the part of the solution that changes.
        cause: what limits the score, in words.
        hypothesis: what to do about it and why that should help; `{name}` stands for an observed number.
        edit: dotted changes to the pipeline; a callable value is computed from the situation, and one that
            gives None withdraws the rule.
        when: signs that must all show; their mean strength is the rule's.
        where: gates that must all hold.
        gain: gain to expect at full strength, as a share of the distance to a perfect score.
        problems, modalities, needs: kinds of task it is for (empty: all).
        step: size of the step.
        cost: run time relative to the parent's, roughly.
    """

    id: str
    component: str
    cause: str
    hypothesis: str
    edit: Mapping[str, Any]
    when: tuple[Sign, ...] = ()
    where: tuple[Gate, ...] = ()
    gain: float = 0.03
    problems: tuple[str, ...] = ()
    modalities: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    step: StepSize = "patch"
    cost: float = 1.0
    base: float = field(default=0.5)
    """Strength of a rule without signs (one whose gates alone say that it is due)."""

    def fits(self, task: TaskSpec) -> bool:
        """Whether the rule is meant for this kind of task."""
        return (
            (not self.problems or task.problem in self.problems)
            and (not self.modalities or task.modality in self.modalities)
            and (not self.needs or task.metric.needs in self.needs)
        )

    def strength(self, situation: Situation) -> float | None:
        """How strongly the rule speaks, 0 to 1; None where it is silent."""
        if not self.fits(situation.task) or not all(gate(situation) for gate in self.where):
            return None
        found = [sign.strength(situation) for sign in self.when]
        shown = [s for s in found if s is not None]
        if len(shown) < len(found):
            return None
        return sum(shown) / len(shown) if shown else self.base

    def changes(self, situation: Situation) -> dict[str, Any] | None:
        """The edit with its values computed; None where one of them cannot be."""
        out = {path: value(situation) if callable(value) else value for path, value in self.edit.items()}
        return None if any(value is None for value in out.values()) else out

    def evidence(self, situation: Situation) -> tuple[Observation, ...]:
        """The observations it rests on."""
        names = dict.fromkeys(sign.name for sign in self.when)
        return tuple(situation.seen[name] for name in names if name in situation.seen)

    def sentence(self, situation: Situation) -> str:
        """The hypothesis with its numbers filled in; what was not observed is left out."""

        def fill(match: re.Match[str]) -> str:
            name, form = match.group(1), match.group(2) or ".3g"
            value = situation.number(name)
            return format(value, form) if value is not None else (situation.word(name) or "some")

        return re.sub(r"\{(\w+)(?::([^}]*))?\}", fill, self.hypothesis)


def edit_key(changes: Mapping[str, Any]) -> str:
    """Stable name of a change: equal changes have equal keys. Long values are cut to a digest."""
    parts = [f"{path}={_short(value)}" for path, value in sorted(changes.items())]
    text = ";".join(parts)
    if len(text) <= 160:
        return text
    from hashlib import sha256

    return f"{text[:140]}#{sha256(text.encode()).hexdigest()[:12]}"


def _short(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), sort_keys=True)


# Gates over the pipeline and the task.


def family(*names: str) -> Gate:
    """The model family is one of these."""
    return lambda s: s.spec.model.family in names


def metric(*names: str) -> Gate:
    """The metric is one of these."""
    return lambda s: s.task.metric.name in names


def not_metric(*names: str) -> Gate:
    """The metric is none of these."""
    return lambda s: s.task.metric.name not in names


def is_set(path: str, *values: Any) -> Gate:
    """The pipeline's value at the path is one of these."""
    return lambda s: s.setting(path) in values


def not_set(path: str, *values: Any) -> Gate:
    """The pipeline's value at the path is none of these."""
    return lambda s: s.setting(path) not in values


def under(path: str, value: float) -> Gate:
    """The pipeline's value at the path is below this."""
    return lambda s: float(s.setting(path)) < value


def over(path: str, value: float) -> Gate:
    """The pipeline's value at the path is above this."""
    return lambda s: float(s.setting(path)) > value


def rows(low: float = 0, high: float = 1e12) -> Gate:
    """The number of training rows lies in this range (the rule is silent where it is not known)."""
    return lambda s: low <= (s.number("rows") or -1) <= high


def few_classes(most: int) -> Gate:
    """At most this many classes (or none at all)."""
    return lambda s: len(s.task.classes) <= most


def many_classes(least: int) -> Gate:
    """At least this many classes."""
    return lambda s: len(s.task.classes) >= least


def either(*gates: Gate) -> Gate:
    """At least one of the gates holds."""
    return lambda s: any(gate(s) for gate in gates)


def shows(*signs: Sign) -> Gate:
    """At least one of the signs shows."""
    return lambda s: any(sign.strength(s) is not None for sign in signs)


def single(situation: Situation) -> bool:
    """The pipeline is no ensemble."""
    return situation.spec.ensemble.method == "none"


def times(path: str, factor: float, *, low: float = 0.0, high: float = 1e9) -> Callable[[Situation], Any]:
    """The current value times a factor within bounds, whole where the current one is; None if unchanged."""

    def value(situation: Situation) -> Any:
        now = situation.setting(path)
        new = min(high, max(low, now * factor))
        new = round(new) if isinstance(now, int) else float(f"{new:.4g}")
        return None if new == now else new

    return value


def classifier(situation: Situation) -> bool:
    """The task is one of classes."""
    return situation.task.problem in ("binary", "multiclass")


def noisy(situation: Situation) -> bool:
    """Most of what there is to explain was out of reach of the parent."""
    seen = [situation.number(n) for n in ("r2", "brier_skill", "accuracy_lift")]
    return any(v is not None and v < 0.35 for v in seen)
