"""Repair, re-asking, journaling, budgets, specifications; without a network."""

from __future__ import annotations

import contextlib
import json
import pickle
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from gome.errors import BudgetExhausted, ConfigError, LlmFormat, LlmRefusal, LlmTransport
from gome.llm.base import Completion, Message, Request, Usage
from gome.llm.extract import find_code, find_json
from gome.llm.journaled import JournaledLlm
from gome.llm.openai import OpenAILlm
from gome.llm.policy import REASKS
from gome.llm.scripted import ReplayLlm, ScriptedLlm
from gome.llm.spec import LlmSpec, parse_llm


class Verdict(BaseModel):
    good: bool
    score: int = Field(ge=1, le=10)


RIGHT = '{"good": true, "score": 3}'
BIG = 10**6
Record = list[tuple[str, Completion]]


def recorder(record: Record):
    def sink(request: Request, completion: Completion) -> None:
        record.append((request.hash, completion))

    return sink


def ask(text: str = "judge", **kwargs) -> Request:
    return Request(role="reasoning", purpose="test", messages=(Message(role="user", content=text),), **kwargs)


@pytest.mark.parametrize(
    "text",
    [
        RIGHT,
        f"  {RIGHT}\n",
        f"```json\n{RIGHT}\n```",
        f"Here it is:\n```\n{RIGHT}\n```\nDone.",
        f"Sure! {RIGHT} I hope this helps {{really}}.",
        f"<think>maybe {{'good': false}}</think>\n{RIGHT}",
        f"maybe {{'good': false}}\n</think>\n\n{RIGHT}",
        "{'good': True, 'score': 3,}",
        '{"good": true, "score": 3',
        "{good: true, // yes\n score: 3}",
        f"[{RIGHT}]",
        f'{{"verdict": {RIGHT}}}',
        '{"good": "true", "score": "3", "extra": 1}',
    ],
)
def test_json_is_found_and_repaired(text):
    llm = ScriptedLlm([text])
    assert llm.parse(ask(), Verdict) == Verdict(good=True, score=3)
    assert llm.requests[0].json_schema == Verdict.model_json_schema()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("I would rather not say", "holds no JSON"),
        ('{"good": true}', "score: Field required"),
        ('{"good": true, "score": 30}', "less than or equal to 10"),
        ('{"good": true, "score": NaN}', "score"),
        ("[" * 100_000, "not valid JSON"),
        ('{"a":' * 50_000, "not valid JSON"),
        ("null", "JSON does not match"),
        ("   ", "empty"),
        (Completion(text='{"good": true, "score": 3', model="m", finish="length"), "cut at the token limit"),
        (Completion(text="", model="m", finish="length"), "tokens were used up"),
        (Completion(text="xxx", model="m", finish="too_large"), "far too long"),
    ],
)
def test_a_wrong_answer_is_asked_for_again_with_the_reason(text, told):
    llm = ScriptedLlm([text, RIGHT])
    assert llm.parse(ask(seed=5), Verdict).good
    first, second = llm.requests
    assert told in second.messages[-1].content
    assert "JSON schema" in second.messages[-1].content
    assert len(second.messages[-1].content) < 3000
    assert all(len(m.content) < 5000 for m in second.messages)
    assert (first.seed, second.seed) == (5, 6)


def test_asking_again_is_bounded_and_every_try_is_another_request():
    llm = ScriptedLlm(lambda request: "no")
    with pytest.raises(LlmFormat, match=r"no JSON \(after 3 tries\)") as info:
        llm.parse(ask(), Verdict)
    assert info.value.raw == "no"
    assert len({r.hash for r in llm.requests}) == len(llm.requests) == REASKS + 1


def test_a_refusal_is_not_argued_with():
    llm = ScriptedLlm([Completion(text="I cannot", model="m", finish="refused")])
    with pytest.raises(LlmRefusal, match="I cannot"):
        llm.parse(ask(), Verdict)
    assert len(llm.requests) == 1


@given(st.text(max_size=300))
def test_any_text_is_json_or_a_value_error(text):
    for repair in (True, False):
        with contextlib.suppress(ValueError):
            find_json(text, repair=repair)


