"""Running a job without confinement, for machines where nothing better is allowed."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Self

import dojo
from dojo.errors import SandboxUnavailable, boundary
from dojo.sandbox import cgroups, channel, procfs
from dojo.sandbox.base import ExecResult, Job
from dojo.sandbox.layout import base_env, check_job
from dojo.sandbox.outcome import classify
from dojo.sandbox.staging import resource_limits
from dojo.sandbox.streams import Streams, Verdict
from dojo.sandbox.watchdog import Watchdog

_SETUP_S = 60.0
_KILL_S = 30.0


class ProcessSandbox:
    """Runs each job as an ordinary process of the calling user. Not a confinement.

    It does **not** protect from a program that means harm. Such a program can read every file the user can
    read (answers, keys, the home directory, other workspaces), write every file the user can write (its
    read-only mounts too), use the network, look at and kill the user's other processes, and end the process
    that watches it. The disk limit (without control groups: that on memory too) is measured about 20 times a
    second, not enforced by the kernel, so that a fast program can overshoot it.

    It does protect from accidents: the environment is not inherited, wall time, memory, tasks, bytes and
    inodes are bounded, output is bounded, and whatever the program started is killed when it ends.

    There are no mounts either: `Mount.target` paths in `argv`, `cwd` and `env` are replaced by the host
    paths; a program must take its directories from there, as the solution contract says.

    Args:
        scratch: a directory of the host; each job gets a private temporary directory in it.

    Raises:
        SandboxUnavailable: not Linux, root without control groups (a fork bomb could not be bounded), or
            `scratch` cannot be used.
    """

    name = "process"
    sealed = False

    def __init__(self, scratch: Path) -> None:
        if sys.platform != "linux":
            raise SandboxUnavailable("the process sandbox needs Linux")
        self._closed = False
        self._count = itertools.count(1)
        self._hierarchies = cgroups.find()
        if self._hierarchies is None and os.geteuid() == 0:
            raise SandboxUnavailable(cgroups.NEEDED_BY_ROOT)
        with boundary(SandboxUnavailable, f"cannot use {scratch}"):
            scratch.mkdir(parents=True, exist_ok=True)
            self._private = Path(tempfile.mkdtemp(prefix="process-", dir=scratch)).resolve()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def exec(self, job: Job) -> ExecResult:
        """Run a job to its end or to a limit; whatever it left running is killed.

        Raises:
            SandboxUnavailable: the launcher itself broke.
            ValueError: the job cannot be run by any sandbox.
        """
        check_job(job)
        if self._closed:
            raise SandboxUnavailable("the sandbox is closed")
        with boundary(SandboxUnavailable, "the process sandbox failed"), contextlib.ExitStack() as stack:
            temporary = Path(tempfile.mkdtemp(prefix="job-", dir=self._private))
            stack.callback(shutil.rmtree, temporary, ignore_errors=True)
            streams = Streams(job.limits.output_kb)
            stack.callback(streams.close)
            group: cgroups.Group | None = None
            if self._hierarchies is not None:
                group = cgroups.Group.of(self._hierarchies, f"job{next(self._count)}")
                group.create()
                stack.callback(group.remove)
                group.limit(job.limits.memory_mb, job.limits.processes)
            sock = self._launch(stack)
            try:
                channel.send(sock, _message(job, temporary, group), tuple(streams.write_ends))
                streams.close_write_ends()
                pid = int(channel.receive(sock)[0]["pid"])
                return self._wait(job, streams, sock, pid, temporary, group)
            except (channel.ChannelClosed, TimeoutError) as exc:
                raise SandboxUnavailable(f"the launcher died: {exc}") from exc

    def _wait(
        self,
        job: Job,
        streams: Streams,
        sock: socket.socket,
        pid: int,
        temporary: Path,
        group: cgroups.Group | None,
    ) -> ExecResult:
        places = [temporary, *(m.source for m in job.mounts if m.writable)]
        # The launcher's children are the tree: it adopts whatever leaves the command.
        tree = Watchdog(lambda: _parent(pid), job.limits)

        def watchdog() -> Verdict | None:
            return (tree() if group is None else None) or ("over_quota" if _over_quota(places, job) else None)

        begun = time.monotonic()
        verdict = streams.watch((sock.fileno(),), begun + job.limits.wall_s, watchdog)
        if verdict != "done":
            channel.send(sock, {"stop": True})
            if streams.watch((sock.fileno(),), time.monotonic() + _KILL_S) != "done":
                raise SandboxUnavailable("a job cannot be killed")
        report = channel.receive(sock)[0]
        streams.drain()
        wall_s = time.monotonic() - begun
        if verdict == "done" and _over_quota(places, job):
            verdict = "over_quota"
        return classify(
            verdict=verdict,
            status=report["status"],
            streams=streams,
            oom_kills=group.oom_kills() if group is not None else 0,
            disk_full=False,
            wall_s=wall_s,
            cpu_s=report["cpu_s"],
            peak_mb=max(tree.peak_mb, group.peak_mb() if group is not None else report["peak_mb"]),
            warm=False,
        )

    def _launch(self, stack: contextlib.ExitStack) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        stack.callback(ours.close)
        main = Path(__file__).with_name("process_main.py")
        root = Path(dojo.__file__).parent.parent
        with theirs, (self._private / "launcher.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(main), str(root), str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env={},
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        stack.callback(process.wait)
        stack.callback(ours.close)  # the launcher ends with its socket, and kills its tree first
        ours.settimeout(_SETUP_S)
        return ours

    def close(self) -> None:
        """Remove control groups and own files. Safe to call twice."""
        self._closed = True
        if self._hierarchies is not None:
            cgroups.release(self._hierarchies)
            self._hierarchies = None
        shutil.rmtree(self._private, ignore_errors=True)


def _message(job: Job, temporary: Path, group: cgroups.Group | None) -> dict[str, Any]:
    paths = {m.target: str(m.source.resolve()) for m in job.mounts}
    rlimits = resource_limits(job.limits)
    if group is None:
        # The kernel counts every task of the user here, not only this job's.
        rlimits["RLIMIT_NPROC"] = procfs.tasks_of_user(os.getuid()) + job.limits.processes
        if not job.devices:
            rlimits["RLIMIT_AS"] = job.limits.memory_mb << 20
    env = {**base_env(), **job.env}
    env = {name: _translate(value, paths) for name, value in env.items()}
    env |= {name: str(temporary) for name in ("HOME", "TMPDIR") if name not in job.env}
    cwd = _translate(job.cwd, paths)
    return {
        "argv": [_translate(argument, paths) for argument in job.argv],
        "env": env,
        "cwd": str(temporary) if cwd == "/work" else cwd,
        "rlimits": rlimits,
        "group": group and group.as_list(),
    }


def _translate(text: str, paths: dict[str, str]) -> str:
    """Replace mount targets that begin `text`, or follow `=` or `:` in it, by host paths."""
    if not paths:
        return text
    targets = "|".join(re.escape(t) for t in sorted(paths, key=len, reverse=True))
    return re.sub(rf"(^|[=:])({targets})(?=/|:|$)", lambda m: m[1] + paths[m[2]], text)


def _over_quota(places: list[Path], job: Job) -> bool:
    size = inodes = 0
    for place in places:
        for folder, directories, files in os.walk(place, followlinks=False):
            inodes += len(directories) + len(files)
            for name in files:
                with contextlib.suppress(OSError):
                    size += Path(folder, name).lstat().st_blocks * 512
    return size > job.limits.disk_mb << 20 or inodes > job.limits.inodes


def _parent(pid: int) -> int | None:
    """The launcher of the command `pid`, while that one runs."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])
    except (OSError, IndexError):
        return None
