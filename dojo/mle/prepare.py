"""From a task package to prepared data: labelled rows, test rows without target, and the answers apart.

Prepared data live in the user's cache, one folder per content of the package: made once, checked whenever
used, made again when damaged. Two runs that prepare the same task at once do not collide.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import runpy
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import platformdirs
from pydantic import ValidationError

from dojo.errors import TaskError, boundary
from dojo.mle import tables
from dojo.mle.fetch import fetch_members
from dojo.mle.package import TASK_FILE, Task, sha256
from dojo.mle.parts import Parts, check_test_columns, class_labels, horizon_of, read_parts
from dojo.model import Frozen
from dojo.task import TaskSpec

LAYOUT = "1"
"""Raised when the form of prepared data changes, so that old ones are made again."""
_PACKAGE_FILES = (TASK_FILE, "prepare.py", "split.py", "grade.py")


@dataclass(frozen=True)
class Prepared:
    """Prepared data of one task. Picklable; holds paths, no data.

    `answers` is None when the user's own test file has no answers: the test score is then unknown.
    """

    spec: TaskSpec
    """As in the package, with the classes filled in from the data where `task.toml` lists none."""
    labelled: Path
    test: Path
    answers: Path | None
    fingerprint: str
    """Hash of the prepared values, the metric and the task's own grading and splitting code."""
    grade_py: Path | None = None
    split_py: Path | None = None
    notes: tuple[str, ...] = ()
    """What was changed on the way, in sentences."""
    n_labelled: int = 0
    n_test: int = 0
    horizon: int | None = None
    """Forecasts: the number of points in time in the test part, and so in every validation part."""
    members: tuple[str, ...] = ()
    """Files of packages that the data were made from. They hold the answers: boxes must not show copies."""


class Manifest(Frozen):
    """What was prepared, with the checksums by which damage is seen."""

    layout: str
    files: dict[str, str]
    classes: tuple[str, ...]
    fingerprint: str
    notes: tuple[str, ...]
    n_labelled: int
    n_test: int
    horizon: int | None


def cache_root() -> Path:
    """Where prepared data live: `tasks` in the user's cache folder (`$XDG_CACHE_HOME/gome` on Linux)."""
    return Path(platformdirs.user_cache_dir("gome")) / "tasks"


def prepared_folder(task: Task) -> Path:
    """Where the prepared data of this content of the package live, whether or not they are there."""
    return cache_root() / f"{task.spec.id}-{_package_hash(task)[:16]}"


def find_prepared(task: Task) -> Prepared | None:
    """The prepared data if they are there and intact; makes nothing."""
    home = prepared_folder(task)
    manifest = _intact(home)
    return _prepared(task, home, manifest) if manifest else None


def prepare_task(task: Task, progress: Callable[[str], None] | None = None) -> Prepared:
    """Prepare a task's data, or find them in the cache.

    Raises:
        TaskError: the data cannot be had, or do not fit `task.toml`.
    """
    say = progress or (lambda _: None)
    home = prepared_folder(task)
    try:
        home.parent.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise TaskError(f"cannot be made ({exc.strerror}); set XDG_CACHE_HOME", str(home.parent)) from exc
    with _locked(home.with_name(home.name + ".lock")):
        manifest = _intact(home)
        if manifest is None:
            if home.exists():
                say(f"{task.spec.id}: prepared data are damaged; making them again")
            manifest = _build(task, home, say)
    return _prepared(task, home, manifest)


def _prepared(task: Task, home: Path, manifest: Manifest) -> Prepared:
    names = {Path(name).stem: home / name for name in manifest.files}
    return Prepared(
        spec=task.spec.model_copy(update={"classes": manifest.classes}),
        labelled=names["labelled"],
        test=names["test"],
        answers=names.get("answers"),
        fingerprint=manifest.fingerprint,
        grade_py=task.grade_py,
        split_py=task.split_py,
        notes=manifest.notes,
        n_labelled=manifest.n_labelled,
        n_test=manifest.n_test,
        horizon=manifest.horizon,
        members=tuple(name for entry in task.file.download for name in entry.members),
    )


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _package_hash(task: Task) -> str:
    data = task.file.data
    names = [*_PACKAGE_FILES, *(name for name in (data.data, data.train, data.test, data.answers) if name)]
    digest = hashlib.sha256(LAYOUT.encode())
    for name in names:
        path = task.root / name
        if path.is_file():
            digest.update(f"{name}:{sha256(path)}\n".encode())
    return digest.hexdigest()


