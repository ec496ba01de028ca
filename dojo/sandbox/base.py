"""The contract of a sandbox: run one command, confined, and say in a typed way how it ended."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

from dojo.model import Frozen

Outcome = Literal["ok", "failed", "killed", "timed_out", "out_of_memory", "quota"]


class Limits(Frozen):
    """Limits on one job; each holds for the whole process tree of the job."""

    wall_s: float = 600.0
    memory_mb: int = 4096
    processes: int = 128
    disk_mb: int = 1024
    """Bytes in all writable places together."""
    inodes: int = 20_000
    output_kb: int = 64
    """How much of each of stdout and stderr is kept (head and tail); the rest is discarded as it comes."""


class Mount(Frozen):
    """A host directory seen inside the sandbox at an absolute `target` path."""

    source: Path
    target: str
    writable: bool = False


class Job(Frozen):
    """One command to run confined.

    `argv` is run in `cwd` (a path inside the sandbox). Nothing of the host's file system is visible but the
    mounts, the interpreter with its libraries and the system's shared libraries, all read-only. `env` is the
    whole environment besides PATH, HOME, LANG and thread variables: nothing is inherited.
    """

    argv: tuple[str, ...]
    cwd: str = "/work"
    mounts: tuple[Mount, ...] = ()
    env: dict[str, str] = {}
    limits: Limits = Limits()
    python_script: str | None = None
    """When set, `argv` is `python SCRIPT ARGS…` with this script path (inside the sandbox), and a warm
    sandbox may fork it from a process that has the usual libraries imported already."""
    devices: tuple[str, ...] = ()
    """Host device nodes to pass through (GPUs)."""
    hidden: tuple[Path, ...] = ()
    """Files among the libraries that this job must not read; an unsealed sandbox cannot hide them."""


class ExecResult(Frozen):
    """How a job ended. `exit_code` is None when a signal ended it."""

    outcome: Outcome
    exit_code: int | None = None
    signal: int | None = None
    stdout: str = ""
    stderr: str = ""
    wall_s: float = 0.0
    cpu_s: float = 0.0
    peak_mb: float = 0.0
    warm: bool = False

    @property
    def ok(self) -> bool:
        """Whether the command ended by itself with exit code 0."""
        return self.outcome == "ok"


@runtime_checkable
class Sandbox(Protocol):
    """Runs jobs one at a time per call; calls from several threads are allowed.

    Raises only `dojo.errors.SandboxUnavailable`, and only when the box itself broke.
    """

    name: str
    sealed: bool
    """False when confinement is weaker than the contract; runs are then labelled unsealed."""

    def exec(self, job: Job) -> ExecResult:
        """Run a job to its end or to a limit; nothing it started is left running."""
        ...

    def close(self) -> None:
        """Release everything (warm processes, cgroups, mounts). Safe to call twice."""
        ...
