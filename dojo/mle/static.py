"""Checks of a solution's files that need no run."""

from __future__ import annotations

import ast
from pathlib import PurePosixPath

from dojo.environment import Files

ENTRY = "solution.py"
MAX_FILE_BYTES = 2**20
MAX_FILES = 100
MAX_NAME_BYTES = 200


def check_files(files: Files) -> str | None:
    """What is wrong with the files of a solution, in one sentence, or None."""
    if ENTRY not in files:
        return f"there is no {ENTRY}"
    if len(files) > MAX_FILES:
        return f"{len(files)} files are too many; at most {MAX_FILES}"
    for name, text in files.items():
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or not path.parts or "\x00" in name:
            return f"the file name {name[:80]!r} leads out of the solution's folder"
        if len(name.encode("utf-8", "replace")) > MAX_NAME_BYTES:
            return f"the file name {name[:80]!r}… is too long"
        if any(str(parent) in files for parent in path.parents):
            return f"{name[:80]!r} lies below a file of this solution"
        if len(text.encode("utf-8", "surrogatepass")) > MAX_FILE_BYTES:
            return f"{name} is larger than 1 MB"
        if path.suffix == ".py" and (problem := _syntax(name, text)):
            return problem
    return None


def _syntax(name: str, text: str) -> str | None:
    try:
        tree = ast.parse(text, filename=name)
    except SyntaxError as exc:
        return f"{name}, line {exc.lineno}: {exc.msg}"
    except (ValueError, RecursionError, MemoryError) as exc:
        return f"{name} cannot be parsed: {type(exc).__name__}"
    return None if tree.body else f"{name} is empty"
