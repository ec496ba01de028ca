"""Parts that need no Ray: shares, processes, the memory's order, where code lies."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster import session
from cluster.errors import SlotsUnavailable
from cluster.memory import MemoryStore
from cluster.procs import alive, descendants, sweep
from cluster.slots import even_share, shape
from gome.loop.memory import MemoryEntry
from tests.support.fake_world import fake_config

NODES = st.lists(st.integers(1, 64).map(float), min_size=1, max_size=4)


@given(NODES, st.integers(1, 40))
def test_an_even_share_fits_and_no_larger_simple_share_does(cpus: list[float], traces: int) -> None:
    share = even_share(cpus, traces)
    assert sum(int(c / share + 1e-9) for c in cpus) >= traces
    larger = [c / k for c in cpus for k in range(1, traces + 1) if c / k > share + 1e-9]
    assert all(sum(int(c / s + 1e-9) for c in cpus) < traces for s in larger)


@given(NODES, st.integers(1, 40))
def test_a_shape_always_fits_without_settings(cpus: list[float], traces: int) -> None:
    wanted = shape(fake_config(traces=traces), [{"CPU": c} for c in cpus])
    assert wanted.gpus == 0
    assert 0 < wanted.cpus <= max(cpus)


def test_what_the_cluster_does_not_have_is_said_in_one_line() -> None:
    nodes = [{"CPU": 2.0, "GPU": 2.0}]
    with pytest.raises(
        SlotsUnavailable, match=r"ask for 4 GPUs and 2 CPUs; the cluster has 2 GPUs and 2 CPUs"
    ):
        shape(fake_config(traces=4, gpus_per_trace=1), nodes)
    with pytest.raises(SlotsUnavailable, match=r"ask for 6 CPUs; the cluster has 2 CPUs, room for 1"):
        shape(fake_config(traces=4, cpus_per_trace=1.5), nodes)
    two_nodes = [{"CPU": 2.0, "GPU": 1.0}, {"CPU": 2.0, "GPU": 1.0}]
    with pytest.raises(SlotsUnavailable, match="room for 0"):
        shape(fake_config(traces=1, gpus_per_trace=2), two_nodes)


def test_a_sweep_ends_whole_trees_and_no_process_that_took_a_number_over() -> None:
    code = "import subprocess as s, sys; s.Popen([sys.executable, '-c', 'input()']); print('up', flush=True); input()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code], start_new_session=True, **pipes) as child:
        assert child.stdout.readline() == b"up\n"
        tree = descendants()
        assert {pid for pid, _ in tree} > {child.pid}
        other = [(pid, started - 100) for pid, started in tree]
        assert sweep(other, 0) == []
        assert alive(tree) == list(tree)
        assert {p for p, _ in sweep(tree, 0)} == {p for p, _ in tree}
        child.wait()
        assert alive(tree) == []


def entry(version: int) -> MemoryEntry:
    return MemoryEntry(
        id=f"e{version}", trace=0, kind="success", text="x", component="x", edit_key="x", version=version
    )


@given(st.lists(st.lists(st.integers(1, 12), max_size=6), max_size=8))
def test_the_memory_keeps_the_order_whatever_is_sent_how_often(sent: list[list[int]]) -> None:
    store = MemoryStore()
    for versions in sent:
        version = store.publish([entry(v) for v in versions])
        assert [e.version for e in store.entries_since(0, version)] == list(range(1, version + 1))


def test_the_memory_gives_what_it_has_when_more_does_not_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster.memory._SERVE_S", 0.01)
    store = MemoryStore()
    assert store.publish([entry(1), entry(2)]) == 2
    assert [e.version for e in store.entries_since(1, 5)] == [2]
    assert store.publish([entry(4)]) == 2  # a gap: the publisher has to send 3


def test_workers_are_told_only_of_folders_that_they_would_not_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", ["", *sys.path, str(tmp_path), str(tmp_path / "missing")])
    extra = session.extra_path()
    assert str(tmp_path) in extra
    assert str(tmp_path / "missing") not in extra
    assert str(Path.cwd()) not in extra
    assert not any("site-packages" in entry for entry in extra)


def test_the_package_is_light_to_import() -> None:
    code = "import cluster.backend, sys; assert 'ray' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
