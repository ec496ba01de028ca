"""Make `population.json` of bundled tasks: test scores of seeded reference pipelines, for the medal bands.

    python -m benchmarks.reference_population [TASK ...] [--pipelines 40] [--seconds 60] [--seed 0] [--lock FILE]

Runs the task's baseline and random pipelines (`pipeline_sampler.py`) in the task's own environment, each once
with all labelled rows and time-capped, and grades each on the test split. What a run gave is kept under
`--state`, so that a stopped script goes on where it was, and a larger `--pipelines` only adds. A pipeline that
fails or runs out of time is replaced by the next one of the seed.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import platformdirs

from benchmarks.pipeline_sampler import population
from dojo.errors import Failure
from dojo.mle.environment import MleEnvironment
from dojo.mle.medals import MIN_PIPELINES, Pipeline, Population, thresholds
from dojo.mle.prepare import Prepared
from dojo.registry import load_task
from dojo.slot import Slot
from gome.mle.playbook.baseline import baseline
from gome.mle.playbook.pipeline import PipelineSpec
from gome.mle.playbook.render import render

TASKS = Path(__file__).parents[1] / "dojo" / "mle" / "tasks"
SCRIPT = "benchmarks/reference_population.py"


@contextlib.contextmanager
def locked(path: Path | None) -> Iterator[None]:
    """Hold a lock file, so that timings of neighbours are not disturbed; None: no lock."""
    if path is None:
        yield
        return
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


class Results:
    """What runs have given before: one JSON line per pipeline, only for the same data and time cap."""

    def __init__(self, path: Path, fingerprint: str, seconds: float) -> None:
        self.path = path
        self.stamp = {"fingerprint": fingerprint, "seconds": seconds}
        self.known: dict[str, float | None] = {}
        if path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                record = json.loads(line)
                if record["fingerprint"] == fingerprint and record["seconds"] == seconds:
                    self.known[record["key"]] = record["score"]

    def add(self, key: str, score: float | None, note: str) -> None:
        """Keep one result; None is a failure."""
        self.known[key] = score
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"key": key, "score": score, "note": note, **self.stamp}) + "\n")


def test_score(world: MleEnvironment, spec: PipelineSpec, seconds: float) -> tuple[float | None, str]:
    """Run one pipeline on all labelled rows and grade it on the test split: (score, what happened)."""
    start = time.monotonic()
    files = render(spec, world.spec)
    result = world.run(files, view="final", seed=world.spec.seed, slot=Slot.cpu(), seconds=seconds)
    if result.submission is None:
        return None, f"{result.failure.kind if result.failure else 'no submission'}"
    score = world.test(result.submission)
    if isinstance(score, Failure):
        return None, score.kind
    return float(f"{score.value:.8g}"), f"{time.monotonic() - start:.0f} s"


def make(name: str, options: argparse.Namespace) -> Population | None:
    """Run what is missing for one task and write its population; None while too few pipelines have a score."""
    prepared: Prepared = load_task(name).prepare()
    task = prepared.spec
    results = Results(options.state / f"{name}.jsonl", prepared.fingerprint, options.seconds)
    chosen: dict[str, PipelineSpec] = {"baseline": baseline(task)}
    for spec in population(task, options.seed, 2 * options.pipelines):
        if spec.key() != chosen["baseline"].key():
            chosen[f"{spec.model.family} {spec.key()[:8]}"] = spec
    scores: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="reference-") as folder:
        world = MleEnvironment(prepared, data=Path(folder) / "data", scratch=Path(folder) / "work")
        with contextlib.closing(world):
            for label, spec in chosen.items():
                key = spec.key()
                if key not in results.known:
                    # the baseline gets the task's own limit: without it there is no population
                    seconds = task.limits.seconds if label == "baseline" else options.seconds
                    with locked(options.lock):
                        score, note = test_score(world, spec, seconds)
                    results.add(key, score, note)
                    print(f"{name}: {label}: {score} ({note})", file=sys.stderr, flush=True)
                if (known := results.known[key]) is not None:
                    scores[label] = known
                if len(scores) >= options.pipelines:
                    break
    if "baseline" not in scores or len(scores) < MIN_PIPELINES:
        print(f"{name}: only {len(scores)} pipelines have a score; nothing written", file=sys.stderr)
        return None
    made = Population(
        task=task.id,
        metric=task.metric.name,
        direction=task.metric.direction,
        seed=options.seed,
        script=SCRIPT,
        fingerprint=prepared.fingerprint,
        baseline=scores["baseline"],
        pipelines=tuple(Pipeline(name=label, score=score) for label, score in scores.items()),
    )
    (TASKS / name / "population.json").write_text(made.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return made


def main() -> None:
    """Read the command line and make the populations."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tasks", nargs="*", help="names of bundled tasks; all by default")
    parser.add_argument(
        "--pipelines", type=int, default=40, help="pipelines with a score, the baseline included"
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="cap on one run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lock", type=Path, help="lock file to hold during each run")
    default_state = Path(platformdirs.user_cache_dir("gome")) / "reference"
    parser.add_argument("--state", type=Path, default=default_state, help="where results are kept")
    options = parser.parse_args()
    os.nice(19)
    for name in options.tasks or sorted(
        path.name for path in TASKS.iterdir() if (path / "task.toml").exists()
    ):
        made = make(name, options)
        if made:
            bands = ", ".join(f"{band} {value:.5g}" for band, value in thresholds(made).items())
            print(
                f"{name}: {len(made.pipelines)} pipelines, baseline {made.baseline:.5g}, {bands}", flush=True
            )


if __name__ == "__main__":
    main()
