"""The hand-over between a trace's thread and the driver's polls. No Ray."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable

import pytest

from cluster.errors import ClusterError, MemoryUnavailable, SlotsUnavailable
from cluster.outbox import Batch, Outbox, Trouble
from dojo.errors import GradingError, SandboxUnavailable
from gome.errors import Interrupted, LlmDenied
from gome.llm.base import Completion, Usage
from gome.loop.assignment import Notice
from gome.loop.events import ExperimentFinished, LlmAnswered
from gome.loop.experiment import Costs, Experiment
from gome.loop.proposal import Diagnosis, Proposal

ANSWER = LlmAnswered(
    experiment="t0-s000",
    request="r",
    purpose="propose",
    completion=Completion(text="1", model="m", usage=Usage()),
)
FINISHED = ExperimentFinished(
    experiment=Experiment(
        id="t0-s000",
        trace=0,
        step=0,
        parent=None,
        proposal=Proposal(
            purpose="draft", component="x", hypothesis="h", diagnosis=Diagnosis(cause="unknown")
        ),
        files={},
        status="failed",
    )
)


def in_thread(what: Callable[[], object]) -> tuple[threading.Thread, list[object]]:
    outcome: list[object] = []

    def target() -> None:
        try:
            outcome.append(what())
        except Interrupted as exc:
            outcome.append(exc)

    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    return thread, outcome


def test_a_commit_waits_until_it_is_acknowledged() -> None:
    outbox = Outbox()
    thread, _ = in_thread(lambda: outbox.commit([ANSWER], {"b": b"1"}))
    batch = outbox.take()
    assert batch.events == (ANSWER,)
    assert batch.blobs == {"b": b"1"}
    assert not batch.done
    thread.join(0.05)
    assert thread.is_alive()
    outbox.acknowledge(batch.seq - 1)
    thread.join(0.05)
    assert thread.is_alive()
    outbox.acknowledge(batch.seq)
    thread.join(10)
    assert not thread.is_alive()


def test_a_finished_experiment_and_the_end_of_its_step_are_one_batch() -> None:
    outbox = Outbox()
    outbox.notice(Notice(0, "t0-s000", "record"))
    outbox.commit([FINISHED], {"b": b"1"})  # does not wait
    poller, got = in_thread(outbox.take)
    outbox.finish()
    poller.join(10)
    batch = got[0]
    assert isinstance(batch, Batch)
    assert batch.done
    assert batch.events == (FINISHED,)
    assert [n.stage for n in batch.notices] == ["record"]
    assert outbox.take(0) == Batch(seq=batch.seq)


def test_stage_changes_come_alone_only_after_a_while_and_together() -> None:
    outbox = Outbox()
    outbox.notice(Notice(0, "t0-s000", "propose"))
    outbox.notice(Notice(0, "t0-s000", "run"))
    batch = outbox.take()
    assert [n.stage for n in batch.notices] == ["propose", "run"]
    assert not batch.events
    assert not batch.done


def test_nothing_is_an_empty_batch_after_the_timeout() -> None:
    assert Outbox().take(0.01) == Batch()


def test_closing_releases_a_step_that_waits_and_a_poll() -> None:
    outbox = Outbox()
    poller, _ = in_thread(outbox.take)
    outbox.close()
    poller.join(10)
    assert not poller.is_alive()
    with pytest.raises(Interrupted):
        outbox.commit([ANSWER], {})


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("sandbox", SandboxUnavailable),
        ("grading", GradingError),
        ("memory", MemoryUnavailable),
        ("denied", LlmDenied),
        ("bug", ClusterError),
    ],
)
def test_trouble_keeps_its_type_and_its_words(kind: str, error: type[Exception]) -> None:
    trouble = pickle.loads(pickle.dumps(Trouble(kind, "the box broke", Costs(wall_s=2.0))))
    assert type(trouble.error()) is error
    assert str(trouble.error()) == "the box broke"
    assert trouble.paid.wall_s == 2.0


@pytest.mark.parametrize("error", [ClusterError, SlotsUnavailable, MemoryUnavailable])
def test_errors_survive_pickling(error: type[Exception]) -> None:
    back = pickle.loads(pickle.dumps(error("what to do")))
    assert type(back) is error
    assert str(back) == "what to do"
