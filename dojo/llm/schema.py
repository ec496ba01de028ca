"""JSON schemas in the form that structured outputs accept."""

from __future__ import annotations

from typing import Any

_KEPT = frozenset({"type", "enum", "const", "description", "$ref"})


def strict_schema(schema: dict[str, Any]) -> dict[str, Any] | None:
    """Rewrite a JSON schema for strict structured outputs, or None where it cannot be.

    Strict mode wants every property required and no others allowed, and knows few keywords, see
    https://platform.openai.com/docs/guides/structured-outputs#supported-schemas. Keywords it may not know
    (lengths, ranges, formats, defaults) are dropped: the answer is validated against the full schema anyway.
    A free-form object (`dict[str, Any]`) has no strict form.
    """
    try:
        return _strict(schema)
    except _NotStrict:
        return None


class _NotStrict(Exception):
    pass


def _strict(node: dict[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {k: v for k, v in node.items() if k in _KEPT}
    for name in ("$defs", "properties"):
        if name in node:
            out[name] = {k: _strict(v) for k, v in node[name].items()}
    for name in ("anyOf", "oneOf"):
        if name in node:
            out["anyOf"] = [_strict(v) for v in node[name]]
    if "allOf" in node:
        if len(node["allOf"]) != 1:
            raise _NotStrict
        out.update(_strict(node["allOf"][0]))
    if "prefixItems" in node:
        raise _NotStrict
    if "items" in node:
        out["items"] = _strict(node["items"])
    if out.get("type") == "object":
        if not out.get("properties"):
            raise _NotStrict
        out["required"] = list(out["properties"])
        out["additionalProperties"] = False
    elif out.get("type") == "array":
        if "items" not in out:
            raise _NotStrict
    elif not out.keys() & {"type", "enum", "const", "$ref", "anyOf"}:
        raise _NotStrict
    if "$ref" in out:
        return {"$ref": out["$ref"]}  # siblings of a reference are refused
    return out
