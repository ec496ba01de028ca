"""Limits on a whole process tree where there are no control groups: measured, about 20 times a second."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from dojo.sandbox.base import Limits
from dojo.sandbox.streams import Verdict


class Watchdog:
    """Sums memory and tasks over a process and all its descendants.

    Memory is the proportional set size, so that pages a forked child still shares with the warm process
    are not counted to it in full; the resident size where the kernel does not allow that to be read.
    Descendants that leave their parent are adopted by the box's process 1 and stay in the tree.

    Args:
        root: returns the pid of the tree's root, or None while it is not known.
        limits: what the tree may use.
    """

    def __init__(self, root: Callable[[], int | None], limits: Limits) -> None:
        self._root = root
        self._limits = limits
        self.peak_mb = 0.0

    def __call__(self) -> Verdict | None:
        """Measure once."""
        root = self._root()
        if root is None:
            return None
        pids = descendants(root)
        tasks = sum(_tasks(pid) for pid in pids)
        memory = sum(_memory_mb(pid) for pid in pids)
        self.peak_mb = max(self.peak_mb, memory)
        if memory > self._limits.memory_mb:
            return "out_of_memory"
        if tasks > self._limits.processes:
            return "too_many_tasks"
        return None


def descendants(root: int) -> list[int]:
    """All living descendants of `root`, without `root` itself."""
    children: dict[int, list[int]] = {}
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        try:
            # The command name may hold anything; the fields after its last parenthesis do not.
            fields = Path(entry.path, "stat").read_bytes().rpartition(b")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(entry.name))
    found: list[int] = []
    todo = [root]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found


def _tasks(pid: int) -> int:
    try:
        return len(list(Path(f"/proc/{pid}/task").iterdir()))
    except OSError:
        return 0


def _memory_mb(pid: int) -> float:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    except (OSError, ValueError):
        pass
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)
