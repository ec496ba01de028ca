"""Limits on a whole process tree where there are no control groups: measured, about 20 times a second."""

from __future__ import annotations

from collections.abc import Callable

from dojo.sandbox import procfs
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
        pids = procfs.descendants(root)
        tasks = sum(procfs.tasks(pid) for pid in pids)
        memory = sum(procfs.memory_mb(pid) for pid in pids)
        self.peak_mb = max(self.peak_mb, memory)
        if memory > self._limits.memory_mb:
            return "out_of_memory"
        if tasks > self._limits.processes:
            return "too_many_tasks"
        return None
