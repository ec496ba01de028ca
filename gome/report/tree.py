"""The tree of experiments: a lane per trace, an edge from parent to child, arcs where ideas crossed over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from gome.loop.experiment import Experiment
from gome.loop.state import RunState
from gome.report.svg import colour, drawing, element, line, text
from gome.report.timeline import Timeline
from gome.report.words import clean, outcome

LANE = 74.0
LEFT, TOP = 76.0, 30.0
DROP = {"accepted": 0.0, "rejected": 20.0, "vetoed": 20.0, "failed": 34.0, "budget": 34.0, "lost": 34.0}
"""How far below its trace's line an experiment is drawn."""


@dataclass(frozen=True)
class Place:
    """Where an experiment is drawn."""

    x: float
    y: float


def tree(run: Timeline, chosen: str | None) -> Markup | None:
    """The drawing, or None without experiments. Nodes link to the experiments' sections."""
    state = run.state
    experiments = list(state.experiments.values())
    if not experiments:
        return None
    step = min(34.0, max(11.0, 960.0 / len(experiments)))
    lanes = {trace: i for i, trace in enumerate(sorted({e.trace for e in experiments}))}
    places = {
        e.id: Place(LEFT + step * (i + 0.6), TOP + LANE * lanes[e.trace] + DROP[e.status])
        for i, e in enumerate(experiments)
    }
    width = LEFT + step * (len(experiments) + 1.5)
    height = TOP + LANE * len(lanes)
    parts: list[Markup] = []
    for trace, lane in lanes.items():
        y = TOP + LANE * lane
        parts.append(line(LEFT - 8, y, width - 6, y, class_="grid"))
        parts.append(text(8, y + 4, f"trace {trace}", class_=f"lane {colour(trace)}"))
    parts += [_edge(places[e.parent], places[e.id], e) for e in experiments if e.parent in places]
    parts += [arc for e in experiments for arc in _arcs(e, run.merged.get(e.id, ()), places)]
    parts += [_node(e, places[e.id], state, chosen, min(7.0, step * 0.36)) for e in experiments]
    return drawing(
        width, height, "Experiments of all traces in the order of their commits", parts, fixed=True
    )


def _edge(parent: Place, child: Place, e: Experiment) -> Markup:
    middle = (parent.x + child.x) / 2
    path = f"M{parent.x:.1f} {parent.y:.1f}C{middle:.1f} {parent.y:.1f} {middle:.1f} {child.y:.1f} "
    return element("path", d=f"{path}{child.x:.1f} {child.y:.1f}", class_=f"edge {e.status}")


def _arcs(e: Experiment, merged: Sequence[str], places: dict[str, Place]) -> list[Markup]:
    """From each memory entry that was used, and each solution that was merged in, to the experiment."""
    used = {c.entry: c.use for c in e.proposal.citations if c.use in ("adopted", "adapted")}
    sources = {**used, **dict.fromkeys(merged, "merged in")}
    arcs = []
    for name, use in sources.items():
        source = places.get(name)
        if source is None or name == e.parent:
            continue
        target = places[e.id]
        bend = -26.0 if abs(source.y - target.y) < LANE / 2 else 0.0
        middle = (source.x + target.x) / 2
        path = (
            f"M{source.x:.1f} {source.y:.1f}C{middle:.1f} {source.y + bend:.1f} {middle:.1f} "
            f"{target.y + bend:.1f} {target.x:.1f} {target.y:.1f}"
        )
        kind = "merge" if use == "merged in" else "cite"
        title = element("title", f"{name} {use} by {e.id} ({e.status})")
        arcs.append(element("path", title, d=path, class_=f"{kind} {e.status}"))
    return arcs


def _node(e: Experiment, place: Place, state: RunState, chosen: str | None, r: float) -> Markup:
    words = f"{e.id} {e.proposal.purpose}: {clean(e.proposal.hypothesis, 140)} → {outcome(e, state)}"
    title = element("title", words)
    parts = []
    if e.id == chosen:
        parts.append(element("circle", cx=place.x, cy=place.y, r=r + 4, class_="chosen"))
    if e.status in ("failed", "budget", "lost"):
        d = 0.7 * r
        cross = f"M{place.x - d:.1f} {place.y - d:.1f}l{2 * d:.1f} {2 * d:.1f}m0 {-2 * d:.1f}l{-2 * d:.1f} {2 * d:.1f}"
        parts += [
            element("circle", cx=place.x, cy=place.y, r=r, class_="hit"),
            element("path", d=cross, class_=f"cross {e.status}"),
        ]
    elif e.proposal.purpose == "merge":
        side = 1.7 * r
        parts.append(
            element(
                "rect",
                x=place.x - side / 2,
                y=place.y - side / 2,
                width=side,
                height=side,
                class_=f"node {e.status} {colour(e.trace)}",
            )
        )
    else:
        parts.append(
            element("circle", cx=place.x, cy=place.y, r=r, class_=f"node {e.status} {colour(e.trace)}")
        )
    return element("a", title, *parts, href=f"#e-{e.id}")
