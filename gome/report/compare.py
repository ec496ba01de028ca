"""Where two histories part."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any


def first_difference(one: Sequence[Any], two: Sequence[Any]) -> dict[str, Any] | None:
    """The first difference of two canonical histories, or None when they are equal.

    Returns:
        `event` (index), `where` (the path within the event), and `first` and `second`, the values there (cut).
    """
    for index, (a, b) in enumerate(zip(one, two, strict=False)):
        if a != b:
            path, left, right = _descend(a, b, _name(a))
            return {"event": index, "where": path, "first": _cut(left), "second": _cut(right)}
    if len(one) != len(two):
        index = min(len(one), len(two))
        longer = one if len(one) > len(two) else two
        ends = "(the history ends here)"
        left, right = (ends, _name(longer[index])) if longer is two else (_name(longer[index]), ends)
        return {"event": index, "where": "length", "first": left, "second": right}
    return None


def _name(event: Any) -> str:
    kind = str(event.get("type", "event")) if isinstance(event, dict) else "event"
    body = event.get("experiment") if isinstance(event, dict) else None
    which = body.get("id") if isinstance(body, dict) else body
    return f"{kind} {which}" if isinstance(which, str) else kind


def _descend(a: Any, b: Any, path: str) -> tuple[str, Any, Any]:
    if isinstance(a, dict) and isinstance(b, dict):
        for key in [*a, *(k for k in b if k not in a)]:
            if key not in a or key not in b or a[key] != b[key]:
                return _descend(a.get(key), b.get(key), f"{path}.{key}")
    if isinstance(a, list) and isinstance(b, list):
        for i, (x, y) in enumerate(zip(a, b, strict=False)):
            if x != y:
                return _descend(x, y, f"{path}[{i}]")
    return path, a, b


def _cut(value: Any, limit: int = 300) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= limit else text[: limit - 1] + "…"
