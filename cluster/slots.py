"""Slots on a Ray cluster: how much of what one trace gets, and its reservation.

One placement group with one bundle per slot, so that losing a node loses the slots of that node only. A bundle
must fit one node.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group

from cluster.errors import SlotsUnavailable
from gome.config import RunConfig

_GRAIN = 10_000
"""Ray counts resources in ten-thousandths."""


@dataclass(frozen=True)
class SlotShape:
    """What each slot of a run reserves."""

    cpus: float
    gpus: float

    @property
    def bundle(self) -> dict[str, float]:
        """Ray's form of it."""
        return {"CPU": self.cpus} | ({"GPU": self.gpus} if self.gpus else {})

    def __str__(self) -> str:
        return f"{self.gpus:g} GPU and {self.cpus:g} CPU" if self.gpus else f"{self.cpus:g} CPU"


def alive_nodes() -> list[dict[str, float]]:
    """Total resources of each live node."""
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return [node["Resources"] for node in nodes if node["Alive"]]


def shape(config: RunConfig, nodes: Sequence[dict[str, float]]) -> SlotShape:
    """The configured share of CPUs, or the largest with which all traces find a place.

    Raises:
        SlotsUnavailable: the cluster does not have what was asked for, even when idle.
    """
    cpus = [node.get("CPU", 0.0) for node in nodes]
    share = config.cpus_per_trace or even_share(cpus, config.traces)
    wanted = SlotShape(math.floor(share * _GRAIN) / _GRAIN, config.gpus_per_trace)
    room = sum(_room(node, wanted) for node in nodes)
    if room < config.traces:
        raise SlotsUnavailable(_explain(config, wanted, nodes, room))
    return wanted


def even_share(cpus: Iterable[float], traces: int) -> float:
    """The largest share such that `traces` bundles of it fit the nodes, each bundle on one node."""
    cpus = [c for c in cpus if c > 0]
    shares = sorted({c / k for c in cpus for k in range(1, traces + 1)}, reverse=True)
    fitting = (s for s in shares if sum(math.floor(c / s + 1e-9) for c in cpus) >= traces)
    return next(fitting, 0.0)


def _room(node: dict[str, float], wanted: SlotShape) -> int:
    """How many slots an idle node has place for."""
    places = [
        math.floor(node.get(name, 0.0) / amount + 1e-9) for name, amount in wanted.bundle.items() if amount
    ]
    return min(places, default=0)


def _explain(config: RunConfig, wanted: SlotShape, nodes: Sequence[dict[str, float]], room: int) -> str:
    names = ["GPU", "CPU"] if wanted.gpus else ["CPU"]
    asked = " and ".join(f"{config.traces * wanted.bundle[n]:g} {n}s" for n in names)
    has = " and ".join(f"{sum(node.get(n, 0.0) for node in nodes):g} {n}s" for n in names)
    setting = "gpus_per_trace" if wanted.gpus else "cpus_per_trace"
    return (
        f"{config.traces} traces with {wanted} each ask for {asked}; the cluster has {has}, "
        f"room for {room}: lower --traces or --set {setting}=…"
    )


def reserve(wanted: SlotShape, count: int, wait_s: float) -> list[PlacementGroup]:
    """Reserve the slots; all or none.

    Raises:
        SlotsUnavailable: others hold the resources and did not give them free within `wait_s` seconds.
    """
    groups: list[PlacementGroup] = []
    try:
        groups += (placement_group([wanted.bundle], strategy="PACK") for _ in range(count))
        deadline = time.monotonic() + wait_s
        for number, group in enumerate(groups):
            while not group.wait(1):
                if time.monotonic() > deadline:
                    raise SlotsUnavailable(
                        f"asked for {count} slots of {wanted} each, got {number} within {wait_s:g} s; "
                        f"free at the moment: {_free()}: others use the cluster; wait, or lower --traces"
                    )
    except BaseException:
        release(groups)
        raise
    return groups


def release(groups: Iterable[Any]) -> None:
    """Give the slots back."""
    for group in groups:
        remove_placement_group(group)


def _free() -> str:
    free: dict[str, float] = ray.available_resources()  # type: ignore[no-untyped-call]
    return " and ".join(f"{free.get(name, 0.0):g} {name}s" for name in ("CPU", "GPU"))
