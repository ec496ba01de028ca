"""Slots on a real Ray: devices, shares, and what there is not."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from cluster.backend import RayBackend
from cluster.errors import SlotsUnavailable
from dojo.environment import Files, RunResult
from dojo.slot import Slot
from gome.loop.assignment import Plan
from gome.loop.execute import execute
from tests.support.fake_world import FakeEnvironment, fake_agent, fake_config, fake_run, fake_spec

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("no_orphans")]


class Recording(FakeEnvironment):
    """Writes down the slot of every run."""

    def __init__(self, name: str, out: Path) -> None:
        super().__init__(name)
        self.out = out

    def run(self, files: Files, *, slot: Slot, view: str, **rest: object) -> RunResult:
        (self.out / f"{self.name}-{view}").write_text(slot.model_dump_json())
        return super().run(files, slot=slot, view=view, **rest)


@dataclass(frozen=True)
class Recordings:
    """Builds them; picklable."""

    out: Path

    def __call__(self, name: str) -> Recording:
        return Recording(name, self.out)


def slots_of(tmp_path: Path, **settings: object) -> dict[str, Slot]:
    out = tmp_path / "out"
    out.mkdir()
    config = fake_config(
        settings["traces"], **{k: v for k, v in settings.items() if k != "traces"}, traces=settings["traces"]
    )
    run = fake_run(tmp_path / "run", config)
    run.plan = Plan(fake_spec(), fake_agent(), config, Recordings(out))
    execute(run, RayBackend())
    run.journal.close()
    files = out.glob("trace-*-search")
    return {p.name: Slot.model_validate(json.loads(p.read_text())) for p in files}


def test_each_slot_has_its_own_gpu(tmp_path: Path) -> None:
    slots = slots_of(tmp_path, traces=4, gpus_per_trace=1)
    assert sorted(s.cuda_visible_devices for s in slots.values()) == ["0", "1", "2", "3"]
    assert sorted(s.id for s in slots.values()) == ["gpu-0", "gpu-1", "gpu-2", "gpu-3"]


def test_two_traces_may_share_a_gpu_and_cpu_slots_see_none(tmp_path: Path) -> None:
    slots = slots_of(tmp_path, traces=2, gpus_per_trace=2)
    devices = [s.cuda_visible_devices.split(",") for s in slots.values()]
    assert sorted(d for pair in devices for d in pair) == ["0", "1", "2", "3"]


def test_cpu_slots_see_no_device(tmp_path: Path) -> None:
    slots = slots_of(tmp_path, traces=2)
    assert [s.cuda_visible_devices for s in slots.values()] == ["", ""]
    assert all(s.cpus == 1.0 and s.threads == 1 for s in slots.values())


def test_asking_for_more_gpus_than_there_are_is_told_at_once(tmp_path: Path) -> None:
    run = fake_run(tmp_path, fake_config(9, traces=9, gpus_per_trace=1))
    with pytest.raises(SlotsUnavailable, match=r"9 traces with 1 GPU .* ask for 9 GPUs .* has 4 GPUs"):
        execute(run, RayBackend())
    run.journal.close()


def test_slots_that_others_hold_are_waited_for_and_then_told(tmp_path: Path) -> None:
    from ray.util.placement_group import placement_group, remove_placement_group

    other = placement_group([{"CPU": 1}])
    assert other.wait(30)
    run = fake_run(tmp_path, fake_config(traces=2, cpus_per_trace=1))
    try:
        with pytest.raises(SlotsUnavailable, match="asked for 2 slots of 1 CPU each, got 1 within"):
            execute(run, RayBackend(wait_s=0.5))
    finally:
        remove_placement_group(other)
        run.journal.close()
