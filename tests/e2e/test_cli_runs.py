"""The whole chain by real processes: own data, a search, Ctrl-C, resume, report, predict, the example."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from gome.doctor import examine
from gome.loop.journal import read_journal
from tests.support.task_tables import houses

ROOT = Path(__file__).parents[2]
SEARCH = ["--backend", "serial", "--traces", "2", "--set", "final.resplits=1", "--set", "final.candidates=2"]


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir(tmp_path)
    houses(150).to_csv("houses.csv", index=False)
    return tmp_path


def start(*args: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "gome.cli", *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # a signal to the command alone, as from `kill`
    )


def gome(*args: str) -> tuple[int, str, str]:
    process = start(*args)
    out, err = process.communicate(timeout=250)
    return process.returncode, out, err


def until(condition, process: subprocess.Popen[str], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def kinds(run: Path) -> list[str]:
    if not (run / "journal.jsonl").exists():
        return []
    return [record.event.type for record in read_journal(run / "journal.jsonl")]


def test_own_data_to_predictions_with_an_interruption(here: Path) -> None:
    process = start("run", "houses.csv", "--target", "price", "--steps", "4", "--run-dir", "out", *SEARCH)
    until(lambda: "experiment.finished" in kinds(here / "out"), process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert out == ""
    assert "gome resume out" in err
    assert "taken as the id" in err
    assert kinds(here / "out")[-1] == "run.interrupted"
    assert (here / "out" / "report.html").is_file()
    assert (here / "out" / "task" / "task.toml").is_file()

    code, out, err = gome("resume", "out", "--json")
    assert code == 0, err
    result = json.loads(out)
    assert result["resumed"] == 1
    assert result["experiments"] == 4
    assert result["finished"]
    assert result["sealed"]
    assert result["best"]["test"] is not None
    assert Path(result["best"]["solution"]) == here / "out" / "best" / "solution.py"
    assert len(pd.read_csv(here / "out" / "best" / "submission.csv")) == 30
    assert not (here / "out" / "work").exists()

    new = houses(12, seed=9).drop(columns="price")
    new = new.assign(Id=[f"{i:04d}" for i in range(12)], colour="red").sample(frac=1, random_state=1)
    new.to_csv("new.csv", index=False)
    code, out, err = gome("predict", "out", "new.csv", "-o", "predicted.csv")
    assert code == 0, err
    assert "'colour'" in err or "colour" in err
    predicted = pd.read_csv("predicted.csv", dtype={"Id": str})
    assert list(predicted["Id"]) == list(new["Id"])
    assert list(predicted.columns) == ["Id", "price"]
    # The price is 3,000 times the size: predictions of a model must follow it.
    assert predicted["price"].corr(new["size"].reset_index(drop=True)) > 0.8

    new.assign(size="large").to_csv("bad.csv", index=False)
    code, _, err = gome("predict", "out", "bad.csv", "-o", "bad_out.csv")
    assert code == 2
    assert "no numbers" in err
    new.drop(columns=["size"]).to_csv("bad.csv", index=False)
    code, _, err = gome("predict", "out", "bad.csv", "-o", "bad_out.csv")
    assert code == 2
    assert "lacks 'size'" in err
    assert not Path("bad_out.csv").exists()


def test_sigterm_stops_cleanly_too(here: Path) -> None:
    process = start("run", "houses.csv", "--target", "price", "--steps", "40", "--run-dir", "out", *SEARCH)
    until(lambda: "baseline.scored" in kinds(here / "out"), process)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143, err
    assert kinds(here / "out")[-1] == "run.interrupted"


def test_json_is_one_object_and_lockstep_runs_are_equal(here: Path) -> None:
    for name in ("one", "two"):
        task = "houses.csv" if name == "one" else "one/task"
        data = ["--target", "price"] if name == "one" else []
        code, out, err = gome(
            "run", task, *data, "--steps", "2", "--lockstep", "--run-dir", name, "--json", "--quiet", *SEARCH
        )
        assert code == 0, err
        assert json.loads(out)["run_dir"] == str(here / name)
        assert len(out.splitlines()) == 1
    code, out, err = gome("compare", "one", "two")
    assert code == 0, out + err
    assert out.startswith("equal: ")


def test_the_example_runs(here: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "optimize.py"), str(here)],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "best" in done.stdout
    assert "sealed: True" in done.stdout
    assert (here / "run" / "report.html").is_file()


def test_doctor_tries_an_experiment_and_the_given_endpoint(here: Path, monkeypatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "x")
    checks = {
        c.name: c
        for c in examine(llm="openai:m,timeout=1,attempts=1", llm_url="http://127.0.0.1:9/v1", fast=True)
    }
    assert checks["experiment"].status == "passed", checks["experiment"]
    assert checks["cache"].status == "passed"
    endpoint = checks["m answers"]
    assert endpoint.status == "failed"
    assert endpoint.fix
    assert not list((here / "cache").rglob("manifest.json")), "nothing stays in the cache"


def test_doctor_says_what_is_wrong_with_the_place(here: Path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    checks = {c.name: c for c in examine(llm="magic:m", fast=True)}
    assert checks["cache"].status == "failed"
    assert "XDG_CACHE_HOME" in checks["cache"].fix
    assert checks["language model"].status == "failed"
