"""Every rule: reachable, silent without its signs, applicable, renderable; and no rule knows a task."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import dojo
from dojo.mle.observe import observe, profile
from gome.mle.playbook import rules as rules_package
from gome.mle.playbook.baseline import baseline
from gome.mle.playbook.diagnose import candidate_of, diagnose, effective
from gome.mle.playbook.pipeline import apply, check
from gome.mle.playbook.render import render
from gome.mle.playbook.rules.all_rules import BY_ID, RULES, fingerprint
from gome.mle.playbook.rules.base import Rule, Situation, edit_key
from tests.support import playbook_cases as cases

WORDS_OF_THE_FIELD = {"text", "review", "digit", "digits", "month", "formula", "diagnosis", "class"}
"""Words that some task uses as a name and that say nothing about that task."""
every_rule = pytest.mark.parametrize("rule", RULES, ids=lambda r: r.id)


def test_ids_are_unique_and_the_base_is_large() -> None:
    assert len(BY_ID) == len(RULES) >= 60
    assert len(fingerprint()) == 16


@every_rule
def test_rule_speaks_where_its_signs_show_and_can_be_carried_out(rule: Rule) -> None:
    for situation in cases.situations(rule):
        strength = rule.strength(situation)
        candidate = candidate_of(rule, situation, strength)
        if candidate is not None:
            break
    else:
        pytest.fail("no situation in which the rule speaks and its edit has an effect")
    assert 0 < strength <= 1
    assert strength == 1 or not rule.when
    assert not re.search(r"[{}]|\bsome\b", candidate.hypothesis)
    assert {o.name for o in candidate.evidence} == {s.name for s in rule.when}
    child = apply(situation.spec, candidate.changes)
    check(child, situation.task)
    files = render(child, situation.task)
    ast.parse(files["solution.py"])
    # Once taken, the step is not proposed again.
    again = Situation(situation.task, child, situation.seen)
    repeated = rule.strength(again) is not None and candidate_of(rule, again, 1.0)
    assert not repeated or repeated.key != candidate.key or "model." in candidate.key


@every_rule
def test_rule_is_silent_without_its_signs(rule: Rule) -> None:
    found = next(cases.situations(rule))
    if rule.when:
        for sign in rule.when:  # each sign is needed
            without = {n: o for n, o in found.seen.items() if n != sign.name}
            assert rule.strength(Situation(found.task, found.spec, without)) is None
        control = Situation(found.task, found.spec, {**found.seen, **cases.showing(rule, fully=False)})
        assert rule.strength(control) is None
    else:  # a rule of gates alone is silent for some other pipeline of the same task
        calm = {n: cases.observed(n, v) for n, v in cases.NEUTRAL.items()}
        others = [Situation(found.task, p, calm) for p in cases.pipelines(found.task)]
        assert any(rule.strength(other) is None for other in others)


@every_rule
def test_rule_is_silent_on_tasks_it_is_not_for(rule: Rule) -> None:
    for spec in cases.tasks():
        if not rule.fits(spec):
            assert rule.strength(Situation(spec, baseline(spec), cases.showing(rule))) is None


KINDS = {(t.problem, t.modality): t for t in cases.tasks()}


@pytest.mark.parametrize("spec", KINDS.values(), ids=lambda s: f"{s.problem}-{s.modality}")
def test_every_edit_that_fits_the_baseline_renders(spec) -> None:
    applied = 0
    start = baseline(spec)
    for rule in RULES:
        candidate = rule.fits(spec) and candidate_of(rule, Situation(spec, start, cases.showing(rule)), 1.0)
        if candidate:
            ast.parse(render(apply(start, candidate.changes), spec)["solution.py"])
            applied += 1
    assert applied > 5


def test_edit_keys_are_stable_and_bounded() -> None:
    assert edit_key({"b": 1, "a": "x"}) == edit_key({"a": "x", "b": 1}) == "a=x;b=1"
    long = edit_key({"ensemble.members": [{"model": {"family": "ridge"}}] * 9})
    assert len(long) < 200
    assert long != edit_key({"ensemble.members": [{"model": {"family": "ridge"}}] * 8})


def test_no_rule_names_a_task_or_a_column() -> None:
    folder = Path(rules_package.__file__).parent
    playbook = folder.parent
    written = [
        *folder.glob("*.py"),
        *(
            playbook / n
            for n in ("agent.py", "diagnose.py", "momentum.py", "repair.py", "tuning.py", "combine.py")
        ),
    ]
    text = "\n".join(path.read_text() for path in written).lower()
    words = set(re.findall(r"[a-z0-9_-]+", text))
    names: set[str] = set()
    for file in Path(dojo.__file__).parent.glob("mle/tasks/*/task.toml"):
        package = tomllib.loads(file.read_text())
        names |= {package["id"], package["target"], package.get("time"), *package.get("text_columns", ())}
    names -= {None, *WORDS_OF_THE_FIELD}
    assert names
    assert not names & words


def test_unused_families_leave_no_trace_in_the_key() -> None:
    spec = cases.task()
    changes = {"model.family": "lightgbm", "model.lightgbm.leaves": 7, "model.ridge.alpha": 5.0}
    assert effective(spec, baseline(spec), changes) == {
        "model.family": "lightgbm",
        "model.lightgbm.leaves": 7,
    }


# Scenarios: data with one defect, and the same data without it; real observations decide.


def ids(
    problem_rows: pd.DataFrame,
    guess: np.ndarray,
    *,
    metric: str = "rmse",
    problem: str = "regression",
    family: str = "",
) -> set[str]:
    """Ids of the rules that speak on this table for these out-of-fold predictions."""
    spec = cases.task(problem, "tabular", metric)
    oof = pd.DataFrame({"id": problem_rows.id, "fold": problem_rows.id % 3, "y": guess})
    seen = {o.name: o for o in (*profile(spec, problem_rows), *observe(spec, problem_rows, oof))}
    start = apply(baseline(spec), {"model.family": family}) if family else baseline(spec)
    return {c.origin.removeprefix("rule:") for c in diagnose(Situation(spec, start, seen))}


def table(n: int = 1500, seed: int = 7) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {"id": range(n), "a": rng.normal(size=n), "b": rng.normal(size=n), "noise": rng.normal(size=n)}
    )


RIDGE = {"family": "ridge"}


def scenario_curve() -> tuple:
    t = table()
    hidden = np.random.default_rng(8).normal(size=len(t))
    bent, straight = t.assign(y=np.abs(t.a) * 3 + hidden), t.assign(y=t.a * 3 + hidden)
    expected = {"boosting-for-curves", "bin-features"}
    return (bent, 0 * t.a + 2.4, RIDGE), (straight, t.a * 3, RIDGE), expected


def scenario_skewed_target() -> tuple:
    t = table()
    level = np.exp(t.a + 2)
    return (
        (t.assign(y=level * np.exp(0.3 * t.noise)), level, {}),
        (t.assign(y=t.a + 0.3 * t.noise + 9), t.a + 9, {}),
        {"log-target-for-skew"},
    )


def scenario_relative_metric() -> tuple:
    t = table()
    y = np.exp(t.a)
    return (
        (t.assign(y=y), y, {"metric": "rmsle"}),
        (t.assign(y=y), y, {"metric": "rmse"}),
        {"log-target-for-relative-error"},
    )


def scenario_gaps_that_tell() -> tuple:
    t = table()
    y = t.a + t.noise
    telling, random_gaps = t.copy(), t.copy()
    telling.loc[y > 1, "b"] = np.nan
    random_gaps.loc[::6, "b"] = np.nan
    return (telling.assign(y=y), t.a, {}), (random_gaps.assign(y=y), t.a, {}), {"missing-indicators"}


def scenario_many_levels() -> tuple:
    t = table()
    rng = np.random.default_rng(1)
    many = rng.integers(0, 200, len(t))
    effect = rng.normal(size=200)[many]
    shop = np.char.add("shop", many.astype(str))
    kind = np.where(many < 100, "x", "z")
    return (
        (t.assign(shop=shop, y=t.a + 2 * effect), t.a, {}),
        (t.assign(kind=kind, y=t.a + t.noise), t.a, {}),
        {"target-encode-many-levels", "target-encode-all"},
    )


def scenario_outliers() -> tuple:
    t = table()
    far = t.a.where(t.id % 40 != 0, t.a * 1000)
    return (t.assign(a=far, y=t.b), t.b * 0, RIDGE), (t.assign(y=t.b), t.b * 0, RIDGE), {"clip-outliers"}


def scenario_dates() -> tuple:
    t = table()
    when = pd.date_range("2019-01-01", periods=len(t), freq="D")
    season = np.sin(2 * np.pi * when.day_of_year / 365)
    return (
        (t.assign(when=when.astype(str), y=2 * season + 0.3 * t.noise), 0 * t.a, {}),
        (t.assign(y=2 * season + 0.3 * t.noise), 0 * t.a, {}),
        {"date-parts", "date-season-left"},
    )


def scenario_products() -> tuple:
    t = table()
    return (
        (t.assign(y=t.a * t.b + 0.1 * t.noise), 0 * t.a, {}),
        (t.assign(y=t.a + t.b), t.a + t.b + 0.1 * t.noise, {}),
        {"numeric-pairs"},
    )


def scenario_cycles() -> tuple:
    t = table()
    hour = np.random.default_rng(3).integers(0, 24, len(t))
    y = np.cos(2 * np.pi * hour / 24) + 0.1 * t.noise
    return (
        (t.assign(hour=hour, y=y), 0 * t.a, RIDGE),
        (t.assign(hour=hour + 0.5, y=y), 0 * t.a, RIDGE),
        {"integer-cycles"},
    )


def scenario_places() -> tuple:
    rng = np.random.default_rng(4)
    t = table().assign(lat=rng.uniform(-60, 60, 1500), lon=rng.uniform(-170, 170, 1500))
    y = np.sin(t.lat / 12) * np.cos(t.lon / 20)
    return (
        (t.assign(y=y), 0 * t.a, {}),
        (t.drop(columns=["lat", "lon"]).assign(y=y), 0 * t.a, {}),
        {"sphere", "place-left"},
    )


def scenario_overfit() -> tuple:
    t = table(900)
    y = t.a + 2 * t.noise
    family = {"family": "lightgbm"}
    return (
        (t.assign(y=y), t.a * 2.2, family),
        (t.assign(y=t.a), t.a + 0.01 * t.noise, family),
        {"regularise-boosting", "smaller-trees"},
    )


def scenario_imbalance() -> tuple:
    t = table()
    rare = (t.a > 1.6).map({True: "yes", False: "no"})
    even = (t.a > 0).map({True: "yes", False: "no"})
    options = {"problem": "binary", "metric": "f1"}
    return (
        (t.assign(y=rare), np.full(len(t), "no"), options),
        (t.assign(y=even), even.to_numpy(), options),
        {"weight-classes", "tune-threshold"},
    )


def scenario_miscalibration() -> tuple:
    t = table()
    p = 1 / (1 + np.exp(-t.a))
    y = pd.Series(np.where(np.random.default_rng(5).uniform(size=len(t)) < p, "yes", "no"))
    options = {"problem": "binary", "metric": "logloss"}
    return (t.assign(y=y), np.clip(p**4, 0, 1), options), (t.assign(y=y), p, options), {"calibrate-sigmoid"}


SCENARIOS = [value for name, value in sorted(globals().items()) if name.startswith("scenario_")]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda f: f.__name__.removeprefix("scenario_"))
def test_scenario(scenario) -> None:
    (ill, guess, options), (well, other, others), expected = scenario()
    assert expected <= ids(ill, guess, **options)
    assert not expected & ids(well, other, **others)
