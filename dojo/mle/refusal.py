"""Failures that blame the submission. Apart from the parser, so that the caller's process stays light."""

from __future__ import annotations

from typing import Literal

from dojo.errors import Failure

MESSAGE_CHARS = 300

Kind = Literal[
    # the file
    "empty",
    "too_large",
    "not_text",
    "not_csv",
    "wrong_columns",
    "ragged_rows",
    # its rows
    "missing_rows",
    "duplicate_ids",
    "unknown_ids",
    # its cells
    "missing_values",
    "not_numeric",
    "not_finite",
    "out_of_range",
    "zero_probabilities",
    "unknown_label",
    # its score
    "value_too_large",
    "not_finite_score",
    "grader_refused",
]
"""The kinds of refused submissions. They are stored in journals and learned from: never rename one."""


def refuse(kind: Kind, message: str) -> Failure:
    """A failure that blames the submission. The message says what to do and tells nothing of the answers."""
    return Failure(boundary="submission", kind=kind, message=message[:MESSAGE_CHARS], stage="validate")


def quote(text: str, limit: int = 30) -> str:
    """Text of the submission in a form safe to show: printable ASCII, short."""
    return ascii(text if len(text) <= limit else text[: limit - 3] + "...")


def too_large(size: int, cap: int) -> Failure:
    """The failure for a file above the byte cap."""
    return refuse(
        "too_large",
        f"submission.csv has {size} bytes, more than the {cap} that its rows can need; write only the "
        "required columns, one line per test row",
    )
