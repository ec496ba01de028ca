"""PipelineSpec: edits, differences, keys, and what a task rules out."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dojo.task import TaskSpec
from gome.mle.playbook.baseline import baseline, drafts
from gome.mle.playbook.pipeline import PipelineSpec, apply, check, diff, without_effect
from gome.mle.playbook.render import read_spec, render
from tests.support.pipeline_cases import CASES, metric, random_spec

TASKS = [case().task for case in CASES.values()]
PLAIN = PipelineSpec()


@given(st.integers(0, 2**32), st.sampled_from(TASKS))
def test_diff_and_apply_are_inverse(seed: int, task: TaskSpec) -> None:
    rng = random.Random(seed)
    a, b = random_spec(rng, task), random_spec(rng, task)
    changes = diff(a, b)
    assert apply(a, changes) == b
    assert apply(b, diff(b, a)) == a
    assert apply(a, json.loads(json.dumps(changes))) == b
    assert diff(a, a) == {}


@given(st.integers(0, 2**32), st.sampled_from(TASKS))
def test_json_form_reads_back_with_the_same_key(seed: int, task: TaskSpec) -> None:
    spec = random_spec(random.Random(seed), task)
    again = PipelineSpec.model_validate(json.loads(json.dumps(spec.to_json())))
    assert again == spec
    assert again.key() == spec.key()
    assert read_spec(render(spec, task)) == spec


def test_json_form_lists_only_differences() -> None:
    assert PLAIN.to_json() == {}
    spec = apply(PLAIN, {"model.family": "lightgbm", "model.lightgbm.leaves": 63})
    assert spec.to_json() == {"model": {"family": "lightgbm", "lightgbm": {"leaves": 63}}}


def test_key_ignores_settings_of_other_families() -> None:
    assert without_effect(PLAIN, {"model.knn.k": 3})
    assert not without_effect(PLAIN, {"model.ridge.alpha": 3.0})
    assert not without_effect(PLAIN, {"model.family": "knn"})


def test_changes_that_depend_on_each_other_go_together() -> None:
    spec = apply(PLAIN, {"numeric.imputation": "none", "model.family": "forest"})
    assert (spec.numeric.imputation, spec.model.family) == ("none", "forest")


def test_ensembles_are_edited_by_position() -> None:
    changes = {"ensemble.method": "blend", "ensemble.members": [{"model": {"family": "knn"}}]}
    spec = apply(PLAIN, changes)
    assert apply(spec, {"ensemble.members.0.model.knn.k": 3}).ensemble.members[0].model.knn.k == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model.nothing": 1}, "no such field: model.nothing"),
        ({"model.family": "magic"}, "model.family"),
        ({"model.knn.k": 0}, "model.knn.k: .*greater than or equal to 1"),
        ({"model.ridge.alpha": float("nan")}, "model.ridge.alpha"),
        ({"numeric.imputation": "none"}, "imputation=none conflicts with model.family=ridge"),
        ({"categorical.encoding": "native"}, "native conflicts with model.family=ridge"),
        ({"ensemble.method": "blend"}, "at least one"),
        ({"ensemble.members.0.model.family": "knn"}, "no such field"),
        ({"text.char_min": 7}, "char_min"),
        ({"model": 3}, "model"),
    ],
)
def test_a_bad_change_is_a_clear_error(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        apply(PLAIN, changes)


def test_ensembles_do_not_nest_and_weights_fit() -> None:
    inner = {"ensemble": {"method": "blend", "members": [{}]}}
    with pytest.raises(ValueError, match="cannot itself be an ensemble"):
        apply(PLAIN, {"ensemble.method": "blend", "ensemble.members": [inner]})
    with pytest.raises(ValueError, match="needs 2 values"):
        apply(PLAIN, {"ensemble.method": "blend", "ensemble.members": [{}], "ensemble.weights": [1.0]})


@pytest.mark.parametrize(
    ("case", "changes", "message"),
    [
        ("regression", {"model.family": "logistic"}, "does not fit a regression task"),
        ("text", {"model.family": "linear"}, "does not fit a binary task"),
        ("text", {"target.transform": "log1p"}, "target.transform"),
        ("regression", {"post.calibration": "isotonic"}, "probabilities"),
        ("text", {"post.threshold": "tune"}, "labels"),
        ("text", {"post.clip": True}, "numeric target"),
        ("regression", {"cv.scheme": "group"}, "group column"),
        ("regression", {"cv.scheme": "time"}, "time column"),
        ("regression", {"cv.scheme": "stratified"}, "classification"),
        ("image", {"image.pixels": False}, "no features"),
        ("series", {"series.values": False}, "no features"),
        ("monthly", {"forecast.degree": 0}, "no features"),
    ],
)
def test_a_task_rules_out_what_does_not_fit(case: str, changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check(apply(PLAIN, changes), CASES[case]().task)


@pytest.mark.parametrize("task", TASKS, ids=[*CASES])
def test_drafts_are_different_plain_families_with_the_baseline_first(task: TaskSpec) -> None:
    found = drafts(task, 3)
    assert found[0] == baseline(task)
    assert len({spec.key() for spec in found}) == 3
    allowed = {"model.family", "numeric.scaling", "forecast.method"}
    for spec in found:
        check(spec, task)
        assert set(diff(PLAIN, spec)) <= allowed, "a draft has a trick in it"


def test_more_drafts_than_families_repeat() -> None:
    assert len(drafts(TASKS[0], 12)) == 12


def test_no_boosted_draft_for_many_classes() -> None:
    many = TaskSpec(
        id="x",
        problem="multiclass",
        metric=metric("accuracy", "label"),
        target="y",
        classes=tuple(map(str, range(60))),
    )
    assert all(spec.model.family != "lightgbm" for spec in drafts(many, 9))
