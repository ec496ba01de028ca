"""Starts one unconfined command and kills whatever it leaves: `python -I -S process_main.py ROOT CONTROL_FD`.

It adopts every orphan of the command (child subreaper), so that a daemon that left its parent and its session
is still found. Standard library only.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import socket
import sys
from typing import Any


def main(argv: list[str]) -> None:
    """Run one command to its end, or to the end of the caller."""
    sys.path.insert(0, argv[1])
    from dojo.sandbox import channel, linux

    linux.default_signals()
    sock = socket.socket(fileno=int(argv[2]))
    sock.set_inheritable(False)
    try:
        job, fds = channel.receive(sock)
        linux.adopt_orphans()
        child = os.fork()
        if child == 0:
            _become(job, fds)
        channel.close_all(fds)
        channel.send(sock, {"pid": child})
        status = _wait(child, sock, job["group"])
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu_s = usage.ru_utime + usage.ru_stime
        channel.send(sock, {"status": status, "cpu_s": cpu_s, "peak_mb": usage.ru_maxrss / 1024})
    except channel.ChannelClosed:
        os._exit(1)


def _become(job: dict[str, Any], fds: list[int]) -> None:
    from dojo.sandbox import cgroups

    os.setsid()
    if job["group"]:
        cgroups.Group.from_list(job["group"]).enter()
    for fd, number in zip(fds, (1, 2), strict=True):
        os.dup2(fd, number)
    os.closerange(3, 1 << 16)
    for name, value in job["rlimits"].items():
        number = getattr(resource, name)
        hard = resource.getrlimit(number)[1]
        bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(number, (bound, bound))
    try:
        os.chdir(job["cwd"])
        os.execvpe(job["argv"][0], job["argv"], job["env"])
    except OSError as exc:
        os.write(2, f"{exc.filename}: {exc.strerror}\n".encode())
    os._exit(127)


def _wait(child: int, sock: socket.socket, group: list[str] | None) -> int | None:
    """Reap until the command has ended or the caller has; then kill the rest."""
    from dojo.sandbox.cgroups import Group
    from dojo.sandbox.procfs import descendants

    poll = select.poll()
    poll.register(sock, select.POLLIN)
    poll.register(os.pidfd_open(child), select.POLLIN)
    status: int | None = None
    while status is None and sock.fileno() not in dict(poll.poll(200)):
        status = _reap(child, status)
    while True:
        if group:
            Group.from_list(group).end()
        # Stopped first, so that a tree that forks all the time does not outrun the killing.
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in descendants(os.getpid()):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, number)
        status = _reap(child, status)
        if not descendants(os.getpid()):
            return status


def _reap(child: int, status: int | None) -> int | None:
    while True:
        try:
            pid, ended = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return status
        if pid == 0:
            return status
        if pid == child:
            status = ended


if __name__ == "__main__":
    main(sys.argv)
