"""The pipelines of the reference populations: seeded, different, valid for every kind of task."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.pipeline_sampler import population
from benchmarks.reference_population import Results
from dojo.task import TaskSpec
from gome.mle.playbook.pipeline import check
from tests.support.pipeline_cases import CASES


@pytest.mark.parametrize("task", [case().task for case in CASES.values()], ids=[*CASES])
def test_a_seed_gives_the_same_pipelines_and_more_of_them_only_add(task: TaskSpec) -> None:
    found = population(task, 3, 12)
    assert len({spec.key() for spec in found}) == 12
    for spec in found:
        check(spec, task)
    assert population(task, 3, 5) == found[:5]
    assert population(task, 4, 5) != found[:5]


def test_results_count_only_for_the_same_data_and_cap(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    Results(path, "data", 60.0).add("a", 1.5, "")
    Results(path, "data", 60.0).add("b", None, "timed_out")
    assert Results(path, "data", 60.0).known == {"a": 1.5, "b": None}
    assert Results(path, "other data", 60.0).known == {}
    assert Results(path, "data", 30.0).known == {}
    assert len([json.loads(line) for line in path.read_text().splitlines()]) == 2
