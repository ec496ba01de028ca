"""The shared memory on Ray: one actor that orders and serves entries, and the reader that a trace has of it.

Its state is the journal's: the driver publishes what it has committed, and publishes everything again when the
actor was restarted. All methods may be repeated without harm.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

import ray
from ray.exceptions import RayError

from cluster.errors import MemoryUnavailable
from gome.loop.memory import MemoryEntry

_SERVE_S = 2.0
"""How long the actor lets a call wait for a version that is still to come."""
_READ_S = 60.0
"""How long a trace waits altogether: longer than the actor's restart and the driver's next look at it."""


class MemoryStore:
    """Entries in the order of their versions. Thread-safe."""

    def __init__(self) -> None:
        self._entries: list[MemoryEntry] = []
        self._changed = threading.Condition()

    def __repr__(self) -> str:
        return f"Memory version {len(self._entries)}"

    def publish(self, entries: Sequence[MemoryEntry]) -> int:
        """Add entries that are not there yet; gives the version.

        Entries after a gap are left out: the publisher sees from the version that it has to send more.
        """
        with self._changed:
            for entry in entries:
                if entry.version == len(self._entries) + 1:
                    self._entries.append(entry)
            self._changed.notify_all()
            return len(self._entries)

    def entries_since(self, version: int, upto: int) -> list[MemoryEntry]:
        """Entries with `version < entry.version <= upto`, fewer when they do not come within a short while."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._entries) >= upto, _SERVE_S)
            return self._entries[version:upto]


class RemoteMemory:
    """Implements `gome.loop.assignment.MemoryReader` over the actor's handle."""

    def __init__(self, actor: Any, timeout_s: float = _READ_S) -> None:
        self._actor = actor
        self._timeout_s = timeout_s

    def entries_since(self, version: int, upto: int | None = None) -> Sequence[MemoryEntry]:
        """Entries with `version < entry.version <= upto`, in order.

        Raises:
            MemoryUnavailable: they could not be had in time.
        """
        if upto is None:
            raise ValueError("a trace asks for entries up to a version, so that recall can be repeated")
        deadline = time.monotonic() + self._timeout_s
        cause = "it never got that far"
        while time.monotonic() < deadline:
            try:
                ref = self._actor.entries_since.remote(version, upto)
                entries: list[MemoryEntry] = ray.get(ref, timeout=_SERVE_S + 10)
            except RayError as exc:
                cause = type(exc).__name__
                time.sleep(0.1)  # the actor is being restarted
                continue
            if version + len(entries) >= upto:
                return entries
        raise MemoryUnavailable(f"the shared memory did not give version {upto} in time ({cause})")
