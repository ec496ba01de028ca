"""The warm sandbox: jobs run in boxes forked from a process that has the usual libraries imported."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import dojo
from dojo.errors import SandboxUnavailable, boundary
from dojo.sandbox import cgroups, channel, linux
from dojo.sandbox.base import ExecResult, Job
from dojo.sandbox.imports import can_fork
from dojo.sandbox.layout import INSIDE_UID, Layout, base_env, check_job
from dojo.sandbox.outcome import classify
from dojo.sandbox.seccomp import filter_program
from dojo.sandbox.staging import Stage, mounts_for_box, resource_limits
from dojo.sandbox.streams import Streams, Verdict
from dojo.sandbox.watchdog import Watchdog

_log = logging.getLogger(__name__)

_START_S = 180.0
_REPLY_S = 30.0
_STOP_S = 1.0
_KILL_S = 30.0
_WARM_ENV = {"JE_ARROW_MALLOC_CONF": "background_thread:false"}
"""Arrow's allocator would start a thread when it is loaded; a process with threads must not fork."""
_HOW_TO_ALLOW = (
    "allow user namespaces (sysctl user.max_user_namespaces > 0, and where present "
    "kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0; in a container: "
    "a seccomp profile that allows unshare and mount), or ask for `--sandbox process`, which does not confine"
)


