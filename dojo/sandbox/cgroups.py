"""Memory and task limits for a whole process tree by control groups, version 1 or 2.

Standard library only. Where no control group can be made, `find` returns None and the caller falls back to
resource limits and a watchdog. Kernel documentation: admin-guide/cgroup-v1 and admin-guide/cgroup-v2.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_PREFIX = "dojo-box-"


@dataclass(frozen=True)
class Hierarchies:
    """Where groups can be made: one directory for version 2, two (memory, pids) for version 1."""

    version: int
    memory: Path
    pids: Path

    @classmethod
    def from_list(cls, parts: list[str]) -> Hierarchies:
        """The inverse of `as_list`."""
        return cls(int(parts[0]), Path(parts[1]), Path(parts[2]))

    def as_list(self) -> list[str]:
        """The form sent to helper processes."""
        return [str(self.version), str(self.memory), str(self.pids)]

    @property
    def roots(self) -> tuple[Path, ...]:
        """The distinct directories in which a group has to be made."""
        return (self.memory,) if self.memory == self.pids else (self.memory, self.pids)


@dataclass(frozen=True)
class Group:
    """The control group of one job."""

    version: int
    memory: Path
    pids: Path

    @classmethod
    def of(cls, where: Hierarchies, name: str) -> Group:
        """The group called `name`, made or not."""
        return cls(where.version, where.memory / name, where.pids / name)

    @classmethod
    def from_list(cls, parts: list[str]) -> Group:
        """The inverse of `as_list`."""
        return cls(int(parts[0]), Path(parts[1]), Path(parts[2]))

    def as_list(self) -> list[str]:
        """The form sent to helper processes."""
        return [str(self.version), str(self.memory), str(self.pids)]

    @property
    def directories(self) -> tuple[Path, ...]:
        """The distinct directories of this group."""
        return (self.memory,) if self.memory == self.pids else (self.memory, self.pids)

    def create(self) -> None:
        """Make the group.

        Raises:
            OSError: it cannot be made.
        """
        for directory in self.directories:
            directory.mkdir(parents=True, exist_ok=True)

    def enter(self, pid: int = 0) -> None:
        """Move a process (0: the caller) into the group."""
        for directory in self.directories:
            _write(directory / "cgroup.procs", str(pid))

    def limit(self, memory_mb: int, tasks: int) -> None:
        """Bound memory (swap included where it is counted) and the number of tasks."""
        amount = str(memory_mb << 20)
        if self.version == 2:
            _write(self.memory / "memory.max", amount)
            _write_if_there(self.memory / "memory.swap.max", "0")
            _write_if_there(self.memory / "memory.oom.group", "1")
        else:
            _write(self.memory / "memory.limit_in_bytes", amount)
            _write_if_there(self.memory / "memory.memsw.limit_in_bytes", amount)
        _write(self.pids / "pids.max", str(tasks))

    def oom_kills(self) -> int:
        """How many processes the kernel killed because the group was out of memory."""
        name = "memory.events" if self.version == 2 else "memory.oom_control"
        return _keyed(self.memory / name).get("oom_kill", 0)

    def peak_mb(self) -> float:
        """Highest memory use so far in MiB; 0 where the kernel does not say."""
        name = "memory.peak" if self.version == 2 else "memory.max_usage_in_bytes"
        text = _read(self.memory / name).strip()
        return int(text) / (1 << 20) if text.isdigit() else 0.0

    def end(self) -> None:
        """Forbid new tasks and kill those there are; the caller waits for them to be gone."""
        _write(self.pids / "pids.max", "0")
        for pid in _read(self.pids / "cgroup.procs").split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)

    def remove(self) -> bool:
        """Remove the group; False while a process is still in it."""
        gone = True
        for directory in self.directories:
            try:
                directory.rmdir()
            except FileNotFoundError:
                continue
            except OSError:
                gone = False
        return gone


def find() -> Hierarchies | None:
    """Make a parent group for one sandbox, or None where control groups cannot be used.

    The group is made below the group of the calling process, so that outer limits keep holding, or (version
    2, which allows no processes beside groups) below the nearest ancestor that hands its controllers down.
    """
    name = f"{_PREFIX}{os.getpid()}-{secrets.token_hex(4)}"
    for candidate in _candidates(Path("/proc/self/cgroup"), Path("/proc/self/mountinfo")):
        _sweep(candidate)
        made = Hierarchies(candidate.version, candidate.memory / name, candidate.pids / name)
        if _usable(made):
            return made
        release(made)
    return None


NEEDED_BY_ROOT = (
    "as root the number of processes can only be bounded by control groups, and none can be made here: "
    "run as an ordinary user, or make the memory and pids control groups writable"
)
"""The kernel exempts root from RLIMIT_NPROC, and a watchdog is too slow for a fork bomb."""


def release(where: Hierarchies) -> bool:
    """Remove a parent group and whatever empty groups are left below it; False if some are not empty yet."""
    for root in where.roots:
        _remove_tree(root)
    return not any(root.exists() for root in where.roots)


def _usable(where: Hierarchies) -> bool:
    group = Group.of(where, "probe")
    try:
        for root in where.roots:
            root.mkdir()
            if where.version == 2:
                _write(root / "cgroup.subtree_control", "+memory +pids")
        group.create()
        group.limit(64, 8)
        # A process may be moved only if the caller can write the nearest common ancestor too; a short-lived
        # child shows it. Without fork (the caller may have threads): spawn.
        pid = os.posix_spawn(shutil.which("sleep") or "/bin/sleep", ["sleep", "60"], {})
        try:
            group.enter(pid)
        finally:
            os.kill(pid, 9)
            with contextlib.suppress(ChildProcessError):  # SIGCHLD is ignored, as in a Ray worker
                os.waitpid(pid, 0)
    except OSError:
        return False
    finally:
        group.remove()
    return True


def _candidates(membership: Path, mountinfo: Path) -> Iterator[Hierarchies]:
    own: dict[str, str] = {}
    for line in _read(membership).splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            own[controller] = path
    mounts: dict[str, tuple[str, str]] = {}
    for line in _read(mountinfo).splitlines():
        left, _, right = line.partition(" - ")
        fields, kind = left.split(), right.split()
        if kind and kind[0] == "cgroup2":
            mounts.setdefault("", (fields[4], fields[3]))
        elif kind and kind[0] == "cgroup":
            for option in kind[2].split(","):
                mounts.setdefault(option, (fields[4], fields[3]))
    if {"memory", "pids"} <= mounts.keys() and {"memory", "pids"} <= own.keys():
        yield Hierarchies(1, _inside(mounts["memory"], own["memory"]), _inside(mounts["pids"], own["pids"]))
    if "" in mounts and "" in own:
        here = _inside(mounts[""], own[""])
        top = Path(mounts[""][0])
        while True:
            if {"memory", "pids"} <= set(_read(here / "cgroup.controllers").split()):
                yield Hierarchies(2, here, here)
            if here == top or top not in here.parents:
                break
            here = here.parent


def _inside(mount: tuple[str, str], own: str) -> Path:
    """The directory of the group `own` under a mount point that shows the hierarchy from some root on."""
    point, root = mount
    if root != "/" and (own == root or own.startswith(root + "/")):
        own = own[len(root) :]
    return Path(point) / own.lstrip("/")


def _sweep(where: Hierarchies) -> None:
    """Remove parent groups whose owner was killed before it could."""
    for root in where.roots:
        try:
            names = [entry.name for entry in os.scandir(root) if entry.name.startswith(_PREFIX)]
        except OSError:
            continue
        for name in names:
            owner = name.removeprefix(_PREFIX).partition("-")[0]
            if owner.isdigit() and not Path("/proc", owner).exists():
                _remove_tree(root / name)


def _remove_tree(root: Path) -> None:
    try:
        children = [Path(entry.path) for entry in os.scandir(root) if entry.is_dir()]
    except OSError:
        return
    for directory in (*children, root):
        try:
            directory.rmdir()
        except OSError:
            continue


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _keyed(path: Path) -> dict[str, int]:
    pairs = (line.split() for line in _read(path).splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}


def _write(path: Path, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def _write_if_there(path: Path, text: str) -> None:
    if path.exists():
        try:
            _write(path, text)
        except OSError:
            return
