"""What a live view shows, kept up to date from committed events and notices. Draws nothing itself."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from dojo.score import Score
from gome.loop import events as ev
from gome.loop.assignment import Notice
from gome.loop.budget import Budget
from gome.loop.experiment import Experiment
from gome.loop.journal import Record
from gome.loop.state import RunState
from gome.report.words import clean, sentence
from gome.result import cites_others

TREND = 24
"""How many of a trace's last experiments its sparkline shows."""


@dataclass(frozen=True)
class TraceRow:
    """One trace, as shown."""

    trace: int
    stage: str = "waiting"
    experiment: str = ""
    doing: str = ""
    """The current hypothesis in words, or what the last one came to."""
    best: Score | None = None
    last: Experiment | None = None
    trend: tuple[float | None, ...] = ()
    """Utilities (higher is better) of the last experiments, None where there was no score."""
    accepted: int = 0
    rejected: int = 0
    failed: int = 0
    hits: int = 0
    """Experiments that build on another trace's memory entry."""


@dataclass(frozen=True)
class Snapshot:
    """Everything shown at one moment; immutable, so that a drawing thread needs no lock."""

    task: str = ""
    metric: str = ""
    direction: str = "min"
    agent: str = ""
    backend: str = ""
    phase: str = "preparing"
    baseline: Score | None = None
    best: Experiment | None = None
    rows: tuple[TraceRow, ...] = ()
    budget: Budget | None = None
    steps: int = 0
    finished_steps: int = 0
    slot_s: float = 0.0
    tokens: int = 0
    usd: float = 0.0
    elapsed_s: float = 0.0
    looks: int = 0
    sealed: bool = True
    """Whether solutions run fully confined."""
    closed: bool = False
    """Whether the episode has been sealed: nothing more may be scored."""
    entries: int = 0
    lines: tuple[str, ...] = ()


@dataclass
class _Now:
    """What a trace is doing right now."""

    stage: str = "starting"
    experiment: str = ""
    text: str = ""


