"""The rules of one episode in a task: how often validation was looked at, and the one test call.

The same rules hold for our own loop and for an external agent. An episode is rebuilt from its events, which
the journal of a run embeds.
"""

from __future__ import annotations

from typing import Literal

from dojo.errors import DojoError
from dojo.model import Frozen


class EpisodeError(DojoError):
    """A rule of the episode forbids what was asked."""


class EpisodeEvent(Frozen):
    """One thing that the rules count.

    `looked`: a submission was graded on hidden validation rows. `test_opened`: the test split is about to be
    graded for this submission (committed before the grading). `sealed`: nothing more may be asked.
    """

    kind: Literal["looked", "test_opened", "sealed"]
    experiment: str = ""
    view: str = ""
    submission: str = ""
    """Content hash of the graded submission."""


class Episode:
    """The ledger of an episode. Not thread-safe; one owner."""

    def __init__(self) -> None:
        self.looks = 0
        self.opened_for: str | None = None
        self.sealed = False

    def apply(self, event: EpisodeEvent) -> None:
        """Take note of a committed event."""
        if event.kind == "looked":
            self.looks += 1
        elif event.kind == "test_opened":
            self.opened_for = event.submission
        else:
            self.sealed = True

    def check_look(self) -> None:
        """Raise `EpisodeError` when validation may not be looked at any more."""
        if self.sealed:
            raise EpisodeError("the episode is sealed: validation may not be looked at any more")

    def open_test(self, experiment: str, submission: str) -> EpisodeEvent:
        """Ask for the one test grading.

        After a crash between opening and grading the same submission may be graded again, another may not.

        Raises:
            EpisodeError: the test split was opened for another submission, or the episode is sealed.
        """
        if self.sealed:
            raise EpisodeError("the episode is sealed: the test split was scored already")
        if self.opened_for not in (None, submission):
            raise EpisodeError("the test split was opened for another submission; it is scored once")
        return EpisodeEvent(kind="test_opened", experiment=experiment, view="final", submission=submission)
