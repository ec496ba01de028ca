from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gome.loop.memory import Kernel, MemoryEntry, SuccessMemory, embed, gumbel_top_k


def entry(
    i: int, *, trace: int = 0, kind: str = "success", gain: float = 1.0, text: str = "log target"
) -> MemoryEntry:
    return MemoryEntry(
        id=f"e{i}", trace=trace, kind=kind, text=text, component="target", edit_key=f"k{i}", gain=gain
    )


def test_adding_twice_changes_nothing() -> None:
    memory = SuccessMemory()
    assert memory.add(entry(1))
    assert not memory.add(entry(1, gain=99))
    assert memory.version == 1
    assert memory.entries_since(0)[0].gain == 1.0


def test_versions_count_commits_and_entries_since_is_a_window() -> None:
    memory = SuccessMemory()
    for i in range(200):
        memory.add(entry(i))
    assert [e.version for e in memory.entries_since(150, 153)] == [151, 152, 153]
    assert memory.version == 200


def test_a_trace_does_not_recall_its_own_successes() -> None:
    memory = SuccessMemory()
    for i in range(6):
        memory.add(entry(i, trace=i % 2))
    assert {e.trace for e in memory.recall("log target", trace=0, length=3, seed="s")} == {1}


def test_failures_of_any_trace_are_recalled_by_similarity() -> None:
    memory = SuccessMemory(Kernel(failures=1))
    memory.add(entry(1, kind="failure", text="one hot encoding of colour"))
    memory.add(entry(2, kind="failure", text="a wider network"))
    recalled = memory.recall("encoding of colour", trace=0, length=0, seed="s")
    assert [e.id for e in recalled] == ["e1"]


def test_recall_looks_only_at_the_barrier_version() -> None:
    memory = SuccessMemory()
    memory.add(entry(1, trace=1))
    before = memory.recall("target", trace=0, length=1, seed="s", upto=1)
    memory.add(entry(2, trace=1, gain=8.0))
    assert memory.recall("target", trace=0, length=1, seed="s", upto=1) == before
    assert memory.recall("target", trace=0, length=1, seed="s", upto=0) == []


def test_the_best_gain_is_always_among_the_recalled() -> None:
    memory = SuccessMemory()
    for i in range(50):
        memory.add(entry(i, trace=1, gain=0.5, text=f"idea {i}"))
    memory.add(entry(99, trace=2, gain=7.0, text="something else"))
    for seed in range(20):
        assert "e99" in [e.id for e in memory.recall("idea 3", trace=0, length=5, seed=str(seed))]


def test_similar_successes_are_recalled_more_often_than_others() -> None:
    memory = SuccessMemory(Kernel(k=2))
    memory.add(entry(0, trace=1, gain=1.2, text="the reference"))
    memory.add(entry(1, trace=1, gain=1.0, text="cyclic hour features for the daily pattern"))
    memory.add(entry(2, trace=1, gain=1.0, text="stronger regularisation of the linear model"))
    hits = {"e1": 0, "e2": 0}
    for seed in range(400):
        for e in memory.recall(
            "daily pattern of the hour left in residuals", trace=0, length=0, seed=str(seed)
        ):
            if e.id in hits:
                hits[e.id] += 1
    assert hits["e1"] > 1.3 * hits["e2"]


@given(st.lists(st.floats(-3, 3), min_size=1, max_size=30), st.integers(1, 10), st.text(max_size=5))
def test_gumbel_top_k_is_a_deterministic_sample_without_replacement(
    w: list[float], k: int, seed: str
) -> None:
    got = gumbel_top_k(np.array(w), k, seed)
    assert got == gumbel_top_k(np.array(w), k, seed)
    assert len(got) == len(set(got)) == min(k, len(w))


def test_gumbel_top_k_follows_the_softmax() -> None:
    weights = np.array([0.0, 1.0, 2.0])
    first = np.bincount([gumbel_top_k(weights, 1, str(i))[0] for i in range(4000)], minlength=3) / 4000
    expected = np.exp(weights) / np.exp(weights).sum()
    assert np.abs(first - expected).max() < 0.03


@given(st.text(max_size=200))
def test_embedding_is_a_unit_vector_or_zero(text: str) -> None:
    norm = float(np.linalg.norm(embed(text)))
    assert norm == pytest.approx(1.0, abs=1e-5) or norm == 0.0
