"""Journals written by hand, for tests of what is shown about a run."""

from __future__ import annotations

from pathlib import Path

from dojo.environment import Feedback, Observation
from dojo.errors import Failure
from dojo.score import Comparison, Score
from gome.loop import events as ev
from gome.loop.backend import SerialBackend
from gome.loop.blobs import DirectoryBlobs, content_hash
from gome.loop.execute import execute
from gome.loop.experiment import Costs, Experiment, Span
from gome.loop.journal import JsonlJournal
from gome.loop.memory import MemoryEntry
from gome.loop.proposal import Citation, Diagnosis, Proposal
from tests.support.fake_world import fake_config, fake_run, fake_spec

EVIL = '<script>alert(1)</script>"><img src=x onerror=alert(2)> \x1b[31mred\x1b[0m \u202eevil {{ 7*7 }}'


def finished_run(root: Path, steps: int = 24, traces: int = 3, **settings: object) -> Path:
    """A whole run in the fake world."""
    run = fake_run(root, fake_config(steps, traces=traces, **settings))
    execute(run, SerialBackend(), medal=lambda score: "bronze")
    run.journal.close()
    return root


class Writer:
    """Writes a journal event by event, with a clock that goes on by one second each."""

    def __init__(self, root: Path, *, traces: int = 2, steps: int = 50, **started: object) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.root = root
        self.time = 1_800_000_000.0
        self.journal = JsonlJournal(root / "journal.jsonl", clock=self._tick)
        self.blobs = DirectoryBlobs(root / "blobs")
        config = fake_config(steps, traces=traces).model_dump(mode="json")
        values = {
            "run": root.name,
            "gome": "0",
            "task": fake_spec(),
            "fingerprint": "f" * 64,
            "source": "fake",
            "agent": "playbook",
            "backend": "serial",
            "config": config,
            "sealed": True,
            "slots": traces,
        }
        self.append(ev.RunStarted(**{**values, **started}))

    def _tick(self) -> float:
        self.time += 1.0
        return self.time

    def __del__(self) -> None:
        self.journal.close()

    def append(self, *events: ev.Event) -> None:
        """Commit events."""
        self.journal.append(list(events))

    def baseline(self, value: float = 1.0) -> None:
        """Commit the baseline."""
        self.append(ev.BaselineScored(files={}, score=score(value)))

    def experiment(
        self,
        trace: int,
        step: int,
        value: float | None,
        *,
        status: str = "accepted",
        parent: str | None = None,
        text: str = "a change",
        code: str = "print(1)\n",
        cites: tuple[str, ...] = (),
        failure: str = "",
    ) -> Experiment:
        """Commit one experiment with its memory entry."""
        name = f"t{trace}-s{step:03d}"
        blob = content_hash(code.encode())
        self.blobs.put_all({blob: code.encode()})
        delta = 0.1 if status == "accepted" else -0.1
        made = Experiment(
            id=name,
            trace=trace,
            step=step,
            parent=parent,
            proposal=Proposal(
                purpose="improve" if parent else "draft",
                component="model",
                hypothesis=text,
                diagnosis=Diagnosis(cause=text, evidence=(Observation(name="seen", value=1.5, text=text),)),
                edit_key=text[:60],
                citations=tuple(Citation(entry=c, trace=int(c[1]), use="adopted") for c in cites),
            ),
            files={"solution.py": blob},
            status=status,
            score=None if value is None else score(value),
            comparison=None
            if value is None
            else Comparison(
                delta=delta, se=0.02, p_better=0.99 if delta > 0 else 0.01, n=100, method="paired"
            ),
            feedback=Feedback(
                observations=(Observation(name="fold_spread", value=0.1, text=text),),
                failure=Failure(boundary="solution", kind="nonzero_exit", message=failure)
                if failure
                else None,
            ),
            lesson=text,
            costs=Costs(wall_s=0.8, slot_s=0.5),
            spans=(Span(stage="run", seconds=0.5), Span(stage="propose", seconds=0.1)),
        )
        entry = MemoryEntry(
            id=name,
            trace=trace,
            kind="success" if status == "accepted" else "failure",
            text=text[:2000],
            component="model",
            edit_key=text[:60],
            gain=5.0,
        )
        start = ev.StepStarted(
            experiment=name,
            trace=trace,
            step=step,
            purpose=made.proposal.purpose,
            parent=parent,
            memory_version=0,
        )
        self.append(start, ev.ExperimentFinished(experiment=made, entry=entry))
        return made

    def close(self) -> Path:
        """Close the journal and give the run's directory."""
        self.journal.close()
        return self.root


def score(value: float) -> Score:
    """A validation score of the fake task."""
    return Score(value=value, metric="rmse", direction="min", split="validation", n=100, se=0.02)
