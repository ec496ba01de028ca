"""`gome watch`, `gome report`, `gome compare`, `gome ls`: looking at runs and tasks; nothing is changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from gome.commands.terminal import make_view, say

RunFolder = Annotated[Path, typer.Argument(help="The run's folder.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of words.")]


def watch(
    run_dir: RunFolder,
    once: Annotated[bool, typer.Option("--once", help="Show the state now and end.")] = False,
) -> None:
    """Follow a run from another terminal, until it ends. Ctrl-C ends only the watching."""
    from gome.report.follow import follow

    view = make_view()
    try:
        reason = follow(run_dir, view, once=once)
    except KeyboardInterrupt:
        reason = None
    finally:
        view.stop()
    if reason:
        say(reason)


def report(run_dir: RunFolder, as_json: Json = False) -> None:
    """Write report.html anew and print the summary; works on unfinished runs too."""
    from gome.api import read_state
    from gome.report.html import write_report
    from gome.report.summary import summary
    from gome.result import summarize

    state = read_state(run_dir)
    write_report(run_dir)
    result = summarize(state, run_dir.absolute())
    if as_json:
        typer.echo(result.model_dump_json())
        return
    for line in summary(state, result):
        typer.echo(line)


def compare(
    first: Annotated[Path, typer.Argument(help="A run's folder.", show_default=False)],
    second: Annotated[Path, typer.Argument(help="Another run's folder.", show_default=False)],
    as_json: Json = False,
) -> None:
    """Compare the committed histories of two runs, clock readings left out; exit code 1 where they differ.

    Two lock-step runs of one task, seed and configuration are equal on any backend, resumed or not.
    """
    from gome.loop.journal import canonical, read_journal
    from gome.report.compare import first_difference

    one = canonical(read_journal(first / "journal.jsonl"))
    two = canonical(read_journal(second / "journal.jsonl"))
    difference = first_difference(one, two)
    if as_json:
        typer.echo(
            json.dumps({"equal": difference is None, "events": [len(one), len(two)], "first": difference})
        )
    elif difference is None:
        typer.echo(f"equal: {len(one)} events, clock readings left out")
    else:
        typer.echo(f"different from event {difference['event']} on, at {difference['where']}:")
        typer.echo(f"  {first}: {difference['first']}")
        typer.echo(f"  {second}: {difference['second']}")
    if difference is not None:
        raise typer.Exit(1)


def list_tasks(as_json: Json = False) -> None:
    """List the bundled tasks: what is predicted, metric, rows, source, licence (the same as dojo ls)."""
    from dojo.cli import list_command

    list_command(as_json)
