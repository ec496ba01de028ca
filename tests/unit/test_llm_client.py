"""The client against a real HTTP server that answers well and badly."""

from __future__ import annotations

import email.utils
import gzip
import json
import logging
import pickle
import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dojo.llm import (
    ChatAnswer,
    ChatClient,
    ChatMessage,
    ChatRequest,
    LlmBudgetError,
    LlmDenied,
    LlmRefused,
    LlmRejected,
    LlmUnavailable,
    Meter,
    RetryPolicy,
    load_prices,
)
from dojo.llm.retry import retry_after
from dojo.llm.wire import Malformed, read_body, read_choice
from tests.support.scripted_server import Reply, ScriptedServer

KEY = "sk-very-secret-0123456789"
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}


def ask(text: str = "hi", **kwargs) -> ChatRequest:
    return ChatRequest(model="m", messages=(ChatMessage(role="user", content=text),), **kwargs)


def make(server: ScriptedServer, waits: list[float] | None = None, **kwargs) -> ChatClient:
    kwargs.setdefault("retry", RetryPolicy(timeout_s=10, total_s=600))
    waits = [] if waits is None else waits
    return ChatClient(server.url, api_key=KEY, sleep=waits.append, **kwargs)


@pytest.fixture(autouse=True)
def _no_env(monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


def test_a_good_answer_is_metered():
    with ScriptedServer(["hello"]) as server:
        answer = make(server).chat(ask(seed=3, max_tokens=50))
    assert (answer.text, answer.finish, answer.attempts) == ("hello", "stop", 1)
    assert (answer.tokens_in, answer.tokens_out, answer.estimated, answer.usd) == (11, 7, False, None)
    [seen] = server.seen
    assert seen.body == {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": 50,
        "seed": 3,
    }
    assert seen.headers["authorization"] == f"Bearer {KEY}"


def test_usage_that_is_missing_or_nonsense_is_estimated_and_marked():
    for usage in (
        None,
        {},
        [],
        {"prompt_tokens": -4, "completion_tokens": "many"},
        {"completion_tokens": True},
    ):
        with ScriptedServer([Reply.text("abcdef", usage=usage)]) as server:
            answer = make(server).chat(ask())
        assert answer.estimated
        assert answer.tokens_in > 0
        assert answer.tokens_out == 2


@pytest.mark.parametrize(
    "bad",
    [
        Reply.error(500),
        Reply.error(503, "overloaded"),
        Reply.error(408),
        Reply.error(429, "slow down", retry_after=7),
        Reply(body=b"<html>502 Bad Gateway</html>", headers={"Content-Type": "text/html"}),
        Reply(body=b"<html>Bad Gateway</html>", status=502, headers={"Content-Type": "text/html"}),
        Reply(body=b'{"id": "x", "choices": [{"mess', headers={"Content-Type": "application/json"}),
        Reply(body=b"", headers={"Content-Type": "application/json"}),
        Reply(body=b"[1, 2]", headers={"Content-Type": "application/json"}),
        Reply(body=b"[" * 100_000, headers={"Content-Type": "application/json"}),
        Reply.text("x" * 1000, cut_after=200),
        Reply(reset=True),
        Reply.json({"id": "x", "choices": []}),
        Reply.json({"id": "x", "choices": None}),
        Reply.json({"id": "x", "choices": [{"index": 0}]}),
        Reply.json({"error": {"message": "upstream", "code": 503}}),
        Reply.json({"error": "upstream"}),
    ],
    ids=lambda r: f"{r.status}-{r.body[:12]!r}",
)
def test_a_passing_failure_is_tried_again(bad):
    waits: list[float] = []
    with ScriptedServer([bad, bad, "fine"]) as server:
        answer = make(server, waits).chat(ask())
    assert (answer.text, answer.attempts, answer.tokens_in) == ("fine", 3, 11)
    assert len(waits) == 2
    if bad.headers.get("Retry-After"):
        assert all(7 <= w < 8 for w in waits)
    else:
        assert 0.5 <= waits[0] <= 1
        assert 1 <= waits[1] <= 2


def test_retries_are_bounded_in_number():
    waits: list[float] = []
    with ScriptedServer(lambda body, n: Reply.error(500, "broken")) as server:
        client = make(server, waits, retry=RetryPolicy(attempts=4))
        with pytest.raises(LlmUnavailable, match=r"4 attempts failed.*HTTP 500: broken") as info:
            client.chat(ask())
    assert info.value.attempts == len(server.seen) == 4
    assert len(waits) == 3


def test_retries_are_bounded_in_time():
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    with ScriptedServer(lambda body, n: Reply.error(429, retry_after=40)) as server:
        client = ChatClient(
            server.url, retry=RetryPolicy(attempts=50, total_s=100), sleep=sleep, clock=lambda: now[0]
        )
        with pytest.raises(LlmUnavailable, match="passes the limit of 100 s"):
            client.chat(ask())
    assert len(server.seen) == 3
    assert now[0] < 100


def test_a_wait_longer_than_all_the_time_is_not_begun():
    waits: list[float] = []
    reply = Reply.error(429, retry_after=86_400)
    with ScriptedServer([reply]) as server, pytest.raises(LlmUnavailable, match="wait of 86400 s"):
        make(server, waits).chat(ask())
    assert waits == []


def test_silence_ends_at_the_timeout():
    with ScriptedServer([Reply.text("late", stall=60), "fine"]) as server:
        client = make(server, retry=RetryPolicy(timeout_s=0.2))
        assert client.chat(ask()).text == "fine"
    assert len(server.seen) == 2


def test_a_trickle_that_never_pauses_for_long_ends_too():
    with ScriptedServer([Reply.text("x" * 5000, trickle=0.02), "fine"]) as server:
        answer = make(server, retry=RetryPolicy(timeout_s=0.3)).chat(ask())
    assert (answer.text, answer.attempts) == ("fine", 2)


def test_a_huge_answer_is_dropped_and_not_paid_for_again():
    with ScriptedServer([Reply.text("x" * 300_000), Reply(body=b"x" * 65536, repeat=400)]) as server:
        client = make(server)
        first, second = client.chat(ask()), client.chat(ask(max_tokens=500))
    assert first.finish == second.finish == "too_large"
    assert len(first.text) == 4000
    assert (first.tokens_in, first.tokens_out) == (11, 7)
    assert (second.tokens_out, second.estimated) == (500, True)


def test_a_huge_error_body_is_a_passing_failure():
    huge = Reply(status=500, body=b"x" * 65536, repeat=200)
    with ScriptedServer([huge, "fine"]) as server:
        assert make(server).chat(ask()).attempts == 2


def test_an_unasked_for_compressed_body_cannot_blow_up():
    body = gzip.compress(b" " * 50_000_000)
    bomb = Reply(body=body, headers={"Content-Type": "application/json", "Content-Encoding": "gzip"})
    with ScriptedServer([bomb, "fine"]) as server:
        assert make(server).chat(ask()).attempts == 2


def test_refusals_and_empty_answers_are_answers():
    replies = [
        Reply.text(None, message={"refusal": "I cannot help"}),
        Reply.text("", finish="content_filter"),
        Reply.text(None),
        Reply.text("cut", finish="length"),
        Reply.text(None, finish="length"),
        Reply.text(
            None,
            finish="tool_calls",
            message={
                "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}]
            },
        ),
        Reply.text([{"type": "text", "text": "one "}, {"type": "image"}, {"type": "text", "text": "two"}]),
        Reply.text(17),
        Reply.text("bad \ud800 surrogate \x00"),
    ]
    with ScriptedServer(replies) as server:
        client = make(server)
        answers = [client.chat(ask()) for _ in replies]
    assert [a.finish for a in answers] == [
        "refused", "refused", "empty", "length", "length", "stop", "stop", "empty", "stop",
    ]  # fmt: skip
    assert answers[0].text == "I cannot help"
    assert answers[5].text == '{"a": 1}'
    assert answers[6].text == "one two"
    answers[8].model_dump_json().encode()
    assert all(a.tokens_in == 11 for a in answers)


@pytest.mark.parametrize(
    ("reply", "error", "words"),
    [
        (Reply.error(401, "Incorrect API key"), LlmDenied, "check OPENAI_API_KEY"),
        (Reply.error(403, "no"), LlmDenied, "may not use"),
        (Reply.error(404, "model not found"), LlmDenied, "model's name"),
        (Reply.error(413, "big"), LlmRejected, "too large"),
        (Reply.error(418, "teapot"), LlmRejected, "teapot"),
        (Reply.error(429, "quota", code="insufficient_quota"), LlmDenied, "no credit"),
        (Reply.error(402, "pay"), LlmDenied, "no credit"),
        (Reply.error(400, "filtered", code="content_filter"), LlmRefused, "filter"),
        (Reply.json({"error": {"message": "bad key", "code": 401}}), LlmDenied, "check OPENAI_API_KEY"),
    ],
)
def test_what_will_not_pass_is_not_tried_again(reply, error, words):
    with ScriptedServer(lambda body, n: reply) as server, pytest.raises(error, match=words) as info:
        make(server).chat(ask())
    assert len(server.seen) == info.value.attempts == 1
    copy = pickle.loads(pickle.dumps(info.value))
    assert (str(copy), copy.attempts, type(copy)) == (str(info.value), 1, error)


def test_nobody_listening():
    with ScriptedServer([]) as server:
        pass
    with pytest.raises(LlmUnavailable, match="connection failed"):
        make(server, retry=RetryPolicy(attempts=2)).chat(ask())


def picky(accepts_schema: bool = True, accepts_json: bool = True, refuses: dict[str, str] | None = None):
    """An endpoint that refuses what it does not know, as real ones do."""
    refuses = refuses or {}

    def reply(body: dict, n: int) -> Reply | str:
        kind = body.get("response_format", {}).get("type")
        if kind == "json_schema" and not accepts_schema:
            return Reply.error(
                400, "Invalid parameter: 'response_format' of type 'json_schema' is not supported"
            )
        if kind == "json_object" and not accepts_json:
            return Reply.error(422, "response_format: extra fields not permitted")
        for field, message in refuses.items():
            if field in body:
                return Reply.error(400, message, param=field)
        return '{"a": 1}'

    return reply


@pytest.mark.parametrize(
    ("schema", "json_object", "mode", "tries"),
    [
        (True, True, "json_schema", 1),
        (False, True, "json_object", 2),
        (False, False, "plain", 3),
    ],
)
def test_the_strongest_json_mode_is_found_once_and_remembered(schema, json_object, mode, tries):
    with ScriptedServer(picky(schema, json_object)) as server:
        client = make(server)
        first = client.chat(ask(json_schema=SCHEMA))
        second = client.chat(ask("again", json_schema=SCHEMA))
    assert (first.json_mode, first.attempts, second.attempts) == (mode, tries, 1)
    last = server.seen[-1].body
    assert ("response_format" in last) == (mode != "plain")
    spoken = "JSON schema" in json.dumps(last["messages"])
    assert spoken == (mode != "json_schema")
    if mode == "json_schema":
        sent = last["response_format"]["json_schema"]
        assert sent["strict"] is True
        assert sent["schema"]["additionalProperties"] is False


def test_a_reasoning_model_gets_its_own_parameters_once():
    refuses = {
        "max_tokens": "Unsupported parameter: 'max_tokens' is not supported with this model. "
        "Use 'max_completion_tokens' instead.",
        "temperature": "Unsupported value: 'temperature' does not support 0.3 with this model.",
        "seed": "Unrecognized request argument supplied: seed",
    }
    with ScriptedServer(picky(refuses=refuses)) as server:
        client = make(server)
        first = client.chat(ask(temperature=0.3, seed=1, max_tokens=99))
        second = client.chat(ask("more", temperature=0.3, seed=1, max_tokens=99))
    assert (first.attempts, second.attempts) == (4, 1)
    assert server.seen[-1].body == {
        "model": "m",
        "messages": [{"role": "user", "content": "more"}],
        "max_completion_tokens": 99,
    }


def test_an_endpoint_that_names_no_reason_is_still_served():
    def reply(body, n):
        return Reply.error(400, "bad request") if "response_format" in body or "seed" in body else '{"a": 1}'

    with ScriptedServer(reply) as server:
        answer = make(server).chat(ask(json_schema=SCHEMA, seed=2))
    assert (answer.text, answer.json_mode) == ('{"a": 1}', "plain")


def test_one_bad_prompt_does_not_degrade_later_calls():
    def reply(body, n):
        return Reply.error(400, "bad request") if body["messages"][-1]["content"] == "bad" else '{"a": 1}'

    with ScriptedServer(reply) as server:
        client = make(server)
        with pytest.raises(LlmRejected, match="refused the request"):
            client.chat(ask("bad", json_schema=SCHEMA, seed=1))
        assert client.chat(ask("good", json_schema=SCHEMA, seed=1)).attempts == 1
    assert server.seen[-1].body["response_format"]["type"] == "json_schema"
    assert server.seen[-1].body["seed"] == 1


def test_an_answer_too_long_for_the_context_is_asked_shorter_for_this_prompt_only():
    def reply(body, n):
        if body["max_tokens"] > 2500 and body["messages"][-1]["content"] == "long":
            return Reply.error(
                400,
                f"'max_tokens' or 'max_completion_tokens' is too large: {body['max_tokens']}. This model's "
                "maximum context length is 4096 tokens and your request has 1500 input tokens",
            )
        return "fine"

    with ScriptedServer(reply) as server:
        client = make(server)
        client.chat(ask("long", max_tokens=8192))
        client.chat(ask("short", max_tokens=8192))
    assert [s.body["max_tokens"] for s in server.seen] == [8192, 4096, 2048, 8192]


def test_a_stated_largest_answer_is_remembered():
    def reply(body, n):
        if body["max_tokens"] > 3000:
            return Reply.error(
                400, "max_tokens is too large: 8192. This model supports at most 3000 completion tokens"
            )
        return "fine"

    with ScriptedServer(reply) as server:
        client = make(server)
        client.chat(ask(max_tokens=8192))
        client.chat(ask(max_tokens=8192))
    assert [s.body["max_tokens"] for s in server.seen] == [8192, 3000, 3000]


def test_a_prompt_that_never_fits_is_given_up():
    with (
        ScriptedServer(
            lambda body, n: Reply.error(400, "maximum context length is 100 tokens, you sent 9000 tokens")
        ) as server,
        pytest.raises(LlmRejected, match="maximum context length"),
    ):
        make(server).chat(ask(max_tokens=8192))
    assert len(server.seen) <= 8


def test_a_model_without_a_system_role_gets_one_message():
    def reply(body, n):
        if any(m["role"] == "system" for m in body["messages"]):
            return Reply.error(400, "System role not supported")
        return "fine"

    messages = (ChatMessage(role="system", content="rules"), ChatMessage(role="user", content="do"))
    with ScriptedServer(reply) as server:
        make(server).chat(ChatRequest(model="m", messages=messages))
    assert server.seen[-1].body["messages"] == [{"role": "user", "content": "rules\n\ndo"}]


def test_the_key_shows_up_nowhere(caplog):
    caplog.set_level(logging.INFO)
    echo = f"Incorrect API key provided: {KEY}. headers: Bearer {KEY}"
    errors = []
    with ScriptedServer([Reply.error(401, echo), Reply.error(500, echo), f"your key is {KEY}"]) as server:
        client = make(server)
        with pytest.raises(LlmRejected) as info:
            client.chat(ask())
        errors.append(info.value)
        answer = client.chat(ask())
        with pytest.raises(TypeError, match="build one in each process"):
            pickle.dumps(client)
    told = [repr(errors), str(errors[0]), repr(client), answer.model_dump_json(), caplog.text]
    assert errors[0].__cause__ is None
    assert all(KEY not in text for text in told)
    assert answer.text == "your key is [key]"


def test_a_local_endpoint_needs_no_key_and_openai_does(monkeypatch):
    with ScriptedServer(["fine"]) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        assert ChatClient().chat(ask()).text == "fine"
    monkeypatch.delenv("OPENAI_BASE_URL")
    with pytest.raises(LlmDenied, match="set OPENAI_API_KEY"):
        ChatClient()
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert ChatClient().url == "https://api.openai.com/v1"


@pytest.mark.parametrize(
    "url",
    [
        "localhost:8000",
        "ftp://x/v1",
        "http://",
        "http://u:p@h/v1",
        "http://h/v1?key=1",
        "http://h:99999/v1",
        "http://h /v1",
    ],
)
def test_a_url_that_is_none_or_holds_a_secret_is_refused(url):
    with pytest.raises(LlmDenied, match="url of the model endpoint"):
        ChatClient(url, api_key=KEY)


def test_caps_are_checked_before_the_call_and_usage_counted_after():
    with ScriptedServer(["a", Reply.error(401)]) as server:
        meter = Meter(tokens=200)
        client = make(server, meter=meter)
        client.chat(ask(max_tokens=100))
        assert (meter.spent.calls, meter.spent.tokens_in, meter.spent.tokens_out) == (1, 11, 7)
        with pytest.raises(LlmBudgetError, match="182 are left"):
            client.chat(ask(max_tokens=190))
        assert len(server.seen) == 1
        with pytest.raises(LlmRejected):
            client.chat(ask(max_tokens=100))
        meter.reserve(182, None)
        with pytest.raises(LlmBudgetError, match="0 are left"):
            meter.reserve(1, None)


def test_a_cap_on_money_needs_a_price():
    with ScriptedServer(["a"]) as server, pytest.raises(LlmBudgetError, match="no price"):
        make(server, meter=Meter(usd=5.0)).chat(ask())
    assert server.seen == []


def test_prices_belong_to_a_host():
    table = load_prices()
    price = table.find("https://api.openai.com/v1", "gpt-4o-mini")
    assert price is not None
    assert price.usd(1_000_000, 1_000_000) == pytest.approx(0.75)
    assert price.usd(1_000_000, 0, cached=1_000_000) == pytest.approx(0.075)
    assert table.find("https://api.openai.com/v1", "gpt-4o-mini-2024-07-18") == price
    assert table.find("http://localhost:8000/v1", "gpt-4o-mini") is None
    assert table.find("https://api.openai.com/v1", "nobody-knows") is None


def test_a_cached_answer_is_free():
    cache: dict[str, ChatAnswer] = {}
    with ScriptedServer(["a", Reply.text("half", finish="length"), "b"]) as server:
        meter = Meter()
        client = make(server, meter=meter, cache=cache)
        assert not client.chat(ask()).cached
        assert client.chat(ask()).cached
        assert client.chat(ask("other")).finish == "length"
        assert client.chat(ask("other")).text == "b"
    assert meter.spent.calls == 3


def test_models_are_listed():
    with ScriptedServer([], models=["b", "a"]) as server:
        assert make(server).models() == ("a", "b")


def test_retry_after_takes_seconds_milliseconds_and_dates():
    assert retry_after({"retry-after": "2.5"}) == 2.5
    assert retry_after({"retry-after-ms": "1500", "retry-after": "9"}) == 1.5
    date = email.utils.formatdate(time.time() + 100, usegmt=True)
    assert 90 < (retry_after({"retry-after": date}) or 0) <= 101
    assert retry_after({"retry-after": email.utils.formatdate(0)}) == 0.0
    for nonsense in ("soon", "nan", "inf", ""):
        assert retry_after({"retry-after": nonsense}) is None


@given(st.integers(1, 200), st.one_of(st.none(), st.floats(0, 1e5)))
def test_waits_are_bounded_and_never_shorter_than_asked(failures, asked):
    policy = RetryPolicy(base_s=1, cap_s=60)
    wait = policy.wait(failures, asked, random.Random(failures))
    assert (asked or 0) <= wait <= (asked or 0) + 60


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["choices", "message", "content", "usage", "tool_calls", "function", "prompt_tokens", "text"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(JSON)
def test_any_json_is_a_choice_or_malformed(data):
    try:
        choice = read_choice(read_body(json.dumps({"choices": [{"message": data}], "usage": data}).encode()))
    except Malformed:
        return
    choice.text.encode()


@given(st.binary(max_size=200))
def test_any_bytes_are_a_body_or_malformed(body):
    try:
        assert isinstance(read_body(body), dict)
    except Malformed as exc:
        str(exc).encode()
