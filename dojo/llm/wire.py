"""Reading what an endpoint sent: nothing in it is trusted to have the documented form."""

from __future__ import annotations

import json
from typing import Any

from dojo.llm.model import Finish
from dojo.model import Frozen

_MESSAGE_CHARS = 400


class Malformed(Exception):
    """The body is not a chat completion; likely a proxy or a server in trouble, so worth another try."""


class Choice(Frozen):
    """The first choice of a completion, made regular. Token counts are None where not (sensibly) reported."""

    text: str
    finish: Finish
    tokens_in: int | None
    tokens_out: int | None
    cached_in: int = 0


def read_body(body: bytes) -> dict[str, Any]:
    """Parse a body as a JSON object.

    Raises:
        Malformed: it is something else.
    """
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        head = " ".join(body[:200].decode("utf-8", "replace").split())
        raise Malformed(f"the body is not JSON: {head[:80]!r}") from None
    if not isinstance(data, dict):
        raise Malformed(f"the body is a JSON {type(data).__name__}, not an object")
    return data


def read_choice(data: dict[str, Any]) -> Choice:
    """Read the first choice of a chat completion.

    Text is taken from `content` (a string or a list of text parts); where a model answers through a tool call
    instead, from the call's arguments, which hold the JSON that was asked for.

    Raises:
        Malformed: there is no choice with a message.
    """
    choices = data.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise Malformed("the answer holds no choices")
    message = choices[0].get("message")
    if not isinstance(message, dict):
        raise Malformed("the first choice holds no message")
    reason = choices[0].get("finish_reason")
    text = clean(_content(message.get("content")) or _tool_arguments(message.get("tool_calls")))
    refusal = message.get("refusal")
    finish: Finish = "stop"
    if reason == "content_filter" or (isinstance(refusal, str) and refusal.strip() and not text.strip()):
        finish, text = "refused", text or (clean(refusal) if isinstance(refusal, str) else "")
    elif reason == "length":
        finish = "length"
    elif not text.strip():
        finish = "empty"
    usage = data.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    details = usage.get("prompt_tokens_details")
    cached = _count(details.get("cached_tokens")) if isinstance(details, dict) else None
    tokens_out = _count(usage.get("completion_tokens"))
    return Choice(
        text=text,
        finish=finish,
        tokens_in=_count(usage.get("prompt_tokens")) or None,
        tokens_out=None if text and not tokens_out else tokens_out,
        cached_in=cached or 0,
    )


def error_text(body: object, fallback: str = "") -> str:
    """The message, code and parameter of an error body, on one bounded line."""
    error = body
    if isinstance(error, dict) and isinstance(error.get("error"), (dict, str)):
        error = error["error"]
    parts: list[str] = []
    if isinstance(error, dict):
        for key in ("message", "detail", "code", "param"):
            value = error.get(key)
            if value:
                parts.append(value if isinstance(value, str) else json.dumps(value, default=str))
    elif isinstance(error, str):
        parts.append(error)
    line = " ".join(" ".join(parts or [fallback]).split())
    printable = "".join(c if c.isprintable() else "?" for c in line)
    return printable if len(printable) <= _MESSAGE_CHARS else printable[:_MESSAGE_CHARS] + "…"


def clean(text: str) -> str:
    """The text without what no file or terminal can take: lone surrogates and NUL."""
    return text.encode("utf-8", "replace").decode("utf-8").replace("\x00", "\ufffd")


def _content(content: object) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        texts = [part.get("text") for part in content if isinstance(part, dict)]
        return "".join(t for t in texts if isinstance(t, str))
    return ""


def _tool_arguments(calls: object) -> str:
    if isinstance(calls, list) and calls and isinstance(calls[0], dict):
        function = calls[0].get("function")
        if isinstance(function, dict) and isinstance(function.get("arguments"), str):
            return str(function["arguments"])
    return ""


def _count(value: object) -> int | None:
    """A sane token count, or None."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 10**9:
        return None
    return value
