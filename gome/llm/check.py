"""Does the given language model really work? Asked the way a run asks it, not by another path."""

from __future__ import annotations

import time
from collections.abc import Callable

from pydantic import BaseModel, ConfigDict

from dojo.llm import LlmClientError, RetryPolicy
from dojo.model import Frozen
from gome.errors import ConfigError, GomeError, LlmDenied, LlmFormat, LlmTransport
from gome.llm.base import Message, Request, Role
from gome.llm.openai import OpenAILlm
from gome.llm.spec import LlmSpec

_JSON_WORDS = {
    "json_schema": "structured outputs (JSON schema)",
    "json_object": "JSON mode; the schema goes into the prompt",
    "plain": "no JSON mode; answers are repaired and asked for again",
}


class Check(Frozen):
    """One thing that was tried."""

    name: str
    passed: bool
    detail: str = ""
    fix: str = ""
    """What to do when it did not pass."""


class _Sum(BaseModel):
    model_config = ConfigDict(extra="ignore")
    total: int


def check_llm(
    spec: LlmSpec,
    *,
    timeout_s: float = 60.0,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> list[Check]:
    """Try a language model: an answer of each of its models, the form of JSON, speed, and reported usage.

    Costs two small calls for each model. Never raises for an endpoint that does not work: that is a `Check`.

    Args:
        spec: the model, as `parse_llm` reads it.
        timeout_s: longest time for one call, with one retry.
        sleep: waits between attempts.
        clock: measures the speed.
    """
    if spec.backend != "openai":
        return [Check(name=f"llm {spec}", passed=True, detail="recorded answers; nothing to reach")]
    retry = RetryPolicy(attempts=2, timeout_s=timeout_s, total_s=2 * timeout_s)
    try:
        llm = spec.build(retry=retry, sleep=sleep)
    except ConfigError as exc:
        return [Check(name="llm", passed=False, detail=str(exc), fix="correct --llm or --llm-url")]
    assert isinstance(llm, OpenAILlm)
    roles: dict[str, Role] = {llm.reasoning_model: "reasoning"}
    roles.setdefault(llm.coding_model, "coding")
    checks: list[Check] = []
    for model, role in roles.items():
        checks += _check_model(llm, model, role, clock)
    llm.close()
    return checks


def _check_model(llm: OpenAILlm, model: str, role: Role, clock: Callable[[], float]) -> list[Check]:
    ask = Request(
        role=role,
        purpose="check",
        messages=(Message(role="user", content="Reply with the single word: ready"),),
        max_tokens=2048,
    )
    started = clock()
    try:
        answer = llm.complete(ask)
    except GomeError as exc:
        return [Check(name=f"{model} answers", passed=False, detail=str(exc), fix=_fix(llm, exc))]
    seconds = clock() - started
    checks = [Check(name=f"{model} answers", passed=True, detail=f"in {seconds:.1f} s")]
    price = "no price known: tokens are counted, not money" if answer.usage.usd is None else "price known"
    counted = "estimated, the endpoint does not report it" if answer.usage.estimated else "reported"
    checks.append(Check(name=f"{model} usage", passed=True, detail=f"{counted}; {price}"))
    question = Message(role="user", content="What is 17 + 25? Answer as JSON with the integer field `total`.")
    try:
        total = llm.parse(ask.model_copy(update={"messages": (question,)}), _Sum).total
    except GomeError as exc:
        fix = _fix(llm, exc)
        if isinstance(exc, LlmFormat):
            fix = "try json=json_object or json=plain in --llm, or a model that follows instructions"
        return [*checks, Check(name=f"{model} JSON", passed=False, detail=str(exc), fix=fix)]
    mode = _JSON_WORDS[llm.client.dialect(model).json_mode]
    wrong = "" if total == 42 else f"; but it says 17 + 25 = {total}: too weak to reason about experiments"
    fix = "" if total == 42 else "use a stronger model, or the playbook"
    return [*checks, Check(name=f"{model} JSON", passed=total == 42, detail=mode + wrong, fix=fix)]


def _fix(llm: OpenAILlm, exc: GomeError) -> str:
    if isinstance(exc, ConfigError):
        return "set OPENAI_API_KEY, or give --llm-url for a local endpoint"
    if isinstance(exc, LlmDenied):
        try:
            offered = llm.client.models()
        except LlmClientError:
            return "check the key, the model's name and the url"
        some = ", ".join(offered[:8]) + (" …" if len(offered) > 8 else "")
        return f"check the key and the model's name; the endpoint offers: {some or 'nothing'}"
    if isinstance(exc, LlmTransport):
        return "is the endpoint running, and is the url right? It usually ends in /v1"
    return "use another model"
