"""Wrong diagnoses at a known rate, for experiments on how much the quality of reasoning matters.

With probability 1 - r a step's diagnosis is a *hallucination*: a rule that the observations do not support, told
with the same confidence as a right one. Hallucinations are systematic, as those of language models are: each
trace of a seed has its own few pet ideas, to which it comes back whenever it errs, instead of an even draw over
all rules.
"""

from __future__ import annotations

import random
from dataclasses import replace

from gome.loop.strategy import StepContext
from gome.mle.playbook.diagnose import MAX_LOAD, Candidate, candidate_of
from gome.mle.playbook.rules.all_rules import RULES
from gome.mle.playbook.rules.base import Rule, Situation


def errs(ctx: StepContext, reliability: float) -> bool:
    """Whether this step's diagnosis is wrong. Always draws one number, so that r does not shift later draws."""
    return ctx.rng.random() >= reliability


def pets(seed: int, task: str, trace: int) -> list[Rule]:
    """All rules, in this trace's own order of preference."""
    order = list(RULES)
    random.Random(f"hallucination:{seed}:{task}:{trace}").shuffle(order)
    return order


def contradicted(rule: Rule, situation: Situation) -> bool:
    """Whether all the rule's signs were looked for and at least one does not show."""
    looked = all(sign.name in situation.seen for sign in rule.when)
    return looked and any(sign.strength(situation) is None for sign in rule.when)


def hallucinate(ctx: StepContext, situation: Situation, seed: int) -> Candidate | None:
    """The trace's favourite among the rules that are silent here but can be carried out; None if there is none.

    Rules that the observations contradict come before those that merely have nothing to go by. A pet idea that
    was tried on this parent already gives way to the next one: the loop would only repeat its result. On another
    parent it comes back.
    """
    order = pets(seed, ctx.task.id, ctx.trace)
    for rule in sorted(order, key=lambda r: not contradicted(r, situation)):
        if not rule.fits(ctx.task) or rule.strength(situation) is not None:
            continue
        if situation.load * rule.cost > MAX_LOAD:
            continue
        candidate = candidate_of(rule, situation, strength=0.8)
        if candidate is None or candidate.key in ctx.tried:
            continue
        return replace(candidate, origin=f"wrong:{rule.id}")
    return None
