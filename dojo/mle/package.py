"""A task package: a folder with `task.toml`, `description.md`, and data or a `prepare.py`.

The format is written up in docs/tasks.md. `TaskFile` is the schema of `task.toml`; `Task` is a package that
was read and found sound. As in MLE-Bench's competitions, public and private halves lie on separate paths; the
metric is named, and data may be fetched from installable packages.
"""

from __future__ import annotations

import difflib
import hashlib
import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field, ValidationError

from dojo.errors import TaskError
from dojo.model import Frozen
from dojo.score import Direction
from dojo.task import Limits, Metric, Modality, Problem, Source, SplitKind, TaskSpec

if TYPE_CHECKING:
    from dojo.mle.prepare import Prepared

TASK_FILE = "task.toml"
RESERVED = "__block__"
"""A column name the grader uses."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")


class MetricEntry(Frozen):
    """A metric that the package's own `grade.py` computes."""

    name: str
    direction: Direction
    needs: Literal["value", "label", "probability", "probabilities"] = "value"


class DataEntry(Frozen):
    """Which files hold the data; names are relative to the package, or to what `prepare.py` writes."""

    data: str | None = None
    """One table with all labelled rows; the test part is carved from it."""
    train: str | None = None
    """Labelled rows, when the test part is a file of its own."""
    test: str | None = None
    """Test rows; with the target column, without it and with `answers`, or without any answers."""
    answers: str | None = None
    """Id and target of the test rows."""
    test_fraction: float = Field(default=0.2, gt=0.0, lt=1.0)
    horizon: int | None = Field(default=None, ge=1)
    """Forecasts: how many points in time the test part holds."""
    encoding: str = "utf-8"


class DownloadEntry(Frozen):
    """Files to take out of a package of the Python package index, which is not installed or imported."""

    package: str
    """Pinned requirement, e.g. `ISLP==0.4.0`."""
    kind: Literal["wheel", "sdist"] = "wheel"
    members: dict[str, str] = Field(min_length=1)
    """Path inside the archive (an sdist's top folder left out; `outer.tar.gz!/path` for a nested archive) to
    the SHA-256 of the file."""


class TaskFile(Frozen):
    """The content of `task.toml`."""

    schema_version: Literal[1] = 1
    id: str
    version: str = "1"
    title: str = ""
    problem: Problem
    modality: Modality = "tabular"
    metric: str | MetricEntry
    target: str = Field(min_length=1)
    id_column: str = Field(default="id", min_length=1)
    group: str | None = None
    time: str | None = None
    classes: tuple[str, ...] = ()
    text_columns: tuple[str, ...] = ()
    image_shape: tuple[int, int] | None = None
    series_prefix: str | None = None
    split: SplitKind = "random"
    validation_fraction: float = Field(default=0.2, gt=0.0, lt=1.0)
    seed: int = Field(default=0, ge=0)
    limits: Limits = Limits()
    source: Source = Source()
    data: DataEntry = DataEntry()
    download: tuple[DownloadEntry, ...] = ()


@dataclass(frozen=True)
class Task:
    """A task package that was read and found sound. Picklable."""

    spec: TaskSpec
    root: Path
    grade_py: Path | None
    split_py: Path | None
    file: TaskFile

    @property
    def prepare_py(self) -> Path | None:
        """The package's own preparation step, if it has one."""
        path = self.root / "prepare.py"
        return path if path.is_file() else None

    @property
    def population_file(self) -> Path:
        """The scores of reference pipelines (may be missing)."""
        return self.root / "population.json"

    def prepare(self, progress: Callable[[str], None] | None = None) -> Prepared:
        """Fetch and split the data, or find them in the cache.

        Args:
            progress: told what is being done, in words.

        Raises:
            TaskError: the data cannot be had or do not fit `task.toml`.
        """
        from dojo.mle.prepare import prepare_task

        return prepare_task(self, progress)


