"""Gome: optimizes a solution the way a gradient method optimizes parameters.

>>> import gome
>>> report = gome.optimize("bikeshare", config=gome.RunConfig(traces=3), run_dir="runs/bikes")  # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gome.api import optimize, read_state, resume
    from gome.config import RunConfig
    from gome.loop.backend import SerialBackend
    from gome.loop.budget import Budget
    from gome.loop.experiment import Experiment
    from gome.loop.strategy import Agent
    from gome.result import RunReport

__version__ = "0.1.0"
_PLACES = {
    "Agent": "gome.loop.strategy",
    "Budget": "gome.loop.budget",
    "Experiment": "gome.loop.experiment",
    "RunConfig": "gome.config",
    "RunReport": "gome.result",
    "SerialBackend": "gome.loop.backend",
    "optimize": "gome.api",
    "read_state": "gome.api",
    "resume": "gome.api",
}
__all__ = [
    "Agent",
    "Budget",
    "Experiment",
    "RunConfig",
    "RunReport",
    "SerialBackend",
    "optimize",
    "read_state",
    "resume",
]


def __getattr__(name: str) -> Any:
    """Import public names at first use, so that `import gome` stays light."""
    if name not in _PLACES:
        raise AttributeError(f"module 'gome' has no attribute {name!r}")
    return getattr(importlib.import_module(_PLACES[name]), name)
