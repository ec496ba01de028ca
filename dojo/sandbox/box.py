"""Building the inside of a warm box; runs in a helper process just forked into new namespaces.

Standard library only. The order matters: identity first, then mounts (which need the capabilities of the
new user namespace), then `seal`, after which no way back to the host's file system exists.

    /            tmpfs, read-only once sealed
    /.host       the host's tree, until sealed
    /usr …       system, interpreter and libraries, read-only
    /proc        of the new pid namespace, read-only (no sysctl, no writing to /proc/PID/mem)
    /dev         null, zero, full, random, urandom
    /tmp, /dev/shm and every writable mount: one tmpfs with the job's byte and inode quota
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from dojo.sandbox import linux

HOST = "/.host"
_STAGE = "/.quota"
_DEVICES = ("null", "zero", "full", "random", "urandom")
_ROOT_OPTIONS = "size=4m,nr_inodes=4096,mode=0755"


def enter(anchor: str, layout: dict[str, Any], outside: tuple[int, int], inside: int) -> None:
    """Take on the box's identity and build the part of its file system that is the same for every job.

    Args:
        anchor: any host directory; the new root is mounted over it, seen only in this namespace.
        layout: `dojo.sandbox.layout.Layout.as_dict`.
        outside: effective user and group id before the namespaces were entered.
        inside: user and group id to be seen inside.
    """
    linux.map_own_user(inside, inside, *outside)
    linux.new_session_keyring()
    linux.set_host_name("box")
    linux.bring_loopback_up()
    # No further user namespace may be made inside: most of the kernel's privileged surface stays shut.
    linux.write_file("/proc/sys/user/max_user_namespaces", "0")
    linux.mount("none", "/", "", linux.MS_REC | linux.MS_PRIVATE)
    linux.mount("tmpfs", anchor, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, _ROOT_OPTIONS)
    old = anchor.rstrip("/") + HOST
    Path(old).mkdir()
    os.chdir(anchor)
    linux.pivot_root(".", "." + HOST)
    os.chdir("/")
    for source, target in layout["binds"]:
        _bind_host(source, target)
    for path, text in layout["links"]:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).symlink_to(text)
    for device in _DEVICES:
        _bind_host(f"/dev/{device}", f"/dev/{device}", devices=True, read_only=False)
    for name, text in (("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")):
        Path("/dev", name).symlink_to(f"/proc/self/fd{text}")
    Path("/proc").mkdir()
    flags = linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC
    linux.mount("proc", "/proc", "proc", flags)
    linux.make_read_only("/proc")


def mount_job(mounts: list[dict[str, Any]], disk_mb: int, inodes: int, layout: dict[str, Any]) -> int:
    """Mount the job's directories; returns a descriptor of the quota file system's root.

    Each writable place is a directory of one tmpfs: `tmp`, `shm`, and `0`, `1` … for the writable mounts in
    the order given. They start empty; whoever holds the descriptor fills them and reads them afterwards.
    """
    Path(_STAGE).mkdir()
    # One inode more for each directory made here, so that `inodes` is what the program itself may use.
    own = 3 + sum(bool(m["writable"]) for m in mounts)
    own += sum(target.count("/") for _, target in layout["binds"] if target.startswith("/tmp/"))
    options = f"size={disk_mb}m,nr_inodes={inodes + own},mode=0755"
    linux.mount("tmpfs", _STAGE, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, options)
    root = os.open(_STAGE, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    places = [("tmp", "/tmp"), ("shm", "/dev/shm")]
    plan: list[tuple[str, str, bool]] = []
    for index, mount in enumerate(mounts):
        if mount["writable"]:
            places.append((str(index), mount["target"]))
        else:
            plan.append((HOST + mount["source"], mount["target"], True))
    for name, target in places:
        os.mkdir(name, dir_fd=root)
        plan.append((f"{_STAGE}/{name}", target, False))
    for source, target, read_only in sorted(plan, key=lambda item: item[1].count("/")):
        _make_target(target, is_directory=Path(source).is_dir())
        linux.bind(source, target, read_only=read_only)
        _show_again(layout, target)
    linux.unmount(_STAGE)
    Path(_STAGE).rmdir()
    return root


def _show_again(layout: dict[str, Any], hider: str) -> None:
    """Bind once more what a mount has just hidden: an interpreter that lies below /tmp, say."""
    for source, target in layout["binds"]:
        if target.startswith(hider + "/"):
            _bind_host(source, target)
    for path, text in layout["links"]:
        if path.startswith(hider + "/") and not os.path.lexists(path):
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).symlink_to(text)


def seal() -> None:
    """Let go of the host's file system and make the root read-only."""
    linux.unmount(HOST)
    Path(HOST).rmdir()
    linux.make_read_only("/")


def _bind_host(source: str, target: str, *, devices: bool = False, read_only: bool = True) -> None:
    host = HOST + source
    _make_target(target, is_directory=Path(host).is_dir())
    linux.bind(host, target, read_only=read_only, devices=devices)


def _make_target(target: str, *, is_directory: bool) -> None:
    path = Path(target)
    if is_directory:
        path.mkdir(parents=True, exist_ok=True)
    elif not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
