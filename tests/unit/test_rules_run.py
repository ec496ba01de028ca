"""Every rule's edit, rendered and run on a small nasty table: the child writes a valid submission."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pandas as pd
import pytest

from dojo.mle.observe import observe, profile
from gome.mle.playbook.diagnose import candidate_of, diagnose
from gome.mle.playbook.pipeline import PipelineSpec, apply, check
from gome.mle.playbook.render import render
from gome.mle.playbook.rules.all_rules import RULES
from gome.mle.playbook.rules.base import Rule, Situation
from tests.support import pipeline_cases as small
from tests.support import playbook_cases as made

CASES = {
    "regression": small.regression_case,
    "grouped": small.grouped_case,
    "text": small.text_case,
    "rare": small.rare_classes_case,
    "image": small.image_case,
    "series": small.series_case,
    "monthly": small.monthly_case,
    "shops": small.shops_case,
}
SWAPS: dict[str, dict] = {  # metrics that some rules ask for, on the same tables
    "mae": {"metric": small.metric("mae", direction="min")},
    "rmse": {"metric": small.metric("rmse", direction="min")},
    "pearson": {"metric": small.metric("pearson")},
    "f1": {"metric": small.metric("f1", "label")},
    "logloss": {"metric": small.metric("logloss", "probability", "min")},
    "qwk": {"metric": small.metric("qwk", "label")},
}


@cache
def variants() -> tuple[tuple[str, small.Case], ...]:
    found = [(name, build()) for name, build in CASES.items()]
    cases = dict(found)
    for host, names in (
        ("regression", ("mae", "rmse", "pearson")),
        ("text", ("f1", "logloss")),
        ("rare", ("qwk",)),
    ):
        case = cases[host]
        for name in names:
            task = case.task.model_copy(update=SWAPS[name])
            found.append((f"{host}-{name}", small.Case(task, case.train, case.test)))
    return tuple(found)


def starts(rule: Rule, case: small.Case) -> Iterator[Situation]:
    for pipeline in made.pipelines(case.task):
        seen = {o.name: o for o in profile_of(case)} | made.showing(rule)
        for mood in made.MOODS:
            moody = {n: made.observed(n, v) for n, v in mood.items() if n not in {s.name for s in rule.when}}
            yield Situation(case.task, pipeline, seen | moody)


@cache
def _profile(key: int) -> tuple:
    case = next(c for _, c in variants() if id(c) == key)
    return tuple(profile(case.task, case.train))


def profile_of(case: small.Case) -> tuple:
    return _profile(id(case))


def child_of(rule: Rule) -> tuple[small.Case, PipelineSpec] | None:
    for _, case in variants():
        if not rule.fits(case.task):
            continue
        for situation in starts(rule, case):
            strength = rule.strength(situation)
            candidate = strength and candidate_of(rule, situation, strength)
            if candidate:
                return case, apply(situation.spec, candidate.changes)
    return None


def light(spec: PipelineSpec) -> PipelineSpec:
    """The same pipeline with fewer trees and kernels: what is tested is that the parts fit together."""
    few = {f"model.{f}.trees": 12 for f in ("forest", "extra_trees", "hist_gb", "lightgbm")}
    few |= {"series.kernels": min(spec.series.kernels, 40), "model.bagging": min(spec.model.bagging, 2)}
    for i in range(len(spec.ensemble.members)):
        few |= {f"ensemble.members.{i}.model.{f}.trees": 12 for f in ("forest", "extra_trees", "lightgbm")}
    return apply(spec, few)


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.id)
def test_child_runs(rule: Rule, tmp_path: Path) -> None:
    found = child_of(rule)
    assert found is not None, "no small table on which the edit has an effect"
    case, child = found
    check(child, case.task)
    data, out = case.write(tmp_path / "data", "csv"), tmp_path / "out"
    out.mkdir()
    small.run_here(render(light(child), case.task)["solution.py"], data, out)
    small.check_outputs(case, out)


@pytest.mark.parametrize("name", CASES)
def test_observations_of_a_real_result_lead_to_diagnoses(name: str, tmp_path: Path) -> None:
    from gome.mle.playbook.baseline import baseline

    case = CASES[name]()
    data, out = case.write(tmp_path / "data", "csv"), tmp_path / "out"
    out.mkdir()
    start = light(baseline(case.task))
    small.run_here(render(start, case.task)["solution.py"], data, out)
    found = observe(
        case.task, case.train, pd.read_csv(out / "oof.csv", keep_default_na=False, na_values=[""])
    )
    assert found[0].name == "oof_missing"
    assert found[0].value == 0, found[0].text
    seen = {o.name: o for o in (*profile(case.task, case.train), *found)}
    assert diagnose(Situation(case.task, start, seen))
