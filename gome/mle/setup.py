"""How machine-learning-engineering tasks plug into the loop."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import dojo
from dojo.mle.environment import MleEnvironment, check_places
from dojo.mle.medals import load_population, medal
from dojo.mle.package import Task
from dojo.mle.prepare import Prepared
from dojo.sandbox import Kind as SandboxKind
from gome.config import RunConfig
from gome.loop.rundir import RunDir
from gome.mle.playbook.baseline import baseline
from gome.mle.playbook.render import render
from gome.setup import TaskSetup

BUNDLED = Path(dojo.__file__).parent / "mle" / "tasks"
"""Where the bundled tasks lie; a run of one of them can be resumed after the library has moved."""


@dataclass(frozen=True)
class MleEnvironmentFactory:
    """Builds the environment of one worker; the views of the data are shared by all of a run."""

    prepared: Prepared
    data: Path
    work: Path
    sandbox: SandboxKind

    def __call__(self, name: str) -> MleEnvironment:
        """Build the environment of the worker of that name."""
        return MleEnvironment(self.prepared, data=self.data, scratch=self.work / name, sandbox=self.sandbox)


def mle_setup(task: Task, config: RunConfig, run_dir: RunDir) -> TaskSetup:
    """Prepare an MLE task for a run.

    Raises:
        TaskError: its data cannot be had or split, or solutions could read the labels where they lie.
    """
    prepared = task.prepare()
    if config.sandbox != "process":
        check_places(prepared, run_dir.data)
    spec = prepared.spec
    population = load_population(task.population_file)
    factory = MleEnvironmentFactory(prepared, run_dir.data, run_dir.work, config.sandbox)
    return TaskSetup(
        spec=spec,
        source=spec.id if task.root.resolve().parent == BUNDLED.resolve() else str(task.root),
        fingerprint=prepared.fingerprint,
        environment=factory,
        sealed=config.sandbox != "process",
        baseline_files=render(baseline(spec), spec),
        medal=lambda score: medal(score.value, population, prepared.fingerprint),
        notes=prepared.notes,
    )
