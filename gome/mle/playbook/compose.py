"""Composing a Python file: only the snippets it uses, only the imports it needs, lines wrapped as by ruff."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Set
from functools import cache, lru_cache
from importlib import resources

WIDTH = 110
SECTIONS = {
    "data": "Reading and cleaning",
    "rowwise": "Features computed row by row",
    "series": "Features computed row by row",
    "image": "Features computed row by row",
    "transformers": "Steps that learn from training rows",
    "fitting": "Targets, models, folds",
    "forecast": "Forecasting",
    "post": "Combining and finishing predictions",
}
"""Module of snippets to the heading under which a solution shows it, in order."""

_LOCAL = "gome.mle.playbook.snippets."


class Snippets:
    """The top-level definitions of all snippet modules and the imports they make use of."""

    def __init__(self) -> None:
        self.source: dict[str, str] = {}
        self.section: dict[str, str] = {}
        self.imports: dict[str, str] = {}
        for module in SECTIONS:
            text = (
                resources.files(__package__).joinpath("snippets", f"{module}.py").read_text(encoding="utf-8")
            )
            for node in ast.parse(text).body:
                self._add(node, text, module)

    def _add(self, node: ast.stmt, text: str, module: str) -> None:
        if isinstance(node, ast.Import | ast.ImportFrom):
            self.imports.update(import_lines(node))
            return
        names = [node.name] if isinstance(node, ast.FunctionDef | ast.ClassDef) else []
        if isinstance(node, ast.Assign):
            names = [target.id for target in node.targets if isinstance(target, ast.Name)]
        for name in names:
            self.source[name] = ast.get_source_segment(text, node) or ""
            self.section[name] = module

    def used_by(self, names: Set[str]) -> list[str]:
        """Names of the snippets that are needed, with what these need, in the order of the modules."""
        wanted: set[str] = set()
        queue = [names]
        while queue:
            for name in (queue.pop() & self.source.keys()) - wanted:
                wanted.add(name)
                queue.append(names_in(self.source[name]))
        return [name for name in self.source if name in wanted]


@cache
def snippets() -> Snippets:
    """The snippets, read once."""
    return Snippets()


@cache
def bindings(lines: tuple[str, ...]) -> dict[str, str]:
    """Bound name to import statement, for statements as text."""
    found: dict[str, str] = {}
    for node in ast.parse("\n".join(lines)).body:
        assert isinstance(node, ast.Import | ast.ImportFrom)
        found |= import_lines(node)
    return found


def import_lines(node: ast.Import | ast.ImportFrom) -> dict[str, str]:
    """Bound name to the import statement that binds it, for what is not a snippet itself."""
    if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(_LOCAL):
        return {}
    prefix = f"from {node.module} " if isinstance(node, ast.ImportFrom) else ""
    return {
        alias.asname or alias.name.split(".")[0]: f"{prefix}import {alias.name}"
        + (f" as {alias.asname}" if alias.asname else "")
        for alias in node.names
        if prefix != "from __future__ "
    }


@lru_cache(maxsize=2048)
def names_in(code: str) -> frozenset[str]:
    """All plain names that occur in a piece of code."""
    return frozenset(node.id for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Name))


def import_block(names: Set[str], known: dict[str, str]) -> str:
    """The import statements that bind the names, sorted as isort sorts them."""
    used = names & known.keys()
    plain = {known[name] for name in used if known[name].startswith("import ")}
    by_module: dict[str, set[str]] = {}
    for name in used:
        if known[name].startswith("from "):
            module, imported = known[name].removeprefix("from ").split(" import ")
            by_module.setdefault(module, set()).add(imported)
    if "IterativeImputer" in used:  # has to be switched on
        by_module["sklearn.experimental"] = {"enable_iterative_imputer"}
    groups: list[list[str]] = [[], []]
    for line in sorted(plain, key=str.lower):
        groups[not is_standard(line.split()[1])].append(line)
    for module in sorted(by_module, key=str.lower):
        line = f"from {module} import {', '.join(sorted(by_module[module], key=import_order))}"
        if module == "sklearn.experimental":
            line += "  # noqa: F401"
        groups[not is_standard(module)].append(wrap_import(line))
    return "\n\n".join("\n".join(group) for group in groups if group)


def import_order(name: str) -> tuple[int, str]:
    """The order within one statement: constants, classes, functions, as isort has it."""
    return (0 if name.isupper() and len(name) > 1 else 1 if name[0].isupper() else 2, name)


def is_standard(module: str) -> bool:
    """Whether a module is of the standard library, of those that solutions use."""
    return module.split(".")[0] not in {"numpy", "pandas", "scipy", "sklearn", "lightgbm"}


def wrap_import(line: str) -> str:
    """A from-import on several lines if it is too long for one."""
    if len(line) <= WIDTH or "#" in line:
        return line
    head, names = line.split(" import ")
    return f"{head} import (\n" + "".join(f"    {name},\n" for name in names.split(", ")) + ")"


def compose(head: str, body: dict[str, str], known_imports: Iterable[str]) -> str:
    """A whole file.

    Args:
        head: the module docstring and, after it, constants; the imports go between the two.
        body: heading to code, in order, after the snippets.
        known_imports: import statements for names that only `head` and `body` use.
    """
    library = snippets()
    own = "\n\n\n".join(wrap_long(code) for code in body.values())
    own_names = names_in(head) | names_in(own)
    used = library.used_by(own_names)
    parts: dict[str, list[str]] = {}
    for name in used:
        parts.setdefault(SECTIONS[library.section[name]], []).append(wrap_long(library.source[name]))
    for heading, code in body.items():
        if code.strip():
            parts.setdefault(heading, []).append(wrap_long(code).strip("\n"))
    sections = [f"# --- {heading} ---\n\n\n" + "\n\n\n".join(code) for heading, code in parts.items()]
    known = library.imports | bindings(tuple(known_imports))
    docstring, constants = split_head(head)
    text = "\n\n\n".join(sections)
    names = own_names.union(*(names_in(library.source[name]) for name in used))
    imports = import_block(names, known)
    pieces = [docstring, "from __future__ import annotations", imports, constants]
    top = "\n\n".join(piece for piece in pieces if piece)
    return f'{top}\n\n{text}\n\n\nif __name__ == "__main__":\n    main()\n'


def split_head(head: str) -> tuple[str, str]:
    """The docstring of a module and the code after it."""
    first = ast.parse(head).body[0]
    lines = head.strip("\n").split("\n")
    return "\n".join(lines[: first.end_lineno]), wrap_long("\n".join(lines[first.end_lineno :]).strip("\n"))


def wrap_long(code: str) -> str:
    """Break simple statements that are too long for a line, one argument or element per line."""
    lines = code.split("\n")
    if all(len(line) <= WIDTH for line in lines):
        return code
    result: list[str] = []
    for line in lines:
        result.append(line if len(line) <= WIDTH else _break_line(line))
    return "\n".join(result)


def _break_line(line: str) -> str:
    indent = line[: len(line) - len(line.lstrip())]
    text = line.strip()
    try:
        statement = ast.parse(text).body[0]
    except SyntaxError:  # one line of a longer statement or a string: left as it is
        return line
    value = getattr(statement, "value", None)
    if text.endswith("),") and isinstance(value, ast.Tuple) and len(value.elts) == 1:  # an element of a list
        return indent + broken(value.elts[0], text, len(indent), 0, 1) + ","
    if not isinstance(value, ast.Call | ast.List | ast.Tuple | ast.Dict):
        return line
    prefix = text[: value.col_offset]
    return indent + prefix + broken(value, text, len(indent), len(prefix))


def broken(node: ast.expr, text: str, indent: int, prefix: int, suffix: int = 0) -> str:
    """The source of an expression, on one line if it fits, else one part per line with trailing commas."""
    source = ast.get_source_segment(text, node) or ""
    if indent + prefix + len(source) + suffix <= WIDTH:
        return source
    if isinstance(node, ast.Call):
        opening = f"{ast.get_source_segment(text, node.func)}("
        parts = [("", arg) for arg in node.args] + [
            (f"{k.arg}=" if k.arg else "**", k.value) for k in node.keywords
        ]
        closing = ")"
    elif isinstance(node, ast.List | ast.Tuple):
        opening, closing = ("[", "]") if isinstance(node, ast.List) else ("(", ")")
        parts = [("", element) for element in node.elts]
    elif isinstance(node, ast.Dict):
        opening, closing = "{", "}"
        keys = (ast.get_source_segment(text, key) if key else None for key in node.keys)
        parts = [(f"{key}: " if key else "**", value) for key, value in zip(keys, node.values, strict=True)]
    else:
        return source
    if not parts:
        return source
    inner = indent + 4
    flat = ", ".join(label + (ast.get_source_segment(text, part) or "") for label, part in parts)
    if isinstance(node, ast.Call) and inner + len(flat) <= WIDTH:
        body = " " * inner + flat + "\n"  # as ruff does without a trailing comma
    else:
        comma = "" if len(parts) == 1 and isinstance(parts[0][1], ast.GeneratorExp) else ","
        body = "".join(
            " " * inner + label + broken(part, text, inner, len(label), 1) + f"{comma}\n"
            for label, part in parts
        )
    return opening + "\n" + body + " " * indent + closing
