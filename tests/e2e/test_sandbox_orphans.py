"""Nothing is left running: after close, after the death of the harness, after the death of the warm process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from dojo.errors import SandboxUnavailable
from dojo.sandbox import cgroups, open_sandbox, procfs
from dojo.sandbox.base import Job, Limits, Mount
from dojo.sandbox.warm import WarmSandbox

pytestmark = pytest.mark.attack
ROOT = Path(__file__).parents[2]
KINDS = ("warm", "bubblewrap", "process")
HARNESS = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from dojo.sandbox import open_sandbox
from dojo.sandbox.base import Job, Mount
code = Path(sys.argv[3])
box = open_sandbox(sys.argv[2], scratch=Path(sys.argv[4]), preload=())
print("open", flush=True)
box.exec(Job(argv=("python", "/code/s.py"), python_script="/code/s.py", cwd="/code",
             mounts=(Mount(source=code, target="/code"),)))
"""


def wait_until(condition, seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while time.monotonic() < deadline:
        if condition():
            return True
        pause.wait(0.01)
    return bool(condition())


def command_lines() -> list[bytes]:
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(path.read_bytes())
        except OSError:
            continue
    return lines


def sleeper(directory: Path, mark: str) -> None:
    """A script with a daemon that ignores signals, itself recognised by an argument nobody else has."""
    (directory / "s.py").write_text(
        "import os, signal, subprocess, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        f"subprocess.Popen(['sleep', '{mark}'], start_new_session=True)\n"
        "time.sleep(600)\n"
    )


def job(directory: Path, **limits) -> Job:
    return Job(
        argv=("python", "/code/s.py"),
        python_script="/code/s.py",
        cwd="/code",
        mounts=(Mount(source=directory, target="/code"),),
        limits=Limits(**{"wall_s": 60.0, "memory_mb": 1024, **limits}),
    )


@pytest.mark.parametrize("kind", [*KINDS, "auto"])
def test_no_child_is_left_after_close(kind, tmp_path):
    before = set(procfs.descendants(os.getpid()))
    sleeper(tmp_path, "86401.5")
    box = open_sandbox(kind, scratch=tmp_path / "box", preload=())
    assert box.exec(job(tmp_path, wall_s=1.0)).outcome == "timed_out"
    box.close()
    assert set(procfs.descendants(os.getpid())) <= before
    assert not any(b"86401.5" in line for line in command_lines())


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_outlives_a_killed_harness(kind, tmp_path):
    mark = f"8640{KINDS.index(kind)}.75"
    sleeper(tmp_path, mark)
    arguments = [sys.executable, "-c", HARNESS, str(ROOT), kind, str(tmp_path), str(tmp_path / "box")]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as harness:
        assert harness.stdout is not None
        try:
            assert harness.stdout.readline() == "open\n"
            assert wait_until(lambda: any(mark.encode() in line for line in command_lines()))
            below = procfs.descendants(harness.pid)
            assert below
        finally:
            harness.kill()
    assert wait_until(lambda: not any(mark.encode() in line for line in command_lines()))
    assert wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in below))


def test_a_killed_warm_process_is_replaced(tmp_path):
    (tmp_path / "s.py").write_text("print('ran')")
    with WarmSandbox(tmp_path / "box", ()) as box:
        first = box.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        assert box.exec(job(tmp_path)).stdout == "ran\n"
        assert box.pid != first


def test_a_job_whose_warm_process_is_killed_runs_again(tmp_path):
    """Nothing of the lost run reaches the host, so the job can simply be run once more."""
    out = tmp_path / "out"
    out.mkdir()
    mark = "86409.25"
    sleeper(tmp_path, mark)
    request = job(tmp_path, wall_s=4.0)
    request = request.model_copy(
        update={"mounts": (*request.mounts, Mount(source=out, target="/out", writable=True))}
    )
    with WarmSandbox(tmp_path / "box", ()) as box:
        results = []
        thread = threading.Thread(target=lambda: results.append(box.exec(request)))
        thread.start()
        assert wait_until(lambda: any(mark.encode() in line for line in command_lines()))
        assert box.pid is not None
        os.kill(box.pid, signal.SIGKILL)
        thread.join()
        assert [r.outcome for r in results] == ["timed_out"]


def test_a_warm_process_that_cannot_start_is_the_boxs_fault(tmp_path, monkeypatch):
    with WarmSandbox(tmp_path / "box", ()) as box:
        monkeypatch.setattr("dojo.sandbox.warm.sys.executable", "/bin/false")
        assert box.pid is not None
        os.kill(box.pid, signal.SIGKILL)
        (tmp_path / "s.py").write_text("pass")
        with pytest.raises(SandboxUnavailable, match="did not start"):
            box.exec(job(tmp_path))


def test_control_groups_are_removed(tmp_path):
    probe = cgroups.find()
    if probe is None:
        pytest.skip("no control groups here")
    cgroups.release(probe)
    mine = f"dojo-box-{os.getpid()}-"

    def groups() -> set[Path]:
        return {p for root in probe.roots for p in root.parent.iterdir() if p.name.startswith(mine)}

    before = groups()  # of sandboxes that other tests hold open
    (tmp_path / "s.py").write_text("pass")
    for kind in KINDS:
        box = open_sandbox(kind, scratch=tmp_path / "box", preload=())
        box.exec(job(tmp_path))
        assert groups() > before
        box.close()
    assert groups() <= before
