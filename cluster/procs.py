"""Processes that an actor leaves behind when it is killed: recorded while it lives, ended when it is gone.

Ray ends the process group of a worker that dies, but children with a session of their own (sandboxes have one)
are not in it. They end by themselves when their parent's end of a pipe closes; this module makes sure.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

import psutil

Pid = tuple[int, float]
"""A process and when it was started, so that a number that was given out again is not taken for it."""


def descendants() -> tuple[Pid, ...]:
    """All live processes below this one."""
    found: list[Pid] = []
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            found.append((child.pid, child.create_time()))
    return tuple(found)


def alive(processes: Iterable[Pid]) -> list[Pid]:
    """Those that still run."""
    return [p for p in processes if _process(p) is not None]


def sweep(processes: Iterable[Pid], grace_s: float = 0.5) -> list[Pid]:
    """End what is left of these processes, after giving them `grace_s` to end by themselves.

    Returns:
        Those that had to be killed.
    """
    left = [p for p in map(_process, processes) if p is not None]
    if left:
        _, left = psutil.wait_procs(left, timeout=grace_s)
    for process in left:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    if left:
        psutil.wait_procs(left, timeout=2.0)
    return [(p.pid, p.create_time()) for p in left]


def _process(pid: Pid) -> psutil.Process | None:
    """The live process of that number and start time; a zombie is no longer one."""
    try:
        process = psutil.Process(pid[0])
        same = abs(process.create_time() - pid[1]) < 0.05
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.Error:
        return None
