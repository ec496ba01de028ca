"""Confinement of candidate programs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from dojo.sandbox.base import Sandbox

DEFAULT_PRELOAD: tuple[str, ...] = (
    "numpy",
    "pandas",
    "pandas.io.formats.csvs",
    "pandas.io.parquet",
    "pyarrow",
    "pyarrow.parquet",
    "pyarrow.compute",
    "scipy.sparse",
    "scipy.stats",
    "scipy.special",
    "scipy.optimize",
    "sklearn.base",
    "sklearn.calibration",
    "sklearn.compose",
    "sklearn.decomposition",
    "sklearn.discriminant_analysis",
    "sklearn.ensemble",
    "sklearn.feature_extraction.text",
    "sklearn.feature_selection",
    "sklearn.impute",
    "sklearn.linear_model",
    "sklearn.metrics",
    "sklearn.model_selection",
    "sklearn.naive_bayes",
    "sklearn.neighbors",
    "sklearn.neural_network",
    "sklearn.pipeline",
    "sklearn.preprocessing",
    "sklearn.svm",
    "sklearn.tree",
    "joblib",
    "lightgbm",
    "argparse",
    "csv",
    "json",
    "random",
)
"""Modules a warm process imports once: the base install's libraries for tabular data and text, no torch."""

Kind = Literal["auto", "warm", "bubblewrap", "process"]


def open_sandbox(
    kind: Kind = "auto", *, scratch: Path, preload: tuple[str, ...] = DEFAULT_PRELOAD
) -> Sandbox:
    """Open a sandbox; close it when done.

    Args:
        kind: `auto`: warm, with bubblewrap for what cannot be forked. `warm` and `bubblewrap`: only that.
            `process`: no confinement worth the name (`sealed` is False), see `dojo.sandbox.process`; it is
            never chosen unless asked for by name.
        scratch: a host directory for the sandbox's own small files; made if missing.
        preload: modules the warm process imports.

    Raises:
        SandboxUnavailable: the confinement asked for cannot be had here; the message says what to do.
    """
    from dojo.sandbox.factory import build

    return build(kind, scratch, preload)
