"""What is lost when something dies in the middle: nothing that was committed, and nothing twice."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from cluster.backend import RayBackend
from cluster.errors import ClusterError
from dojo.errors import SandboxUnavailable
from gome.loop import events as ev
from gome.loop.assignment import Notice
from gome.loop.backend import SerialBackend
from gome.loop.execute import execute
from gome.loop.journal import Record, canonical, read_journal
from gome.loop.run import Run
from gome.loop.state import RunState
from tests.support.fake_world import FakeLlms, Faults, fake_agent, fake_config, fake_run
from tests.support.shared_ray import named

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("no_orphans")]


def history(root: Path) -> list[dict]:
    return canonical(list(read_journal(root / "journal.jsonl")))


def events(root: Path, kind: type[ev.Event]) -> list[ev.Event]:
    return [r.event for r in read_journal(root / "journal.jsonl") if isinstance(r.event, kind)]


def carry_out(run: Run, backend: RayBackend | SerialBackend) -> Run:
    try:
        execute(run, backend)
    finally:
        run.journal.close()
    return run


def test_killed_workers_are_replaced_and_the_history_is_the_uninterrupted_one(tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    config = fake_config(12)
    carry_out(fake_run(tmp_path / "a" / "run", config, llm=FakeLlms(calls)), SerialBackend())
    paid = len(calls.read_text().splitlines())
    at = {
        "t0-s000:propose": "kill",
        "t1-s001:run": "kill",
        "t2-s001:validate": "kill",
        "t0-s002:interpret": "kill",
    }
    faults = Faults(control=tmp_path / "control", at=at)
    agent = fake_agent(faults, llm=True)
    root = tmp_path / "b" / "run"
    run = fake_run(root, config, faults=faults, agent=agent, llm=FakeLlms(calls), child=True)
    carry_out(run, RayBackend())
    assert faults.happened() == set(at)
    assert history(root) == history(tmp_path / "a" / "run")
    lost = events(root, ev.ExperimentLost)
    assert sorted(e.experiment for e in lost) == ["t0-s000", "t0-s002", "t1-s001", "t2-s001"]
    assert all("its worker died" in e.cause for e in lost)
    assert len(events(root, ev.TraceReplaced)) == 4
    # answers that were paid for before a worker died are used again
    assert len(calls.read_text().splitlines()) == 2 * paid


class KillMemory:
    """Kills the memory actor's process once, after some commits."""

    def __init__(self, mark: str, after: int) -> None:
        self.mark, self.after, self.killed = mark, after, 0

    def on_record(self, record: Record, state: RunState) -> None:
        if len(state.experiments) == self.after and not self.killed:
            for process in named(self.mark, "ray::MemoryStore"):
                process.send_signal(signal.SIGKILL)
                self.killed += 1

    def on_notice(self, notice: Notice) -> None:
        pass


def test_a_killed_memory_actor_is_filled_again(tmp_path: Path, no_orphans: str) -> None:
    carry_out(fake_run(tmp_path / "a" / "run"), SerialBackend())
    killer = KillMemory(no_orphans, after=4)
    root = tmp_path / "b" / "run"
    run = carry_out(fake_run(root, observers=[killer]), RayBackend())
    assert killer.killed == 1
    assert history(root) == history(tmp_path / "a" / "run")
    assert events(root, ev.ExperimentLost) == []
    assert any(e.proposal.citations for e in run.state.experiments.values() if e.step > 2)


def test_a_broken_world_repeats_the_step_with_a_new_worker(tmp_path: Path) -> None:
    carry_out(fake_run(tmp_path / "a" / "run", fake_config(9)), SerialBackend())
    at = {
        "t0-s000:propose": "sandbox",
        "t1-s001:compare": "grading",
        "t2-s001:validate": "bug",
        "resplit-1:run": "kill",
    }
    faults = Faults(control=tmp_path / "control", at=at)
    root = tmp_path / "b" / "run"
    run = carry_out(fake_run(root, fake_config(9), faults=faults, child=True), RayBackend())
    assert faults.happened() == set(at)
    assert history(root) == history(tmp_path / "a" / "run")
    causes = " ".join(e.cause for e in events(root, ev.ExperimentLost))
    assert "SandboxUnavailable: the box broke" in causes
    assert "GradingError: the grader broke" in causes
    assert "Broken: a bug" in causes
    assert all("broke" not in e.text for e in run.state.memory.entries_since(0))


