"""A driver that is killed, stopped, or not alone. Each starts a Ray of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gome.loop.backend import SerialBackend
from gome.loop.execute import execute
from gome.loop.journal import canonical, read_journal
from tests.support.fake_world import FakeLlms, fake_agent, fake_run
from tests.support.shared_ray import MARK, eventually, marked

pytestmark = [pytest.mark.ray, pytest.mark.slow]
ROOT = Path(__file__).parents[2]


@contextmanager
def driver(root: Path, *words: str, mark: str) -> Iterator[subprocess.Popen]:
    """A driver process in a session of its own; killed when the block ends."""
    command = [sys.executable, "-m", "tests.support.ray_driver", str(root), *words]
    env = os.environ | {MARK: mark, "TMPDIR": tempfile.gettempdir()}
    env.pop("RAY_ADDRESS", None)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=ROOT, env=env, start_new_session=True, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


def serial(root: Path) -> list[dict]:
    run = fake_run(root, llm=FakeLlms(root.parent / "calls"), agent=fake_agent(llm=True))
    if run.state.experiments:
        run.resume()
    execute(run, SerialBackend())
    run.journal.close()
    return history(root)


def history(root: Path) -> list[dict]:
    return canonical(list(read_journal(root / "journal.jsonl")))


def commits(root: Path) -> int:
    path = root / "journal.jsonl"
    return path.read_bytes().count(b'"experiment.finished"') if path.exists() else 0


def test_a_killed_driver_leaves_no_process_and_is_resumed_by_any_backend(tmp_path: Path) -> None:
    expected = serial(tmp_path / "a" / "run")
    root, mark = tmp_path / "b" / "run", uuid.uuid4().hex
    with driver(root, "0.2", mark=mark) as first:
        eventually(lambda: commits(root) >= 3 or first.poll() is not None)
        first.send_signal(signal.SIGKILL)
        first.wait()
    eventually(lambda: not marked(mark), "a killed driver left processes behind")
    assert 3 <= commits(root) < 12
    with driver(root, "0.2", mark=mark) as second:
        enough = commits(root) + 4
        eventually(lambda: commits(root) >= enough or second.poll() is not None)
        second.send_signal(signal.SIGKILL)
        second.wait()
    eventually(lambda: not marked(mark), "a killed driver left processes behind")
    assert commits(root) < 12
    assert serial(root) == expected


def test_a_stopped_driver_says_so_in_the_journal_and_cleans_up(tmp_path: Path) -> None:
    root, mark = tmp_path / "run", uuid.uuid4().hex
    before = set(Path(tempfile.gettempdir()).glob("gome-ray-*"))
    with driver(root, "1", mark=mark) as process:
        eventually(lambda: commits(root) >= 2 or process.poll() is not None)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (128 + signal.SIGTERM, "", "")
    kinds = [record.event.type for record in read_journal(root / "journal.jsonl")]
    assert kinds[-1] == "run.interrupted"
    eventually(lambda: not marked(mark), "a stopped driver left processes behind")
    assert not set(Path(tempfile.gettempdir()).glob("gome-ray-*")) - before


def test_two_runs_at_the_same_time_do_not_meet(tmp_path: Path) -> None:
    expected = serial(tmp_path / "serial" / "run")
    mark = uuid.uuid4().hex
    roots = [tmp_path / name / "run" for name in ("a", "b")]
    with driver(roots[0], mark=mark) as one, driver(roots[1], mark=mark) as other:
        for process in (one, other):
            out, err = process.communicate(timeout=120)
            assert (process.returncode, out, err) == (0, "", "")
    assert [history(root) for root in roots] == [expected, expected]
    eventually(lambda: not marked(mark), "processes are left")


def test_workers_import_what_the_driver_can(tmp_path: Path) -> None:
    """Code of the script itself, of its folder, and of a folder that only `sys.path` knows."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "my_agent.py").write_text(
        "from tests.support.fake_world import FakeStrategy\nclass Mine(FakeStrategy):\n    pass\n"
    )
    (tmp_path / "script.py").write_text(
        f"import sys\nsys.path[:0] = [{str(ROOT)!r}, {str(elsewhere)!r}]\n"
        "from pathlib import Path\n"
        "from cluster.backend import RayBackend\n"
        "from gome.loop.execute import execute\n"
        "from gome.loop.strategy import Agent\n"
        "from my_agent import Mine\n"
        "from tests.support.fake_world import fake_config, fake_run\n"
        "class Here(Mine):\n"
        "    def interpret(self, *args):\n"
        "        return super().interpret(*args)\n"
        "if __name__ == '__main__':\n"
        "    agent = Agent(name='fake', proposer=Mine(), implementer=Mine(), interpreter=Here())\n"
        "    run = fake_run(Path(sys.argv[1]), fake_config(4, traces=2), agent=agent)\n"
        "    execute(run, RayBackend(num_cpus=2))\n"
        "    assert run.state.finished\n"
    )
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "RAY_ADDRESS")}
    command = [sys.executable, str(tmp_path / "script.py"), str(tmp_path / "run")]
    done = subprocess.run(
        command,
        cwd=tmp_path / "elsewhere" / "..",
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
