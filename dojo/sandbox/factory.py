"""Choosing a sandbox; imported by `dojo.sandbox.open_sandbox` when one is needed."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path

from dojo.errors import SandboxUnavailable
from dojo.sandbox.base import ExecResult, Job, Sandbox
from dojo.sandbox.bubblewrap import BubblewrapSandbox
from dojo.sandbox.imports import can_fork
from dojo.sandbox.process import ProcessSandbox
from dojo.sandbox.warm import WarmSandbox

_log = logging.getLogger(__name__)


class AutoSandbox:
    """Warm for scripts that can be forked, bubblewrap for everything else.

    Each is as sealed as the other. Where one of the two cannot be had, the other takes all jobs it can.

    Args:
        warm: the warm sandbox, if there is one.
        cold: the cold sandbox, if there is one.
    """

    name = "auto"
    sealed = True

    def __init__(self, warm: Sandbox | None, cold: Sandbox | None) -> None:
        self._warm, self._cold = warm, cold

    def exec(self, job: Job) -> ExecResult:
        """Run a job to its end or to a limit; nothing it started is left running.

        Raises:
            SandboxUnavailable: the box itself broke.
            ValueError: the job cannot be run by any sandbox.
        """
        if self._warm is not None and (self._cold is None or can_fork(job)):
            return self._warm.exec(job)
        if self._cold is None:
            raise SandboxUnavailable("no sandbox")
        return self._cold.exec(job)

    def close(self) -> None:
        """Close both."""
        with contextlib.ExitStack() as stack:
            for sandbox in (self._warm, self._cold):
                if sandbox is not None:
                    stack.callback(sandbox.close)


def build(kind: str, scratch: Path, preload: tuple[str, ...]) -> Sandbox:
    """See `dojo.sandbox.open_sandbox`."""
    if kind == "warm":
        return WarmSandbox(scratch, preload)
    if kind == "bubblewrap":
        return BubblewrapSandbox(scratch)
    if kind == "process":
        return ProcessSandbox(scratch)
    if kind != "auto":
        raise ValueError(f"unknown sandbox {kind!r}: use auto, warm, bubblewrap or process")
    warm: Sandbox | None = None
    cold: Sandbox | None = None
    problems = []
    try:
        warm = WarmSandbox(scratch, preload)
    except SandboxUnavailable as exc:
        problems.append(f"warm: {exc}")
    try:
        cold = BubblewrapSandbox(scratch)
    except SandboxUnavailable as exc:
        problems.append(f"bubblewrap: {exc}")
    if warm is None and cold is None:
        raise SandboxUnavailable("programs cannot be confined here. " + "; ".join(problems))
    for problem in problems:
        _log.warning("%s", problem)
    return AutoSandbox(warm, cold)
