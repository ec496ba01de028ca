"""Proving what a sandbox claims by attacking it; used by `gome doctor` and the tests.

Every attack is harmless where it succeeds (it opens without truncating, forks a bounded number of sleeping
children, signals only a process started for that), so that an unsealed sandbox can be probed too.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dojo.model import Frozen
from dojo.sandbox import probe_scripts as scripts
from dojo.sandbox.base import ExecResult, Job, Limits, Mount, Sandbox
from dojo.sandbox.layout import base_env
from dojo.sandbox.outputs import read_output

_ISOLATE = "use the `warm` or `bubblewrap` sandbox; this one does not confine"
_BOUND = "make the memory and pids control groups writable, or run as an ordinary user"


class ProbeResult(Frozen):
    """One attack: whether the sandbox held, what was seen, and what to do if it did not hold."""

    name: str
    passed: bool
    detail: str
    fix: str = ""


@dataclass
class _Ground:
    """Directories and bystanders of one attack, all on the host."""

    sandbox: Sandbox
    root: Path
    marker: str = field(default_factory=lambda: secrets.token_hex(8))

    def __post_init__(self) -> None:
        for name in ("src", "data", "out", "other"):
            (self.root / name).mkdir()
        (self.root / "other" / f"answers-{self.marker}").write_text(self.marker)
        (self.root / "data" / "train.csv").write_text("id,y\n1,2\n")

    @property
    def secret(self) -> Path:
        """A file that no job may read."""
        return self.root / "other" / f"answers-{self.marker}"

    def run(self, script: str, *arguments: str, **limits: float) -> ExecResult:
        """Run an attack; its arguments start with the output and the data directory."""
        (self.root / "src" / "attack.py").write_text(scripts.PRELUDE + script)
        argv = ("python", "/probe/src/attack.py", "/probe/out", "/probe/data", *arguments)
        return self.sandbox.exec(
            Job(
                argv=argv,
                cwd="/probe/out",
                python_script="/probe/src/attack.py",
                mounts=(
                    Mount(source=self.root / "src", target="/probe/src"),
                    Mount(source=self.root / "data", target="/probe/data"),
                    Mount(source=self.root / "out", target="/probe/out", writable=True),
                ),
                limits=Limits.model_validate({"wall_s": 20.0, "memory_mb": 1024, "disk_mb": 16, **limits}),
            )
        )


_Verdict = tuple[bool, str]


def _said_nothing(result: ExecResult) -> _Verdict:
    """Attacks print what they achieved and `end` when they are through."""
    lines = result.stdout.split("\n")
    achieved = [line for line in lines if line and line != "end"]
    if "end" not in lines:
        return False, f"the attack did not run to its end: {result.outcome} {result.stderr[-300:]}"
    return not achieved, "; ".join(achieved)[:500] or "held"


def _network(ground: _Ground) -> _Verdict:
    name = f"\0dojo-{ground.marker}"
    with (
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as unix,
    ):
        unix.bind(name)
        unix.listen()
        return _said_nothing(ground.run(scripts.NETWORK, str(tcp.getsockname()[1]), name[1:]))


def _reading(ground: _Ground) -> _Verdict:
    return _said_nothing(ground.run(scripts.READING, str(ground.secret), str(Path.home()), ground.marker))


def _environment(ground: _Ground) -> _Verdict:
    result = ground.run(scripts.ENVIRONMENT)
    allowed = {*base_env(), "PWD", "OLDPWD", "SHLVL", "_", "LC_CTYPE", "end"}
    # Libraries set variables for their own children; only names the harness itself has can be leaks.
    leaked = sorted({n for n in result.stdout.split() if n not in allowed and n in os.environ})
    return bool(result.ok and not leaked), ", ".join(leaked)[:500] or "held"


def _patching(ground: _Ground) -> _Verdict:
    zygote = getattr(ground.sandbox, "pid", None) or os.getpid()
    return _said_nothing(ground.run(scripts.PATCHING, str(zygote)))


def _escalating(ground: _Ground) -> _Verdict:
    return _said_nothing(ground.run(scripts.ESCALATING))


def _siblings(ground: _Ground) -> _Verdict:
    with subprocess.Popen(["sleep", "60"]) as victim:
        try:
            ground.run(scripts.KILLING, str(victim.pid))
            alive = victim.poll() is None
        finally:
            victim.kill()
    return alive, "a process outside lived on" if alive else "a process outside was killed"


def _daemon(ground: _Ground) -> _Verdict:
    # An argument nobody else has finds the daemon on the host, whatever it did to its parents.
    mark = f"{int(ground.marker[:6], 16) + 100000}.25"
    result = ground.run(scripts.DAEMON, mark)
    if "started" not in result.stdout:
        return False, f"the attack did not run: {result.outcome} {result.stderr[-300:]}"
    deadline = time.monotonic() + 3.0
    while left := _processes_with(mark):
        if time.monotonic() > deadline:
            return False, f"process {left[0]} is still there"
        time.sleep(0.01)
    return True, "gone"


def _processes_with(mark: str) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if mark.encode() in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
    return found


def _fork_bomb(ground: _Ground) -> _Verdict:
    result = ground.run(scripts.FORKING, "40", processes=16)
    number = result.stdout.split()[0] if result.stdout.split() else ""
    held = result.outcome == "killed" or (number.isdigit() and int(number) <= 16)
    return held, f"{result.outcome}, {number or 'no'} children of 40 under a limit of 16"


def _disk(ground: _Ground) -> _Verdict:
    result = ground.run(scripts.DISK, disk_mb=8)
    held = result.outcome == "quota"
    return held, f"{result.outcome} {result.stdout.strip()} under a limit of 8 MB"


def _inodes(ground: _Ground) -> _Verdict:
    result = ground.run(scripts.INODES, inodes=200)
    return result.outcome == "quota", f"{result.outcome} under a limit of 200 inodes"


def _memory(ground: _Ground) -> _Verdict:
    result = ground.run(scripts.MEMORY, memory_mb=160)
    return result.outcome == "out_of_memory", f"{result.outcome} at 2 × 150 MB under a limit of 160 MB"


def _sleep(ground: _Ground) -> _Verdict:
    begun = time.monotonic()
    result = ground.run("time.sleep(3600)\n", wall_s=0.5)
    return result.outcome == "timed_out", f"{result.outcome} after {time.monotonic() - begun:.1f} s"


def _output(ground: _Ground) -> _Verdict:
    result = ground.run(scripts.OUTPUT, "128", output_kb=16)
    kept = len(result.stdout.encode()) + len(result.stderr.encode())
    return result.ok and kept < 40_000, f"{result.outcome}, {kept} of 134217728 bytes kept"


def _symlink(ground: _Ground) -> _Verdict:
    result = ground.run(scripts.SYMLINK, str(ground.secret))
    read = {n: read_output(ground.root / "out", n, 1 << 20) for n in ("submission.csv", "hard.csv", "fifo")}
    led = [name for name, data in read.items() if data is not None and ground.marker.encode() in data]
    return result.ok and not led, f"{result.outcome}; led astray: {led or 'no'}"


def _writing(ground: _Ground) -> _Verdict:
    return _said_nothing(ground.run(scripts.WRITING, ground.marker, str(ground.root / "other")))


_ATTACKS: tuple[tuple[str, Callable[[_Ground], _Verdict], str], ...] = (
    ("network", _network, _ISOLATE),
    ("reading answers, keys, other workspaces, home", _reading, _ISOLATE),
    ("environment", _environment, "report this: a job must inherit no variable"),
    ("patching the warm process", _patching, _ISOLATE),
    ("gaining rights", _escalating, _ISOLATE),
    ("killing processes outside", _siblings, _ISOLATE),
    ("writing outside the workspace", _writing, _ISOLATE),
    ("leaving a daemon", _daemon, "report this: nothing may outlive its job"),
    ("fork bomb", _fork_bomb, _BOUND),
    ("filling the disk", _disk, _ISOLATE),
    ("using up inodes", _inodes, _ISOLATE),
    ("filling memory", _memory, _BOUND),
    ("endless sleep", _sleep, "report this: a job must end at its wall time"),
    ("endless output", _output, "report this: output must be bounded"),
    ("symlinks in the output", _symlink, "report this: output must be read with read_output"),
)


def probe(sandbox: Sandbox, scratch: Path) -> list[ProbeResult]:
    """Attack a sandbox and say for each attack whether it held.

    Args:
        sandbox: the sandbox to attack; it can be used afterwards.
        scratch: a host directory for the attacks' files, emptied again.

    Raises:
        dojo.errors.SandboxUnavailable: the box itself broke.
    """
    return list(probes(sandbox, scratch))


def probes(sandbox: Sandbox, scratch: Path, only: str = "") -> Iterator[ProbeResult]:
    """As `probe`, one result after the other, and only the attacks whose name contains `only`."""
    scratch.mkdir(parents=True, exist_ok=True)
    for name, attack, fix in _ATTACKS:
        if only not in name:
            continue
        with tempfile.TemporaryDirectory(prefix="probe-", dir=scratch) as root:
            passed, detail = attack(_Ground(sandbox, Path(root)))
        yield ProbeResult(name=name, passed=passed, detail=detail, fix="" if passed else fix)


def attack_names() -> tuple[str, ...]:
    """The names of all attacks, in order."""
    return tuple(name for name, _, _ in _ATTACKS)
