"""Entries of the success memory (the momentum). The memory itself follows below in this module."""

from __future__ import annotations

from typing import Any, Literal

from dojo.model import Frozen


class MemoryEntry(Frozen):
    """One validated improvement, or one failure with its cause, small enough to share (at most 8 KB)."""

    id: str
    """Id of the experiment that produced it; the idempotency key."""
    trace: int
    kind: Literal["success", "failure"]
    text: str
    """The hypothesis and what came of it, in words."""
    component: str
    edit_key: str
    edit: dict[str, Any] = {}
    features: dict[str, float] = {}
    """Context in which it held: observations of the parent, numbers only."""
    gain: float = 0.0
    """Gain in units of its own standard error (see `Comparison.gain`)."""
    delta: float = 0.0
    delta_se: float = 0.0
    utility: float | None = None
    """The child's validation score, direction-normalised."""
    cause: str = ""
    """For a failure: its kind (`worse`, `timed_out`, `syntax` …)."""
    version: int = 0
    """Position in the order of commits; given by the memory."""
