"""What every sandbox does alike."""

from __future__ import annotations

import shutil
import sysconfig
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dojo.errors import SandboxUnavailable
from dojo.sandbox import layout, open_sandbox
from dojo.sandbox.base import ExecResult, Job, Limits, Mount, Sandbox
from dojo.sandbox.scripted import ScriptedSandbox

KINDS = ("warm", "bubblewrap", "auto", "process")


@pytest.fixture(scope="module", params=KINDS)
def sandbox(request, tmp_path_factory) -> Iterator[Sandbox]:
    box = open_sandbox(
        request.param, scratch=tmp_path_factory.mktemp("box"), preload=("numpy", "json", "argparse")
    )
    yield box
    box.close()


@pytest.fixture
def run(sandbox: Sandbox, tmp_path: Path) -> Callable[..., ExecResult]:
    (tmp_path / "code").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "out").mkdir()

    def run(script: str, *arguments: str, env: dict[str, str] | None = None, **limits) -> ExecResult:
        (tmp_path / "code" / "solution.py").write_text(script)
        return sandbox.exec(
            Job(
                argv=("python", "/code/solution.py", "--out", "/out", *arguments),
                python_script="/code/solution.py",
                cwd="/out",
                mounts=(
                    Mount(source=tmp_path / "code", target="/code"),
                    Mount(source=tmp_path / "data", target="/data"),
                    Mount(source=tmp_path / "out", target="/out", writable=True),
                ),
                env=env or {},
                limits=Limits(**{"wall_s": 30.0, "memory_mb": 1024, "disk_mb": 16, **limits}),
            )
        )

    return run


def test_is_a_sandbox(sandbox):
    assert isinstance(sandbox, Sandbox)
    assert sandbox.sealed is (sandbox.name != "process")


def test_ok_with_arguments_streams_and_files(run, tmp_path):
    result = run(
        "import sys\nprint(sys.argv[1:])\nprint('two', file=sys.stderr)\nopen('x.csv', 'w').write('1')\n",
        "-v",
    )
    assert (result.outcome, result.exit_code, result.signal) == ("ok", 0, None)
    assert result.stdout.endswith("'-v']\n")
    assert result.stderr == "two\n"
    assert (tmp_path / "out" / "x.csv").read_text() == "1"
    assert result.wall_s > 0


@pytest.mark.parametrize(
    ("code", "expected"), [("0", "ok"), ("None", "ok"), ("3", "failed"), ("'no'", "failed")]
)
def test_sys_exit(run, code, expected):
    assert run(f"import sys\nsys.exit({code})").outcome == expected


def test_os_exit_is_an_exit_code(run):
    result = run("import os\nos._exit(7)")
    assert (result.outcome, result.exit_code) == ("failed", 7)


def test_traceback_names_the_script_only(run):
    result = run("def f():\n    raise ValueError('wrong')\nf()\n")
    assert result.outcome == "failed"
    assert result.exit_code == 1
    assert result.stderr.startswith("Traceback (most recent call last):\n  File ")
    assert result.stderr.count("File ") == 2
    assert result.stderr.endswith("ValueError: wrong\n")


def test_syntax_error(run):
    result = run("def f(:\n")
    assert (result.outcome, result.exit_code) == ("failed", 1)
    assert "SyntaxError" in result.stderr


def test_missing_script_is_the_programs_fault(sandbox, tmp_path):
    job = Job(
        argv=("python", "/code/none.py"),
        python_script="/code/none.py",
        cwd="/code",
        mounts=(Mount(source=tmp_path, target="/code"),),
    )
    result = sandbox.exec(job)
    assert (result.outcome, result.exit_code) == ("failed", 2)
    assert "none.py" in result.stderr


def test_missing_command_and_directory(sandbox, tmp_path):
    mounts = (Mount(source=tmp_path, target="/code"),)
    assert sandbox.exec(Job(argv=("no-such-command",), cwd="/code", mounts=mounts)).exit_code == 127
    assert sandbox.exec(Job(argv=("true",), cwd="/code/none", mounts=mounts)).exit_code == 127


def test_any_command(sandbox, tmp_path):
    mounts = (Mount(source=tmp_path, target="/code", writable=True),)
    result = sandbox.exec(Job(argv=("sh", "-c", "echo hi > f; cat f"), cwd="/code", mounts=mounts))
    assert (result.outcome, result.stdout) == ("ok", "hi\n")
    assert (tmp_path / "f").read_text() == "hi\n"


def test_segmentation_fault(run):
    result = run("import ctypes\nctypes.string_at(0)")
    assert (result.outcome, result.exit_code, result.signal) == ("killed", None, 11)


def test_wall_time(run):
    result = run("import time\nprint('begun', flush=True)\ntime.sleep(600)", wall_s=0.7)
    assert result.outcome == "timed_out"
    assert result.exit_code is None
    assert result.wall_s < 60
    if "begun" not in result.stdout:  # a slow start on a busy machine is cut off too
        assert result.stdout == ""


