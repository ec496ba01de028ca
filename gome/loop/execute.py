"""One run from start to seal, on any backend; goes on from wherever the journal ends."""

from __future__ import annotations

from collections.abc import Sequence

from dojo.environment import SEARCH, Environment, Observation
from dojo.errors import Failure
from dojo.score import Score
from dojo.slot import Slot
from gome.loop import events as ev
from gome.loop import final
from gome.loop.backend import Backend
from gome.loop.blobs import content_hash
from gome.loop.experiment import Costs
from gome.loop.run import Run

DRIVER = "driver"
"""Name of the driver's own environment: it runs the baseline and the final solution and holds the test answers."""


def execute(run: Run, backend: Backend, *, medal: final.Medal = lambda _: None) -> None:
    """Carry a run to its end: baseline, search, final choice, one test score, seal.

    Raises:
        SandboxUnavailable, GradingError: the world broke for the driver itself; the run can be resumed.
        KeyboardInterrupt: passed on after `run.interrupted` was committed; the run can be resumed.
    """
    environment = run.plan.environment(DRIVER)
    try:
        slots = backend.slots(run.config)
        run.slots = len(slots)
        if run.state.baseline is None:
            run.commit(*_baseline(run, environment, slots[0]))
        baseline = run.state.baseline
        profile: Sequence[Observation] = baseline.profile if baseline else ()
        if run.state.final is None or final.pending_jobs(run):
            backend.open(run, profile)
            backend.search(run)
            final.open_final(run, environment)
            backend.evaluate(run, final.pending_jobs(run))
        final.choose(run)
        best = final.run_finally(run, environment, slots[0])
        if best is not None:
            final.score_test(run, environment, best, medal)
        final.finish(run, best)
    except KeyboardInterrupt:
        run.commit([ev.RunInterrupted(cause="interrupted")])
        raise
    finally:
        backend.close()
        environment.close()


def _baseline(run: Run, env: Environment, slot: Slot) -> tuple[list[ev.Event], dict[str, bytes]]:
    """Run and grade the field's default pipeline, and take the profile of the data."""
    profile = tuple(env.profile())
    files = dict(run.baseline_files or {})
    if not files:
        return [ev.BaselineScored(files={}, profile=profile)], {}
    result = env.run(files, view=SEARCH, seed=run.config.seed, slot=slot, seconds=run.config.run_seconds)
    costs = Costs(wall_s=result.exec.wall_s, slot_s=result.exec.wall_s)
    blobs = {content_hash(text.encode()): text.encode() for text in files.values()}
    names = {file: content_hash(text.encode()) for file, text in files.items()}
    graded: Score | Failure | None = result.failure
    if graded is None and result.submission is not None:
        graded = env.validate(result.submission, view=SEARCH)
    if not isinstance(graded, Score) or result.submission is None:
        failure = graded if isinstance(graded, Failure) else None
        return [ev.BaselineScored(files=names, failure=failure, profile=profile, costs=costs)], blobs
    submission = content_hash(result.submission)
    blobs[submission] = result.submission
    event = ev.BaselineScored(files=names, submission=submission, score=graded, profile=profile, costs=costs)
    return [event], blobs
