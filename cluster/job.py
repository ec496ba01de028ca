"""Entry point of a Ray job: `ray job submit --working-dir . -- python -m cluster.job run.toml`.

Starts the run that `run.toml` describes, or goes on with it when its `run_dir` holds one already, so that a job
that was stopped or lost its node is simply submitted again. Needs no installed package, only its dependencies.

A job's working directory is a copy in a place of Ray's that goes away with the job: `run_dir` must be absolute and
lie outside of it. SIGTERM (`ray job stop` waits three seconds) ends the session after a last line in the journal.
"""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from gome.cli import app
from gome.errors import ConfigError
from gome.runfile import gather

USAGE = 2


def arguments(run_file: Path, extra: list[str]) -> list[str]:
    """The `gome` command that starts or resumes the run of a file.

    Raises:
        ConfigError: the file cannot be used, or its run directory would not outlive the job.
    """
    options = gather(None, {}, file=run_file)
    if options.run_dir is None or not Path(options.run_dir).is_absolute():
        raise ConfigError(f'{run_file}: a job needs run_dir = "/…", an absolute path on a disk that stays')
    run_dir = Path(options.run_dir).resolve()
    if Path.cwd().resolve() in (run_dir, *run_dir.parents):
        raise ConfigError(
            f"{run_file}: run_dir {run_dir} lies in the job's working directory, which goes away with the job: "
            "give a path outside of it"
        )
    if (run_dir / "journal.jsonl").exists():
        return ["resume", str(run_dir), "--backend", "ray", *extra]
    return ["run", str(run_file), "--backend", "ray", *extra]


def main() -> None:
    """Run `python -m cluster.job RUN.toml [options of gome]`."""
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        typer.echo("usage: python -m cluster.job RUN.toml [--json] [--quiet]", err=True)
        sys.exit(0 if len(sys.argv) > 1 else USAGE)
    try:
        command = arguments(Path(sys.argv[1]), sys.argv[2:])
    except ConfigError as exc:
        typer.echo(f"gome: {exc}", err=True)
        sys.exit(USAGE)
    app(command, prog_name="gome")


if __name__ == "__main__":
    main()
