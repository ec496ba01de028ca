"""Moving files between the host and the quota file system of a box.

A writable mount is, inside, a directory of a memory file system with an exact byte and inode quota. It
starts as a copy of the host directory and is copied back when the job is over and nothing of it runs. Only
plain files and directories travel, in both directions: a symlink, fifo, socket or device that a program
plants never reaches the host.
"""

from __future__ import annotations

import os
import shutil
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from dojo.sandbox.base import Job, Limits, Mount

HIDING = "/dev/null"
"""Bound over what a job must not read: opening it fails, since no device can be opened on such a mount."""
_MAX_DEPTH = 32
_COPY_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class _Mark(NamedTuple):
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int


@dataclass
class Stage:
    """One job's writable directories.

    Args:
        root_fd: directory descriptor of the quota file system; closed by `close`.
        job: whose mounts are meant.
        cpu_s_before: CPU seconds the process had used before it was given the job.
    """

    root_fd: int
    job: Job
    cpu_s_before: float = 0.0
    _filled: dict[int, dict[str, _Mark]] = field(default_factory=dict)

    def _writable(self) -> list[tuple[int, Mount]]:
        return [(i, m) for i, m in enumerate(self.job.mounts) if m.writable]

    def fill(self) -> None:
        """Copy the present content of the writable host directories in. Call before the job starts.

        Raises:
            OSError: it does not fit into the quota, or cannot be read.
        """
        for index, mount in self._writable():
            marks: dict[str, _Mark] = {}
            # The job has not started, so paths through the descriptor cannot be led astray.
            inside = Path(f"/proc/self/fd/{self.root_fd}/{index}")
            for folder, directories, files in os.walk(mount.source, followlinks=False):
                relative = Path(folder).relative_to(mount.source)
                for name in directories:
                    if not Path(folder, name).is_symlink():
                        (inside / relative / name).mkdir()
                for name in files:
                    source, target = Path(folder, name), inside / relative / name
                    if stat.S_ISREG(source.lstat().st_mode):
                        shutil.copy2(source, target)
                        marks[str(relative / name)] = _mark(target.lstat())
            self._filled[index] = marks

    def collect(self) -> bool:
        """Copy what the job left back to the host. Call when nothing of the job runs any more.

        Returns:
            Whether everything fitted: False when the sizes add up to more than the quota (holes in sparse
            files and files linked many times count in full), and what came later was left out.

        Raises:
            OSError: the host's directory cannot be written.
        """
        budget = self.job.limits.disk_mb << 20
        for index, mount in self._writable():
            seen: set[str] = set()
            todo = [Path()]
            while todo:
                relative = todo.pop()
                fd = _open_directory(self.root_fd, Path(str(index)) / relative)
                if fd is None:
                    continue
                try:
                    spent = self._collect_files(fd, mount.source, relative, index, seen, budget)
                    if spent is None:
                        return False
                    budget -= spent
                    if len(relative.parts) < _MAX_DEPTH:
                        todo += [relative / name for name in _directories(fd)]
                finally:
                    os.close(fd)
            for gone in self._filled.get(index, {}).keys() - seen:
                (mount.source / gone).unlink(missing_ok=True)
        return True

    def _collect_files(
        self, fd: int, source: Path, relative: Path, index: int, seen: set[str], budget: int
    ) -> int | None:
        """Copy one directory's files; returns the bytes spent, or None when the budget is too small."""
        host = source / relative
        if relative.parts:
            if host.is_symlink() or (host.exists() and not host.is_dir()):
                host.unlink()
            host.mkdir(exist_ok=True)
        spent = 0
        with os.scandir(fd) as entries:
            names = [(e.name, e.stat(follow_symlinks=False)) for e in entries]
        for name, info in names:
            if not stat.S_ISREG(info.st_mode):
                continue
            path = str(relative / name)
            seen.add(path)
            if self._filled.get(index, {}).get(path) == _mark(info):
                continue
            spent += info.st_size
            if spent > budget:
                return None
            _copy_out(fd, name, info, host / name)
        return spent

    def full(self) -> bool:
        """Whether the quota is used up, in bytes or in inodes."""
        usage = os.fstatvfs(self.root_fd)
        return usage.f_bavail * usage.f_frsize < (64 << 10) or usage.f_ffree == 0

    def close(self) -> None:
        """Let the quota file system go."""
        if self.root_fd >= 0:
            os.close(self.root_fd)
            self.root_fd = -1


def mounts_for_box(job: Job) -> list[dict[str, object]]:
    """The job's mounts in the form sent to helper processes, host paths resolved."""
    shown = [
        {"source": str(m.source.resolve()), "target": m.target, "writable": m.writable} for m in job.mounts
    ]
    return shown + [{"source": HIDING, "target": str(p), "writable": False} for p in job.hidden]


def resource_limits(limits: Limits) -> dict[str, int]:
    """Resource limits of every job besides those held by control groups or the watchdog."""
    return {"RLIMIT_CORE": 0, "RLIMIT_FSIZE": limits.disk_mb << 20, "RLIMIT_NOFILE": 4096}


def _mark(info: os.stat_result) -> _Mark:
    return _Mark(info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns)


def _directories(fd: int) -> list[str]:
    with os.scandir(fd) as entries:
        return [e.name for e in entries if e.is_dir(follow_symlinks=False)]


def _open_directory(root_fd: int, path: Path) -> int | None:
    """Open a directory step by step, so that no symlink is followed and no path is too long."""
    fd = os.dup(root_fd)
    for part in path.parts:
        try:
            below = os.open(part, _COPY_FLAGS | os.O_DIRECTORY, dir_fd=fd)
        except PermissionError:  # the program took away its own right to read it
            return None
        finally:
            os.close(fd)
        fd = below
    return fd


def _copy_out(directory_fd: int, name: str, info: os.stat_result, target: Path) -> None:
    try:
        fd = os.open(name, _COPY_FLAGS, dir_fd=directory_fd)
    except PermissionError:
        return
    with open(fd, "rb") as source:  # noqa: PTH123 - a descriptor
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
        part = target.with_name(f".{os.getpid()}-{info.st_ino}.part")
        try:
            with part.open("xb") as copy:
                shutil.copyfileobj(source, copy, 1 << 20)
            part.chmod(0o600 | (info.st_mode & 0o777))
            part.replace(target)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
