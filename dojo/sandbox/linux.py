"""The few Linux system calls a sandbox needs that Python 3.11 does not wrap.

Standard library only: this module is imported by helper processes that must start fast and stay small.
Manual pages: clone(2), mount(2), open_tree(2), mount_setattr(2), pivot_root(2), capabilities(7), prctl(2).
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import platform
import signal
import socket
import struct

CLONE_NEWNS = 0x0002_0000
CLONE_NEWCGROUP = 0x0200_0000
CLONE_NEWUTS = 0x0400_0000
CLONE_NEWIPC = 0x0800_0000
CLONE_NEWUSER = 0x1000_0000
CLONE_NEWPID = 0x2000_0000
CLONE_NEWNET = 0x4000_0000
ALL_NAMESPACES = (
    CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET
)

MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_REC = 0x4000
MS_PRIVATE = 0x4_0000
MNT_DETACH = 0x2

_MOUNT_ATTR_RDONLY = 0x1
_MOUNT_ATTR_NOSUID = 0x2
_MOUNT_ATTR_NODEV = 0x4
_OPEN_TREE_CLONE = 0x1
_OPEN_TREE_CLOEXEC = 0o2000000
_AT_FDCWD = -100
_AT_EMPTY_PATH = 0x1000
_AT_RECURSIVE = 0x8000
_MOVE_MOUNT_F_EMPTY_PATH = 0x4

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_SECCOMP = 22
_PR_CAPBSET_DROP = 24
_PR_SET_SECUREBITS = 28
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_SECBITS_LOCKED = 0xEF
"""NOROOT, NO_SETUID_FIXUP and NO_CAP_AMBIENT_RAISE, each locked (keep-caps off and locked)."""
_SECCOMP_MODE_FILTER = 2

_LINUX_CAPABILITY_VERSION_3 = 0x2008_0522
_SIOCGIFFLAGS = 0x8913
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 0x1

_MACHINE = platform.machine()
_NR_CLONE, _NR_PIVOT_ROOT, _NR_KEYCTL = {
    "x86_64": (56, 155, 250),
    "aarch64": (220, 41, 219),
}.get(_MACHINE, (-1, -1, -1))
_NR_OPEN_TREE, _NR_MOVE_MOUNT, _NR_MOUNT_SETATTR = 428, 429, 442  # the same on every architecture

_libc = ctypes.CDLL(None, use_errno=True)
# PyDLL keeps the GIL: after a raw clone the child must find the interpreter lock held by itself.
_libc_with_gil = ctypes.PyDLL(None, use_errno=True)


def supported_machine() -> bool:
    """Whether the system call numbers of this architecture are known here."""
    return _NR_CLONE != -1


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def _syscall(what: str, number: int, *args: object) -> int:
    return _check(_libc.syscall(ctypes.c_long(number), *args), what)


def fork_into_namespaces(flags: int) -> int:
    """Fork the calling process into new namespaces; returns 0 in the child, as `os.fork` does.

    One clone(2) instead of fork, unshare and a second fork: the child is process 1 of its own pid
    namespace at once. The caller must have one thread only.

    Raises:
        OSError: the kernel refused (no user namespaces, or a limit is reached).
    """
    api = ctypes.pythonapi
    api.PyOS_BeforeFork()
    pid = _libc_with_gil.syscall(
        ctypes.c_long(_NR_CLONE), ctypes.c_long(flags | signal.SIGCHLD), None, None, None, None
    )
    number = ctypes.get_errno()
    if pid == 0:
        api.PyOS_AfterFork_Child()
        return 0
    api.PyOS_AfterFork_Parent()
    if pid < 0:
        raise OSError(number, f"clone into new namespaces: {os.strerror(number)}")
    return int(pid)


def unshare(flags: int) -> None:
    """Move the calling process into new namespaces (unshare(2))."""
    _check(_libc.unshare(flags), "unshare")


def map_own_user(inside_uid: int, inside_gid: int, outside_uid: int, outside_gid: int) -> None:
    """Map one user and one group into the user namespace just entered.

    The outside ids must be the effective ids the process had before it entered the namespace.
    """
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{inside_uid} {outside_uid} 1"),
        ("gid_map", f"{inside_gid} {outside_gid} 1"),
    ):
        write_file(f"/proc/self/{name}", text)


def write_file(path: str, text: str) -> None:
    """Write `text` to an existing kernel file with one write(2)."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def mount(source: str, target: str, kind: str, flags: int = 0, options: str = "") -> None:
    """Mount a file system, or change a mount point ."""
    result = _libc.mount(
        source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), options.encode() or None
    )
    _check(result, f"mount {kind or 'change'} at {target}")


def unmount(target: str) -> None:
    """Detach a mount point now; files that are still open keep the file system alive."""
    _check(_libc.umount2(target.encode(), MNT_DETACH), f"unmount {target}")


