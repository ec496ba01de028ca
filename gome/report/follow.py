"""Following a run from outside, by its journal alone."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from gome.loop.events import RunFinished, RunInterrupted
from gome.loop.journal import read_tail
from gome.loop.run import Observer
from gome.loop.rundir import RunDir
from gome.loop.state import RunState

POLL_S = 0.25


def follow(
    run_dir: Path, view: Observer, *, once: bool = False, wait: Callable[[float], None] = time.sleep
) -> str:
    """Tell a view about every event of a run until the run ends; gives the reason in words.

    Args:
        run_dir: the run's directory.
        view: is told about each committed event, from the first.
        once: end after what is there now.
        wait: replaced in tests.

    Raises:
        ResumeError: not a run directory, of another schema, or damaged.
    """
    directory = RunDir(run_dir)
    state, offset, seq = RunState(), 0, 0
    while True:
        alive = once or is_live(directory)
        records, offset = read_tail(directory.journal, offset, seq)
        seq += len(records)
        for record in records:
            state.apply(record)
            view.on_record(record, state)
        last = records[-1].event if records else None
        if state.finished is not None:
            return f"the run has ended; its result: gome report {run_dir}"
        if once:
            return ""
        if isinstance(last, RunInterrupted) and not is_live(directory):
            return f"the run was interrupted; go on with: gome resume {run_dir}"
        if not alive and not records:
            return f"no live process has this run; go on with: gome resume {run_dir}"
        if isinstance(last, RunFinished):
            return ""
        wait(POLL_S)


def is_live(directory: RunDir) -> bool:
    """Whether the process that wrote its number into the lock file is alive on this machine.

    The lock itself is not touched: a `gome resume` that starts at this moment must not find it held.
    """
    try:
        number = int((directory.root / "lock").read_text().strip() or "0")
    except (OSError, ValueError):
        return False
    if number <= 0:
        return False
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
