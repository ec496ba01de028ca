"""What the machinery costs: `python -m benchmarks.systems [--json FILE]`.

1. One experiment end to end (instant reasoner, trivial solution, sandbox, journal and grading on, 2,000 hidden
   rows, RMSE and AUC): p50 and p90 in ms between commits, serial and through Ray, and our own part of it (all
   stages but the run of the solution itself).
2. Slot use: two traces on two slots, solutions that sleep 5 s.
3. Journal bytes per commit after 10, 1,000 and 10,000 commits.
4. Recall over 100,000 memory entries.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.trivial import trivial_agent, write_table
from gome import Budget, RunConfig, optimize
from gome.config import FinalConfig
from gome.loop.events import ExperimentFinished, StepStarted
from gome.loop.journal import JsonlJournal, read_journal
from gome.loop.memory import MemoryEntry, SuccessMemory


@contextmanager
def scratch() -> Iterator[Path]:
    """A temporary folder."""
    root = Path(tempfile.mkdtemp(prefix="gome-bench-"))
    try:
        yield root
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _task(root: Path, *, binary: bool) -> Any:
    from dojo.mle.new import new_task

    table = root / "table.csv"
    write_table(table, rows=12_500, binary=binary)
    metric = "auc" if binary else "rmse"
    return new_task(root / "task", table, target="y", metric=metric, id_column="id").task


def _run(root: Path, backend: str, *, binary: bool, steps: int, traces: int, sleep: float) -> Path:
    config = RunConfig(
        traces=traces, budget=Budget(steps=steps), final=FinalConfig(candidates=1, resplits=0, merge_steps=0)
    )
    run_dir = root / f"run-{backend}"
    task = _task(root, binary=binary)
    optimize(task, trivial_agent(binary=binary, sleep=sleep), config=config, backend=backend, run_dir=run_dir)
    return run_dir


def overhead(backend: str, *, binary: bool, steps: int = 60) -> dict[str, float]:
    """Milliseconds per experiment from its start to its durable commit, and the part that is ours."""
    with scratch() as root:
        run_dir = _run(root, backend, binary=binary, steps=steps, traces=1, sleep=0.0)
        started: dict[str, float] = {}
        total, inside = [], []
        for record in read_journal(run_dir / "journal.jsonl"):
            if isinstance(record.event, StepStarted):
                started[record.event.experiment] = record.time
            elif isinstance(record.event, ExperimentFinished):
                experiment = record.event.experiment
                if experiment.status == "failed":
                    raise RuntimeError(f"a trivial solution failed: {experiment.feedback.failure}")
                total.append(1000 * (record.time - started[experiment.id]))
                inside.append(1000 * experiment.costs.slot_s)
        kept, run = np.array(total[5:]), np.array(inside[5:])
        return {
            "p50_ms": float(np.median(kept)),
            "p90_ms": float(np.quantile(kept, 0.9)),
            "solution_p50_ms": float(np.median(run)),
            "ours_p50_ms": float(np.median(kept - run)),
            "experiments": len(kept),
        }


def slot_use(backend: str = "ray", *, steps: int = 12) -> dict[str, float]:
    """Share of slots × time between the first start and the last commit in which slots ran code."""
    with scratch() as root:
        run_dir = _run(root, backend, binary=False, steps=steps, traces=2, sleep=5.0)
        first, last, busy = None, 0.0, 0.0
        for record in read_journal(run_dir / "journal.jsonl"):
            if isinstance(record.event, StepStarted):
                first = first if first is not None else record.time
            elif isinstance(record.event, ExperimentFinished):
                last, busy = record.time, busy + record.event.experiment.costs.slot_s
        wall = last - (first or 0.0)
        return {"busy_share": busy / (2 * wall), "wall_s": wall, "experiments": steps}


def journal_growth(points: tuple[int, ...] = (10, 1_000, 10_000)) -> dict[str, float]:
    """Bytes per commit around each number of commits (a real experiment's event, without fsync)."""
    with scratch() as root:
        run_dir = _run(root, "serial", binary=False, steps=12, traces=1, sleep=0.0)
        events = [
            r.event
            for r in read_journal(run_dir / "journal.jsonl")
            if isinstance(r.event, ExperimentFinished)
        ]
        event = events[-1]
        journal = JsonlJournal(root / "journal.jsonl")
        sizes = []
        for i in range(max(points) + 5):
            name = f"t0-s{i:03d}"
            before = journal.bytes_written
            journal.append(
                [event.model_copy(update={"experiment": event.experiment.model_copy(update={"id": name})})]
            )
            sizes.append(journal.bytes_written - before)
        journal.close()
        return {f"bytes_at_{n}": float(np.mean(sizes[n - 5 : n + 5])) for n in points}


def recall(entries: int = 100_000, queries: int = 50) -> dict[str, float]:
    """Milliseconds of one recall, and of adding one entry."""
    memory = SuccessMemory()
    start = time.perf_counter()
    for i in range(entries):
        memory.add(
            MemoryEntry(
                id=f"e{i}",
                trace=i % 16,
                kind="success" if i % 3 else "failure",
                text=f"idea {i % 997} about feature {i % 89}",
                component="features",
                edit_key=f"k{i % 997}",
                gain=(i % 13) / 4,
            )
        )
    added = time.perf_counter() - start
    times = []
    for i in range(queries):
        start = time.perf_counter()
        memory.recall(f"feature {i} limits the score", trace=0, length=5, seed=str(i))
        times.append(1000 * (time.perf_counter() - start))
    return {"entries": entries, "recall_p50_ms": float(np.median(times)), "add_us": 1e6 * added / entries}


def main() -> None:
    """Measure everything and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--only", nargs="*", default=[], help="names of the parts to run")
    args = parser.parse_args()
    parts = {
        "overhead_serial_rmse": lambda: overhead("serial", binary=False),
        "overhead_serial_auc": lambda: overhead("serial", binary=True),
        "overhead_ray_rmse": lambda: overhead("ray", binary=False),
        "overhead_ray_auc": lambda: overhead("ray", binary=True),
        "slot_use_ray": slot_use,
        "journal_growth": journal_growth,
        "memory_recall": recall,
    }
    figures: dict[str, dict[str, float]] = {}
    for name, measure in parts.items():
        if args.only and name not in args.only:
            continue
        figures[name] = measure()
        print(name, "  ".join(f"{k}={v:,.4g}" for k, v in figures[name].items()), flush=True)
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
