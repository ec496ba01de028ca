"""The `gome` command: help, bad input, exit codes, looking at runs. Nothing here starts a sandbox."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dojo.errors import SandboxUnavailable, TaskError
from gome.cli import app, exit_code
from gome.commands.terminal import SIGNALS, Stop, stoppable
from gome.errors import BudgetExhausted, ConfigError, LlmTransport, ResumeError
from gome.loop import events as ev
from gome.loop.journal import JsonlJournal, read_journal
from gome.loop.rundir import RunDir
from gome.report.compare import first_difference
from tests.support.journals import Writer, finished_run
from tests.support.task_tables import houses, toml, write_package

ROOT = Path(__file__).parents[2]


def gome(*args: object):
    return CliRunner().invoke(app, [str(a) for a in args])


def refused(*args: object) -> str:
    """One line on stderr, nothing on stdout, exit code 2."""
    done = gome(*args)
    assert done.exit_code == 2, done.output
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert done.stderr.startswith("gome: ")
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """A working directory with a table and nothing else."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    work = tmp_path / "here"
    work.mkdir()
    monkeypatch.chdir(work)
    houses(60).to_csv("houses.csv", index=False)
    return work


def test_help_teaches_and_is_quick_to_import() -> None:
    code = (
        "import sys, gome.cli; from typer.testing import CliRunner as R; r = R().invoke(gome.cli.app, ['--help']);"
        "print(r.output); heavy = {'ray', 'pandas', 'numpy', 'sklearn', 'pydantic'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    for command in ("run", "resume", "watch", "report", "predict", "compare", "doctor", "ls", "demo"):
        assert f" {command} " in done.stdout
    assert "First steps" in done.stdout


@pytest.mark.parametrize(
    "command", ["run", "resume", "watch", "report", "predict", "compare", "doctor", "ls", "demo"]
)
def test_every_command_has_help_with_an_example(command: str) -> None:
    done = gome(command, "--help")
    assert done.exit_code == 0
    assert f"gome {command}" in " ".join(done.output.split())
    assert "Example" in done.output


BAD_RUNS = [
    (["bikeshare", "--traces", "0"], "--traces: must be at least 1"),
    (["bikeshare", "--steps", "-1"], "--steps: must be at least 1"),
    (["bikeshare", "--minutes", "0"], "--minutes must be more than 0"),
    (["bikeshare", "--minutes", "1", "--hours", "1"], "give one of them"),
    (["bikeshare", "--traces", "many"], "--traces"),
    (["bikeshare", "--trace", "3"], "--traces"),
    (["bikeshare", "--llm", "magic"], "unknown reasoner 'magic'"),
    (["bikeshare", "--llm", "playbook:x=1"], "playbook"),
    (["bikeshare", "--llm", "openai:"], "model"),
    (["bikeshare", "--llm-url", "http://127.0.0.1:1"], "--llm-url needs --llm openai:MODEL"),
    (["bikeshare", "--backend", "spark"], "unknown backend 'spark'"),
    (["bikeshare", "--sandbox", "docker"], "--sandbox: must be one of"),
    (["bikeshare", "--set", "final.resplit=3"], "did you mean final.resplits"),
    (["bikeshare", "--lockstep", "--minutes", "3"], "lock-step"),
    (["bikeshare", "--target", "y"], "--target only with a data file"),
    (["bikshare"], "did you mean bikeshare"),
    (["no/such/folder"], "no such folder"),
    (["missing.csv", "--target", "y"], "no such file"),
    (["houses.csv"], "--target COLUMN"),
    (["houses.csv", "--target", "prize"], "price"),
    (["houses.csv", "--target", "price", "--metric", "rsme"], "rmse"),
    (["houses.csv", "--target", "price", "--kind", "guess"], "--kind guess: must be one of"),
    (["houses.csv", "--target", "price", "--id", "street"], "street"),
    (["missing.toml"], "cannot read missing.toml"),
    ([], "no task"),
]


@pytest.mark.parametrize(("args", "said"), BAD_RUNS, ids=[" ".join(a) or "nothing" for a, _ in BAD_RUNS])
def test_bad_input_to_run(here: Path, args: list[str], said: str) -> None:
    message = refused("run", *args)
    assert said in message
    assert sorted(p.name for p in here.iterdir()) == ["houses.csv"], "nothing is left behind"


BAD_TABLES = {
    "empty": b"",
    "header only": b"a,price\n",
    "one row": b"a,price\n1,2\n",
    "one class": b"a,price\n" + b"1,x\n2,x\n" * 30,
    "all missing": b"a,price\n" + b"1,\n2,\n" * 30,
    "not text": b"a,price\n\xff\xfe\xe9,2\n",
    "ragged": b"a,price\n1,2,3\n1\n",
    "duplicated column": b"a,a,price\n1,2,3\n",
}


@pytest.mark.parametrize("table", BAD_TABLES)
def test_bad_tables(here: Path, table: str) -> None:
    (here / "bad.csv").write_bytes(BAD_TABLES[table])
    message = refused("run", "bad.csv", "--target", "price", "--run-dir", "out")
    assert any(word in message for word in ("bad.csv", "price", "rows"))
    assert not (here / "out").exists()


def test_duplicated_ids_are_refused(here: Path) -> None:
    frame = houses(60)
    frame["Id"] = 1
    frame.to_csv("twice.csv", index=False)
    assert "Id" in refused("run", "twice.csv", "--target", "price", "--id", "Id")


@pytest.mark.skipif(os.geteuid() == 0 and not Path("/proc").is_dir(), reason="needs a place nobody may write")
def test_an_unwritable_run_dir(here: Path) -> None:
    assert "--run-dir" in refused("run", "houses.csv", "--target", "price", "--run-dir", "/proc/gome/run")


def test_a_run_dir_that_is_taken_is_left_alone(here: Path) -> None:
    package = write_package(here / "pkg", houses(60), toml())
    finished_run(here / "done", 3)
    before = (here / "done" / "journal.jsonl").read_bytes()
    assert "gome resume" in refused("run", package, "--run-dir", "done")
    assert (here / "done" / "journal.jsonl").read_bytes() == before
    (here / "full").mkdir()
    (here / "full" / "notes.txt").write_text("mine")
    assert "not empty" in refused("run", package, "--run-dir", "full")
    assert [p.name for p in (here / "full").iterdir()] == ["notes.txt"]
    assert "not a directory" in refused("run", package, "--run-dir", "houses.csv")


def test_resume_of_what_cannot_be_resumed(here: Path) -> None:
    assert "not a run directory" in refused("resume", "nowhere")
    root = Writer(here / "live").close()
    holder = RunDir(root)
    holder.open()
    try:
        message = refused("resume", root)
    finally:
        holder.close()
    assert f"in use by the live process {os.getpid()}" in message
    assert "gome watch" in message


def test_a_run_of_another_version(here: Path) -> None:
    root = finished_run(here / "run", 3)
    journal = root / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    import zlib

    head = lines[0].decode().rpartition(',"crc":"')[0].replace('"v":1', '"v":99', 1)
    lines[0] = f'{head},"crc":"{zlib.crc32((head + "}").encode()):08x}"}}\n'.encode()
    journal.write_bytes(b"".join(lines))
    for command in ("resume", "report", "watch"):
        assert "schema 99" in refused(command, root)


def test_a_run_with_another_task(here: Path) -> None:
    package = write_package(here / "pkg", houses(60), toml())
    root = Writer(here / "run").close()
    message = refused("resume", root, "--task", package, "--backend", "serial")
    assert "is a run of task 'fake'" in message


def test_a_damaged_journal(here: Path) -> None:
    root = finished_run(here / "run", 3)
    data = (root / "journal.jsonl").read_bytes()
    (root / "journal.jsonl").write_bytes(data[:200] + b"#" + data[201:])
    assert "damaged" in refused("report", root)


def test_report_as_words_and_as_json(here: Path) -> None:
    root = finished_run(here / "run", 9)
    done = gome("report", root)
    assert done.exit_code == 0
    assert "re-splits" in done.stdout
    assert str(root / "report.html") in done.stdout
    result = json.loads(gome("report", root, "--json").stdout)
    wanted = {
        "run_dir",
        "task",
        "metric",
        "direction",
        "baseline",
        "best",
        "experiments",
        "accepted",
        "recalled",
    }
    assert wanted | {"slot_busy", "wall_s", "resumed", "sealed"} <= set(result)
    assert {"validation", "se", "n", "test", "medal", "solution"} <= set(result["best"])
    assert result["sealed"] is True


def test_watch_of_a_finished_run(here: Path) -> None:
    root = finished_run(here / "run", 6)
    done = gome("watch", root)
    assert done.exit_code == 0
    assert "finished: 6 experiments" in done.stderr
    assert done.stdout == ""


def test_compare(here: Path) -> None:
    one, two = finished_run(here / "one", 9), finished_run(here / "two", 9)
    other = finished_run(here / "other", 9, seed=1)
    assert gome("compare", one, two).exit_code == 0
    done = gome("compare", one, other)
    assert done.exit_code == 1
    assert "run.started.config.seed" in done.stdout
    assert json.loads(gome("compare", one, other, "--json").stdout)["equal"] is False


def test_the_first_difference_is_found() -> None:
    events = [{"type": "a", "x": [1, {"y": 2}]}, {"type": "b"}]
    changed = [{"type": "a", "x": [1, {"y": 3}]}, {"type": "b"}]
    assert first_difference(events, events) is None
    assert first_difference(events, changed) == {"event": 0, "where": "a.x[1].y", "first": "2", "second": "3"}
    assert first_difference(events, events[:1])["where"] == "length"


def test_predict_and_its_bad_input(here: Path) -> None:
    root = finished_run(here / "run", 3)
    assert "ends in .csv" in refused("predict", root, "houses.csv", "-o", "out.txt")
    assert "the new rows" in refused("predict", root, "houses.csv", "-o", "houses.csv")
    Path("old.csv").write_text("mine")
    assert "--force" in refused("predict", root, "houses.csv", "-o", "old.csv")
    assert "cannot write" in refused("predict", root, "houses.csv", "-o", "no/folder/out.csv")
    assert "data were removed" in refused("predict", root, "houses.csv", "-o", "out.csv")
    unfinished = Writer(here / "unfinished").close()
    assert "gome resume" in refused("predict", unfinished, "houses.csv", "-o", "out.csv")
    assert Path("old.csv").read_text() == "mine"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (TaskError("x"), 2),
        (ConfigError("x"), 2),
        (ResumeError("x"), 2),
        (BudgetExhausted("x"), 3),
        (SandboxUnavailable("x"), 4),
        (LlmTransport("x"), 4),
    ],
)
def test_exit_codes(error: Exception, code: int) -> None:
    assert exit_code(error) == code