def test_memory(run):
    result = run("x = bytearray(400 << 20)\nx[::4096] = b'x' * len(x[::4096])", memory_mb=250)
    assert result.outcome == "out_of_memory"


def test_memory_error_of_the_interpreter(run):
    assert run("raise MemoryError").outcome == "out_of_memory"
    assert run("print('MemoryError'); raise ValueError('MemoryError')").outcome == "failed"


def test_disk(run):
    result = run("f = open('big', 'wb')\nfor _ in range(64): f.write(b'x' * (1 << 20))\n", disk_mb=8)
    assert result.outcome == "quota"


def test_inodes(run):
    assert (
        run("import time\nfor i in range(3000): open(str(i), 'w')\ntime.sleep(.5)", inodes=100).outcome
        == "quota"
    )


def test_output_is_bounded_with_head_and_tail(run):
    result = run("print('first')\nprint('x' * 3_000_000)\nprint('last')", output_kb=4)
    assert result.outcome == "ok"
    assert len(result.stdout) < 5000
    assert result.stdout.startswith("first\n")
    assert result.stdout.endswith("last\n")
    assert "bytes left out" in result.stdout


def test_environment_is_not_inherited(run, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret-key")
    result = run(
        "import os\nprint(sorted(os.environ), os.environ['MINE'], os.environ['HOME'])", env={"MINE": "yes"}
    )
    assert "OPENAI" not in result.stdout
    assert "yes" in result.stdout


def test_hash_order_is_fixed_unless_asked(run):
    script = "print(hash('abc'))"
    first = run(script).stdout
    assert run(script).stdout == first
    assert run(script, env={"PYTHONHASHSEED": "7"}).stdout not in ("", first)


def test_random_state_is_fresh(run):
    script = "import random, numpy\nprint(random.random(), numpy.random.rand())"
    first, second = (run(script).stdout.split() for _ in range(2))
    assert first[0] != second[0]
    assert first[1] != second[1]


def test_main_module_pickles_and_multiprocessing_works(run):
    script = """
import multiprocessing as mp, pickle
class Thing: pass
def double(x): return 2 * x
if __name__ == "__main__":
    assert type(pickle.loads(pickle.dumps(Thing()))) is Thing
    for kind in ("fork", "spawn"):
        with mp.get_context(kind).Pool(2) as pool:
            print(pool.map(double, [1, 2]))
"""
    result = run(script)
    assert result.stdout == "[2, 4]\n[2, 4]\n", result.stderr


def test_end_of_the_interpreter(run, tmp_path):
    script = """
import atexit, threading, time
keep = open("unclosed", "w"); keep.write("kept")
atexit.register(lambda: print("exit function"))
threading.Thread(target=lambda: (time.sleep(0.1), print("thread"))).start()
print("main")
"""
    assert run(script).stdout == "main\nthread\nexit function\n"
    assert (tmp_path / "out" / "unclosed").read_text() == "kept"


def test_helper_module_beside_the_script(run, tmp_path):
    (tmp_path / "code" / "helper.py").write_text("VALUE = 5\n")
    assert run("from helper import VALUE\nprint(VALUE)").stdout == "5\n"


def test_writable_mount_starts_with_its_content_and_is_brought_up_to_date(run, tmp_path):
    out = tmp_path / "out"
    (out / "deep").mkdir()
    (out / "deep" / "kept").write_text("same")
    (out / "changed").write_text("old")
    (out / "removed").write_text("old")
    result = run(
        "import os\nassert open('deep/kept').read() == 'same'\nopen('changed', 'w').write('new')\n"
        "os.remove('removed')\nos.makedirs('a/b'); open('a/b/c', 'w').write('deep')\n"
    )
    assert result.outcome == "ok", result.stderr
    assert (out / "deep" / "kept").read_text() == "same"
    assert (out / "changed").read_text() == "new"
    assert not (out / "removed").exists()
    assert (out / "a" / "b" / "c").read_text() == "deep"


def test_several_threads_at_once(sandbox, tmp_path):
    results: dict[int, ExecResult] = {}

    def work(index: int) -> None:
        code = tmp_path / str(index)
        code.mkdir()
        (code / "s.py").write_text(f"print({index})")
        mounts = (Mount(source=code, target="/code"),)
        job = Job(argv=("python", "/code/s.py"), python_script="/code/s.py", cwd="/code", mounts=mounts)
        results[index] = sandbox.exec(job)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {i: r.stdout for i, r in results.items()} == {i: f"{i}\n" for i in range(6)}


@pytest.mark.parametrize("target", ["/", "relative", "/usr/x", "/proc", "/a/../etc", "/a/"])
def test_bad_mount_target_is_the_callers_fault(sandbox, tmp_path, target):
    with pytest.raises(ValueError, match="mount target"):
        sandbox.exec(Job(argv=("true",), mounts=(Mount(source=tmp_path, target=target),)))


def test_missing_mount_source_is_the_callers_fault(sandbox, tmp_path):
    with pytest.raises(ValueError, match="does not exist"):
        sandbox.exec(Job(argv=("true",), mounts=(Mount(source=tmp_path / "no", target="/a"),)))


@pytest.mark.parametrize("kind", KINDS)
def test_close_twice_then_unavailable(kind, tmp_path):
    box = open_sandbox(kind, scratch=tmp_path / "scratch", preload=())
    box.close()
    box.close()
    with pytest.raises(SandboxUnavailable):
        box.exec(Job(argv=("true",), cwd="/"))
    assert list((tmp_path / "scratch").iterdir()) == []


def test_scripted(tmp_path):
    def script(job: Job) -> ExecResult:
        if job.argv[0] == "broken":
            raise SandboxUnavailable("scripted")
        (job.mounts[0].source / "submission.csv").write_text("id,y\n")
        return ExecResult(outcome="ok", exit_code=0, stdout=job.argv[0])

    box = ScriptedSandbox(script)
    assert isinstance(box, Sandbox)
    mounts = (Mount(source=tmp_path, target="/out", writable=True),)
    assert box.exec(Job(argv=("a",), mounts=mounts)).stdout == "a"
    assert (tmp_path / "submission.csv").exists()
    with pytest.raises(SandboxUnavailable, match="scripted"):
        box.exec(Job(argv=("broken",)))
    with pytest.raises(ValueError, match="mount target"):
        box.exec(Job(argv=("a",), mounts=(Mount(source=tmp_path, target="x"),)))
    assert [job.argv for job in box.jobs] == [("a",), ("broken",)]
    box.close()
    with pytest.raises(SandboxUnavailable, match="closed"):
        box.exec(Job(argv=("a",)))


def test_unknown_kind(tmp_path):
    with pytest.raises(ValueError, match="unknown sandbox"):
        open_sandbox("docker", scratch=tmp_path)  # type: ignore[arg-type]


def test_nothing_silently_weaker(tmp_path, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise SandboxUnavailable("not here")

    monkeypatch.setattr("dojo.sandbox.factory.WarmSandbox", refuse)
    monkeypatch.setattr("dojo.sandbox.factory.BubblewrapSandbox", refuse)
    with pytest.raises(SandboxUnavailable, match=r"cannot be confined here.*not here"):
        open_sandbox("auto", scratch=tmp_path)


def test_sandboxes_close_with_scratch_gone(tmp_path):
    box = open_sandbox("warm", scratch=tmp_path / "scratch", preload=())
    shutil.rmtree(tmp_path / "scratch", ignore_errors=True)
    box.close()


def test_hidden_files_of_the_libraries_cannot_be_read(sandbox, tmp_path):
    if not sandbox.sealed:
        pytest.skip("an unsealed sandbox shows the whole host")
    hidden = Path(sysconfig.get_paths()["purelib"], "sklearn", "datasets", "data", "digits.csv.gz")
    assert hidden.stat().st_size > 1000
    (tmp_path / "solution.py").write_text(
        "import os, sys\nfrom pathlib import Path\npath = Path(sys.argv[1])\n"
        "beside = path.with_name('iris.csv').read_bytes()\n"
        "print(len(beside) > 100)\n"
        "try:\n    print(len(path.read_bytes()))\nexcept OSError as exc:\n    print('refused')\n"
    )
    job = Job(
        argv=("python", "/code/solution.py", str(hidden)),
        python_script="/code/solution.py",
        cwd="/tmp",
        mounts=(Mount(source=tmp_path, target="/code"),),
        hidden=(hidden,),
    )
    result = sandbox.exec(job)
    assert (result.outcome, result.stdout.split()) == ("ok", ["True", "refused"]), result.stderr
    # The next job of the same sandbox, for which nothing is hidden, reads it.
    shown = sandbox.exec(job.model_copy(update={"hidden": ()}))
    assert shown.stdout.split() == ["True", str(hidden.stat().st_size)]


@pytest.mark.parametrize("kind", ["warm", "bubblewrap"])
def test_an_interpreter_below_tmp_is_not_hidden_by_the_private_tmp(kind, tmp_path, monkeypatch):
    library = tmp_path / "venv" / "lib"
    library.mkdir(parents=True)
    (library / "there.txt").write_text("seen")
    monkeypatch.setattr(layout, "_SYSTEM", (*layout._SYSTEM, str(library)))
    monkeypatch.setattr(layout, "_RESERVED", ())
    code = tmp_path / "code"
    code.mkdir()
    (code / "s.py").write_text(
        f"import os; print(open({str(library / 'there.txt')!r}).read(), os.listdir({str(tmp_path)!r}))\n"
        "open('/tmp/mine', 'w').write('x')\n"
    )
    mounts = (Mount(source=code, target="/box/code"),)
    job = Job(argv=("python", "/box/code/s.py"), cwd="/tmp", mounts=mounts, python_script="/box/code/s.py")
    assert Path("/tmp") in library.parents
    box = open_sandbox(kind, scratch=tmp_path / "scratch", preload=())
    try:
        result = box.exec(job)
    finally:
        box.close()
    assert result.ok, result.stderr
    assert result.stdout.strip() == "seen ['venv']"
