"""`gome predict` and `gome doctor`: using a result, and checking the machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from gome.commands.terminal import say

BROKEN = 4


def predict(
    run_dir: Annotated[Path, typer.Argument(help="The folder of a finished run.", show_default=False)],
    rows: Annotated[
        Path,
        typer.Argument(
            help="New rows: .csv, .tsv or .parquet; target and id may be missing.", show_default=False
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The CSV file to write.", show_default=False)],
    force: Annotated[bool, typer.Option("--force", help="Overwrite the output file.")] = False,
    encoding: Annotated[str, typer.Option("--encoding", help="Encoding of a CSV file.")] = "utf-8",
    seconds: Annotated[
        float | None,
        typer.Option("--seconds", help="Limit on the run. Default: the task's.", show_default=False),
    ] = None,
) -> None:
    """Predict new rows with the solution that a run ended with, trained on all labelled rows, in the sandbox."""
    from gome.predict import predict as predict_rows

    done = predict_rows(run_dir, rows, out, force=force, encoding=encoding, seconds=seconds)
    for note in done.notes:
        say(f"  {note}")
    say(f"wrote {done.rows:,} predictions to {out}")


def doctor(
    llm: Annotated[
        str | None,
        typer.Option("--llm", help="A language model to try, e.g. openai:MODEL.", show_default=False),
    ] = None,
    llm_url: Annotated[
        str | None, typer.Option("--llm-url", help="Base URL of its endpoint.", show_default=False)
    ] = None,
    fast: Annotated[
        bool, typer.Option("--fast", help="Leave out Ray and the attacks on the sandbox.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of words.")] = False,
) -> None:
    """Try on this machine what a run needs: sandbox limits, Ray, disk, GPU, the language model; each with its fix."""
    from gome.doctor import examine

    checks = []
    for check in examine(llm=llm, llm_url=llm_url, fast=fast):
        checks.append(check)
        if not as_json:
            _show(check.status, check.name, check.detail, check.fix)
    broken = [check for check in checks if check.status == "failed"]
    if as_json:
        typer.echo(json.dumps({"ok": not broken, "checks": [check.model_dump() for check in checks]}))
    else:
        typer.echo(
            f"{len(broken)} of {len(checks)} checks failed" if broken else f"all {len(checks)} checks passed"
        )
    if broken:
        raise typer.Exit(BROKEN)


def _show(status: str, name: str, detail: str, fix: str) -> None:
    marks = {"passed": ("ok", "green"), "warning": ("note", "yellow"), "failed": ("FAIL", "red")}
    mark, colour = marks[status]
    typer.secho(f"{mark:<5}", fg=colour, nl=False)
    typer.echo(f"{name:<24} {detail}")
    if fix:
        typer.echo(f"     {'':<24} fix: {fix}")
