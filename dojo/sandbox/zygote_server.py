"""The warm process: imports the usual libraries once, then hands out boxes forked from itself.

Started by `zygote_main.py` with a clean environment, outside any namespace. Standard library only. It never
runs candidate code and calls no BLAS or OpenMP routine, so its children inherit one thread and no secret. It
keeps a few boxes ready, each used for one job:

    zygote ── fork into new user, pid, mount, net, ipc, uts and cgroup namespaces ──> init (process 1)
    init builds the root (`dojo.sandbox.box`) and forks ──> runner: no capabilities, waits for its job

The caller asks for a box and gets a socket to its init and a pidfd; from there on the zygote takes no part.
When the control socket closes, or the parent process is gone, the zygote ends and the kernel kills every
init with it (parent-death signal), and with each init its whole pid namespace.
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
import sys
from collections import deque
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from dojo.sandbox import box, cgroups, channel, linux, runner


class _Spare(NamedTuple):
    pid: int
    pidfd: int
    sock: socket.socket
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
        loaded = [name for name in settings["preload"] if _try_import(name)]
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
                _reap()
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
        channel.send(self.control, reply, (spare.sock.fileno(), spare.pidfd))
        spare.sock.close()
        os.close(spare.pidfd)

    def _spawn(self) -> _Spare:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.count += 1
        group = f"box{self.count}"
        outside = (os.geteuid(), os.getegid())
        pid = linux.fork_into_namespaces(linux.ALL_NAMESPACES)
        if pid == 0:
            _init(theirs, self.settings, self.setters, group, outside)
        theirs.close()
        return _Spare(pid, os.pidfd_open(pid), ours, group)


def _init(
    sock: socket.socket,
    settings: dict[str, Any],
    setters: list[Any],
    group: str,
    outside: tuple[int, int],
) -> NoReturn:
    """Process 1 of a box, from its first instruction to its last."""
    code = 1
    try:
        _serve_box(sock, settings, setters, group, outside)
        code = 0
    except channel.ChannelClosed:
        pass
    except BaseException as exc:  # noqa: BLE001 - the last frame of this process: tell the parent, then end
        with contextlib.suppress(OSError):
            channel.send(sock, {"error": f"{type(exc).__name__}: {exc}"})
    os._exit(code)


def _serve_box(
    sock: socket.socket,
    settings: dict[str, Any],
    setters: list[Any],
    group: str,
    outside: tuple[int, int],
) -> None:
    linux.die_with_parent()
    # Dispositions stay the kernel's: process 1 of a pid namespace ignores what its own namespace sends it.
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
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
    to_runner, from_init = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    child = os.fork()
    if child == 0:
        sock.close()
        to_runner.close()
        _run(from_init, settings, setters)
    from_init.close()
    linux.set_dumpable(False)

    job, streams = channel.receive(sock)
    quota = box.mount_job(job["mounts"], job["disk_mb"], job["inodes"])
    box.seal()
    linux.drop_capabilities()
    linux.no_new_privileges()
    channel.send(sock, {"ready": True}, (quota,))
    os.close(quota)
    channel.receive(sock)  # the caller has filled the writable places
    channel.send(to_runner, job, tuple(streams))
    channel.close_all(streams)
    channel.send(sock, _wait(child, sock))


def _wait(child: int, sock: socket.socket) -> dict[str, Any]:
    """Reap everything until the runner has ended or the caller says stop; then end all the rest."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    child_fd = os.pidfd_open(child)
    poll.register(child_fd, select.POLLIN)
    status: int | None = None
    while status is None:
        events = dict(poll.poll(200))
        while status is None:
            try:
                pid, ended = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            if pid == child:
                status = ended
        if sock.fileno() in events:
            break
    with contextlib.suppress(ProcessLookupError):
        os.kill(-1, signal.SIGKILL)  # everything of this pid namespace but this process
    while True:
        try:
            pid, ended = os.waitpid(-1, 0)
        except ChildProcessError:
            break
        if pid == child:
            status = ended
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "status": status,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "peak_mb": usage.ru_maxrss / 1024,
    }


def _run(sock: socket.socket, settings: dict[str, Any], setters: list[Any]) -> NoReturn:
    """The process that runs the candidate program: gives up all rights, waits for its job, runs it."""
    os.setsid()
    linux.drop_capabilities()
    linux.no_new_privileges()
    try:
        job, streams = channel.receive(sock)
    except channel.ChannelClosed:
        os._exit(1)
    sock.close()
    for fd, target in zip(streams, (1, 2), strict=True):
        os.dup2(fd, target)
    channel.close_all(streams)
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
    for name in [n for n in sys.modules if n == "dojo" or n.startswith("dojo.")]:
        del sys.modules[name]
    runner.run_script(job["script"], job["arguments"], job["env"], setters)


def _execute(argv: list[str], env: dict[str, str]) -> NoReturn:
    """Replace this process by the command, found as a shell would find it."""
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


def _reap() -> None:
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                return
        except ChildProcessError:
            return
