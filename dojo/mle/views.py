"""Views: what a solution is given to learn from, and what is hidden from it meanwhile.

`search` and `resplit-K` hide labelled rows and call them `test`; the real test rows are not there. `final`
gives all labelled rows and the real test rows. Public files and answers never share a folder.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from dojo.environment import FINAL, SEARCH
from dojo.errors import TaskError
from dojo.mle import splits, tables
from dojo.mle.prepare import Prepared
from dojo.task import TaskSpec

_RESPLIT = re.compile(r"resplit-(\d{1,3})$")


@dataclass(frozen=True)
class View:
    """Files of one view."""

    name: str
    public: Path
    """The folder a solution sees: `train.*`, `test.*`, `task.json`."""
    train: Path
    test: Path
    answers: Path | None
    """Id and target of the hidden rows (and `__block__` for grouped data), outside `public`; None for `final`
    when the user's test file has no answers."""


def submission_columns(spec: TaskSpec) -> list[str]:
    """The columns of `submission.csv`, the id first."""
    if spec.metric.needs == "probabilities":
        return [spec.id_column, *spec.classes]
    return [spec.id_column, spec.target]


def public_description(spec: TaskSpec) -> dict[str, Any]:
    """The content of `task.json`: all that a solution is told about its task."""
    return {
        "id": spec.id,
        "problem": spec.problem,
        "modality": spec.modality,
        "metric": spec.metric.name,
        "direction": spec.metric.direction,
        "needs": spec.metric.needs,
        "target": spec.target,
        "id_column": spec.id_column,
        "classes": list(spec.classes),
        "group": spec.group,
        "time": spec.time,
        "text_columns": list(spec.text_columns),
        "image_shape": list(spec.image_shape) if spec.image_shape else None,
        "series_prefix": spec.series_prefix,
        "submission_columns": submission_columns(spec),
        "seed": spec.seed,
    }


def make_view(prepared: Prepared, name: str, out: Path) -> View:
    """Write one view under `out` (replaced if there), the same bytes for the same data, seed and name.

    Args:
        prepared: the task's prepared data.
        name: `search`, `resplit-K` or `final`.
        out: a folder of the harness; only `out/public` may be shown to a solution.

    Raises:
        TaskError: no such view, or the labelled rows cannot be split as the task says.
    """
    spec = prepared.spec
    labelled = tables.read_table(prepared.labelled)
    answers: pd.DataFrame | None
    if name == FINAL:
        train, test = labelled, tables.read_table(prepared.test)
        answers = tables.read_table(prepared.answers) if prepared.answers else None
    else:
        train, test, answers = _hidden(prepared, name, labelled, tables.column_names(prepared.test))
    suffix = prepared.labelled.suffix
    out.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        work.chmod(0o755)  # mkdtemp's 0700 would hide `public` from a sandbox with a uid of its own
        public, private = work / "public", work / "private"
        public.mkdir()
        private.mkdir(mode=0o700)
        tables.write_table(train, public / f"train{suffix}")
        tables.write_table(test, public / f"test{suffix}")
        text = json.dumps(public_description(spec), indent=1, ensure_ascii=False)
        (public / "task.json").write_text(text + "\n", encoding="utf-8")
        if answers is not None:
            tables.write_table(answers, private / f"answers{suffix}")
            (private / f"answers{suffix}").chmod(0o600)
        if out.exists():
            shutil.rmtree(out)
        work.rename(out)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return View(
        name=name,
        public=out / "public",
        train=out / "public" / f"train{suffix}",
        test=out / "public" / f"test{suffix}",
        answers=out / "private" / f"answers{suffix}" if answers is not None else None,
    )


def find_view(prepared: Prepared, name: str, out: Path) -> View | None:
    """The view that `make_view` has written under `out` before, or None."""
    suffix = prepared.labelled.suffix
    public, answers = out / "public", out / "private" / f"answers{suffix}"
    if not (public / "task.json").is_file():
        return None
    return View(
        name=name,
        public=public,
        train=public / f"train{suffix}",
        test=public / f"test{suffix}",
        answers=answers if answers.is_file() else None,
    )


def _hidden(
    prepared: Prepared, name: str, labelled: pd.DataFrame, test_columns: list[str]
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """(train, test, answers) of a view on the labelled rows."""
    spec = prepared.spec
    part = splits.partition(
        spec,
        labelled,
        fraction=spec.validation_fraction,
        chunk=_chunk(name),
        horizon=prepared.horizon,
        split_py=prepared.split_py,
    )
    train, held = labelled.iloc[part.train], labelled.iloc[part.held]
    if spec.split in ("random", "stratified"):
        train, held = _opaque(spec, name, train, held)
    answers = held[[spec.id_column, spec.target]]
    if spec.problem in ("binary", "multiclass"):
        answers = answers.assign(**{spec.target: tables.label_text(answers[spec.target]).to_numpy()})
    if spec.split == "group":
        answers = answers.assign(__block__=held[str(spec.group)])
    return train, held[test_columns], answers


def _chunk(name: str) -> int:
    if name == SEARCH:
        return 0
    match = _RESPLIT.match(name)
    if match is None:
        raise TaskError(
            f"no view is called {name!r}; there are search, resplit-0, resplit-1 … and final", "view"
        )
    return int(match.group(1)) + 1


def _opaque(
    spec: TaskSpec, name: str, train: pd.DataFrame, held: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows in a new order under new ids, so that neither tells where a hidden row stood in the file.

    Ids stay numbers where they were numbers: a solution that works here then works on the real test rows.
    """
    rng = splits.make_generator(spec.seed, f"ids-{name}")
    train = train.iloc[rng.permutation(len(train))]
    held = held.iloc[rng.permutation(len(held))]
    ids = pd.Series(rng.permutation(len(train) + len(held)))
    own = train[spec.id_column]
    if not pd.api.types.is_integer_dtype(own.dtype) and not own.astype(str).str.fullmatch(r"\d{1,18}").all():
        ids = "row-" + ids.astype(str).str.zfill(len(str(len(ids))))
    return (
        train.assign(**{spec.id_column: ids.iloc[: len(train)].to_numpy()}),
        held.assign(**{spec.id_column: ids.iloc[len(train) :].to_numpy()}),
    )
