"""Medal bands: where a test score stands among the scores of a committed population of reference pipelines.

These are not Kaggle's medals. `population.json` beside a task's `task.toml` holds the test scores of pipelines
made from a seed; gold is the top 5 % of them, silver the top 20 %, bronze the top 40 %, "above median" the top
half (quantiles interpolated linearly, as `numpy.quantile` does by default).
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, field_validator

from dojo.errors import TaskError
from dojo.model import Frozen
from dojo.score import Direction

Medal = Literal["gold", "silver", "bronze", "above median", "none"]
BANDS: tuple[tuple[Medal, float], ...] = (
    ("gold", 0.05),
    ("silver", 0.20),
    ("bronze", 0.40),
    ("above median", 0.50),
)
"""Band and the top share of the population that reaches it, best first."""
NAME = "bands of reference pipelines"
MIN_PIPELINES = 20


class Pipeline(Frozen):
    """One reference pipeline and its score on the test split."""

    name: str
    score: float


class Population(Frozen):
    """The content of `population.json`."""

    schema_version: Literal[1] = 1
    task: str
    metric: str
    direction: Direction
    seed: int
    script: str
    """The script that made the file, relative to the repository."""
    fingerprint: str
    """Hash of the prepared data the pipelines were scored on (`Prepared.fingerprint`)."""
    baseline: float
    """The test score of the task's baseline, which is one of the pipelines."""
    pipelines: tuple[Pipeline, ...] = Field(min_length=MIN_PIPELINES)

    @field_validator("pipelines")
    @classmethod
    def _distinct(cls, value: tuple[Pipeline, ...]) -> tuple[Pipeline, ...]:
        if len({pipeline.name for pipeline in value}) != len(value):
            raise ValueError("two pipelines have the same name")
        return value


def load_population(path: Path) -> Population | None:
    """Read a population, or None if the task has none.

    Raises:
        TaskError: the file is broken.
    """
    try:
        return Population.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as exc:
        error = exc.errors()[0]
        field = ".".join(map(str, error["loc"]))
        raise TaskError(f"{error['msg']}; make it anew with its script", f"{path} {field}".strip()) from exc


def thresholds(population: Population) -> dict[Medal, float]:
    """Band to the score, in metric units, that reaches it."""
    import numpy as np

    sign = 1.0 if population.direction == "max" else -1.0
    utilities = np.array([sign * pipeline.score for pipeline in population.pipelines])
    return {band: sign * float(np.quantile(utilities, 1.0 - top)) for band, top in BANDS}


def medal(score: float | None, population: Population | None, fingerprint: str | None = None) -> Medal | None:
    """The best band that a test score reaches.

    Args:
        score: a score on the test split, in metric units; None if there is none.
        population: the task's reference pipelines; None if it has none.
        fingerprint: of the data the score was made on; another one than the population's gives None, since
            the two cannot be compared.
    """
    if score is None or population is None:
        return None
    if fingerprint is not None and fingerprint != population.fingerprint:
        return None
    sign = 1.0 if population.direction == "max" else -1.0
    for band, threshold in thresholds(population).items():
        if sign * score >= sign * threshold:
            return band
    return "none"
