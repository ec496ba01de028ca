"""Scores and their comparison. The one place where a metric's direction is looked at."""

from __future__ import annotations

from typing import Literal

from dojo.model import Frozen

Direction = Literal["min", "max"]
Split = Literal["validation", "resplit", "test"]


class Score(Frozen):
    """One score on one split, with the number of rows and its standard error.

    `se` is None where no standard error can be had (one row). Non-finite values are refused.
    `reported` marks a score that the solution claims itself (`--validation reported`).
    """

    value: float
    metric: str
    direction: Direction
    split: Split
    n: int
    se: float | None = None
    reported: bool = False

    @property
    def utility(self) -> float:
        """The score with its sign turned so that higher is better."""
        return self.value if self.direction == "max" else -self.value

    def better_than(self, other: Score) -> bool:
        """Whether this score is strictly better; both must be of the same metric and direction."""
        if (self.metric, self.direction) != (other.metric, other.direction):
            raise ValueError(f"cannot compare {self.metric} ({self.direction}) with {other.metric}")
        return self.utility > other.utility

    def __str__(self) -> str:
        error = f" ± {self.se:.2g}" if self.se is not None else ""
        return f"{self.value:.5g}{error}"


class Comparison(Frozen):
    """A paired comparison of a child with its parent on the same rows.

    `delta` is in metric units with its sign turned so that positive means the child is better.
    """

    delta: float
    se: float
    p_better: float
    n: int
    method: Literal["paired", "delong", "resample", "identical"]

    @property
    def gain(self) -> float:
        """The gain in units of its own noise, bounded to ±8 so that one entry cannot dominate."""
        if self.se <= 0:
            return 0.0 if self.delta == 0 else 8.0 * (1 if self.delta > 0 else -1)
        return max(-8.0, min(8.0, self.delta / self.se))
