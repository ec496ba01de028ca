"""The run directory: who owns it, and where things lie in it."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import IO

from gome.errors import ConfigError, ResumeError

JOURNAL = "journal.jsonl"


class RunDir:
    """A run directory, locked by one live process at a time.

    Layout: `journal.jsonl` (the truth), `blobs/` (files by content hash), `data/` (views of the data, answers
    included), `work/` (workspaces of the moment), `best/` (the result), `report.html`, and `task/` when the run
    began with a data file (the package made from it, written before the run is).
    """

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.journal = self.root / JOURNAL
        self.blobs = self.root / "blobs"
        self.data = self.root / "data"
        self.work = self.root / "work"
        self.best = self.root / "best"
        self.report = self.root / "report.html"
        self._lock: IO[str] | None = None

    def create(self) -> None:
        """Make and lock a fresh run directory.

        Raises:
            ConfigError: it holds a run already, is no directory, is not empty, or cannot be written.
        """
        if self.journal.exists():
            raise ConfigError(
                f"{self.root} holds a run already: go on with `gome resume {self.root}`, "
                "or give another --run-dir"
            )
        if self.root.exists() and not self.root.is_dir():
            raise ConfigError(f"{self.root} is not a directory: give another --run-dir")
        if self.root.is_dir() and any(p.name not in ("lock", "task") for p in self.root.iterdir()):
            raise ConfigError(f"{self.root} is not empty and no run directory: give another --run-dir")
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            self._acquire()
        except OSError as exc:
            raise ConfigError(
                f"cannot write to {self.root} ({exc.strerror}): give a --run-dir you may write to"
            ) from exc

    def open(self) -> None:
        """Lock an existing run directory.

        Raises:
            ResumeError: it is not a run directory, or a live process has it.
        """
        if not self.journal.is_file():
            raise ResumeError(f"{self.root} is not a run directory: it has no {JOURNAL}")
        try:
            self._acquire()
        except OSError as exc:
            raise ResumeError(f"cannot write to {self.root} ({exc.strerror})") from exc

    def _acquire(self) -> None:
        lock = (self.root / "lock").open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            owner = lock.read().strip() or "?"
            lock.close()
            raise ResumeError(
                f"{self.root} is in use by the live process {owner}: wait for it, stop it, "
                f"or look on with `gome watch {self.root}`"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        self._lock = lock

    def close(self) -> None:
        """Give the directory free."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None
