"""The live terminal view: one line per trace, redrawn in place."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from gome.loop.assignment import Notice
from gome.loop.events import RunFinished, RunInterrupted
from gome.loop.journal import Record
from gome.loop.state import RunState
from gome.report.board import Board, Snapshot, TraceRow
from gome.report.words import duration, number, score

BARS = "▁▂▃▄▅▆▇█"
STATUS_STYLE = {
    "accepted": "green",
    "rejected": "yellow",
    "vetoed": "yellow",
    "failed": "red",
    "budget": "red",
    "lost": "red",
}
NARROW = 100
"""Columns of a terminal below which the less important columns of the table are left out."""


class LiveView:
    """An observer that redraws a table a few times a second, from the first event to the last.

    Args:
        console: where to draw.
        board: what is shown.
    """

    def __init__(self, console: Console, board: Board | None = None) -> None:
        self.board = board or Board()
        self._console = console
        self._live = Live(
            get_renderable=self.render,
            console=console,
            refresh_per_second=4,
            transient=False,
            vertical_overflow="crop",
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def start(self) -> None:
        """Begin to draw before the first event."""
        self._live.start(refresh=True)

    def stop(self) -> None:
        """Draw a last time and leave the terminal in order. Safe to call twice."""
        self._live.stop()

    def on_record(self, record: Record, state: RunState) -> None:
        """An event was committed."""
        self.board.record(record, state)
        if isinstance(record.event, RunFinished | RunInterrupted):
            self.stop()
        elif not self._live.is_started:
            self.start()

    def on_notice(self, notice: Notice) -> None:
        """A trace entered a stage."""
        self.board.notice(notice)

    def render(self) -> RenderableType:
        """The view at this moment."""
        return draw(self.board.snapshot(), self._console.width)


def draw(shown: Snapshot, width: int = 120) -> RenderableType:
    """A snapshot as header, one line per trace, and the last events."""
    if not shown.task:
        return Text("preparing the data …", style="dim")
    parts: list[RenderableType] = [*_header(shown), _table(shown, width)]
    parts += [Text(line, style="dim", no_wrap=True, overflow="ellipsis") for line in shown.lines]
    return Group(*parts)


def sparkline(values: Sequence[float | None]) -> str:
    """Utilities as bars, higher is better; `×` where there was no score."""
    known = sorted(v for v in values if v is not None)
    if not known:
        return "×" * len(values)
    # One terrible experiment must not flatten all others: the lowest bar takes everything below the lower quartile
    # by more than the span above it.
    middle, high = known[len(known) // 2], known[-1]
    low = max(known[0], middle - 3 * (high - middle)) if high > middle else known[0]
    span = high - low

    def bar(value: float | None) -> str:
        if value is None:
            return "×"
        share = 1.0 if span <= 0 else min(1.0, max(0.0, (value - low) / span))
        return BARS[min(len(BARS) - 1, math.floor(share * len(BARS)))]

    return "".join(bar(v) for v in values)


def _header(shown: Snapshot) -> list[Text]:
    arrow = "↑" if shown.direction == "max" else "↓"
    first = Text(no_wrap=True, overflow="ellipsis")
    first.append(shown.task, style="bold")
    first.append(f"  {shown.metric} {arrow}  ")
    first.append(f"baseline {score(shown.baseline)}", style="dim")
    if shown.best is not None:
        first.append("  best ", style="dim")
        first.append(score(shown.best.score), style="bold green")
        first.append(f" {shown.best.id}", style="dim")
    second = Text(no_wrap=True, overflow="ellipsis", style="dim")
    seal = "sealed" if shown.sealed else "UNSEALED"
    state = f"{seal}, done" if shown.closed else seal
    second.append(
        f"{shown.phase}  {' · '.join(_budget(shown))}  {shown.agent} on {shown.backend}  "
        f"{state}, {shown.looks} looks at validation  memory {shown.entries}"
    )
    return [first, second]


def _budget(shown: Snapshot) -> list[str]:
    budget = shown.budget
    if budget is None:
        return []
    of = f"/{budget.steps}" if budget.steps is not None else ""
    parts = [f"{shown.finished_steps}{of} experiments", duration(shown.elapsed_s)]
    if budget.wall_s is not None:
        parts.append(f"{duration(max(0.0, budget.wall_s - shown.elapsed_s))} left")
    if budget.slot_s is not None:
        parts.append(f"slots {shown.slot_s:.0f}/{budget.slot_s:.0f} s")
    if shown.tokens:
        parts.append(f"{shown.tokens:,}{f'/{budget.tokens:,}' if budget.tokens is not None else ''} tokens")
    if shown.usd or budget.usd is not None:
        parts.append(f"${shown.usd:.2f}{f'/{budget.usd:.2f}' if budget.usd is not None else ''}")
    return parts


def _table(shown: Snapshot, width: int) -> Table:
    wide = width >= NARROW
    table = Table(box=None, expand=True, padding=(0, 1), header_style="dim")
    table.add_column("", no_wrap=True)
    table.add_column("stage", no_wrap=True, width=10)
    table.add_column("hypothesis", no_wrap=True, overflow="ellipsis", ratio=1)
    table.add_column("last", no_wrap=True, justify="right")
    table.add_column("best", no_wrap=True, justify="right")
    if wide:
        table.add_column("scores", no_wrap=True)
        table.add_column("+ − ×", no_wrap=True, justify="right")
        table.add_column("memory", no_wrap=True, justify="right")
    for row in shown.rows:
        table.add_row(*_cells(row, wide))
    return table


def _cells(row: TraceRow, wide: bool) -> list[RenderableType]:
    idle = row.stage in ("waiting", "given up")
    last = row.last
    shown_last = number(last.score.value) if last and last.score else ("failed" if last else "–")
    cells: list[RenderableType] = [
        Text(f"trace {row.trace}", style="bold"),
        Text(row.stage, style="dim" if idle else "cyan"),
        Text(row.doing or row.experiment, style="dim" if idle else ""),
        Text(shown_last, style=STATUS_STYLE.get(last.status, "") if last else "dim"),
        Text(score(row.best) if wide else number(row.best.value if row.best else None), style="green"),
    ]
    if wide:
        cells += [
            Text(sparkline(row.trend[-16:])),
            Text(f"{row.accepted} {row.rejected} {row.failed}"),
            Text(f"← {row.hits}" if row.hits else "–", style="magenta" if row.hits else "dim"),
        ]
    return cells