def _intact(home: Path) -> Manifest | None:
    try:
        manifest = Manifest.model_validate_json((home / "manifest.json").read_bytes())
    except (OSError, ValidationError):
        return None
    for name, expected in manifest.files.items():
        path = home / name
        if not path.is_file() or sha256(path) != expected:
            return None
    return manifest


def _build(task: Task, home: Path, say: Callable[[str], None]) -> Manifest:
    work = Path(tempfile.mkdtemp(prefix=f".{home.name}-", dir=home.parent))
    try:
        source = _source_files(task, work, say)
        say(f"{task.spec.id}: splitting")
        manifest = _write(task, read_parts(task, source), work / "done")
        if home.exists():
            shutil.rmtree(home)
        (work / "done").rename(home)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    say(f"{task.spec.id}: {manifest.n_labelled} labelled and {manifest.n_test} test rows")
    return manifest


def _source_files(task: Task, work: Path, say: Callable[[str], None]) -> Path:
    """The folder in which the files of `[data]` lie, after the package's own step."""
    step = task.prepare_py
    if step is None:
        return task.root
    raw, out = work / "raw", work / "out"
    raw.mkdir()
    out.mkdir()
    for entry in task.file.download:
        fetch_members(entry, raw, say)
    for path in task.root.iterdir():  # data beside prepare.py are raw data too
        if path.is_file() and path.suffix not in (".py", ".toml", ".md", ".json"):
            shutil.copy2(path, raw / path.name)
    say(f"{task.spec.id}: preparing")
    with boundary(TaskError, f"{step}: prepare() failed"):
        function = runpy.run_path(str(step), run_name="task_prepare").get("prepare")
        if not callable(function):
            raise TaskError("defines no function prepare(raw, out); see docs/tasks.md", str(step))
        function(raw, out)
    return out


def _write(task: Task, parts: Parts, home: Path) -> Manifest:
    spec = task.spec
    check_test_columns(spec, parts)
    classes = class_labels(spec, parts)
    suffix = Path(task.file.data.data or task.file.data.train or "x.csv").suffix
    private = home / "private"
    (home / "data").mkdir(parents=True)
    private.mkdir(mode=0o700)
    names = {f"data/labelled{suffix}": parts.labelled, f"data/test{suffix}": parts.test}
    if parts.answers is not None:
        answers = parts.answers[[spec.id_column, spec.target]]
        if classes:
            answers = answers.assign(**{spec.target: tables.label_text(answers[spec.target]).to_numpy()})
        if spec.split == "group":
            keyed = parts.test.set_index(spec.id_column)[str(spec.group)]
            answers = answers.assign(__block__=keyed.loc[answers[spec.id_column]].to_numpy())
        names[f"private/answers{suffix}"] = answers
    for name, frame in names.items():
        tables.write_table(frame, home / name)
    for path in private.iterdir():
        path.chmod(0o600)
    manifest = Manifest(
        layout=LAYOUT,
        files={name: sha256(home / name) for name in names},
        classes=classes,
        fingerprint=_fingerprint(task, list(names.values())),
        notes=tuple(parts.notes),
        n_labelled=len(parts.labelled),
        n_test=len(parts.test),
        horizon=horizon_of(spec, parts.test),
    )
    with (home / "manifest.json").open("w", encoding="utf-8") as handle:
        json.dump(manifest.model_dump(mode="json"), handle, indent=1)
        handle.flush()
        os.fsync(handle.fileno())
    return manifest


def _fingerprint(task: Task, frames: list[pd.DataFrame]) -> str:
    digest = hashlib.sha256(
        f"{task.spec.metric.name}|{task.spec.metric.direction}|{task.spec.target}".encode()
    )
    for frame in frames:
        digest.update(tables.content_hash(frame).encode())
    for path in (task.grade_py, task.split_py):
        digest.update(sha256(path).encode() if path else b"-")
    return digest.hexdigest()
