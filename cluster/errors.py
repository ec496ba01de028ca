"""Errors of the cluster: exit code 4, nothing that is committed is lost."""

from __future__ import annotations

from gome.errors import GomeError


class ClusterError(GomeError):
    """Ray, or what runs on it, could not do its work; the message says what to do."""


class SlotsUnavailable(ClusterError):
    """The cluster has not, or not now, the hardware that was asked for."""


class MemoryUnavailable(ClusterError):
    """The shared memory did not answer in time; the step may be repeated."""