def pivot_root(new_root: str, put_old: str) -> None:
    """Swap the root of this mount namespace."""
    _syscall("pivot_root", _NR_PIVOT_ROOT, new_root.encode(), put_old.encode())


class _MountAttr(ctypes.Structure):
    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


def _set_attributes(fd: int, path: str, attributes: int, flags: int, what: str) -> None:
    attr = _MountAttr(attr_set=attributes)
    _syscall(
        f"mount_setattr {what}",
        _NR_MOUNT_SETATTR,
        ctypes.c_int(fd),
        path.encode(),
        ctypes.c_uint(flags),
        ctypes.byref(attr),
        ctypes.c_size_t(ctypes.sizeof(attr)),
    )


def bind(source: str, target: str, *, read_only: bool = True, devices: bool = False) -> None:
    """Bind a file or a whole tree (with every mount below it) at `target`.

    The attributes are set on the detached copy before it becomes visible, and recursively, so that no
    mount below the source stays writable. Needs Linux 5.12.

    Raises:
        OSError: source or target is missing, or the kernel refused.
    """
    fd = _syscall(
        f"open_tree {source}",
        _NR_OPEN_TREE,
        ctypes.c_int(_AT_FDCWD),
        source.encode(),
        ctypes.c_uint(_OPEN_TREE_CLONE | _OPEN_TREE_CLOEXEC | _AT_RECURSIVE),
    )
    try:
        attributes = _MOUNT_ATTR_NOSUID
        if read_only:
            attributes |= _MOUNT_ATTR_RDONLY
        if not devices:
            attributes |= _MOUNT_ATTR_NODEV
        _set_attributes(fd, "", attributes, _AT_EMPTY_PATH | _AT_RECURSIVE, target)
        _syscall(
            f"move_mount {target}",
            _NR_MOVE_MOUNT,
            ctypes.c_int(fd),
            b"",
            ctypes.c_int(_AT_FDCWD),
            target.encode(),
            ctypes.c_uint(_MOVE_MOUNT_F_EMPTY_PATH),
        )
    finally:
        os.close(fd)


def make_read_only(target: str) -> None:
    """Make the mount at `target` (not those below it) read-only."""
    _set_attributes(_AT_FDCWD, target, _MOUNT_ATTR_RDONLY, 0, target)


def _prctl(option: int, *args: int) -> None:
    padded = [ctypes.c_ulong(a) for a in (*args, 0, 0, 0, 0)[:4]]
    _check(_libc.prctl(ctypes.c_int(option), *padded), f"prctl {option}")


def die_with_parent() -> None:
    """Have the kernel kill this process when the *thread* that started it ends."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def set_dumpable(value: bool) -> None:
    """Allow or forbid other processes of the same user to trace this one and open its /proc files."""
    _prctl(_PR_SET_DUMPABLE, int(value))


def no_new_privileges() -> None:
    """No set-uid program or file capability can add rights from here on."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


class _CapHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _CapData(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def drop_capabilities() -> None:
    """Give up every capability for good: bounding, ambient, effective, permitted, inheritable."""
    for number in range(64):
        try:
            _prctl(_PR_CAPBSET_DROP, number)
        except OSError as exc:
            if exc.errno == errno.EINVAL:  # past the last capability this kernel knows
                break
            raise
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    _prctl(_PR_SET_SECUREBITS, _SECBITS_LOCKED)
    header = _CapHeader(version=_LINUX_CAPABILITY_VERSION_3, pid=0)
    data = (_CapData * 2)()
    _check(_libc.capset(ctypes.byref(header), ctypes.byref(data)), "capset")


def set_host_name(name: str) -> None:
    """Name the machine inside the current uts namespace."""
    _check(_libc.sethostname(name.encode(), ctypes.c_size_t(len(name.encode()))), "sethostname")


def new_session_keyring() -> None:
    """Leave the inherited kernel keyrings; a kernel without keyrings is fine."""
    _libc.syscall(ctypes.c_long(_NR_KEYCTL), ctypes.c_int(1), None)


def bring_loopback_up() -> None:
    """Switch on `lo` in the current network namespace."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("16sH14x", b"lo", 0)
        flags = struct.unpack("16sH14x", fcntl.ioctl(sock, _SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | _IFF_UP))


class _SockFprog(ctypes.Structure):
    _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def install_seccomp(program: bytes) -> None:
    """Install a classic BPF system call filter (an array of 8-byte instructions) for good."""
    buffer = ctypes.create_string_buffer(program, len(program))
    prog = _SockFprog(len=len(program) // 8, filter=ctypes.cast(buffer, ctypes.c_void_p))
    _prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(prog))


def default_signals() -> None:
    """Take back what a caller's signal settings do to a helper: a Ray worker ignores SIGCHLD, and children inherit it.

    With SIGCHLD ignored nobody, bubblewrap included, learns how a child ended.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
