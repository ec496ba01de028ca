"""A sandbox for tests: results come from a function, nothing is run."""

from __future__ import annotations

import threading
from collections.abc import Callable

from dojo.errors import SandboxUnavailable
from dojo.sandbox.base import ExecResult, Job
from dojo.sandbox.layout import check_job


class ScriptedSandbox:
    """Answers each job by calling `script`, and keeps the jobs it was given.

    The function may write the files a real program would have written, into the host directories of the
    job's writable mounts, and may raise `SandboxUnavailable` as a broken box does.

    Args:
        script: maps a job to its result; called one at a time.
        sealed: what the sandbox claims about itself.
    """

    name = "scripted"

    def __init__(self, script: Callable[[Job], ExecResult], *, sealed: bool = True) -> None:
        self._script = script
        self._lock = threading.Lock()
        self._closed = False
        self.sealed = sealed
        self.jobs: list[Job] = []

    def exec(self, job: Job) -> ExecResult:
        """Answer a job.

        Raises:
            SandboxUnavailable: the sandbox is closed, or the script says so.
            ValueError: no sandbox could run the job.
        """
        check_job(job)
        with self._lock:
            if self._closed:
                raise SandboxUnavailable("the sandbox is closed")
            self.jobs.append(job)
            return self._script(job)

    def close(self) -> None:
        """Refuse further jobs."""
        self._closed = True
