"""What a box shows of the host besides a job's own mounts: interpreter, libraries, a minimal /etc.

Everything is read-only. Nothing of the home directory, of the project's checkout or of other workspaces is
in the list, even where the virtual environment lies inside one of them: only its `bin`, `lib` and the like
are bound, never the directory itself.
"""

from __future__ import annotations

import os
import site
import sys
from pathlib import Path
from typing import Any

from dojo.errors import SandboxUnavailable
from dojo.sandbox.base import Job
from dojo.slot import THREAD_VARIABLES

INSIDE_UID = 1000
"""The user id a job sees as its own; it has no capability and no other id is mapped."""

_SYSTEM = ("/usr", "/lib", "/lib32", "/lib64", "/libx32", "/bin", "/sbin")
_ETC = (
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/alternatives",
    "/etc/localtime",
    "/etc/timezone",
)
_PREFIX_PARTS = ("bin", "lib", "lib64", "libexec", "share", "pyvenv.cfg")
_RESERVED = ("/usr", "/lib", "/lib32", "/lib64", "/libx32", "/bin", "/sbin", "/etc", "/proc", "/sys", "/dev")
_GENERATED = {
    "passwd": f"root:x:0:0::/:/bin/false\nsolver:x:{INSIDE_UID}:{INSIDE_UID}::/tmp:/bin/sh\n"
    "nobody:x:65534:65534::/:/bin/false\n",
    "group": f"root:x:0:\nsolver:x:{INSIDE_UID}:\nnogroup:x:65534:\n",
    "hosts": "127.0.0.1 localhost\n::1 localhost\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
}


def shows(path: Path) -> bool:
    """Whether boxes show this path of the host, present or to come, among the system's files and libraries."""
    prefixes = (sys.base_prefix, sys.base_exec_prefix, sys.prefix, sys.exec_prefix)
    roots = [Path(name) for name in _SYSTEM]
    roots += [Path(prefix, part) for prefix in prefixes for part in _PREFIX_PARTS]
    if site.ENABLE_USER_SITE:
        roots.append(Path(site.getusersitepackages()))
    real = path.resolve()
    return any(real.is_relative_to(root.resolve()) for root in roots)


class Layout:
    """The host paths to bind and the symlinks to make, computed once per sandbox.

    Args:
        private: an empty directory of this sandbox, for the generated files of /etc.

    Attributes:
        binds: pairs (host path, path inside), files or directories, all read-only.
        links: pairs (path inside, link text).
    """

    def __init__(self, private: Path) -> None:
        self.binds: list[tuple[str, str]] = []
        self.links: list[tuple[str, str]] = []
        for path in (*_SYSTEM, *_ETC):
            self._add(Path(path))
        for prefix in dict.fromkeys((sys.base_prefix, sys.base_exec_prefix, sys.prefix, sys.exec_prefix)):
            for part in _PREFIX_PARTS:
                self._add(Path(prefix, part))
        executable = Path(sys.executable)
        self._add(executable)
        self._add(executable.resolve())
        if site.ENABLE_USER_SITE and site.getusersitepackages() in sys.path:
            self._add(Path(site.getusersitepackages()))
        etc = private / "etc"
        etc.mkdir(parents=True, exist_ok=True)
        for name, text in _GENERATED.items():
            (etc / name).write_text(text)
            self.binds.append((str((etc / name).resolve()), f"/etc/{name}"))

    def _add(self, path: Path) -> None:
        """Bind `path` at the same place unless a bind made before already shows it."""
        inside = os.path.normpath(path)
        if not os.path.lexists(path) or any(
            inside == target or inside.startswith(target + "/") for _, target in self.binds
        ):
            return
        if path.is_symlink():
            link = str(path.readlink())
            self.links.append((inside, link))
            target = Path(os.path.normpath(path.parent / link))
            if target.exists():
                self._add(target)
            return
        source = str(path.resolve())
        if source == "/":
            raise SandboxUnavailable(f"{inside} is the root directory; use a virtual environment")
        self.binds.append((source, inside))

    def as_dict(self) -> dict[str, Any]:
        """The form sent to helper processes."""
        return {"binds": self.binds, "links": self.links}


def base_env() -> dict[str, str]:
    """The environment of every job before its own `env`; nothing is inherited.

    The hash seed is fixed so that the order of sets is the same in every run, warm or cold.
    """
    env = {
        "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
        "HOME": "/tmp",
        "TMPDIR": "/tmp",
        "LANG": "C.UTF-8",
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
        **dict.fromkeys(THREAD_VARIABLES, "1"),
    }
    if site.ENABLE_USER_SITE and site.getusersitepackages() in sys.path:
        env["PYTHONUSERBASE"] = site.getuserbase()
    else:
        env["PYTHONNOUSERSITE"] = "1"
    return env


def check_job(job: Job) -> None:
    """Refuse a job that no sandbox can run; a mistake of the calling code, not of the program inside.

    Raises:
        ValueError: a mount's source is missing or its target is not a usable absolute path.
    """
    if not job.argv:
        raise ValueError("argv is empty")
    seen: set[str] = set()
    for mount in job.mounts:
        target = mount.target
        if not target.startswith("/") or os.path.normpath(target) != target or target == "/":
            raise ValueError(f"mount target {target!r}: give a normalised absolute path below /")
        if any(target == root or target.startswith(root + "/") for root in _RESERVED):
            raise ValueError(f"mount target {target!r} would hide the system's own files")
        if target in seen:
            raise ValueError(f"two mounts at {target!r}")
        seen.add(target)
        if not mount.source.exists():
            raise ValueError(f"mount source {mount.source} does not exist")
        if mount.writable and not mount.source.is_dir():
            raise ValueError(f"mount source {mount.source}: only a directory can be writable")
