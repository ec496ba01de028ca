"""The structured answers that are asked for. Values out of range are clamped, not refused."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

COMPONENTS = (
    "data",
    "encoding",
    "features",
    "target",
    "model",
    "regularisation",
    "tuning",
    "calibration",
    "ensemble",
    "speed",
)
_SYNONYMS = {
    "feature": "features",
    "featureeng": "features",
    "feature_engineering": "features",
    "preprocessing": "data",
    "dataloadspec": "data",
    "workflow": "data",
    "hyperparameters": "tuning",
    "regularization": "regularisation",
    "ensembling": "ensemble",
    "stacking": "ensemble",
}


def one_line(limit: int) -> BeforeValidator:
    """Text on one line, cut to `limit` characters."""

    def cut(value: Any) -> Any:
        return " ".join(value.split())[:limit] if isinstance(value, str) else value

    return BeforeValidator(cut)


def _cut(limit: int) -> BeforeValidator:
    return BeforeValidator(lambda value: value[:limit] if isinstance(value, str | list) else value)


def _clamp(low: float, high: float) -> BeforeValidator:
    """A finite number drawn into its range; a number in a string counts, and one with a percent sign, too."""

    def clamp(value: Any) -> Any:
        scale = 1.0
        if isinstance(value, str):
            text = value.strip()
            value, scale = (text[:-1], 0.01) if text.endswith("%") else (text, 1.0)
        if isinstance(value, bool):
            return value
        try:
            number = float(value) * scale
        except (TypeError, ValueError):
            return value
        return min(high, max(low, number)) if math.isfinite(number) else value

    return BeforeValidator(clamp)


def _component(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    name = re.sub(r"\W+", "_", value.strip().lower()).strip("_")[:40]
    return _SYNONYMS.get(name, name) or "model"


def _some(value: Any) -> Any:
    """A list where a single thing was given, and an empty one for nothing."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


class Answer(BaseModel):
    """Base: keys that were not asked for are ignored."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False, frozen=True)


Share = Annotated[float, _clamp(0.0, 1.0)]
Points = Annotated[float, _clamp(1.0, 10.0)]


class CauseAnswer(Answer):
    """One cause of what is missing in the score."""

    cause: Annotated[str, one_line(600), Field(min_length=1)]
    evidence: Annotated[list[str], BeforeValidator(_some), _cut(12)] = []
    expected_gain: Share = 0.0
    confidence: Share = 0.5


class UseAnswer(Answer):
    """A memory entry that a hypothesis takes up."""

    entry: Annotated[str, one_line(64)]
    use: Literal["adopted", "adapted", "avoided"] = "adapted"


class HypothesisAnswer(Answer):
    """One change that one cause points to."""

    cause: Annotated[int, Field(description="index of the cause in `causes`, from 0")] = 0
    component: Annotated[str, BeforeValidator(_component)]
    key: Annotated[str, one_line(120)] = ""
    hypothesis: Annotated[str, one_line(600), Field(min_length=1)]
    change: Annotated[str, _cut(2400)] = ""
    step_size: Literal["patch", "rewrite"] = "patch"
    alignment: Points = 5.0
    impact: Points = 5.0
    novelty: Points = 5.0
    feasibility: Points = 5.0
    risk_reward: Points = 5.0
    uses: Annotated[list[UseAnswer], BeforeValidator(_some), _cut(12)] = []

    @property
    def merit(self) -> float:
        """Weighted score, 1 to 10 (weights of R&D-Agent's hypothesis ranking, arXiv:2505.14738)."""
        return (
            0.2 * self.alignment
            + 0.4 * self.impact
            + 0.2 * self.novelty
            + 0.1 * self.feasibility
            + 0.1 * self.risk_reward
        )


class ProposeAnswer(Answer):
    """A diagnosis and the changes that follow from it."""

    causes: Annotated[list[CauseAnswer], BeforeValidator(_some), _cut(6), Field(min_length=1)]
    hypotheses: Annotated[list[HypothesisAnswer], BeforeValidator(_some), _cut(6), Field(min_length=1)]


class InterpretAnswer(Answer):
    """What was learnt from a result."""

    confirmed: bool = False
    lesson: Annotated[str, one_line(500), Field(min_length=1)]
    veto: bool = False
    reason: Annotated[str, one_line(400)] = ""