def broken(trace: int, steps: range) -> dict[str, str]:
    """Three losses for each of these steps: workers killed in the first, a broken box in the others."""
    stages = {"propose": "kill", "implement": "kill", "run": "kill"}
    faults = {f"t{trace}-s{steps[0]:03d}:{stage}": fault for stage, fault in stages.items()}
    for step in steps[1:]:
        faults |= {f"t{trace}-s{step:03d}:{stage}": "grading" for stage in ("propose", "validate", "compare")}
    return faults


def test_a_trace_that_keeps_dying_is_given_up_and_the_others_go_on(tmp_path: Path) -> None:
    faults = Faults(control=tmp_path / "control", at=broken(1, range(3)))
    run = carry_out(fake_run(tmp_path / "run", fake_config(12), faults=faults), RayBackend())
    assert list(run.state.retired) == [1]
    assert [e.status for e in run.state.histories[1]] == ["lost"] * 3
    assert {e.status for t in (0, 2) for e in run.state.histories[t]} <= {"accepted", "rejected"}
    assert run.state.test is not None
    assert run.state.finished is not None


def test_when_every_trace_dies_it_is_an_error_and_resume_ends_the_run(tmp_path: Path) -> None:
    faults = Faults(control=tmp_path / "control", at=broken(0, range(2, 5)))
    config, root = fake_config(6, traces=1), tmp_path / "run"
    with pytest.raises(ClusterError, match="every trace was given up"):
        carry_out(fake_run(root, config, faults=faults), RayBackend())
    assert [e.experiment.status == "lost" for e in events(root, ev.ExperimentFinished)] == [False] * 2 + [
        True
    ] * 3
    run = fake_run(root, config, faults=faults)
    run.resume()
    carry_out(run, RayBackend())
    assert run.state.finished is not None
    assert run.state.test is not None


def test_a_job_of_the_final_choice_that_never_works_is_a_typed_error(tmp_path: Path) -> None:
    class Broken(Faults):
        def _first(self, point: str) -> bool:
            return True

    faults = Broken(control=tmp_path, at={"resplit-1:run": "sandbox"})
    with pytest.raises(SandboxUnavailable, match="the box broke at resplit-1:run"):
        carry_out(fake_run(tmp_path / "run", fake_config(6), faults=faults), RayBackend())


def test_a_hanging_trace_does_not_block_the_others_and_is_restarted(tmp_path: Path) -> None:
    faults = Faults(control=tmp_path / "control", at={"t1-s001:run": "hang"})
    root = tmp_path / "run"
    run = fake_run(root, fake_config(14, lockstep=False), faults=faults, child=True)
    carry_out(run, RayBackend(stall_s=4.0))
    (lost,) = events(root, ev.ExperimentLost)
    assert lost.experiment == "t1-s001"
    assert "no progress for 4 s (stage run)" in lost.cause
    assert lost.paid.slot_s > 0
    assert len(run.state.experiments) == 14
    order = [r.event for r in read_journal(root / "journal.jsonl")]
    meanwhile = order[: order.index(lost)]
    assert sum(isinstance(e, ev.ExperimentFinished) and e.experiment.trace != 1 for e in meanwhile) >= 8


def test_an_interrupt_ends_the_session_cleanly(tmp_path: Path) -> None:
    class Interrupting:
        def on_record(self, record: Record, state: RunState) -> None:
            if (
                len(state.experiments) == 4
                and not state.finished
                and isinstance(record.event, ev.ExperimentFinished)
            ):
                os.kill(os.getpid(), signal.SIGINT)

        def on_notice(self, notice: Notice) -> None:
            pass

    carry_out(fake_run(tmp_path / "a" / "run"), SerialBackend())
    root = tmp_path / "b" / "run"
    with pytest.raises(KeyboardInterrupt):
        carry_out(fake_run(root, observers=[Interrupting()], child=True), RayBackend())
    assert len(events(root, ev.RunInterrupted)) == 1
    run = fake_run(root)
    run.resume()
    carry_out(run, RayBackend())
    assert history(root) == history(tmp_path / "a" / "run")
