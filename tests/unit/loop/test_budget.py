from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gome.loop.budget import Budget, Ledger
from gome.loop.experiment import Costs


def test_a_budget_without_an_end_is_refused() -> None:
    with pytest.raises(ValidationError, match="needs steps or time"):
        Budget(tokens=5)


def test_steps_are_charged_when_they_start_and_once_when_repeated() -> None:
    ledger = Ledger(Budget(steps=2))
    assert ledger.open("a", run_s=10, parallel=2)
    assert ledger.open("a", run_s=10, parallel=2, again=True)
    assert ledger.remaining_steps() == 1
    assert ledger.open("b", run_s=10, parallel=2)
    assert ledger.open("c", run_s=10, parallel=2) is None


def test_slot_time_is_reserved_before_it_is_spent() -> None:
    ledger = Ledger(Budget(steps=9, slot_s=25))
    assert ledger.open("a", run_s=20, parallel=2).slot_s == 20
    assert ledger.open("b", run_s=20, parallel=2).slot_s == 5
    assert ledger.open("c", run_s=20, parallel=2) is None
    ledger.settle("a", Costs(slot_s=2))
    assert ledger.open("c", run_s=20, parallel=2).slot_s == 18


def test_tokens_and_money_are_shared_out() -> None:
    ledger = Ledger(Budget(steps=9, tokens=100_000, usd=1.0))
    first = ledger.open("a", run_s=1, parallel=2)
    assert (first.tokens, first.usd) == (50_000, 0.5)
    ledger.settle("a", Costs(tokens_in=60_000, tokens_out=40_000, usd=0.1))
    assert ledger.open("b", run_s=1, parallel=1) is None


@given(st.lists(st.floats(0, 30), max_size=20), st.floats(1, 100))
def test_reserved_and_spent_slot_time_never_exceed_the_budget_by_more_than_overruns(
    used: list[float], limit: float
) -> None:
    ledger = Ledger(Budget(steps=1000, slot_s=limit))
    promised = 0.0
    for i, seconds in enumerate(used):
        lease = ledger.open(str(i), run_s=10, parallel=1)
        if lease is None:
            break
        promised = ledger.spent.slot_s + lease.slot_s
        assert promised <= limit + 1e-6
        ledger.settle(str(i), Costs(slot_s=min(seconds, lease.slot_s)))
    assert ledger.spent.slot_s <= limit + 1e-6


def test_progress_in_lockstep_reads_no_clock() -> None:
    ledger = Ledger(Budget(steps=10, wall_s=100))
    ledger.open("a", run_s=1, parallel=1)
    assert ledger.progress(None) == 0.1
    assert ledger.progress(50.0) == 0.5
