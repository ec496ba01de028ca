"""Prepares one cold box and runs bubblewrap in it: `python -I -S cold_main.py PACKAGE_ROOT CONTROL_FD`.

Bubblewrap can bound the bytes of a memory file system but not its inodes, and has one per place. So this
process enters a mount namespace of its own first, mounts there the one quota file system that all writable
places share, hands a descriptor of it to the caller (who fills it, and reads it when all is over), and then
starts bubblewrap, which binds the places from it. It stays to reap: bubblewrap ends before its process 1
does, and the CPU time of the program is only known when that one has been waited for. Standard library only.
"""

from __future__ import annotations

import fcntl
import os
import resource
import socket
import sys
from typing import Any, NoReturn


def main(argv: list[str]) -> None:
    """Set up and execute bubblewrap; never returns normally."""
    sys.path.insert(0, argv[1])
    from dojo.sandbox import channel, linux

    linux.default_signals()
    sock = socket.socket(fileno=int(argv[2]))
    sock.set_inheritable(False)
    try:
        _run(sock)
    except channel.ChannelClosed:
        os._exit(1)
    except OSError as exc:
        channel.send(sock, {"error": str(exc)})
        os._exit(1)


def _run(sock: socket.socket) -> None:
    from dojo.sandbox import channel, linux

    linux.die_with_parent()
    job, fds = channel.receive(sock)
    uid, gid = os.geteuid(), os.getegid()
    linux.unshare(linux.CLONE_NEWUSER | linux.CLONE_NEWNS)
    linux.map_own_user(uid, gid, uid, gid)
    linux.new_session_keyring()
    linux.mount("none", "/", "", linux.MS_REC | linux.MS_PRIVATE)
    quota, places = job["quota"], job["places"]
    options = f"size={job['disk_mb']}m,nr_inodes={job['inodes'] + 1 + len(places)},mode=0755"
    linux.mount("tmpfs", quota, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, options)
    root = os.open(quota, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    for name in places:
        os.mkdir(name, dir_fd=root)
    channel.send(sock, {"ready": True}, (root,))
    channel.receive(sock)
    linux.adopt_orphans()
    linux.die_with_parent()  # again: entering a user namespace may have cleared it
    child = os.fork()
    if child == 0:
        _become_bwrap(job, fds)
    channel.close_all([*fds, root])
    channel.send(sock, _reap(child))


def _become_bwrap(job: dict[str, Any], fds: list[int]) -> NoReturn:
    from dojo.sandbox import cgroups, linux

    linux.die_with_parent()
    if job["group"]:
        cgroups.Group.from_list(job["group"]).enter()
    linux.write_file("/proc/self/oom_score_adj", "1000")  # if the machine runs out, this goes first
    # The descriptors bubblewrap gets have fixed numbers: 1, 2, then 3 (started), 4 (status), 5 (filter).
    filter_fd = os.memfd_create("filter")
    os.write(filter_fd, bytes.fromhex(job["seccomp"]))
    os.lseek(filter_fd, 0, os.SEEK_SET)
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 100) for fd in (*fds, filter_fd)]
    for fd, number in zip(high, (1, 2, 3, 4, 5), strict=True):
        os.dup2(fd, number)
    os.closerange(6, 1 << 16)
    for name, value in job["rlimits"].items():
        number = getattr(resource, name)
        hard = resource.getrlimit(number)[1]
        bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(number, (bound, bound))
    os.execve(job["argv"][0], job["argv"], {})


def _reap(child: int) -> dict[str, Any]:
    """Wait for bwrap and for the process 1 it leaves behind (killed by the kernel with bwrap)."""
    status: int | None = None
    while True:
        try:
            pid, ended = os.waitpid(-1, 0)
        except ChildProcessError:
            break
        if pid == child:
            status = ended
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = usage.ru_utime + usage.ru_stime
    return {"status": status, "cpu_s": cpu_s, "peak_mb": usage.ru_maxrss / 1024}


if __name__ == "__main__":
    main(sys.argv)
