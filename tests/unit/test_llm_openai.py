"""The optimizer's language model over a real HTTP server: errors, metering, two models, the health check."""

from __future__ import annotations

import json

import pytest
from pydantic import BaseModel

from dojo.llm import RetryPolicy
from gome.errors import ConfigError, LlmDenied, LlmFormat, LlmRefusal, LlmTransport
from gome.llm.base import Completion, Message, Request
from gome.llm.check import check_llm
from gome.llm.journaled import JournaledLlm
from gome.llm.openai import OpenAILlm
from gome.llm.spec import parse_llm
from tests.support.scripted_server import Reply, ScriptedServer

KEY = "sk-very-secret-0123456789"


class Sum(BaseModel):
    total: int


def ask(role: str = "reasoning", **kwargs) -> Request:
    return Request(role=role, purpose="test", messages=(Message(role="user", content="add"),), **kwargs)


@pytest.fixture(autouse=True)
def _env(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


def make(server: ScriptedServer, spec: str = "openai:thinker,coder=typist", **retry) -> OpenAILlm:
    llm = parse_llm(spec, url=server.url).build(retry=RetryPolicy(**retry), sleep=lambda seconds: None)
    assert isinstance(llm, OpenAILlm)
    return llm


def test_each_role_has_its_model():
    with ScriptedServer(["a", "b"]) as server:
        llm = make(server)
        first, second = llm.complete(ask()), llm.complete(ask("coding"))
    assert [s.body["model"] for s in server.seen] == ["thinker", "typist"]
    assert (first.model, second.model) == ("thinker", "typist")
    assert (first.usage.tokens_in, first.usage.tokens_out, first.usage.usd) == (11, 7, None)


BAD = {
    "429": (Reply.error(429, retry_after=3), LlmTransport),
    "500": (Reply.error(500), LlmTransport),
    "cut": (Reply.text("x" * 100, cut_after=60), LlmTransport),
    "reset": (Reply(reset=True), LlmTransport),
    "html": (Reply(body=b"<html>", headers={"Content-Type": "text/html"}), LlmTransport),
    "no choices": (Reply.json({"choices": []}), LlmTransport),
    "slow": (Reply.text("x", stall=30), LlmTransport),
    "401": (Reply.error(401), LlmDenied),
    "404": (Reply.error(404), LlmDenied),
    "400": (Reply.error(400, "you may not"), LlmTransport),
    "filter": (Reply.error(400, "x", code="content_filter"), LlmRefusal),
    "refusal": (Reply.text(None, message={"refusal": "no"}), LlmRefusal),
    "null": (Reply.text(None), LlmFormat),
    "huge": (Reply.text("x" * 400_000), LlmFormat),
    "prose": (Reply.text("I think it is forty-two"), LlmFormat),
    "wrong": (Reply.text('{"sum": 42}'), LlmFormat),
}


@pytest.mark.parametrize("name", BAD)
def test_every_bad_answer_ends_in_its_error_and_is_metered_and_recorded(name):
    reply, error = BAD[name]
    record: list[tuple[str, Completion]] = []
    with ScriptedServer(lambda body, n: reply) as server:
        inner = make(server, attempts=2, timeout_s=0.2 if name == "slow" else 20)
        llm = JournaledLlm(inner, [], lambda r, c: record.append((r.hash, c)), tokens=10**6)
        with pytest.raises(error) as info:
            llm.parse(ask(max_tokens=100), Sum)
        assert type(info.value) is error
        inner.close()
    assert len(server.seen) <= 6
    answered = error in (LlmFormat, LlmRefusal)
    assert llm.spent.llm_calls == len(record) == (3 if error is LlmFormat else int(answered))
    if error is LlmFormat:
        assert (llm.spent.tokens_in, llm.spent.tokens_out) == (33, 21)
    assert KEY not in str(info.value) + "".join(c.model_dump_json() for _, c in record)
    replay = JournaledLlm(inner, record, lambda r, c: None, tokens=10**6)
    if answered:
        with pytest.raises(error) as again:
            replay.parse(ask(max_tokens=100), Sum)
        assert (str(again.value), replay.spent) == (str(info.value), llm.spent)


def test_a_run_goes_on_after_bad_answers():
    script = [
        Reply.error(500),
        Reply.text("nonsense"),
        Reply.error(429, retry_after=1),
        '```json\n{"total": 42}\n```',
    ]
    with ScriptedServer(script) as server:
        llm = JournaledLlm(make(server), [], lambda r, c: None)
        assert llm.parse(ask(), Sum).total == 42
    assert llm.spent.llm_calls == 2


def test_no_key_for_openai_is_a_setting_to_correct(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(ConfigError, match="set OPENAI_API_KEY"):
        OpenAILlm("gpt-5").complete(ask())


def arithmetic(mode: str, total: int = 42, usage: tuple[int, int] | None = (11, 7)):
    """An endpoint that can reply and add, and knows JSON up to `mode`."""
    known = {"json_schema": ["json_schema", "json_object"], "json_object": ["json_object"], "plain": []}[mode]

    def reply(body: dict, n: int) -> Reply:
        kind = body.get("response_format", {}).get("type")
        if kind and kind not in known:
            return Reply.error(400, f"response_format {kind} is not supported")
        text = f'{{"total": {total}}}' if "17 + 25" in json.dumps(body["messages"]) else "ready"
        return Reply.text(text, usage=usage)

    return reply


@pytest.mark.parametrize(
    ("mode", "words"),
    [("json_schema", "structured"), ("json_object", "JSON mode"), ("plain", "no JSON mode")],
)
def test_the_check_passes_and_names_the_json_mode(mode, words):
    with ScriptedServer(arithmetic(mode)) as server:
        checks = check_llm(parse_llm("openai:thinker,coder=typist", url=server.url))
    assert all(c.passed for c in checks)
    assert [c.name for c in checks] == [
        f"{model} {what}" for model in ("thinker", "typist") for what in ("answers", "usage", "JSON")
    ]
    assert words in checks[2].detail
    assert "reported" in checks[1].detail


def test_the_check_says_that_usage_is_not_reported():
    with ScriptedServer(arithmetic("plain", usage=None)) as server:
        checks = check_llm(parse_llm("openai:m", url=server.url))
    assert "estimated" in checks[1].detail


@pytest.mark.parametrize(
    ("script", "detail", "fix"),
    [
        (lambda body, n: Reply.error(401, "bad key"), "bad key", "check the key"),
        (lambda body, n: Reply.error(404, "no such model"), "no such model", "offers: big, small"),
        (lambda body, n: Reply.error(500), "HTTP 500", "ends in /v1"),
        (lambda body, n: "ready", "holds no JSON", "try json="),
        (arithmetic("json_object", total=41), "17 + 25 = 41", "stronger model"),
    ],
)
def test_the_check_names_what_fails_and_its_fix(script, detail, fix):
    with ScriptedServer(script, models=["small", "big"]) as server:
        checks = check_llm(parse_llm("openai:m", url=server.url), sleep=lambda seconds: None)
    failed = [c for c in checks if not c.passed]
    assert len(failed) == 1
    assert detail in failed[0].detail
    assert fix in failed[0].fix
    assert KEY not in repr(checks)


def test_the_check_survives_nobody_listening_and_no_key(monkeypatch):
    with ScriptedServer([]) as server:
        pass
    [check] = check_llm(parse_llm("openai:m", url=server.url), sleep=lambda seconds: None)
    assert not check.passed
    assert "is the endpoint running" in check.fix
    monkeypatch.delenv("OPENAI_API_KEY")
    [check] = check_llm(parse_llm("openai:m"), sleep=lambda seconds: None)
    assert not check.passed
    assert "OPENAI_API_KEY" in check.fix
