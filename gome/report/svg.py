"""Writing SVG by hand: elements with escaped attributes, axes with round ticks."""

from __future__ import annotations

import math
from collections.abc import Iterable

from markupsafe import Markup, escape

TRACE_COLOURS = 8
"""Colours of traces repeat after so many (`--t0` … of the style sheet)."""


def element(tag: str, *children: Markup | str, **attributes: object) -> Markup:
    """One element; text children and attribute values are escaped, `class_` is `class`, `_` in names is `-`."""
    parts = [
        f' {name.rstrip("_").replace("_", "-")}="{escape(_text(value))}"'
        for name, value in attributes.items()
        if value is not None
    ]
    inner = "".join(str(escape(child)) for child in children)
    return Markup(f"<{tag}{''.join(parts)}>{inner}</{tag}>" if inner else f"<{tag}{''.join(parts)}/>")


def drawing(
    width: float, height: float, label: str, children: Iterable[Markup], *, fixed: bool = False
) -> Markup:
    """The outermost element. `fixed` keeps its size (it scrolls); else it takes the width it is given."""
    size = {"width": width, "height": height} if fixed else {"width": "100%"}
    return element(
        "svg",
        *children,
        viewBox=f"0 0 {width:g} {height:g}",
        role="img",
        aria_label=label,
        **size,
    )


def text(x: float, y: float, content: str, **attributes: object) -> Markup:
    """A text element."""
    return element("text", content, x=x, y=y, **attributes)


def line(x1: float, y1: float, x2: float, y2: float, **attributes: object) -> Markup:
    """A straight line."""
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, **attributes)


def colour(trace: int) -> str:
    """The class that carries a trace's colour."""
    return f"t{trace % TRACE_COLOURS}" if trace >= 0 else "tb"


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers that divide [low, high] into about `count` parts."""
    span = high - low
    if not math.isfinite(span) or span <= 0:
        return [low]
    raw = span / max(1, count)
    unit = 10 ** math.floor(math.log10(raw))
    step = next(m * unit for m in (1, 2, 2.5, 5, 10) if m * unit >= raw)
    first = math.ceil(low / step)
    return [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def _text(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
