"""One line per event, for logs and terminals that cannot redraw."""

from __future__ import annotations

from typing import TextIO

from gome.loop.assignment import Notice
from gome.loop.journal import Record
from gome.loop.state import RunState
from gome.report.words import duration, sentence


class PlainView:
    """An observer that writes one line per event of interest.

    Args:
        out: where to.
    """

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def start(self) -> None:
        """Nothing to set up."""

    def stop(self) -> None:
        """Nothing to take down."""

    def on_record(self, record: Record, state: RunState) -> None:
        """Write a line for a committed event."""
        line = sentence(record.event, state, limit=160)
        if line is not None:
            self._out.write(f"[{duration(state.wall_s()):>9}] {line}\n")
            self._out.flush()

    def on_notice(self, notice: Notice) -> None:
        """Stages are too many for lines."""
