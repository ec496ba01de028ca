"""CHECK, RUN, VALIDATE: the rungs a child climbs, cheap to dear, with bounded repairs on the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from dojo.environment import SEARCH, Feedback, LevelReport, Observation, RunResult
from dojo.errors import DojoError, Failure, GradingError, SandboxUnavailable, boundary
from dojo.score import Score
from gome.errors import BudgetExhausted, GomeError, LlmError, StrategyError
from gome.loop.proposal import Proposal
from gome.loop.strategy import StepContext

if TYPE_CHECKING:
    from gome.loop.trace import Step

_THROUGH = (DojoError, GomeError)
INFRA_RETRIES = 1
"""How often a run is repeated on the spot when the box itself broke."""
MIN_RUN_S = 0.5
"""A lease with fewer seconds left than this is used up."""


@dataclass(frozen=True)
class Attempt:
    """How far the current files have come."""

    files: Mapping[str, str] = field(default_factory=dict)
    levels: tuple[LevelReport, ...] = ()
    observations: tuple[Observation, ...] = ()
    failure: Failure | None = None
    score: Score | None = None
    submission: bytes | None = None
    oof: bytes | None = None
    repairs: int = 0
    looks: int = 0
    """How often hidden validation rows were graded on the way."""
    slot_s: float = 0.0
    cut_off: str | None = None
    """The budget that left no room for going on: `slot_s`, `time`, `tokens` or `usd`."""

    @property
    def feedback(self) -> Feedback:
        """What a reasoner is told."""
        return Feedback(levels=self.levels, observations=self.observations, failure=self.failure)

    def passed(self, level: str, message: str = "") -> Attempt:
        """One rung higher."""
        return replace(self, levels=(*self.levels, LevelReport(level=level, passed=True, message=message)))

    def failed(self, failure: Failure, level: str = "") -> Attempt:
        """Stopped at a rung."""
        report = LevelReport(level=level or failure.stage, passed=False, message=failure.message)
        return replace(self, levels=(*self.levels, report), failure=failure)


def climb(step: Step, ctx: StepContext, proposal: Proposal, files: Mapping[str, str]) -> Attempt:
    """Take the files up the ladder, letting the implementer repair them when a rung breaks.

    The last attempt counts. Slot time and looks add up over all attempts.
    """
    attempt = Attempt(files=dict(files))
    while True:
        attempt = _once(step, proposal, attempt)
        failure = attempt.failure
        if failure is None or failure.boundary == "infra" or attempt.cut_off:
            return attempt
        if attempt.repairs >= step.agent.max_repairs:
            return attempt
        with step.stage("implement", proposal):
            try:
                with boundary(StrategyError, "the implementer broke", through=_THROUGH):
                    mended = step.agent.implementer.repair(ctx, proposal, attempt.files, attempt.feedback)
            except (LlmError, StrategyError, BudgetExhausted):
                return attempt
        if mended is None or dict(mended) == dict(attempt.files):
            return attempt
        attempt = Attempt(
            files=dict(mended),
            repairs=attempt.repairs + 1,
            looks=attempt.looks,
            slot_s=attempt.slot_s,
        )


def _once(step: Step, proposal: Proposal, attempt: Attempt) -> Attempt:
    with step.stage("check", proposal):
        if step.parent_files and dict(attempt.files) == dict(step.parent_files):
            message = "the files are the same as the parent's: the proposed change was not made"
            return attempt.failed(Failure(boundary="reasoner", kind="unchanged", message=message), "static")
        report = step.env.static_check(attempt.files)
        if not report.passed:
            failure = Failure(boundary="solution", kind="static", message=report.message, stage="check")
            return attempt.failed(failure, "static")
        attempt = attempt.passed("static")
        if step.agent.debug_run:
            if cut := _cut(step, attempt):
                return replace(attempt, cut_off=cut)
            debug = _run(step, attempt, debug=True)
            attempt = replace(attempt, slot_s=attempt.slot_s + debug.exec.wall_s)
            if debug.failure:
                return _failed_run(step, attempt, debug.failure, "debug")
            attempt = attempt.passed("debug")
    with step.stage("run", proposal):
        if cut := _cut(step, attempt):
            return replace(attempt, cut_off=cut)
        run = _run(step, attempt, debug=False)
        attempt = replace(
            attempt, slot_s=attempt.slot_s + run.exec.wall_s, submission=run.submission, oof=run.oof
        )
    if run.failure or run.submission is None:
        missing = Failure(boundary="solution", kind="no_submission", message="no submission.csv was written")
        return _failed_run(step, attempt, run.failure or missing, "run")
    with step.stage("validate", proposal):
        attempt = replace(attempt.passed("run"), looks=attempt.looks + 1)
        result = step.env.validate(run.submission, view=SEARCH)
        if isinstance(result, Failure):
            return attempt.failed(result, "validate")
        return replace(attempt.passed("validate"), score=result, observations=tuple(step.env.observe(run)))


def _run(step: Step, attempt: Attempt, *, debug: bool) -> RunResult:
    """Run the files; when the box itself broke, once more on the spot before giving up."""
    leased = (seconds for seconds, _ in _leases(step, attempt))
    limits = [s for s in (step.config.run_seconds, *leased) if s is not None]
    for tries in range(INFRA_RETRIES + 1):
        try:
            return step.env.run(
                attempt.files,
                view=SEARCH,
                seed=step.config.seed,
                slot=step.worker.slot,
                debug=debug,
                seconds=min(limits) if limits else None,
            )
        except (SandboxUnavailable, GradingError):
            if tries == INFRA_RETRIES:
                raise
    raise AssertionError("unreachable")


def _leases(step: Step, attempt: Attempt) -> list[tuple[float, str]]:
    """Seconds that are left of what was leased to the whole step, with the name of the budget."""
    lease, left = step.assignment.lease, []
    if lease.slot_s is not None:
        left.append((lease.slot_s - attempt.slot_s, "slot_s"))
    if lease.run_s is not None:
        left.append((lease.run_s - step.elapsed(), "time"))
    return left


def _cut(step: Step, attempt: Attempt) -> str | None:
    """The budget that has no room for another run."""
    return next((name for seconds, name in _leases(step, attempt) if seconds < MIN_RUN_S), None)


def _failed_run(step: Step, attempt: Attempt, failure: Failure, level: str) -> Attempt:
    """A run that did not end well; one that only its lease cut short says nothing about the solution."""
    if failure.kind == "timed_out" and (cut := _cut(step, attempt)):
        return replace(attempt, cut_off=cut)
    return attempt.failed(failure, level)
