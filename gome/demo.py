"""`gome demo`: real runs on bundled tasks, with a table of what came out."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from gome.api import optimize, read_state
from gome.config import RunConfig
from gome.loop.budget import Budget
from gome.loop.run import Observer
from gome.loop.state import RunState
from gome.result import RunReport, cites_others

TASKS = ("bikeshare", "co2", "osuleaf", "vader-tweets")
"""Tasks of the demo: tables, a forecast, series, text; seconds per experiment and a wide gap to the baseline."""


def demo(
    tasks: Sequence[str],
    *,
    steps: int,
    traces: int,
    backend: str,
    seed: int,
    root: Path,
    console: Console,
    observer: Callable[[], Observer],
    write_report: Callable[[Path], object],
) -> bool:
    """Run the tasks one after the other and print a table.

    Args:
        tasks: names of bundled tasks.
        steps: experiments per task, in all traces together.
        traces: parallel traces.
        backend: `ray` or `serial`.
        seed: of the search.
        root: folder for the run directories; must not exist yet.
        console: where to print.
        observer: builds what shows a run while it goes on.
        write_report: writes `report.html` of a run directory.

    Returns:
        Whether every task ended with a test score and better than its baseline on validation.
    """
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold underline")
    for column in ("task", "metric", "baseline", "best", "test", "band", "acc.", "rec.", "s"):
        left = column in ("task", "metric", "band")
        table.add_column(column, justify="left" if left else "right", no_wrap=True)
    flows: list[str] = []
    won = True
    for name in tasks:
        console.rule(f"[bold]{name}")
        start = time.monotonic()
        report = optimize(
            name,
            config=RunConfig(traces=traces, seed=seed, budget=Budget(steps=steps)),
            backend=backend,
            run_dir=root / name,
            observers=[observer()],
        )
        write_report(report.run_dir)
        won &= _row(table, name, report, time.monotonic() - start)
        flows += [f"{name}: {line}" for line in memory_flow(read_state(report.run_dir))]
    console.rule("[bold]What came out")
    console.print(table)
    console.print(
        "\nbaseline, best: on the same hidden validation rows, ± standard error. test: scored once, at the end.\n"
        "band: of reference pipelines (not a Kaggle medal). acc.: experiments accepted. rec.: accepted with an\n"
        "idea recalled from another trace. s: seconds.",
        highlight=False,
        soft_wrap=True,
    )
    if flows:
        console.print(
            "\n[bold]Momentum[/]: successes of one trace that another recalled, cited, and got accepted"
        )
        for line in flows:
            console.print(f"  {line}", highlight=False, soft_wrap=True)
    console.print(f"\nEach run's solution, submission, report and journal: {root}/<task>/")
    return won


def memory_flow(state: RunState) -> list[str]:
    """One line for each accepted experiment that cites a success of another trace."""
    lines = []
    for experiment in state.experiments.values():
        if experiment.status != "accepted" or not cites_others(experiment):
            continue
        sources = [c.entry for c in experiment.proposal.citations if c.trace != experiment.trace]
        delta = f"{experiment.comparison.delta:+.4g}" if experiment.comparison else ""
        lines.append(f"{', '.join(sources)} → {experiment.id} ({delta}): {experiment.proposal.hypothesis}")
    return lines


def _row(table: Table, name: str, report: RunReport, seconds: float) -> bool:
    best, sign = report.best, 1 if report.direction == "max" else -1
    if best is None or best.test is None or report.baseline is None:
        table.add_row(name, report.metric, *["–"] * 6, f"{seconds:.0f}")
        return False
    better = sign * (best.validation - report.baseline) > 0
    error = f" ± {best.se:.2g}" if best.se is not None else ""
    table.add_row(
        name,
        report.metric,
        f"{report.baseline:.4g}",
        f"[{'green' if better else 'red'}]{best.validation:.4g}{error}",
        f"{best.test:.4g}",
        best.medal or "–",
        f"{report.accepted}/{report.experiments}",
        str(report.recalled),
        f"{seconds:.0f}",
    )
    return better
