"""`gome doctor`: tries on this machine what a run does, the way a run does it, and says how to mend what fails."""

from __future__ import annotations

import csv
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from dojo.errors import DojoError, boundary
from dojo.model import Frozen
from gome.errors import GomeError

if TYPE_CHECKING:
    from dojo.mle.package import Task

Status = Literal["passed", "warning", "failed"]
PACKAGES = (
    "numpy",
    "pandas",
    "scikit-learn",
    "lightgbm",
    "scipy",
    "pyarrow",
    "pydantic",
    "openai",
    "matplotlib",
    "ray",
)
FREE_GB = 2.0
"""Room that a run with a few dozen experiments on a middling table needs."""
SLOW_FSYNC_MS = 50.0
MIN_MEMORY_MB = 2048


class Check(Frozen):
    """One thing that was tried."""

    name: str
    status: Status
    detail: str = ""
    fix: str = ""
    """What to do when it did not pass."""
    seconds: float = 0.0


class CheckBroke(GomeError):
    """A check itself broke; told as a failed check."""


Finding = tuple[str, Status, str, str]


def examine(*, llm: str | None = None, llm_url: str | None = None, fast: bool = False) -> Iterator[Check]:
    """Carry out the checks one by one, each told as soon as it is known. Never raises for what it finds.

    Args:
        llm: specification of a language model to try (`openai:MODEL`).
        llm_url: base URL of its endpoint.
        fast: leave out the attacks on the sandbox and Ray.
    """
    plan: list[tuple[str, Callable[[], Iterable[Finding]]]] = [
        ("python", _python),
        ("machine", _machine),
        ("clock", _clock),
        ("disk", _disk),
        ("cache", _cache),
        ("gpu", _gpu),
        ("experiment", _experiment),
    ]
    if not fast:
        plan += [("sandbox", _sandbox), ("ray", _ray)]
    if llm is not None or llm_url is not None:
        plan.append(("language model", lambda: _llm(llm, llm_url)))
    for name, function in plan:
        yield from _carried_out(name, function)


def _carried_out(name: str, function: Callable[[], Iterable[Finding]]) -> Iterator[Check]:
    start = time.monotonic()
    try:
        with boundary(CheckBroke, "the check broke"):
            for found, status, detail, fix in function():
                seconds = round(time.monotonic() - start, 3)
                yield Check(name=found, status=status, detail=detail, fix=fix, seconds=seconds)
                start = time.monotonic()
    except (DojoError, GomeError) as exc:
        what = " ".join(str(exc).split())[:500]
        yield Check(name=name, status="failed", detail=what, fix=_FIXES.get(name, ""))


_FIXES = {
    "experiment": "see the sandbox checks",
    "sandbox": "run on Linux with user namespaces, or type --sandbox process (the run is then marked unsealed)",
    "ray": "pip install 'ray[default]', or use --backend serial",
    "language model": "correct --llm or --llm-url",
    "disk": "run in a folder you may write to, or give --run-dir",
    "cache": "set XDG_CACHE_HOME to a folder you may write to",
}


def _python() -> Iterator[Finding]:
    found, missing = [f"Python {sys.version.split()[0]}"], []
    for name in PACKAGES:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        yield "python", "failed", f"not installed: {', '.join(missing)}", f"pip install {' '.join(missing)}"
    else:
        yield "python", "passed", ", ".join(found), ""


def _machine() -> Iterator[Finding]:
    from gome.loop.backend import machine_cpus, machine_memory_mb

    cpus, memory = machine_cpus(), machine_memory_mb()
    detail = f"{cpus} CPUs, {memory / 1024:.1f} GB memory, load {os.getloadavg()[0]:.1f}"
    if memory < MIN_MEMORY_MB:
        yield "machine", "warning", detail, "little memory: give --traces 1"
    elif os.getloadavg()[0] > 2 * cpus:
        yield "machine", "warning", detail, "the machine is busy: times will be long and vary"
    else:
        yield "machine", "passed", detail, ""


def _clock() -> Iterator[Finding]:
    now = datetime.now(UTC)
    with tempfile.NamedTemporaryFile() as file:
        skew = abs(Path(file.name).stat().st_mtime - time.time())
    if now.year < 2025:
        yield (
            "clock",
            "failed",
            f"it says {now:%Y-%m-%d}",
            "set the system's clock: run names and reports use it",
        )
    elif skew > 5:
        yield "clock", "warning", f"file times are {skew:.0f} s off", "synchronize the file server's clock"
    else:
        yield "clock", "passed", f"{now:%Y-%m-%d %H:%M:%S} UTC", ""


def _disk() -> Iterator[Finding]:
    here = Path.cwd()
    free = shutil.disk_usage(here).free / 1e9
    if not os.access(here, os.W_OK):
        yield "disk", "failed", f"cannot write to {here}", _FIXES["disk"]
        return
    times = []
    with tempfile.TemporaryFile(dir=here) as file:
        for _ in range(15):
            start = time.monotonic()
            file.write(b"x" * 2000)
            file.flush()
            os.fsync(file.fileno())
            times.append(1000 * (time.monotonic() - start))
    sync = statistics.median(times)
    detail = f"{free:.1f} GB free in {here}, {sync:.1f} ms to make a journal line durable"
    if free < FREE_GB:
        yield "disk", "warning", detail, f"make room, or give a --run-dir with at least {FREE_GB:g} GB free"
    elif sync > SLOW_FSYNC_MS:
        yield "disk", "warning", detail, "slow to sync: give a --run-dir on a local disk"
    else:
        yield "disk", "passed", detail, ""


