"""Medal bands are quantiles of the reference pipelines, in the metric's own direction."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dojo.errors import TaskError
from dojo.mle.medals import Pipeline, Population, load_population, medal, thresholds
from dojo.score import Direction

ORDER = ["gold", "silver", "bronze", "above median", "none"]


def population(scores: list[float], direction: Direction = "min") -> Population:
    return Population(
        task="t",
        metric="rmse",
        direction=direction,
        seed=0,
        script="benchmarks/reference_population.py",
        fingerprint="f" * 64,
        baseline=scores[0],
        pipelines=tuple(Pipeline(name=f"p{i}", score=s) for i, s in enumerate(scores)),
    )


def test_known_quantiles() -> None:
    up = population([float(i) for i in range(101)], "max")
    assert thresholds(up) == pytest.approx(
        {"gold": 95.0, "silver": 80.0, "bronze": 60.0, "above median": 50.0}
    )
    down = population([float(i) for i in range(101)], "min")
    assert thresholds(down) == pytest.approx(
        {"gold": 5.0, "silver": 20.0, "bronze": 40.0, "above median": 50.0}
    )
    assert [medal(v, down) for v in (0.0, 5.1, 39.0, 45.0, 50.1)] == ORDER


@given(
    scores=st.lists(st.floats(-1e6, 1e6), min_size=20, max_size=60),
    a=st.floats(-1e6, 1e6),
    b=st.floats(-1e6, 1e6),
    direction=st.sampled_from(["min", "max"]),
)
def test_a_better_score_never_gets_a_worse_band(
    scores: list[float], a: float, b: float, direction: Direction
) -> None:
    reference = population(scores, direction)
    better, worse = (max(a, b), min(a, b)) if direction == "max" else (min(a, b), max(a, b))
    assert ORDER.index(medal(better, reference) or "") <= ORDER.index(medal(worse, reference) or "")


def test_no_medal_without_score_population_or_the_same_data() -> None:
    reference = population([float(i) for i in range(20)])
    assert medal(None, reference) is None
    assert medal(1.0, None) is None
    assert medal(0.0, reference, "0" * 64) is None
    assert medal(0.0, reference, "f" * 64) == "gold"


def test_round_trip_and_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "population.json"
    assert load_population(path) is None
    reference = population([float(i) for i in range(20)])
    path.write_text(reference.model_dump_json())
    assert load_population(path) == reference


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"pipelines": []}, "pipelines"),
        ({"direction": "up"}, "direction"),
        ({"seed": None}, "seed"),
        ({"kaggle": True}, "kaggle"),
        ({"pipelines": [{"name": "same", "score": 1.0}] * 20}, "same name"),
    ],
)
def test_broken_files_are_named(change: dict[str, object], words: str, tmp_path: Path) -> None:
    path = tmp_path / "population.json"
    body = json.loads(population([float(i) for i in range(20)]).model_dump_json())
    path.write_text(json.dumps({**body, **change}))
    with pytest.raises(TaskError, match=words):
        load_population(path)