def test_the_first_signal_stops_the_second_waits_the_third_stops_at_once(capfd) -> None:
    stop = Stop()
    with pytest.raises(KeyboardInterrupt):
        stop(15, None)
    stop(2, None)
    assert "once more to stop at once" in capfd.readouterr().err
    with pytest.raises(KeyboardInterrupt):
        stop(2, None)
    assert Stop().exit_code == 130


def test_signals_are_given_back_and_taken_again(tmp_path: Path) -> None:
    import signal

    before = [signal.getsignal(number) for number in SIGNALS]
    with stoppable() as (stop, keep):
        assert signal.getsignal(signal.SIGTERM) is stop
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # as a library may do
        keep.on_record(None, None)
        assert signal.getsignal(signal.SIGTERM) is stop
    assert [signal.getsignal(number) for number in SIGNALS] == before


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_a_commit_cut_off_in_the_middle_leaves_a_sound_journal(tmp_path: Path, monkeypatch, error) -> None:
    journal = JsonlJournal(tmp_path / "journal.jsonl")
    journal.append([ev.RunResumed()])
    real = os.fsync

    def broken(fd: int) -> None:
        raise error

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(error):
        journal.append([ev.TraceRetired(trace=1, cause="x")])
    monkeypatch.setattr(os, "fsync", real)
    journal.append([ev.RunInterrupted(cause="interrupted")])
    journal.close()
    kinds = [record.event.type for record in read_journal(tmp_path / "journal.jsonl")]
    assert kinds == ["run.resumed", "run.interrupted"]