@given(st.text(alphabet='{}[]",:\\ a1\n`<think>/', max_size=200))
def test_any_jumble_is_json_or_a_value_error(text):
    with contextlib.suppress(ValueError):
        find_json(text)
    with contextlib.suppress(ValueError):
        assert find_code(text).endswith("\n")


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "unit", ['{"', "[", "`", "```\n", "~~~ a\n", '{"a":/*', " ", '"', "<think>", "{ hello: ", "```python\n"]
)
def test_a_model_caught_in_a_loop_holds_nothing_up(unit):
    """Some parsers need the square of the length, or worse; 200,000 characters would take minutes."""
    for text in (unit * (200_000 // len(unit)), '{"a": 1, ' + unit * (10_000 // len(unit)) + "x"):
        for find in (find_json, find_code):
            with contextlib.suppress(ValueError):
                find(text)


CODE = "import pandas as pd\n\nprint('```not a fence')\n"


@pytest.mark.parametrize(
    "text",
    [
        f"```python\n{CODE}```",
        f"First a sketch:\n```python\nx = 1\n```\nThen all of it:\n```python\n{CODE}```\n",
        f"```bash\npip install everything, which is longer than the whole program\n```\n```py\n{CODE}```",
        f"```\n{CODE}```",
        f"```python\n{CODE}",
        f"~~~python\n{CODE}~~~",
        CODE,
        json.dumps({"solution.py": CODE}),
        json.dumps({"plan": "words", "files": {"solution.py": CODE}}),
        f"```json\n{json.dumps({'code': CODE})}\n```",
        f"<think>```python\nno = 1\n```</think>\n```python\n{CODE}```",
    ],
)
def test_code_is_found(text):
    assert find_code(text) == CODE


@pytest.mark.parametrize(
    "text", ["", "No.", "sorry", "```bash\nls\n```", '{"plan": "x"}', "```python\n\n```", "x" * 100_000]
)
def test_no_code_is_said_so(text):
    with pytest.raises(ValueError, match="no Python program"):
        find_code(text)


def test_answers_are_recorded_before_they_are_judged():
    record: Record = []
    inner = ScriptedLlm(
        [Completion(text="no", model="m", finish="refused", usage=Usage(tokens_in=5, tokens_out=2))]
    )
    llm = JournaledLlm(inner, [], recorder(record))
    with pytest.raises(LlmRefusal):
        llm.complete(ask())
    assert [c.finish for _, c in record] == ["refused"]
    assert (llm.spent.llm_calls, llm.spent.tokens_in, llm.spent.tokens_out) == (1, 5, 2)
    again = JournaledLlm(ScriptedLlm([]), record, lambda request, completion: pytest.fail("recorded twice"))
    with pytest.raises(LlmRefusal):
        again.complete(ask())
    assert again.spent == llm.spent


def test_an_interrupted_experiment_pays_for_no_answer_twice():
    """Cut after each number of answers: the resumed run asks only for the rest and ends the same."""

    def experiment(llm: JournaledLlm) -> list[str]:
        texts = [llm.complete(ask("same")).text, llm.complete(ask("same")).text]
        texts.append(str(llm.parse(ask("verdict"), Verdict)))
        return [*texts, llm.complete(ask("same")).text]

    script = ["one", "two", "not json", RIGHT, "three"]
    record: Record = []
    whole = JournaledLlm(ScriptedLlm(script), [], recorder(record), tokens=BIG)
    expected = experiment(whole)
    assert len(record) == 5
    for cut in range(len(script) + 1):
        inner = ScriptedLlm(script[cut:])
        later = list(record[:cut])
        resumed = JournaledLlm(inner, record[:cut], recorder(later), tokens=BIG)
        assert experiment(resumed) == expected
        assert len(inner.requests) == len(script) - cut
        assert later == record
        assert resumed.spent == whole.spent


def test_the_allowance_is_checked_before_the_call():
    usage = Usage(tokens_in=100, tokens_out=50)
    inner = ScriptedLlm(lambda request: Completion(text="x", model="m", usage=usage))
    sunk: list[Request] = []
    llm = JournaledLlm(inner, [], lambda r, c: sunk.append(r), tokens=1000)
    llm.complete(ask(max_tokens=900))
    with pytest.raises(BudgetExhausted, match="850 are left"):
        llm.complete(ask(max_tokens=900))
    assert len(inner.requests) == len(sunk) == 1
    llm.complete(ask(max_tokens=800))
    with pytest.raises(BudgetExhausted):
        llm.parse(ask(max_tokens=800), Verdict)


def test_a_resumed_experiment_meets_its_allowance_where_the_first_did():
    usage = Usage(tokens_in=400, tokens_out=100)
    inner = ScriptedLlm(lambda request: Completion(text="x", model="m", usage=usage))
    record: Record = []
    first = JournaledLlm(inner, [], recorder(record), tokens=1200)
    first.complete(ask("a", max_tokens=600))
    resumed = JournaledLlm(inner, record, lambda r, c: None, tokens=1200)
    assert resumed.complete(ask("a", max_tokens=600)).cached
    for llm in (first, resumed):
        with pytest.raises(BudgetExhausted, match="700 are left"):
            llm.complete(ask("b", max_tokens=700))


def test_a_failed_call_frees_its_reserve():
    inner = ScriptedLlm([LlmTransport("down"), "fine"])
    llm = JournaledLlm(inner, [], lambda r, c: None, tokens=1000)
    with pytest.raises(LlmTransport):
        llm.complete(ask(max_tokens=900))
    assert llm.complete(ask(max_tokens=900)).text == "fine"
    assert llm.spent.llm_calls == 1


def test_money_is_limited_where_a_price_is_known_and_refused_where_not(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "k" * 20)
    priced = OpenAILlm("gpt-4o-mini", url="https://api.openai.com/v1")
    with pytest.raises(BudgetExhausted, match="money budget"):
        JournaledLlm(priced, [], lambda r, c: None, usd=0.001).complete(ask(max_tokens=100_000))
    unpriced = OpenAILlm("gpt-4o-mini", url="http://127.0.0.1:9/v1")
    with pytest.raises(ConfigError, match="no price is known"):
        JournaledLlm(unpriced, [], lambda r, c: None, usd=10.0).complete(ask())


def test_replay_gives_answers_in_order_and_knows_its_limits():
    answers = [(ask().hash, Completion(text=t, model="m")) for t in ("one", "two")]
    llm = ReplayLlm(answers)
    assert [llm.complete(ask()).text for _ in answers] == ["one", "two"]
    with pytest.raises(LlmTransport, match="no \\(further\\) answer to this test request"):
        llm.complete(ask())


def test_a_script_that_has_run_out_says_so():
    with pytest.raises(LlmTransport, match="has 0 answers"):
        ScriptedLlm([]).complete(ask())


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("openai:gpt-5", LlmSpec(model="gpt-5")),
        (
            "openai:gpt-5,coder=gpt-5-mini,effort=low,temperature=0.5,json=plain,timeout=30,attempts=2",
            LlmSpec(
                model="gpt-5", coder="gpt-5-mini", effort="low", temperature=0.5, json_mode="plain",
                timeout_s=30, attempts=2,
            ),
        ),
        (
            "openai:llama3.1:8b-instruct,url=http://localhost:11434/v1",
            LlmSpec(model="llama3.1:8b-instruct", url="http://localhost:11434/v1"),
        ),
        ("openai:org/model@free,json=auto", LlmSpec(model="org/model@free")),
        ("replay:/some/run,a=2", LlmSpec(backend="replay", model="/some/run,a=2")),
    ],
)  # fmt: skip
def test_specifications_are_read_and_written(spec, expected):
    made = parse_llm(spec)
    assert made == expected
    assert parse_llm(str(made)) == made


