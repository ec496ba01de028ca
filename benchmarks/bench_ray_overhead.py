"""What Ray costs an experiment: the same lock-step run of instant experiments, serially and through Ray.

    python -m benchmarks.bench_ray_overhead [--steps 150] [--repeats 3] [--json]

Experiments do nothing but the loop's own work, journal and fsync included, so the difference between the two
backends at one trace is Ray's part: hand-over, polls, acknowledgements, pickling. Times are between commits, in
milliseconds, medians over all experiments of all repeats; start and stop are of the local Ray, in seconds.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from cluster.backend import RayBackend
from gome.loop.backend import Backend, SerialBackend
from gome.loop.execute import execute
from gome.loop.journal import read_journal
from gome.loop.run import Run
from tests.support.fake_world import FakeLlms, fake_agent, fake_config, fake_run


class Timed:
    """A backend with a clock around its ends."""

    def __init__(self, backend: Backend) -> None:
        self.backend, self.name = backend, backend.name
        self.slots, self.search, self.evaluate = backend.slots, backend.search, backend.evaluate
        self.open_s = self.close_s = 0.0

    def open(self, run: Run, profile: Sequence) -> None:
        start = time.monotonic()
        self.backend.open(run, profile)
        self.open_s = time.monotonic() - start

    def close(self) -> None:
        start = time.monotonic()
        self.backend.close()
        self.close_s = time.monotonic() - start


def measure(backend: Backend, *, traces: int, steps: int, llm: bool) -> tuple[list[float], Timed]:
    timed = Timed(backend)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "run"
        model = FakeLlms(Path(folder) / "calls") if llm else None
        config = fake_config(steps, traces=traces, lockstep=False)
        run = fake_run(root, config, agent=fake_agent(llm=llm), llm=model)
        execute(run, timed)
        run.journal.close()
        times = [
            r.time for r in read_journal(root / "journal.jsonl") if r.event.type == "experiment.finished"
        ]
    return [1e3 * (b - a) for a, b in pairwise(times[5:])], timed


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    rows = []
    for traces, llm in ((1, False), (1, True), (2, False)):
        for make in (SerialBackend, RayBackend):
            gaps: list[float] = []
            ends: list[Timed] = []
            for _ in range(args.repeats):
                got, timed = measure(make(), traces=traces, steps=args.steps, llm=llm)
                gaps += got
                ends.append(timed)
            rows.append(
                {
                    "backend": ends[0].name,
                    "traces": traces,
                    "llm_calls_per_experiment": int(llm),
                    "n": len(gaps),
                    "p50_ms": round(statistics.median(gaps), 2),
                    "p90_ms": round(statistics.quantiles(gaps, n=10)[-1], 2),
                    "open_s": round(statistics.median(t.open_s for t in ends), 2),
                    "close_s": round(statistics.median(t.close_s for t in ends), 2),
                    "load": round(os.getloadavg()[0], 1),
                }
            )
    if args.json:
        print(json.dumps(rows))
        return
    print("  ".join(f"{name:>10}" for name in rows[0]))
    for row in rows:
        print("  ".join(f"{value!s:>10}" for value in row.values()))


if __name__ == "__main__":
    main()