@dataclass
class Board:
    """Keeps a `Snapshot` current. `record` and `notice` may come from one thread while another draws."""

    lines: int = 6
    now: Callable[[], float] = time.time
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _shown: Snapshot = Snapshot()
    _rows: dict[int, TraceRow] = field(default_factory=dict)
    _doing: dict[int, _Now] = field(default_factory=dict)
    _recent: deque[str] = field(default_factory=lambda: deque(maxlen=12))
    _wall_before: float = 0.0
    _session_start: float | None = None
    _stopped_at: float | None = None

    def record(self, record: Record, state: RunState) -> None:
        """Take a committed event into account; `state` includes it."""
        event = record.event
        with self._lock:
            self._clock(event, record, state)
            self._track(event, state)
            if line := sentence(event, state):
                self._recent.append(line)
            self._shown = self._summary(event, state)

    def notice(self, notice: Notice) -> None:
        """A trace entered a stage."""
        with self._lock:
            doing = self._doing.setdefault(notice.trace, _Now())
            doing.stage, doing.experiment = notice.stage, notice.experiment
            doing.text = clean(notice.text, 300)

    def snapshot(self) -> Snapshot:
        """What is to be shown now."""
        with self._lock:
            rows = tuple(self._row(trace) for trace in sorted(self._rows))
            lines = tuple(self._recent)[-self.lines :]
            return replace(self._shown, rows=rows, lines=lines, elapsed_s=self._elapsed())

    def _elapsed(self) -> float:
        if self._session_start is None:
            return 0.0
        end = self._stopped_at if self._stopped_at is not None else self.now()
        return self._wall_before + max(0.0, end - self._session_start)

    def _clock(self, event: ev.Event, record: Record, state: RunState) -> None:
        self._wall_before, self._session_start = state.wall_before, state.wall_session_start
        ended = isinstance(event, ev.RunFinished | ev.RunInterrupted)
        self._stopped_at = record.time if ended else None

    def _track(self, event: ev.Event, state: RunState) -> None:
        if isinstance(event, ev.RunStarted | ev.RunResumed) or not self._rows:
            self._all_rows(state)
        match event:
            case ev.StepStarted():
                self._doing[event.trace] = _Now("starting", event.experiment, "")
            case ev.RoundStarted():
                for step in event.steps:
                    self._doing[step.trace] = _Now("starting", step.experiment, "")
            case ev.ExperimentFinished():
                trace = event.experiment.trace
                self._rows[trace] = _extend(self._rows.get(trace, TraceRow(trace)), event.experiment)
                self._doing.pop(trace, None)
            case ev.ExperimentLost():
                self._doing[event.trace] = _Now("restarting", event.experiment, clean(event.cause, 200))
            case ev.TraceRetired():
                self._doing[event.trace] = _Now("given up", "", clean(event.cause, 200))
            case ev.FinalStarted() | ev.RunInterrupted():
                self._doing.clear()
            case _:
                pass

    def _all_rows(self, state: RunState) -> None:
        """Rebuild every row from the state: at the start, and when a run is joined or resumed."""
        traces = int(state.started.config.get("traces", 1)) if state.started else 1
        self._doing.clear()
        for trace in range(traces):
            row = TraceRow(trace)
            for experiment in state.histories.get(trace, ()):
                row = _extend(row, experiment)
            self._rows[trace] = row
        for step in state.open_steps.values():
            self._doing[step.trace] = _Now("working", step.experiment, "")
        for trace, cause in state.retired.items():
            self._doing[trace] = _Now("given up", "", clean(cause, 200))

    def _row(self, trace: int) -> TraceRow:
        row, doing = self._rows[trace], self._doing.get(trace)
        if doing is None:
            return row
        last = clean(row.last.proposal.hypothesis, 300) if row.last and not doing.text else doing.text
        text = doing.text or (f"after: {last}" if last else "")
        return replace(row, stage=doing.stage, experiment=doing.experiment, doing=text)

    def _summary(self, event: ev.Event, state: RunState) -> Snapshot:
        started = state.started
        if started is None:
            return self._shown
        shown = self._shown
        if isinstance(event, ev.ExperimentFinished | ev.BaselineScored | ev.RunResumed) or not shown.task:
            costs = state.costs()
            shown = replace(
                shown,
                best=state.best(),
                slot_s=costs.slot_s,
                tokens=costs.tokens_in + costs.tokens_out,
                usd=costs.usd,
                baseline=state.baseline.score if state.baseline else None,
                finished_steps=len(state.experiments),
                entries=len(state.memory),
            )
        return replace(
            shown,
            task=started.task.id,
            metric=started.task.metric.name,
            direction=started.task.metric.direction,
            agent=clean(started.agent, 60),
            backend=started.backend,
            budget=Budget.model_validate(started.config["budget"]),
            phase=_phase(event, state),
            steps=state.steps_started,
            looks=state.episode.looks,
            sealed=started.sealed,
            closed=state.episode.sealed,
        )


def _extend(row: TraceRow, e: Experiment) -> TraceRow:
    utility = e.score.utility if e.score else None
    return replace(
        row,
        stage="waiting",
        experiment=e.id,
        doing=clean(e.proposal.hypothesis, 300),
        last=e,
        best=e.score if e.status == "accepted" else row.best,
        trend=(*row.trend, utility)[-TREND:],
        accepted=row.accepted + (e.status == "accepted"),
        rejected=row.rejected + (e.status in ("rejected", "vetoed")),
        failed=row.failed + (e.status in ("failed", "budget", "lost")),
        hits=row.hits + cites_others(e),
    )


def _phase(event: ev.Event, state: RunState) -> str:
    if state.finished is not None:
        return "finished"
    if isinstance(event, ev.RunInterrupted):
        return "interrupted"
    if state.test is not None or state.chosen is not None:
        return "final run"
    if state.final is not None:
        return "final choice"
    return "search" if state.baseline is not None else "baseline"
