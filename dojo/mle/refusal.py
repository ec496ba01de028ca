"""Failures that blame the submission. Apart from the parser, so that the caller's process stays light."""

from __future__ import annotations

from dojo.errors import Failure

MESSAGE_CHARS = 300


def refuse(kind: str, message: str) -> Failure:
    """A failure that blames the submission."""
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
