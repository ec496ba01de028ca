"""Between a command and the terminal: which view, what a signal does, where words go."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any, Protocol

import typer

if TYPE_CHECKING:
    from gome.loop.assignment import Notice
    from gome.loop.journal import Record
    from gome.loop.run import Observer
    from gome.loop.state import RunState

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def say(text: str) -> None:
    """A line for people, on stderr: stdout is for results."""
    typer.echo(text, err=True)


class View(Protocol):
    """An observer of a run that draws."""

    def start(self) -> None:
        """Begin to draw."""
        ...

    def stop(self) -> None:
        """End drawing. Safe to call twice."""
        ...

    def on_record(self, record: Record, state: RunState) -> None:
        """An event was committed."""
        ...

    def on_notice(self, notice: Notice) -> None:
        """A trace entered a stage."""
        ...


class Silent:
    """A view that shows nothing (`--quiet`)."""

    def start(self) -> None:
        """Nothing to set up."""

    def stop(self) -> None:
        """Nothing to take down."""

    def on_record(self, record: Record, state: RunState) -> None:
        """Not shown."""

    def on_notice(self, notice: Notice) -> None:
        """Not shown."""


def make_view(*, quiet: bool = False) -> View:
    """The live view where stderr is a terminal that can redraw, plain lines elsewhere."""
    logging.getLogger("gome.cluster").setLevel(
        logging.ERROR
    )  # what it warns of is an event, and shown as one
    if quiet:
        return Silent()
    from rich.console import Console

    console = Console(stderr=True)
    if console.is_terminal and not console.is_dumb_terminal:
        from gome.report.live import LiveView

        _log_through(console)
        return LiveView(console)
    from gome.report.plain import PlainView

    return PlainView(sys.stderr)


def _log_through(console: Any) -> None:
    """Let warnings appear above the live view instead of tearing it."""
    from rich.logging import RichHandler

    handler = RichHandler(console=console, show_time=False, show_path=False, markup=False)
    logging.getLogger("gome").addHandler(handler)
    logging.getLogger("gome").propagate = False


class Stop:
    """A signal handler: the first signal stops cleanly, a second is answered with patience, a third stops at once.

    Whatever is committed is durable at any moment, so even the third loses no more than what is under way.
    """

    def __init__(self) -> None:
        self.asked = 0
        self.number = signal.SIGINT

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Raise KeyboardInterrupt for the first signal, and for a third."""
        self.asked += 1
        if self.asked == 2:
            os.write(2, b"\nstopping: ending what is still running; once more to stop at once\n")
            return
        self.number = signal.Signals(number)
        raise KeyboardInterrupt

    @property
    def exit_code(self) -> int:
        """The shell's code for a program that ended by this signal."""
        return 128 + self.number


class _Keep:
    """An observer that takes the signals back when a library has installed handlers of its own (Ray does)."""

    def __init__(self, stop: Stop) -> None:
        self._stop = stop

    def on_record(self, record: Record, state: RunState) -> None:
        """Install the handlers again."""
        _install(self._stop)

    def on_notice(self, notice: Notice) -> None:
        """Nothing to do."""


def _install(stop: Stop) -> None:
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            if signal.getsignal(number) is not stop and signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, stop)


@contextmanager
def stoppable() -> Iterator[tuple[Stop, Observer]]:
    """Turn SIGINT, SIGTERM and SIGHUP into KeyboardInterrupt while the block runs.

    Gives the handler, and an observer that keeps it installed. A signal that was ignored (nohup) stays ignored.
    """
    stop = Stop()
    main = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in SIGNALS} if main else {}
    _install(stop)
    try:
        yield stop, _Keep(stop)
    finally:
        for number, handler in before.items():
            if handler is not None:
                signal.signal(number, handler)
