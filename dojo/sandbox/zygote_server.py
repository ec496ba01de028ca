"""The warm process: imports the usual libraries once, then hands out boxes forked from itself.

Started by `zygote_main.py` with a clean environment, outside any namespace. Standard library only. It never
runs candidate code and calls no BLAS or OpenMP routine, so its children inherit one thread and no secret. It
keeps a few boxes ready, each used for one job:

    zygote ── fork into new user, pid, mount, net, ipc, uts and cgroup namespaces ──> the box's process 1

Process 1 builds its root (`dojo.sandbox.box`), waits for its job, mounts the job's directories, gives up all
rights and becomes the candidate program. The zygote waits for it and tells the caller its status. One process
a box, because with hundreds of libraries mapped each fork and each exit costs milliseconds; the price is that
the program is process 1 of its pid namespace, where the kernel drops signals it sends to itself (abort() ends
as SIGSEGV) and nobody reaps its orphans before it ends.

When the control socket closes, or the parent process is gone, the zygote ends and the kernel kills every box
with it (parent-death signal), and with each process 1 its whole pid namespace.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import importlib
import os
import resource
import select
import signal
import socket
from collections import deque
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from dojo.sandbox import box, cgroups, channel, linux, runner


class _Spare(NamedTuple):
    pid: int
    pidfd: int
    sock: socket.socket
    status_read: int
    group: str


def serve(control_fd: int) -> NoReturn:
    """Serve until the control socket closes."""
    control = socket.socket(fileno=control_fd)
    control.set_inheritable(False)
    with contextlib.suppress(channel.ChannelClosed):
        settings, _ = channel.receive(control)
        _Zygote(control, settings).serve()
    os._exit(0)


class _Zygote:
    def __init__(self, control: socket.socket, settings: dict[str, Any]) -> None:
        self.control = control
        self.settings = settings
        self.parent = os.getppid()
        self.count = 0
        self.spares: deque[_Spare] = deque()
        self.status_writers: dict[int, int] = {}
        loaded = [name for name in settings["preload"] if _try_import(name)]
        runner.rehearse()
        self.setters = runner.loaded_thread_setters()
        problem = _unsafe_to_fork()
        gc.collect()
        gc.freeze()  # a collection in a child then touches, and so copies, nothing that is shared
        gc.disable()
        channel.send(control, {"error": problem} if problem else {"loaded": loaded})

    def serve(self) -> NoReturn:
        wake_read, wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is the parent's to handle
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        poll = select.poll()
        poll.register(self.control, select.POLLIN)
        poll.register(wake_read, select.POLLIN)
        while True:
            self._top_up()
            ready = dict(poll.poll(1000))
            if os.getppid() != self.parent:
                os._exit(0)
            if wake_read in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(wake_read, 4096)
                self._reap()
            if self.control.fileno() in ready:
                channel.receive(self.control)
                self._hand_out()

    def _top_up(self) -> None:
        while len(self.spares) < self.settings["pool"]:
            try:
                self.spares.append(self._spawn())
            except OSError:
                return  # told to the caller when it asks for a box and there is none

    def _hand_out(self) -> None:
        try:
            spare = self.spares.popleft() if self.spares else self._spawn()
        except OSError as exc:
            channel.send(self.control, {"error": str(exc)})
            return
        reply = {"pid": spare.pid, "group": spare.group}
        fds = (spare.sock.fileno(), spare.pidfd, spare.status_read)
        channel.send(self.control, reply, fds)
        spare.sock.close()
        channel.close_all(fds[1:])

    def _spawn(self) -> _Spare:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.count += 1
        group = f"box{self.count}"
        outside = (os.geteuid(), os.getegid())
        pid = linux.fork_into_namespaces(linux.ALL_NAMESPACES)
        if pid == 0:
            _box(theirs, self.settings, self.setters, group, outside)
        theirs.close()
        status_read, status_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.status_writers[pid] = status_write
        return _Spare(pid, os.pidfd_open(pid), ours, status_read, group)

    def _reap(self) -> None:
        """Tell the caller of each box that has ended how; with its process 1 all others in it are gone."""
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            writer = self.status_writers.pop(pid)
            report = runner.REPORT.pack(status, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)
            with contextlib.suppress(BrokenPipeError):
                os.write(writer, report)
            os.close(writer)


def _box(
    sock: socket.socket,
    settings: dict[str, Any],
    setters: list[Any],
    group: str,
    outside: tuple[int, int],
) -> NoReturn:
    """Process 1 of a box, from its first instruction until it is the candidate program."""
    try:
        job, known = _build(sock, settings, group, outside)
    except channel.ChannelClosed:
        os._exit(1)
    except BaseException as exc:  # noqa: BLE001 - the last frame of this process: tell the parent, then end
        with contextlib.suppress(OSError):
            channel.send(sock, {"error": f"{type(exc).__name__}: {exc}"})
        os._exit(1)
    _become_program(sock, job, settings, setters, known)


def _build(
    sock: socket.socket, settings: dict[str, Any], group: str, outside: tuple[int, int]
) -> tuple[dict[str, Any], set[str]]:
    linux.die_with_parent()
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.setsid()
    keep = sock.fileno()
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.closerange(3, keep)
    os.closerange(keep + 1, 1 << 16)
    if settings["cgroups"]:
        own = cgroups.Group.of(cgroups.Hierarchies.from_list(settings["cgroups"]), group)
        own.create()
        own.enter()
    linux.write_file("/proc/self/oom_score_adj", "1000")  # if the machine runs out, this goes first
    box.enter(settings["anchor"], settings["layout"], outside, settings["inside_uid"])
    linux.die_with_parent()  # again: entering a user namespace may have cleared it
    known = runner.prepare()
    problem = _unsafe_to_fork()  # rights are given up by thread: there must be one only
    if problem:
        raise OSError(errno.EBUSY, problem)

    job, streams = channel.receive(sock)
    quota = box.mount_job(job["mounts"], job["disk_mb"], job["inodes"], settings["layout"])
    box.seal()
    linux.drop_capabilities()
    linux.no_new_privileges()
    usage = resource.getrusage(resource.RUSAGE_SELF)
    channel.send(sock, {"cpu_s": usage.ru_utime + usage.ru_stime}, (quota,))
    os.close(quota)
    channel.receive(sock)  # the caller has filled the writable places
    for fd, target in zip(streams, (1, 2), strict=True):
        os.dup2(fd, target)
    channel.close_all(streams)
    return job, known


def _become_program(
    sock: socket.socket,
    job: dict[str, Any],
    settings: dict[str, Any],
    setters: list[Any],
    known: set[str],
) -> NoReturn:
    for name, value in job["rlimits"].items():
        number = getattr(resource, name)
        hard = resource.getrlimit(number)[1]
        bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(number, (bound, bound))
    if job["address_mb"]:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        bound = pages * os.sysconf("SC_PAGE_SIZE") + (job["address_mb"] << 20)
        resource.setrlimit(resource.RLIMIT_AS, (bound, bound))
    if settings["seccomp"]:
        linux.install_seccomp(bytes.fromhex(settings["seccomp"]))
    try:
        os.chdir(job["cwd"])
    except OSError as exc:
        os.write(2, f"cannot enter {job['cwd']}: {os.strerror(exc.errno or errno.EIO)}\n".encode())
        os._exit(127)
    if not job["script"]:
        _execute(job["argv"], job["env"])
    runner.run_script(job["script"], job["arguments"], job["env"], setters, known, sock.fileno())


def _execute(argv: list[str], env: dict[str, str]) -> NoReturn:
    """Replace this process by the command, found as a shell would find it."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # which Python ignores
    try:
        os.execvpe(argv[0], argv, env)
    except OSError as exc:
        os.write(2, f"{argv[0]}: {os.strerror(exc.errno or errno.EIO)}\n".encode())
    os._exit(127)


def _try_import(name: str) -> bool:
    try:
        importlib.import_module(name)
    except ImportError:
        return False
    return True


def _unsafe_to_fork() -> str:
    """Why children forked from here could disturb one another, or an empty string."""
    threads = len(list(Path("/proc/self/task").iterdir()))
    if threads != 1:
        return f"the preloaded libraries started {threads - 1} threads"
    for line in Path("/proc/self/maps").read_text().splitlines():
        rights = line.split()[1]
        if rights[1] == "w" and rights[3] == "s":
            return f"shared writable memory: {line}"
    return ""
