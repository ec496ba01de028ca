"""Whole runs with a language model behind a real HTTP server that answers badly on purpose; real sandbox."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import gome
from dojo.mle.new import new_task
from gome.errors import ConfigError, LlmDenied
from gome.loop.budget import Budget
from gome.loop.events import ExperimentFinished, LlmAnswered
from gome.loop.journal import read_journal
from tests.support.scripted_model import Engineer
from tests.support.scripted_server import Reply, ScriptedServer

KEY = "sk-very-secret-0123456789"


@pytest.fixture
def curve(tmp_path, monkeypatch):
    """A task whose target is a polynomial of degree four."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, 400)
    y = 3 * x**4 - 2 * x**2 + x + rng.normal(0, 0.05, 400)
    source = tmp_path / "curve.csv"
    pd.DataFrame({"x": x, "y": y}).to_csv(source, index=False)
    new_task(tmp_path / "task", source, target="y", metric="rmse")
    return tmp_path / "task"


def settings(steps: int, **kwargs):
    final = {"candidates": 1, "resplits": 0}
    return gome.RunConfig(traces=2, lockstep=True, budget=Budget(steps=steps, **kwargs), final=final)


def optimize(
    task: Path, server: ScriptedServer, run_dir: Path, config, spec: str = "openai:thinker,coder=typist"
):
    spec = f"{spec},url={server.url},attempts=3,timeout=20"
    return gome.optimize(task, spec, config=config, backend="serial", run_dir=run_dir)


def misbehaving(engineer: Engineer):
    """Every third request goes wrong, each time in another way."""
    bad = [
        Reply.error(429, retry_after=0.01),
        Reply.text("I am not sure what you mean."),
        Reply.error(500),
        Reply.text('{"causes": "none", "hypotheses": 3}'),
        Reply.text("x" * 5000, cut_after=1000),
        Reply.text("x" * 400_000),
        Reply(reset=True),
        Reply.text(None),
        Reply(body=b"<html>bad gateway</html>", headers={"Content-Type": "text/html"}),
        Reply.text(None, message={"refusal": "I cannot help with that."}),
        Reply.json({"choices": []}),
        Reply.text("```python\ndef broken(:\n```"),
    ]

    def script(body: dict, number: int) -> Reply | str:
        if number % 3 == 1 and number // 3 < len(bad):
            return bad[number // 3]
        return engineer(body)

    return script


def test_a_run_goes_on_through_every_kind_of_bad_answer_and_says_so(curve, tmp_path):
    with ScriptedServer(misbehaving(Engineer())) as server:
        report = optimize(curve, server, tmp_path / "run", settings(10))
    events = [record.event for record in read_journal(report.journal)]
    experiments = [e.experiment for e in events if isinstance(e, ExperimentFinished)]
    answers = [e for e in events if isinstance(e, LlmAnswered)]
    assert report.finished
    assert report.experiments == len(experiments) == 10
    assert report.best is not None
    assert report.baseline is not None
    first = next(e.score for e in experiments if e.score is not None)
    assert report.best.validation < first.value / 2
    failures = {e.feedback.failure.kind for e in experiments if e.feedback.failure}
    assert failures <= {"refusal", "format", "transport"}
    assert {a.completion.finish for a in answers} >= {"stop", "refused", "too_large", "empty"}
    used = sum(a.completion.usage.tokens_in + a.completion.usage.tokens_out for a in answers)
    assert report.tokens == used == 18 * len(answers)
    shown = {c.entry for e in experiments for c in e.proposal.citations}
    assert shown <= {e.id for e in experiments}
    assert any(c.use == "adapted" for e in experiments for c in e.proposal.citations)
    for path in (tmp_path / "run").rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes(), path


def test_a_finished_run_replays_offline_from_its_journal(curve, tmp_path):
    with ScriptedServer(misbehaving(Engineer())) as server:
        first = optimize(curve, server, tmp_path / "run", settings(4))
    second = gome.optimize(
        curve, f"replay:{tmp_path / 'run'}", config=settings(4), backend="serial", run_dir=tmp_path / "again"
    )
    assert second.best is not None
    assert first.best is not None
    assert (second.best.experiment, second.best.validation) == (first.best.experiment, first.best.validation)
    assert (second.experiments, second.accepted, second.tokens) == (
        first.experiments,
        first.accepted,
        first.tokens,
    )


def test_a_wrong_key_stops_the_run_and_it_goes_on_when_mended(curve, tmp_path):
    engineer = Engineer()
    mended = False

    def script(body: dict, number: int) -> Reply | str:
        if number >= 4 and not mended:
            return Reply.error(401, f"Incorrect API key provided: {KEY}")
        return engineer(body)

    with ScriptedServer(script) as server:
        with pytest.raises(LlmDenied, match="check OPENAI_API_KEY") as info:
            optimize(curve, server, tmp_path / "run", settings(4))
        assert KEY not in str(info.value)
        paid = len(server.seen)
        mended = True
        report = gome.resume(tmp_path / "run", backend="serial")
        asked = [json.dumps(s.body) for s in server.seen]
    assert report.finished
    assert report.experiments == 4
    answered = asked[: paid - 1] + asked[paid:]
    assert len(set(answered)) == len(answered), "an answer was paid for twice"


def test_a_token_budget_ends_the_run_with_a_result(curve, tmp_path):
    def script(body: dict, number: int) -> Reply:
        return Reply.text(engineer(body), usage=(3000, 1000))

    engineer = Engineer()
    with ScriptedServer(script) as server:
        report = optimize(curve, server, tmp_path / "run", settings(50, tokens=100_000))
    assert report.finished
    assert report.best is not None
    assert 8000 <= report.tokens <= 100_000
    assert report.experiments < 50


def test_a_limit_on_money_needs_a_price(curve, tmp_path):
    with ScriptedServer([]) as server:
        with pytest.raises(ConfigError, match="no price is known"):
            optimize(curve, server, tmp_path / "run", settings(4, usd=1.0))
    assert server.seen == []
