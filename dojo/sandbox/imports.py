"""Whether a script may run in a forked interpreter: a cheap look at the names in its source."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from dojo.sandbox.base import Job

_COLD_NAMES = (
    "torch", "torchvision", "torchaudio", "pytorch_lightning", "lightning", "fastai", "timm", "transformers",
    "sentence_transformers", "peft", "trl", "accelerate", "datasets", "tensorflow", "keras", "jax", "flax",
    "cupy", "cudf", "cuml", "numba", "mxnet", "paddle", "vllm", "ray",
)  # fmt: skip
_COLD = re.compile(rb"\b(" + "|".join(_COLD_NAMES).encode() + rb")\b")
_MAX_FILES = 64
_MAX_BYTES = 1 << 20
_FREE_VARIABLES = frozenset({"PYTHONHASHSEED", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"})
"""Interpreter variables that a forked child can still honour (the hash seed only if it is the warm one's)."""


def can_fork(job: Job) -> bool:
    """Whether the job can run in a child of the warm process.

    Refused: no `python_script`; devices; interpreter settings that are fixed at start; and any mention of a
    library with threads or devices of its own (torch and the like) in the Python files beside the script.
    A mention in a comment counts too: then the job only takes the slower path. A mention that is hidden
    (built from pieces at run time) is missed; the warm process itself never has such a library loaded, so
    that the child then imports it as a fresh interpreter would.
    """
    if job.python_script is None or job.devices:
        return False
    if job.env.get("PYTHONHASHSEED", "0") != "0":
        return False
    if any(name.startswith("PYTHON") and name not in _FREE_VARIABLES for name in job.env):
        return False
    if any(name.startswith("LD_") for name in job.env):
        return False
    script = host_path(job, job.python_script)
    if script is None or not script.is_file():
        return False
    files = [script, *sorted(p for p in script.parent.glob("*.py") if p != script)]
    if len(files) > _MAX_FILES:
        return False
    for path in files:
        if not path.is_file() or path.stat().st_size > _MAX_BYTES or _COLD.search(path.read_bytes()):
            return False
    return True


def host_path(job: Job, inside: str) -> Path | None:
    """The host file a path inside the sandbox shows, by the innermost mount; None outside all mounts."""
    path = PurePosixPath(job.cwd) / inside
    best: Path | None = None
    depth = -1
    for mount in job.mounts:
        target = PurePosixPath(mount.target)
        if path.is_relative_to(target) and len(target.parts) > depth:
            best, depth = mount.source / path.relative_to(target), len(target.parts)
    return best
