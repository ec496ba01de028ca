"""What an experiment changed: a bounded, line-by-line difference to its parent's files."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from gome.errors import ResumeError
from gome.loop.experiment import Experiment
from gome.loop.state import RunState
from gome.report.words import visible

MAX_LINES = 400
MAX_COLUMNS = 240
MAX_SOURCE_LINES = 6000
"""Files longer than this are not compared line by line: difflib takes quadratic time at worst."""


class Blobs(Protocol):
    """Where files are read from."""

    def get(self, name: str) -> bytes:
        """The content of a blob."""
        ...


@dataclass(frozen=True)
class Line:
    """One line of a difference: `add`, `del`, `same`, `hunk` or `file`."""

    kind: str
    text: str


@dataclass(frozen=True)
class Diff:
    """The difference of one experiment to its parent."""

    lines: tuple[Line, ...] = ()
    added: int = 0
    removed: int = 0
    note: str = ""
    """Why there is none, or why it is cut."""

    @property
    def size(self) -> int:
        """Characters of its lines."""
        return sum(len(line.text) + 24 for line in self.lines)


def diff_of(experiment: Experiment, state: RunState, blobs: Blobs) -> Diff:
    """The difference of an experiment's files to its parent's; the whole files when it has no parent."""
    parent = state.experiments.get(experiment.parent or "")
    if not experiment.files:
        return Diff(note="no files were written")
    try:
        new = _texts(experiment.files, blobs)
        old = _texts(parent.files, blobs) if parent else {}
    except ResumeError:
        return Diff(note="the files are not in the run directory any more")
    lines: list[Line] = []
    for name in sorted({*old, *new}):
        if old.get(name) != new.get(name):
            lines += _file(name, old.get(name, ""), new.get(name, ""), whole=parent is None)
    if not lines:
        return Diff(note="the same files as the parent's")
    added, removed = sum(x.kind == "add" for x in lines), sum(x.kind == "del" for x in lines)
    note = "" if parent else "a first draft: the whole files"
    if len(lines) > MAX_LINES:
        note = f"cut after {MAX_LINES} of {len(lines)} lines"
    return Diff(tuple(lines[:MAX_LINES]), added, removed, note)


def _texts(files: Mapping[str, str], blobs: Blobs) -> dict[str, str]:
    return {name: visible(blobs.get(blob).decode("utf-8", errors="replace")) for name, blob in files.items()}


def _file(name: str, old: str, new: str, *, whole: bool) -> list[Line]:
    before, after = old.splitlines(), new.splitlines()
    head = [Line("file", name)]
    if whole:
        return head + [Line("same", _cut(text)) for text in after]
    if max(len(before), len(after)) > MAX_SOURCE_LINES:
        return [*head, Line("hunk", f"{len(before)} → {len(after)} lines: too long to compare here")]
    found = head
    for text in list(difflib.unified_diff(before, after, lineterm="", n=3))[2:]:
        kind = {"+": "add", "-": "del", "@": "hunk"}.get(text[:1], "same")
        found.append(Line(kind, _cut(text)))
    return found


def _cut(text: str) -> str:
    return text if len(text) <= MAX_COLUMNS else text[: MAX_COLUMNS - 1] + "…"
