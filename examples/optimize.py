"""Gome from Python: make a task of your own table, search, look at what came out, go on from the journal.

Run it:  python examples/optimize.py [FOLDER]      (about a minute; no key, no GPU)
"""

from __future__ import annotations

import csv
import random
import sys
import tempfile
from pathlib import Path

import gome
from dojo.mle.new import new_task
from gome.loop.journal import Record
from gome.loop.state import RunState


class Printer:
    """An observer is told about every committed event; it must not change anything."""

    def on_record(self, record: Record, state: RunState) -> None:
        """Print one line per finished experiment."""
        if record.event.type == "experiment.finished":
            e = record.event.experiment
            score = str(e.score or "no score")
            print(f"trace {e.trace}  {e.status:<9} {score:>18}  {e.proposal.hypothesis[:70]}")

    def on_notice(self, notice: object) -> None:
        """A trace entered a stage; not shown here."""


def write_table(path: Path) -> None:
    """A table with a skewed target, a category that matters, and missing cells."""
    rng = random.Random(0)
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["size", "district", "built", "price"])
        for _ in range(300):
            size, district, built = rng.uniform(25, 220), rng.choice("ABCDEF"), rng.randint(1900, 2020)
            factor = {"A": 3.0, "B": 2.2, "C": 1.6}.get(district, 1.0)
            price = 900 * size * factor * (1 + (built - 1900) / 200) * rng.lognormvariate(0, 0.1)
            rows.writerow([f"{size:.1f}" if rng.random() > 0.05 else "", district, built, round(price)])


def main(folder: Path) -> gome.RunReport:
    """Search twice on the same task: with two traces, then on from the journal."""
    write_table(folder / "houses.csv")
    made = new_task(folder / "task", folder / "houses.csv", target="price", metric="rmsle")
    print(*made.said, sep="\n")

    report = gome.optimize(
        made.task,
        "playbook",
        config=gome.RunConfig(traces=2, seed=0, budget=gome.Budget(steps=6)),
        backend="serial",  # "ray", the default, steps the traces in parallel
        run_dir=folder / "run",
        observers=[Printer()],
    )
    assert report.best is not None
    print(
        f"baseline {report.baseline:.4f} -> best {report.best.validation:.4f} ± {report.best.se:.4f} (validation)"
    )
    print(f"test, scored once: {report.best.test:.4f}; sealed: {report.sealed}")
    print(f"solution: {report.best.solution}\nreport: {report.report}")

    # Everything about a run is in its journal; a finished run is only reported again, an interrupted one goes on.
    state = gome.read_state(folder / "run")
    print(f"{len(state.experiments)} experiments, {len(state.memory)} entries in the shared memory")
    return gome.resume(folder / "run")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory(prefix="gome-example-") as name:
            main(Path(name))
