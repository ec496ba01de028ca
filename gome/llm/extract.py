"""Finding JSON or code in what a model wrote around it."""

from __future__ import annotations

import ast
import json
import re
from typing import Any

_MAX_REPAIR_CHARS = 32 * 1024
_MAX_REPAIR_OPENINGS = 200
"""json-repair takes time in the square of the openings: a model caught in a loop (`{"{"{"…`) would hold a run."""
_OPENING = re.compile(r"[ \t]*(`{3,}|~{3,})[ \t]*([\w+-]*)")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_PYTHON = frozenset({"python", "py", "python3"})


def without_thoughts(text: str) -> str:
    """The text without the `<think>` block that some reasoning models put before their answer."""
    text = text.lstrip()
    if text.startswith("<think>"):
        _, closed, rest = text.partition("</think>")
        return rest.lstrip() if closed else text
    head, closed, rest = text.partition("</think>")
    # Some servers swallow the opening tag; a closing tag on a line of its own is no part of code or JSON.
    if closed and head.endswith("\n") and rest.startswith("\n"):
        return rest.lstrip()
    return text


def fenced_blocks(text: str) -> list[tuple[str, str]]:
    """Fenced blocks as (language, content); a block that is not closed runs to the end. Linear in the text."""
    blocks: list[tuple[str, str]] = []
    fence, language, lines = "", "", list[str]()
    for line in text.splitlines(keepends=True):
        if fence:
            bare = line.strip()
            if bare.startswith(fence) and not bare.strip(fence[0]):
                blocks.append((language, "".join(lines)))
                fence = ""
            else:
                lines.append(line)
        elif opening := _OPENING.match(line):
            fence, language, lines = opening.group(1), opening.group(2).lower(), []
    if fence:
        blocks.append((language, "".join(lines)))
    return blocks


def find_json(text: str, *, repair: bool = True) -> Any:
    """Find the JSON value in an answer.

    Tried in order: the whole text, a fenced block, the first value that starts with a brace or bracket, and
    (with `repair`) what the json-repair library makes of the rest from the first brace.

    Raises:
        ValueError: there is none.
    """
    text = without_thoughts(text).strip()
    candidates = [text, *(block.strip() for lang, block in fenced_blocks(text) if lang in ("json", ""))]
    for candidate in candidates:
        try:
            return _encodable(json.loads(candidate), candidate)
        except (ValueError, RecursionError):
            continue
    start = min((i for i in (text.find("{"), text.find("[")) if i >= 0), default=-1)
    if start < 0:
        raise ValueError("the answer holds no JSON")
    try:
        return _encodable(json.JSONDecoder().raw_decode(text, start)[0], text)
    except (ValueError, RecursionError) as exc:
        reason = str(exc)
    brace = text.find("{")
    openings = text.count("{", max(brace, 0)) + text.count("[", max(brace, 0))
    hopeless = len(text) - brace > _MAX_REPAIR_CHARS or openings > _MAX_REPAIR_OPENINGS
    if not repair or brace < 0 or hopeless:
        raise ValueError(f"the answer is not valid JSON: {reason[:200]}")
    import json_repair

    try:
        value = json_repair.loads(text[brace:], skip_json_loads=True)
    except (ValueError, RecursionError, IndexError, TypeError) as exc:
        raise ValueError(f"the answer is not valid JSON: {reason[:200]}") from exc
    if not isinstance(value, dict | list) or not value:
        raise ValueError(f"the answer is not valid JSON: {reason[:200]}")
    return _encodable(value, text)


def _encodable(value: Any, text: str) -> Any:
    """The value with `?` for each lone surrogate: the escape of one half of an emoji, say, without the other.

    JSON allows it, and no file, journal or prompt can hold it.
    """
    if not _SURROGATE.search(text):
        return value
    whole = json.dumps(value, ensure_ascii=False).encode("utf-8", "replace").decode()
    return json.loads(whole)


def find_code(text: str) -> str:
    """Find the Python program in an answer: the longest Python block, a JSON field, or the text itself.

    Raises:
        ValueError: there is none.
    """
    text = without_thoughts(text).strip()
    blocks = fenced_blocks(text)
    python = [b for lang, b in blocks if lang in _PYTHON] or [b for lang, b in blocks if lang == ""]
    python = [b for b in python if b.strip()]
    if python:
        return max(python, key=len).strip("\n") + "\n"
    try:
        code = _code_field(find_json(text, repair=False))
    except ValueError:
        code = None
    if code is None and not blocks and _is_program(text):
        code = text
    if code is None:
        raise ValueError("the answer holds no Python program; put the whole file into one ```python block")
    return code.strip("\n") + "\n"


def _code_field(value: Any) -> str | None:
    """The longest string under a name that means code, at most two levels deep."""
    if not isinstance(value, dict):
        return None
    found = [v for k, v in value.items() if isinstance(v, str) and v.strip() and _means_code(k)]
    if not found:
        nested = [_code_field(v) for v in value.values() if isinstance(v, dict)]
        found = [v for v in nested if v]
    return max(found, key=len, default=None)


def _means_code(name: str) -> bool:
    return name in ("code", "solution", "program", "python") or name.endswith(".py")


def _is_program(text: str) -> bool:
    """Whether a text without any fence is Python that does something (one bare word parses, too)."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return any(isinstance(node, ast.Import | ast.ImportFrom) for node in ast.walk(tree))