@dataclass
class _Box:
    """A box handed over by the zygote: the socket to its process 1, and a pidfd for it."""

    pid: int
    sock: socket.socket
    pidfd: int
    group: cgroups.Group | None

    def kill(self) -> None:
        """Kill process 1, and with it everything in its pid namespace."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def close(self) -> None:
        self.kill()
        self.sock.close()
        _readable(self.pidfd, _KILL_S)
        os.close(self.pidfd)
        if self.group is not None:
            self.group.remove()


class _BoxLost(SandboxUnavailable):
    """The box went away though nobody told it to and no limit was reached."""


class WarmSandbox:
    """Runs each job in a box of its own, forked from a warm process; see docs/design/security.md.

    A job with `python_script` set, and nothing in it that needs a fresh interpreter
    (`dojo.sandbox.imports.can_fork`), runs in the forked interpreter; any other command is executed afresh
    in the same kind of box. Devices are not supported here.

    Args:
        scratch: a directory of the host for this sandbox's own small files; a subdirectory is made in it.
        preload: modules to import once; those that are not installed are left out.
        pool: how many boxes to keep ready.
        use_cgroups: False forces resource limits and the watchdog instead of control groups.

    Raises:
        SandboxUnavailable: the kernel does not allow it, or the warm process did not start.
    """

    name = "warm"
    sealed = True

    def __init__(
        self, scratch: Path, preload: tuple[str, ...], *, pool: int = 2, use_cgroups: bool = True
    ) -> None:
        if sys.platform != "linux" or not linux.supported_machine():
            raise SandboxUnavailable("the warm sandbox needs Linux on x86_64 or aarch64")
        self._preload, self._pool = preload, pool
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._hierarchies: cgroups.Hierarchies | None = None
        self._closed = False
        with boundary(SandboxUnavailable, f"cannot use {scratch}"):
            scratch.mkdir(parents=True, exist_ok=True)
            self._private = Path(tempfile.mkdtemp(prefix="warm-", dir=scratch)).resolve()
            (self._private / "anchor").mkdir()
            self._layout = Layout(self._private)
        try:
            if use_cgroups:
                self._hierarchies = cgroups.find()
            with self._lock:
                self._start()
            self._prove()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """Process id of the warm process, None when it is not running."""
        return self._process.pid if self._process is not None else None

    # -- the warm process ---------------------------------------------------------------------------------

    def _start(self) -> None:
        """Start the warm process and wait until it has imported its modules. The lock is held."""
        self._end()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        main = Path(__file__).with_name("zygote_main.py")
        root = Path(dojo.__file__).parent.parent
        log = self._private / "zygote.log"
        with boundary(SandboxUnavailable, "cannot start the warm process"):
            with log.open("wb") as log_file:
                self._process = subprocess.Popen(
                    [sys.executable, str(main), str(root), str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    stdout=log_file,
                    stderr=log_file,
                    cwd="/",
                    env={**base_env(), **_WARM_ENV},
                    pass_fds=(theirs.fileno(),),
                    start_new_session=True,
                )
            theirs.close()
            self._control = ours
            settings = {
                "preload": list(self._preload),
                "pool": self._pool,
                "anchor": str(self._private / "anchor"),
                "layout": self._layout.as_dict(),
                "inside_uid": INSIDE_UID,
                "cgroups": self._hierarchies and self._hierarchies.as_list(),
                "seccomp": filter_program().hex(),
            }
            ours.settimeout(_START_S)
            try:
                channel.send(ours, settings)
                reply, _ = channel.receive(ours)
            except (channel.ChannelClosed, TimeoutError) as exc:
                tail = log.read_text(errors="replace")[-2000:]
                raise SandboxUnavailable(f"the warm process did not start: {tail.strip() or exc}") from exc
            if "error" in reply:
                raise SandboxUnavailable(f"cannot fork from the warm process: {reply['error']}")
            ours.settimeout(_REPLY_S)

    def _end(self) -> None:
        """End the warm process; every box dies with it. The lock is held."""
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _lease(self) -> _Box:
        """Get a box; a warm process that died is started once more."""
        with self._lock:
            if self._closed:
                raise SandboxUnavailable("the sandbox is closed")
            for last in (False, True):
                try:
                    if self._control is None:
                        self._start()
                    return self._ask()
                except (channel.ChannelClosed, OSError) as exc:
                    self._end()
                    if last:
                        raise SandboxUnavailable(f"the warm process died twice: {exc}") from exc
                    _log.warning("the warm process died (%s); starting it again", exc)
        raise AssertionError("unreachable")

    def _ask(self) -> _Box:
        assert self._control is not None
        channel.send(self._control, {"op": "lease"})
        reply, fds = channel.receive(self._control)
        if "error" in reply:
            raise SandboxUnavailable(f"{reply['error']}; {_HOW_TO_ALLOW}")
        group = cgroups.Group.of(self._hierarchies, reply["group"]) if self._hierarchies else None
        sock = socket.socket(fileno=fds[0])
        sock.settimeout(_REPLY_S)
        return _Box(int(reply["pid"]), sock, fds[1], group)

    def _prove(self) -> None:
        """Build one box to its end, so that a kernel that refuses says so now."""
        box = self._lease()
        try:
            self._hand_job(box, Job(argv=("true",)), forked=False, fds=()).close()
        except _BoxLost as exc:
            raise SandboxUnavailable(f"{exc}; {_HOW_TO_ALLOW}") from exc
        finally:
            box.close()

    # -- one job ------------------------------------------------------------------------------------------

    def exec(self, job: Job) -> ExecResult:
        """Run a job to its end or to a limit; nothing it started is left running.

        Raises:
            SandboxUnavailable: the box itself broke, twice.
            ValueError: the job cannot be run by any sandbox (see `dojo.sandbox.layout.check_job`).
        """
        check_job(job)
        if job.devices:
            raise SandboxUnavailable("the warm sandbox passes no devices through; use bubblewrap")
        forked = can_fork(job)
        try:
            return self._exec_once(job, forked=forked)
        except _BoxLost as exc:
            # Nothing of the lost run has reached the host: writable places are copied back only at the end.
            _log.warning("a box was lost (%s); running the job again", exc)
        try:
            return self._exec_once(job, forked=forked)
        except _BoxLost as exc:
            raise SandboxUnavailable(f"the box was lost twice: {exc}") from exc

    def _exec_once(self, job: Job, *, forked: bool) -> ExecResult:
        with boundary(SandboxUnavailable, "the warm sandbox failed"), contextlib.ExitStack() as stack:
            box = self._lease()
            stack.callback(box.close)
            streams = Streams(job.limits.output_kb)
            stack.callback(streams.close)
            if box.group is not None:
                # Process 1 of the box is a task too, and not the job's.
                box.group.limit(job.limits.memory_mb, job.limits.processes + 1)
            stage = self._hand_job(box, job, forked=forked, fds=tuple(streams.write_ends))
            stack.callback(stage.close)
            streams.close_write_ends()
            stage.fill()
            started = time.monotonic()
            channel.send(box.sock, {"go": True})
            watchdog = None if box.group is not None else Watchdog(lambda: box.pid, job.limits)
            verdict = streams.watch(box.sock.fileno(), started + job.limits.wall_s, watchdog)
            report = self._end_job(box, streams, verdict)
            wall_s = time.monotonic() - started
            oom_kills = box.group.oom_kills() if box.group is not None else 0
            if report is None and verdict == "done" and not oom_kills:
                raise _BoxLost("its first process died")
            report = report or {}
            peak = box.group.peak_mb() if box.group is not None else watchdog.peak_mb if watchdog else 0.0
            result = classify(
                verdict=verdict,
                status=report.get("status"),
                streams=streams,
                oom_kills=oom_kills,
                disk_full=stage.full(),
                wall_s=wall_s,
                cpu_s=report.get("cpu_s", 0.0),
                peak_mb=peak or report.get("peak_mb", 0.0),
                warm=forked,
            )
            if not stage.collect() and result.ok:
                result = result.model_copy(update={"outcome": "quota"})
            return result

    def _hand_job(self, box: _Box, job: Job, *, forked: bool, fds: tuple[int, ...]) -> Stage:
        """Send the job, wait until the box is built; nothing of the program runs yet."""
        limits = job.limits
        rlimits = resource_limits(limits)
        if self._hierarchies is None and os.geteuid() != 0:
            rlimits["RLIMIT_NPROC"] = limits.processes + 1
        message = {
            "mounts": mounts_for_box(job),
            "disk_mb": limits.disk_mb,
            "inodes": limits.inodes,
            "rlimits": rlimits,
            "address_mb": 0 if self._hierarchies is not None else limits.memory_mb,
            "cwd": job.cwd,
            "env": {**base_env(), **job.env},
            "argv": list(job.argv),
            "script": job.python_script if forked else None,
            "arguments": _arguments(job) if forked else [],
        }
        try:
            channel.send(box.sock, message, fds)
            reply, received = channel.receive(box.sock)
        except (channel.ChannelClosed, TimeoutError) as exc:
            raise _BoxLost(f"it did not answer: {exc}") from exc
        if "error" in reply or not received:
            channel.close_all(received)
            raise _BoxLost(str(reply.get("error", "no answer")))
        return Stage(received[0], job)

    def _end_job(self, box: _Box, streams: Streams, verdict: Verdict) -> dict[str, Any] | None:
        """End everything in the box; returns process 1's report, None if it gave none."""
        if verdict != "done":
            # Process 1 kills and reaps the rest, so that its CPU time is known; if it cannot, it is killed.
            with contextlib.suppress(channel.ChannelClosed, OSError):
                channel.send(box.sock, {"stop": True})
            streams.watch(box.sock.fileno(), time.monotonic() + _STOP_S)
        report: dict[str, Any] | None = None
        if _readable(box.sock.fileno(), 0.0):
            with contextlib.suppress(channel.ChannelClosed, TimeoutError):
                report = channel.receive(box.sock)[0]
        box.kill()
        if streams.watch(box.pidfd, time.monotonic() + _KILL_S) != "done":
            raise SandboxUnavailable(f"the processes of box {box.pid} cannot be killed")
        streams.drain()
        return report

    def close(self) -> None:
        """End the warm process with everything it started, remove control groups and own files."""
        with self._lock:
            self._closed = True
            self._end()
            if self._hierarchies is not None:
                deadline = time.monotonic() + _STOP_S
                while not cgroups.release(self._hierarchies) and time.monotonic() < deadline:
                    time.sleep(0.005)
                self._hierarchies = None
            shutil.rmtree(self._private, ignore_errors=True)


def _arguments(job: Job) -> list[str]:
    """The arguments after the script's path in `argv`."""
    assert job.python_script is not None
    return list(job.argv[job.argv.index(job.python_script) + 1 :])


def _readable(fd: int, timeout_s: float) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(timeout_s * 1000))
