"""How one model at one endpoint wants to be asked. Learnt from its refusals, once, and remembered.

OpenAI-compatible servers differ in small ways: some want `max_completion_tokens` instead of `max_tokens`,
some refuse `temperature` or `seed`, some know no `json_schema`, some no JSON mode, some no system role.
A `Dialect` holds these facts; `adapt` derives the next one to try from a 400 or 422.
"""

from __future__ import annotations

import json
import re
from typing import Any, Literal

from dojo.llm.model import ChatMessage, ChatRequest, JsonMode
from dojo.llm.schema import strict_schema
from dojo.model import Frozen

_WEAKER: dict[JsonMode, JsonMode] = {"json_schema": "json_object", "json_object": "plain"}
_SMALLEST_ANSWER = 256


class Dialect(Frozen):
    """What a model at an endpoint accepts."""

    json_mode: JsonMode = "json_schema"
    token_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    token_field_settled: bool = False
    """Whether the other field was already refused, so that two refusals cannot alternate for ever."""
    max_tokens: int | None = None
    """The largest answer the model allows (stated), or that fitted beside one long prompt."""
    max_tokens_stated: bool = False
    seed: bool = True
    temperature: bool = True
    effort: bool = True
    system_role: bool = True

    def lasting(self) -> Dialect:
        """What holds for the next request too: an answer made small for one long prompt does not."""
        return self if self.max_tokens_stated else self.model_copy(update={"max_tokens": None})

    def payload(self, request: ChatRequest) -> dict[str, Any]:
        """The arguments of `chat.completions.create` for a request."""
        messages = list(request.messages)
        if request.json_schema is not None and self.json_mode != "json_schema":
            messages.insert(0, ChatMessage(role="system", content=schema_instruction(request.json_schema)))
        if not self.system_role:
            messages = _fold_system(messages)
        limit = min(request.max_tokens, self.max_tokens or request.max_tokens)
        out: dict[str, Any] = {
            "model": request.model,
            "messages": [{"role": m.role, "content": m.content} for m in messages],
            self.token_field: limit,
        }
        if request.json_schema is not None and self.json_mode == "json_schema":
            strict = strict_schema(request.json_schema)
            out["response_format"] = {
                "type": "json_schema",
                "json_schema": {
                    "name": "answer",
                    "schema": strict or request.json_schema,
                    "strict": strict is not None,
                },
            }
        elif request.json_schema is not None and self.json_mode == "json_object":
            out["response_format"] = {"type": "json_object"}
        if self.seed and request.seed is not None:
            out["seed"] = request.seed
        if self.temperature and request.temperature is not None:
            out["temperature"] = request.temperature
        if self.effort and request.effort is not None:
            out["reasoning_effort"] = request.effort
        return out


def schema_instruction(schema: dict[str, Any]) -> str:
    """The words that ask for JSON where the endpoint cannot be told in its protocol."""
    return (
        "Answer with one JSON object and nothing else: no prose, no code fence. "
        "It must be valid JSON and match this JSON schema:\n" + json.dumps(schema, ensure_ascii=False)
    )


def _fold_system(messages: list[ChatMessage]) -> list[ChatMessage]:
    system = "\n\n".join(m.content for m in messages if m.role == "system")
    rest = [m for m in messages if m.role != "system"]
    if not system:
        return rest
    if rest and rest[0].role == "user":
        rest[0] = ChatMessage(role="user", content=f"{system}\n\n{rest[0].content}")
        return rest
    return [ChatMessage(role="user", content=system), *rest]


def adapt(dialect: Dialect, request: ChatRequest, complaint: str) -> Dialect | None:
    """The dialect to try after the endpoint refused a request, or None when nothing is left to change.

    Each call either gives up something for good or halves the size of the answer, so a chain of calls ends.

    Args:
        dialect: what was used.
        request: what was asked.
        complaint: message, code and parameter of the refusal.
    """
    text = complaint.lower()
    sent = dialect.payload(request)
    named = _named(dialect, sent, text)
    if named is not None:
        return named
    # The endpoint did not say what it dislikes: give up the rarest thing first.
    for field, change in (
        ("response_format", {"json_mode": _WEAKER.get(dialect.json_mode)}),
        ("reasoning_effort", {"effort": False}),
        ("seed", {"seed": False}),
        ("temperature", {"temperature": False}),
    ):
        if field in sent:
            return dialect.model_copy(update=change)
    return None


def _named(dialect: Dialect, sent: dict[str, Any], text: str) -> Dialect | None:
    """The change that the complaint names, if it names one."""
    wants_other = "max_completion_tokens" if dialect.token_field == "max_tokens" else "max_tokens"
    too_large = re.search(r"too large|too long|maximum context|context length|context window|at most", text)
    if "token" in text and too_large:
        return _smaller(dialect, int(sent[dialect.token_field]), text)
    if dialect.token_field in text and not dialect.token_field_settled:
        return dialect.model_copy(update={"token_field": wants_other, "token_field_settled": True})
    if "response_format" in sent and re.search(
        r"response_format|json_schema|json_object|json mode|structured output|guided|grammar|schema", text
    ):
        return dialect.model_copy(update={"json_mode": _WEAKER[dialect.json_mode]})
    if "seed" in sent and re.search(r"\bseed\b", text):
        return dialect.model_copy(update={"seed": False})
    if "temperature" in sent and "temperature" in text:
        return dialect.model_copy(update={"temperature": False})
    if "reasoning_effort" in sent and re.search(r"reasoning|effort", text):
        return dialect.model_copy(update={"effort": False})
    has_system = any(m["role"] == "system" for m in sent["messages"])
    if has_system and re.search(r"system (role|message|prompt)|roles must alternate|role.{0,20}system", text):
        return dialect.model_copy(update={"system_role": False})
    return None


def _smaller(dialect: Dialect, asked: int, text: str) -> Dialect | None:
    """Ask for a shorter answer: the size the endpoint names, else half."""
    stated = re.search(r"at most (\d+)(?: completion| output)? tokens", text)
    if stated and int(stated.group(1)) < asked:
        return dialect.model_copy(update={"max_tokens": int(stated.group(1)), "max_tokens_stated": True})
    if asked // 2 < _SMALLEST_ANSWER:
        return None
    return dialect.model_copy(update={"max_tokens": asked // 2, "max_tokens_stated": False})
