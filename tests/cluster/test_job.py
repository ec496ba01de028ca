"""What a Ray job makes of a run file. No Ray."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.job import arguments
from gome.errors import ConfigError


def write(path: Path, run_dir: str | None) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    line = f'run_dir = "{run_dir}"\n' if run_dir else ""
    (path / "run.toml").write_text('task = "bikeshare"\nsteps = 4\n' + line)
    return path / "run.toml"


def test_a_job_starts_its_run_and_goes_on_with_it_when_submitted_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, run_dir = write(tmp_path / "wd", str(tmp_path / "run")), tmp_path / "run"
    monkeypatch.chdir(tmp_path / "wd")
    assert arguments(file, ["--json"]) == ["run", str(file), "--backend", "ray", "--json"]
    run_dir.mkdir()
    (run_dir / "journal.jsonl").touch()
    assert arguments(file, []) == ["resume", str(run_dir), "--backend", "ray"]


@pytest.mark.parametrize("run_dir", [None, "runs/x"])
def test_a_run_directory_that_would_go_away_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_dir: str | None
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="absolute path"):
        arguments(write(tmp_path / "wd", run_dir), [])
    with pytest.raises(ConfigError, match="lies in the job's working directory"):
        arguments(write(tmp_path / "wd", str(tmp_path / "runs")), [])
