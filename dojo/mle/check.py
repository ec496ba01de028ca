"""Everything that is wrong with a task package, each with file, field and what to do."""

from __future__ import annotations

import ast
import tempfile
from collections.abc import Callable
from pathlib import Path

from dojo.environment import FINAL, SEARCH, resplit
from dojo.errors import DojoError, TaskError
from dojo.mle.medals import load_population
from dojo.mle.package import TASK_FILE, Task, inspect_package

_FUNCTIONS = {"prepare.py": ("prepare", 2), "split.py": ("split", 2), "grade.py": ("grade", 2)}
"""The package's own code: the function that is called, and with how many arguments."""
RESPLITS = 3


def check_package(root: Path, progress: Callable[[str], None] | None = None) -> list[TaskError]:
    """Say everything that is wrong with a package.

    Where the files themselves are sound, the data are prepared and every view of them is made and loaded into the
    grader, so that a package without problems here starts a run.

    Args:
        root: the package's folder.
        progress: told what is being done.
    """
    task, problems = inspect_package(root)
    problems = [*problems, *_code_problems(root)]
    try:
        load_population(root / "population.json")
    except TaskError as exc:
        problems.append(exc)
    if task is not None:
        problems.extend(_column_problems(task))
    if task is None or problems:
        return problems
    return _data_problems(task, progress)


def _code_problems(root: Path) -> list[TaskError]:
    found = []
    for name, (function, arguments) in _FUNCTIONS.items():
        path = root / name
        if not path.is_file():
            continue
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"))
        except SyntaxError as exc:
            found.append(TaskError(f"line {exc.lineno}: {exc.msg}", str(path)))
            continue
        except ValueError:  # not UTF-8, or a NUL byte
            found.append(TaskError("is not UTF-8 text; save it as UTF-8", str(path)))
            continue
        definition = next(
            (n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == function), None
        )
        imported = any(
            (alias.asname or alias.name) == function
            for node in tree.body
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        )
        if definition is None and not imported:
            found.append(TaskError(f"defines no function {function}(); see docs/tasks.md", str(path)))
        elif definition is not None and not _takes(definition.args, arguments):
            message = f"{function}() must take {arguments} positional arguments; see docs/tasks.md"
            found.append(TaskError(message, f"{path} line {definition.lineno}"))
    return found


def _takes(arguments: ast.arguments, count: int) -> bool:
    positional = len(arguments.posonlyargs) + len(arguments.args)
    required_keywords = sum(default is None for default in arguments.kw_defaults)
    least = positional - len(arguments.defaults)
    return least <= count and (positional >= count or arguments.vararg is not None) and not required_keywords


def _column_problems(task: Task) -> list[TaskError]:
    """Columns that `task.toml` names and a data file in the package lacks."""
    data, spec, found = task.file.data, task.spec, []
    if task.prepare_py is not None:
        return []
    from dojo.mle.tables import column_names

    roles = {
        "target": (spec.target,),
        "group": (spec.group,),
        "time": (spec.time,),
        "text_columns": spec.text_columns,
    }
    for name in (data.data, data.train):
        path = task.root / name if name else None
        if path is None or not path.is_file():
            continue
        try:
            columns = column_names(path)
        except TaskError as exc:
            found.append(exc)
            continue
        for field, names in roles.items():
            for column in names:
                if column is not None and column not in columns:
                    where = f"{task.root / TASK_FILE} {field}"
                    found.append(TaskError(f"there is no column {column!r} in {name}", where))
    return found


def _data_problems(task: Task, progress: Callable[[str], None] | None) -> list[TaskError]:
    """Prepare the data and make every view; the first problem ends it, since the rest hangs on it."""
    from dojo.mle.grader import Grader
    from dojo.mle.views import make_view

    where = str(task.root)
    try:
        prepared = task.prepare(progress)
        with (
            tempfile.TemporaryDirectory(prefix="dojo-check-") as folder,
            Grader(prepared.spec, grade_py=prepared.grade_py) as grader,
        ):
            for name in (SEARCH, *(resplit(i) for i in range(RESPLITS)), FINAL):
                where = f"{task.root} view {name}"
                view = make_view(prepared, name, Path(folder) / name)
                grader.load(name, answers=view.answers, train=view.train, test=view.test)
    except TaskError as exc:
        return [exc]
    except DojoError as exc:
        return [TaskError(str(exc), where)]
    return []