def sha256(path: Path) -> str:
    """The SHA-256 of a file, as hex."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def read_package(root: Path) -> Task:
    """Read a task package.

    Raises:
        TaskError: the first thing that is wrong, with file, field and what to do; `dojo check` lists all.
    """
    task, problems = inspect_package(root)
    if task is None or problems:
        first = problems[0]
        more = f" ({len(problems) - 1} more: dojo check {root})" if len(problems) > 1 else ""
        raise TaskError(first.message + more, first.where)
    return task


def inspect_package(root: Path) -> tuple[Task | None, list[TaskError]]:
    """Read a task package and say everything that is wrong with its files, short of reading the data."""
    path = root / TASK_FILE
    if not path.is_file():
        hint = "make one from a table: dojo new DIR --from FILE --target COLUMN"
        return None, [TaskError(f"no {TASK_FILE} here; a task package needs one ({hint})", str(root))]
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        return None, [TaskError("is not UTF-8; save it as UTF-8", str(path))]
    except tomllib.TOMLDecodeError as exc:
        return None, [TaskError(f"is not valid TOML: {exc}", str(path))]
    try:
        file = TaskFile.model_validate(raw)
    except ValidationError as exc:
        return None, [
            _field_problem(path, error["loc"], error["msg"], error["type"]) for error in exc.errors()
        ]
    problems = _cross_checks(root, file)
    description = _description(root, problems)
    metric = _metric(root, file, problems)
    if metric is None:
        return None, problems
    spec = TaskSpec(
        id=file.id,
        version=file.version,
        title=file.title or file.id,
        description=description,
        problem=file.problem,
        modality=file.modality,
        metric=metric,
        target=file.target,
        id_column=file.id_column,
        group=file.group,
        time=file.time,
        classes=file.classes,
        text_columns=file.text_columns,
        image_shape=file.image_shape,
        series_prefix=file.series_prefix,
        split=file.split,
        validation_fraction=file.validation_fraction,
        limits=file.limits,
        source=file.source,
        seed=file.seed,
    )
    grade, split = root / "grade.py", root / "split.py"
    task = Task(
        spec=spec,
        root=root.resolve(),
        grade_py=grade.resolve() if grade.is_file() else None,
        split_py=split.resolve() if split.is_file() else None,
        file=file,
    )
    return task, problems


def _field_problem(path: Path, location: tuple[int | str, ...], message: str, kind: str) -> TaskError:
    # A union (metric = "name" or a table) adds its member's name to the location; a reader wants the field.
    field = ".".join(str(part) for part in location if part not in ("str", "MetricEntry"))
    if kind == "extra_forbidden":
        near = difflib.get_close_matches(str(location[-1]), _field_names(location[:-1]), n=1)
        return TaskError(
            f"unknown field{f'; did you mean {near[0]!r}?' if near else '; remove it'}", f"{path} {field}"
        )
    if kind == "missing":
        return TaskError(f"required field is missing; add {field} = …", f"{path} {field}")
    return TaskError(f"{message[:1].lower()}{message[1:]}", f"{path} {field}")


def _field_names(location: tuple[int | str, ...]) -> list[str]:
    tables: dict[str, type[Frozen]] = {
        "data": DataEntry,
        "download": DownloadEntry,
        "metric": MetricEntry,
        "limits": Limits,
        "source": Source,
    }
    return list((tables.get(str(location[0]), TaskFile) if location else TaskFile).model_fields)


def _cross_checks(root: Path, file: TaskFile) -> list[TaskError]:
    """What the schema alone cannot say."""
    where = root / TASK_FILE
    found: list[TaskError] = []

    def wrong(field: str, message: str) -> None:
        found.append(TaskError(message, f"{where} {field}"))

    if not NAME.match(file.id):
        wrong("id", f"{file.id!r} is no usable name; use letters, digits, '.', '_' and '-', at most 100")
    if RESERVED in (file.target, file.id_column):
        wrong("target", f"{RESERVED!r} is a reserved column name; rename the column")
    if file.target == file.id_column:
        wrong("id_column", f"is the target {file.target!r} too; name another column")
    for role, column in (("group", file.group), ("time", file.time)):
        if column == file.target:
            wrong(role, f"is the target {file.target!r} too; name another column")
        if column is None and file.split == role:
            wrong(role, f'split = "{role}" needs it; set {role} = "COLUMN"')
    if file.split == "custom" and not (root / "split.py").is_file():
        wrong("split", 'split = "custom" needs a split.py beside task.toml (see docs/tasks.md)')
    if file.problem == "forecast" and file.split not in ("time", "custom"):
        wrong("split", 'a forecast needs split = "time", so that validation lies after training')
    if file.split == "stratified" and file.problem not in ("binary", "multiclass"):
        wrong("split", 'a stratified split needs classes; use split = "random"')
    if file.problem == "binary" and file.classes and len(file.classes) != 2:
        wrong(
            "classes",
            f"a binary problem has two classes, not {len(file.classes)}; the second is the positive one",
        )
    if file.id_column in file.classes:
        wrong("classes", f"a class is called {file.id_column!r} like the id column; rename one of them")
    if file.problem == "multiclass" and 0 < len(file.classes) < 2:
        wrong("classes", "one class only; there is nothing to learn")
    if len(set(file.classes)) != len(file.classes):
        wrong("classes", "a class is listed twice")
    if file.modality == "image" and file.image_shape is None:
        wrong("image_shape", 'modality = "image" needs image_shape = [height, width]')
    found.extend(_file_checks(root, file))
    return found


def _file_checks(root: Path, file: TaskFile) -> list[TaskError]:
    where = root / TASK_FILE
    found: list[TaskError] = []
    data = file.data
    if data.data and (data.train or data.test):
        found.append(TaskError("give either data, or train and test", f"{where} data"))
    if bool(data.train) != bool(data.test):
        found.append(TaskError("train and test belong together; or name one table as data", f"{where} data"))
    if data.answers and not data.test:
        found.append(TaskError("answers belong to a test file; name it as test", f"{where} data.answers"))
    names = [name for name in (data.data, data.train, data.test, data.answers) if name]
    has_step = (root / "prepare.py").is_file()
    if not names:
        found.append(
            TaskError('names no file; add [data] with data = "FILE" (or train and test)', f"{where} data")
        )
    for name in names:
        if Path(name).suffix not in (".csv", ".parquet"):
            found.append(TaskError(f"{name!r} is neither .csv nor .parquet", f"{where} data"))
        if Path(name).is_absolute() or ".." in Path(name).parts:
            found.append(TaskError(f"{name!r} lies outside the package", f"{where} data"))
        elif not has_step and not (root / name).is_file():
            found.append(TaskError(f"there is no {name!r} and no prepare.py that makes it", f"{where} data"))
    if len({Path(name).suffix for name in (data.train, data.test) if name}) > 1:
        found.append(TaskError("train and test must have the same format", f"{where} data"))
    if file.download and not has_step:
        found.append(
            TaskError("is given but there is no prepare.py to use what is downloaded", f"{where} download")
        )
    for entry in file.download:
        if "==" not in entry.package:
            found.append(
                TaskError(f"{entry.package!r} is not pinned; write NAME==VERSION", f"{where} download")
            )
    return found


def _description(root: Path, problems: list[TaskError]) -> str:
    path = root / "description.md"
    try:
        text = path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        problems.append(
            TaskError("is missing; say in it what the columns mean and what is predicted", str(path))
        )
        return ""
    except UnicodeDecodeError:
        problems.append(TaskError("is not UTF-8; save it as UTF-8", str(path)))
        return ""
    if not text:
        problems.append(
            TaskError("is empty; say in it what the columns mean and what is predicted", str(path))
        )
    return text


def _metric(root: Path, file: TaskFile, problems: list[TaskError]) -> Metric | None:
    where = f"{root / TASK_FILE} metric"
    has_grade = (root / "grade.py").is_file()
    if isinstance(file.metric, MetricEntry):
        if not has_grade:
            message = "a metric of your own needs a grade.py beside task.toml; or name a built-in metric"
            problems.append(TaskError(message, where))
        return Metric(
            name=file.metric.name, direction=file.metric.direction, needs=file.metric.needs, custom=has_grade
        )
    if has_grade:
        message = 'there is a grade.py: give its metric as a table, metric = {name = "…", direction = "min"}'
        problems.append(TaskError(message, where))
    from dojo.mle.metrics import get_metric

    try:
        return get_metric(file.metric, file.problem).metric
    except TaskError as exc:
        problems.append(TaskError(exc.message, where))
        return None
