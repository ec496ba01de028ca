"""Own data in one line: from a table and the name of its target to a task package that can be edited."""

from __future__ import annotations

import re
import shutil
import tempfile
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from dojo.errors import TaskError
from dojo.mle import columns, tables
from dojo.mle.infer import Inference, infer
from dojo.mle.metrics import get_metric
from dojo.mle.package import TASK_FILE, Task, read_package
from dojo.mle.problem import Wishes
from dojo.mle.source import read_source
from dojo.task import Problem

_MEANINGS: dict[columns.Kind, str] = {
    "number": "number",
    "boolean": "true or false",
    "date": "date",
    "category": "category",
    "text": "free text",
    "amount": "amount with a sign or separators, as text",
}


@dataclass(frozen=True)
class NewTask:
    """A task package that was just written, and what was inferred, in sentences."""

    task: Task
    said: tuple[str, ...]


def new_task(
    directory: Path,
    source: Path,
    *,
    target: str,
    metric: str | None = None,
    id_column: str | None = None,
    group: str | None = None,
    time: str | None = None,
    kind: Problem | None = None,
    test: Path | None = None,
    encoding: str = "utf-8",
    seed: int = 0,
) -> NewTask:
    """Write a task package for a table.

    The test part is carved out of the table when the package is prepared, unless `test` is given. A test file
    without the target column gives predictions but no test score.

    Args:
        directory: where to write the package; must not exist, or be empty.
        source: a .csv, .tsv or .parquet file with labelled rows.
        target: the column to predict.
        metric: name of a metric; by default one that suits the problem.
        id_column: a unique column; by default one that looks like it, or ids are made.
        group: rows of one group stay together in every split.
        time: validation lies after training, test after both.
        kind: the problem, when the guess would be wrong.
        test: the user's own test rows, in the same columns.
        encoding: of CSV files.
        seed: of all splits.

    Raises:
        TaskError: the table makes no task, or `directory` is not empty; nothing is written then.
    """
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise TaskError(
            "exists and is not empty; give a new folder (nothing was overwritten)", str(directory)
        )
    table = read_source(source, encoding)
    wishes = Wishes(_name(target) or "", metric, _name(id_column), _name(group), _name(time), kind)
    found = infer(table.frame, wishes)
    found.said[:0] = table.notes
    suffix = ".parquet" if source.suffix.lower() == ".parquet" else ".csv"
    tests = _test_rows(found, test, encoding) if test is not None else None
    name = _slug(source.stem)
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
    except OSError as exc:
        raise TaskError(f"cannot be made ({exc.strerror}); give another folder", str(directory)) from exc
    try:
        work.chmod(0o755)
        if tests is None:
            tables.write_table(found.frame, work / f"data{suffix}")
        else:
            tables.write_table(found.frame, work / f"train{suffix}")
            tables.write_table(tests, work / f"test{suffix}")
        (work / TASK_FILE).write_text(_toml(found, name, source, suffix, tests, seed), encoding="utf-8")
        (work / "description.md").write_text(_description(found, source), encoding="utf-8")
        read_package(work)
        if directory.exists():
            directory.rmdir()
        work.rename(directory)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return NewTask(read_package(directory), tuple(found.said))


def _name(wish: str | None) -> str | None:
    """A column name as `read_source` writes it."""
    return None if wish is None else " ".join(wish.split())


def _slug(stem: str) -> str:
    plain = unicodedata.normalize("NFKD", stem).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9._-]+", "-", plain).strip("-._")[:60].lower() or "task"


def _test_rows(found: Inference, path: Path, encoding: str) -> pd.DataFrame:
    """The user's own test rows, in the columns of the training rows."""
    table = read_source(path, encoding)
    frame = table.frame
    where = str(path)
    known = [c for c in found.frame.columns if c != found.target]
    missing = [str(c) for c in known if c not in frame.columns]
    made_id = found.id_column not in found.frame.columns
    if missing:
        raise TaskError(f"lacks columns that the training rows have: {', '.join(missing[:5])}", where)
    if made_id and found.id_column in frame.columns:
        raise TaskError(
            f"has an id column {found.id_column!r} that the training rows lack; say --id or drop it", where
        )
    keep = [*known, found.target] if found.target in frame.columns else known
    dropped = [str(c) for c in frame.columns if c not in keep]
    if dropped:
        found.said.append(f"Test columns that training rows lack were left out: {', '.join(dropped[:5])}.")
    if not made_id and not frame[found.id_column].is_unique:
        raise TaskError(f"ids in {found.id_column!r} are not unique", where)
    if found.target in frame.columns and tables.is_missing(frame[found.target]).all():
        keep = known
    if found.target not in keep:
        found.said.append("The test rows have no target: there will be predictions, but no test score.")
    elif tables.is_missing(frame[found.target]).any():
        raise TaskError(
            f"some test rows have no target {found.target!r}; give all of them one, or none", where
        )
    return frame[keep]


def _toml(
    found: Inference, name: str, source: Path, suffix: str, tests: pd.DataFrame | None, seed: int
) -> str:
    import tomli_w

    head: dict[str, Any] = {
        "id": name,
        "title": f"{found.target} of {source.name}",
        "problem": found.problem,
        "modality": found.modality,
        "metric": found.metric,
        "target": found.target,
        "id_column": found.id_column,
        "group": found.group,
        "time": found.time,
        "split": found.split,
        "classes": list(found.classes),
        "text_columns": list(found.text_columns),
        "image_shape": list(found.image_shape) if found.image_shape else None,
        "series_prefix": found.series_prefix,
        "seed": seed,
    }
    data: dict[str, Any] = {"data": f"data{suffix}", "horizon": found.horizon}
    if found.horizon is None:
        data["test_fraction"] = 0.2
    if tests is not None:
        data = {"train": f"train{suffix}", "test": f"test{suffix}"}
    body = {k: v for k, v in head.items() if v not in (None, [])}
    body["data"] = {k: v for k, v in data.items() if v is not None}
    body["source"] = {"name": source.name}
    comment = "# Written by `dojo new`; edit it and run `dojo check` on this folder. Fields: docs/tasks.md\n"
    said = "".join(f"# - {sentence}\n" for sentence in found.said)
    return comment + said + "\n" + tomli_w.dumps(body)


def _description(found: Inference, source: Path) -> str:
    metric = get_metric(found.metric, found.problem)
    better = "lower" if metric.metric.direction == "min" else "higher"
    lines = [
        f"# {found.target}",
        "",
        f"Predict `{found.target}` from the other columns of {source.name}.",
        "",
    ]
    if found.classes:
        shown = ", ".join(f"`{c}`" for c in found.classes[:20])
        lines += [f"Classes: {shown}{' …' if len(found.classes) > 20 else ''}.", ""]
    if found.kinds:
        lines += ["| column | holds |", "| --- | --- |"]
        lines += [
            f"| `{_cell(name)}` | {_MEANINGS[kind]} |" for name, kind in list(found.kinds.items())[:200]
        ]
        lines.append("")
    lines += [f"**Metric:** {metric.metric.name} ({metric.description}), {better} is better.", ""]
    return "\n".join(lines)


def _cell(name: str) -> str:
    return name.replace("|", "\\|")