def _cache() -> Iterator[Finding]:
    from dojo.mle.prepare import cache_root

    root = cache_root()
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=root):
            pass
    except OSError as exc:
        yield "cache", "failed", f"cannot write to {root}: {exc.strerror}", _FIXES["cache"]
        return
    yield "cache", "passed", f"{root}, {shutil.disk_usage(root).free / 1e9:.1f} GB free", ""


def _gpu() -> Iterator[Finding]:
    program = shutil.which("nvidia-smi")
    if program is None:
        yield "gpu", "passed", "none found; tabular tasks need none", ""
        return
    try:
        done = subprocess.run(
            [program, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        yield "gpu", "warning", f"nvidia-smi does not answer: {exc}", "check the driver"
        return
    if done.returncode != 0:
        yield "gpu", "warning", (done.stdout + done.stderr).strip()[:200], "check the driver (nvidia-smi)"
    else:
        yield "gpu", "passed", "; ".join(done.stdout.strip().splitlines()), ""


def _experiment() -> Iterator[Finding]:
    """The path of every experiment: a baseline on a small table, in the sandbox, graded on hidden rows."""
    from dojo.mle.environment import MleEnvironment
    from dojo.score import Score
    from dojo.slot import Slot
    from gome.mle.playbook.baseline import baseline
    from gome.mle.playbook.render import render

    with _small_task() as task:
        work, prepared = task.root.parent, task.prepare()
        files = render(baseline(prepared.spec), prepared.spec)
        environment = MleEnvironment(prepared, data=work / "data", scratch=work / "scratch")
        times = []
        try:
            for _ in range(3):
                start = time.monotonic()
                done = environment.run(files, view="search", seed=0, slot=Slot.cpu(), seconds=120)
                times.append(time.monotonic() - start)
            if done.failure is not None or done.submission is None:
                why = done.failure.message if done.failure else "no submission"
                yield (
                    "experiment",
                    "failed",
                    f"a solution that must work failed: {why[-300:]}",
                    _FIXES["sandbox"],
                )
                return
            score = environment.validate(done.submission, view="search")
            how = "warm" if done.exec.warm else "cold"
            words = f"starts and first run {times[0]:.2f} s, then {min(times):.2f} s ({how})"
            if not isinstance(score, Score):
                yield "experiment", "failed", f"grading failed: {score.message[:300]}", ""
            elif not environment.sealed:
                yield "experiment", "warning", f"{words}; UNSEALED", _FIXES["sandbox"]
            elif not done.exec.warm:
                yield "experiment", "warning", f"{words}: no warm start", "see the sandbox checks"
            else:
                yield "experiment", "passed", f"run in the sandbox and graded: {words}", ""
        finally:
            environment.close()


def _ray() -> Iterator[Finding]:
    """A whole small run on the Ray backend, and that nothing of it is left."""
    import psutil

    from gome.api import optimize
    from gome.config import FinalConfig, RunConfig
    from gome.loop.budget import Budget

    before = {p.pid for p in psutil.Process().children(recursive=True)}
    config = RunConfig(traces=2, budget=Budget(steps=2), final=FinalConfig(resplits=0, merge_steps=0))
    with _small_task() as task:
        report = optimize(task, config=config, backend="ray", run_dir=task.root.parent / "run")
    _, left = psutil.wait_procs(
        [p for p in psutil.Process().children(recursive=True) if p.pid not in before], timeout=10
    )
    detail = f"a run of {report.experiments} experiments on 2 traces took {report.wall_s:.1f} s"
    if left:
        names = ", ".join(sorted({p.name() for p in left}))
        yield "ray", "failed", f"{detail}, but left behind: {names}", "report this; end them with `ray stop`"
    elif report.best is None:
        yield "ray", "failed", f"{detail}, none with a valid score", "see the experiment check"
    else:
        yield "ray", "passed", f"{detail}; nothing left running", ""


@contextmanager
def _small_task() -> Iterator[Task]:
    """A package of 120 rows in a temporary folder; its prepared data are removed from the cache again."""
    from dojo.mle.new import new_task
    from dojo.mle.prepare import prepared_folder

    rng = random.Random(0)
    with tempfile.TemporaryDirectory(prefix="gome-doctor-") as name:
        work = Path(name)
        work.chmod(0o755)  # the sandbox may use a uid of its own
        with (work / "doctor.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["a", "b", "y"])
            for _ in range(120):
                a, b = rng.random(), rng.choice("uvw")
                writer.writerow([f"{a:.6f}", b, f"{3 * a + (b == 'u') + 0.1 * rng.random():.6f}"])
        task = new_task(work / "task", work / "doctor.csv", target="y").task
        try:
            yield task
        finally:
            home = prepared_folder(task)
            shutil.rmtree(home, ignore_errors=True)
            home.with_name(home.name + ".lock").unlink(missing_ok=True)


def _sandbox() -> Iterator[Finding]:
    """Every limit of the sandbox, proved by attacking it."""
    from dojo.sandbox import open_sandbox
    from dojo.sandbox.probe import probes

    with tempfile.TemporaryDirectory(prefix="gome-doctor-") as name:
        Path(name).chmod(0o755)
        sandbox = open_sandbox("auto", scratch=Path(name) / "box")
        try:
            for result in probes(sandbox, Path(name) / "attacks"):
                status: Status = "passed" if result.passed else "failed"
                yield f"sandbox: {result.name}", status, result.detail, result.fix
        finally:
            sandbox.close()


def _llm(llm: str | None, url: str | None) -> Iterator[Finding]:
    from gome.llm.check import check_llm
    from gome.llm.spec import parse_llm

    if llm is None:
        yield "language model", "failed", "--llm-url without --llm", "give --llm openai:MODEL too"
        return
    for check in check_llm(parse_llm(llm, url)):
        yield check.name, "passed" if check.passed else "failed", check.detail, check.fix