def test_the_url_may_be_given_apart():
    assert parse_llm("openai:m,url=http://a/v1", url="http://b/v1").url == "http://b/v1"


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("gpt-5", "unknown language model 'gpt-5': use openai:MODEL"),
        ("anthropic:x", "unknown language model"),
        ("", "unknown language model"),
        ("openai", "no model is named"),
        ("openai:", "no model is named"),
        ("openai:,coder=x", "no model is named"),
        ("openai:url=http://x/v1", "no model is named"),
        ("openai:m,color=red", "unknown or empty option 'color'"),
        ("openai:m,api_key=hunter2", "unknown or empty option"),
        ("openai:m,coder=", "unknown or empty option"),
        ("openai:m,coder=a,coder=b", "given twice"),
        ("openai:m,temperature=hot", "option 'temperature'"),
        ("openai:m,temperature=nan", "between 0 and 2"),
        ("openai:m,attempts=0", "between 1 and 100"),
        ("openai:m,json=xml", "must be auto"),
        ("openai:m,url=localhost:8000", "must look like http"),
        ("openai:m,url=http://user:hunter2@host/v1", "no user, password"),
        ("openai:m,prices=/no/such/file.json", "not a usable price file"),
        ("replay:", "path of a run directory"),
    ],
)
def test_a_wrong_specification_says_what_is_right(spec, words):
    with pytest.raises(ConfigError, match=words) as info:
        parse_llm(spec)
    assert "hunter2" not in str(info.value)
    assert "\n" not in str(info.value)


def test_the_factory_travels_with_its_price_file_and_without_the_key(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-0123456789")
    prices = tmp_path / "prices.json"
    prices.write_text(json.dumps({"hosts": {"127.0.0.1": {"m": {"in": 1.0, "out": 2.0}}}}))
    factory = parse_llm(f"openai:m,url=http://127.0.0.1:9/v1,prices={prices}").factory()
    first = factory()
    assert first.quote(ask(max_tokens=1000))[1] == pytest.approx(0.002, abs=1e-4)
    prices.unlink()
    data = pickle.dumps(factory)
    assert b"sk-secret" not in data
    assert b"sk-secret" not in pickle.dumps(first)
    second = pickle.loads(data)()
    assert second is not first
    assert second.quote(ask(max_tokens=1000)) == first.quote(ask(max_tokens=1000))


def test_importing_the_interface_loads_no_client():
    code = (
        "import gome.llm.base, gome.llm.spec, dojo.llm, sys; print({'openai', 'httpx2'} & set(sys.modules))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "set()"


@pytest.mark.parametrize("form", ["{}", "Sure:\n```json\n{}\n```", "Here: {} So.", "{}, oops"])
def test_half_of_a_surrogate_pair_becomes_what_a_file_can_hold(form):
    """A model that is cut within an emoji, or makes escapes up: the journal could not hold its words."""
    value = find_json(form.replace("{}", '{"lesson": "a \\ud83d b \\ud83d\\ude00", "n": [1, "\\udc00"]}'))
    value = value[0] if isinstance(value, list) else value
    assert value["lesson"] == "a ? b \N{GRINNING FACE}"
    assert value["n"] == [1, "?"]
