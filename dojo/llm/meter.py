"""Tokens and money: reserved before they are spent, counted after."""

from __future__ import annotations

import threading

from dojo.llm.errors import LlmBudgetError
from dojo.model import Frozen


class Spent(Frozen):
    """What calls have used. `usd` is a lower bound when `unpriced` calls are among them."""

    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    usd: float = 0.0
    unpriced: int = 0
    """Calls to models without a known price."""
    estimated: int = 0
    """Calls whose tokens the endpoint did not report, so that they are our estimate."""

    @property
    def tokens(self) -> int:
        """Tokens in and out."""
        return self.tokens_in + self.tokens_out

    def __add__(self, other: Spent) -> Spent:
        return Spent(**{k: getattr(self, k) + getattr(other, k) for k in type(self).model_fields})


class Reservation(Frozen):
    """Room held for one call that is under way."""

    tokens: int
    usd: float = 0.0


class Meter:
    """Counts usage under optional caps. Thread-safe.

    A call reserves its worst case (prompt and `max_tokens`) first, so that calls under way together cannot
    pass the cap. A cap on money needs prices: without one, `reserve` refuses.

    Args:
        tokens: cap on tokens in and out, or None.
        usd: cap on money, or None.
    """

    def __init__(self, tokens: int | None = None, usd: float | None = None) -> None:
        self.tokens = tokens
        self.usd = usd
        self._lock = threading.Lock()
        self._spent = Spent()
        self._held_tokens = 0
        self._held_usd = 0.0

    @property
    def spent(self) -> Spent:
        """Usage so far, without reservations."""
        with self._lock:
            return self._spent

    def reserve(self, tokens: int, usd: float | None) -> Reservation:
        """Hold room for a call.

        Args:
            tokens: the most tokens, in and out, that the call may use.
            usd: the most it may cost, or None when the model has no known price.

        Raises:
            LlmBudgetError: a cap has no room for it.
        """
        with self._lock:
            if self.tokens is not None:
                left = self.tokens - self._spent.tokens - self._held_tokens
                if tokens > left:
                    raise LlmBudgetError(
                        f"token budget: the call may use {tokens:,} tokens, {max(0, left):,} are left"
                    )
            if self.usd is not None:
                if usd is None:
                    raise LlmBudgetError(
                        "money budget: no price is known for this model at this endpoint; "
                        "give a price file or drop the budget"
                    )
                left_usd = self.usd - self._spent.usd - self._held_usd
                if usd > left_usd:
                    raise LlmBudgetError(
                        f"money budget: the call may cost ${usd:.4f}, ${max(0.0, left_usd):.4f} are left"
                    )
            self._held_tokens += tokens
            self._held_usd += usd or 0.0
            return Reservation(tokens=tokens, usd=usd or 0.0)

    def settle(self, held: Reservation, used: Spent) -> None:
        """Release a reservation and count what was really used (nothing, when the call failed)."""
        with self._lock:
            self._held_tokens -= held.tokens
            self._held_usd -= held.usd
            self._spent = self._spent + used
