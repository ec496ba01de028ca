"""PROPOSE with a language model: observations to a diagnosis to one change. One structured call."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from dojo.llm.dialect import schema_instruction
from dojo.model import Frozen
from gome.errors import ConfigError, LlmFormat
from gome.llm.base import Completion, Llm, Message, Request
from gome.llm.policy import ask, read_model
from gome.loop.proposal import Citation, Diagnosis, Proposal
from gome.loop.strategy import StepContext
from gome.mle.llm import context
from gome.mle.llm.prompts import render
from gome.mle.llm.schemas import HypothesisAnswer, ProposeAnswer, UseAnswer

MAX_TOKENS = 8192
CODE_CHARS = 16_000
TEMPERATURE = 0.5
"""Spread of the draw among a model's own hypotheses, on their scale of 1 to 10."""
ANGLES = (
    "one gradient-boosted tree model with default parameters on plainly encoded columns",
    "a regularised linear model on scaled and one-hot encoded columns, with a few simple features",
    "a random forest or extra trees on plainly encoded columns",
    "few but well-chosen features made from the columns, with a small tree model",
    "a nearest-neighbour or kernel model on scaled columns",
)
"""Where the traces start, in turn, so that they do not all start at one point."""


class Edit(Frozen):
    """The machine-readable form of a change: how to make it, in words, and its merit (1 to 10)."""

    change: str
    merit: float


@dataclass(frozen=True)
class LlmProposer:
    """Asks for causes and hypotheses, and draws one hypothesis by its merit."""

    def propose(self, ctx: StepContext) -> Proposal:
        """Propose the next change.

        Raises:
            LlmError, BudgetExhausted: from the model.
        """
        llm = need_llm(ctx)
        request = Request(
            role="reasoning",
            purpose="propose",
            messages=(
                Message(role="system", content=render("propose", purpose=_purpose(ctx))),
                Message(role="user", content=_question(ctx)),
            ),
            json_schema=ProposeAnswer.model_json_schema(),
            max_tokens=MAX_TOKENS,
            seed=ctx.rng.getrandbits(31),
        )

        def read(completion: Completion) -> tuple[ProposeAnswer, list[HypothesisAnswer]]:
            answer = read_model(completion, ProposeAnswer)
            return answer, _new_ideas(answer, ctx)

        schema = schema_instruction(ProposeAnswer.model_json_schema())
        answer, ideas = ask(llm.complete, request, read, reminder=schema)
        return _proposal(ctx, answer, _draw(ideas, ctx.rng))


def need_llm(ctx: StepContext) -> Llm:
    """The step's language model.

    Raises:
        ConfigError: the run has none.
    """
    if ctx.llm is None:
        raise ConfigError("this agent needs a language model: give --llm openai:MODEL")
    return ctx.llm


def edit_key(idea: HypothesisAnswer) -> str:
    """The stable name of an idea, in normal form; made from its words when the model gave none."""
    key = re.sub(r"[^a-z0-9_.=+-]+", "_", idea.key.lower()).strip("_.=")
    words = re.sub(r"[^a-z0-9]+", "_", idea.hypothesis.lower()).strip("_")
    return (key or f"{idea.component}.{words}")[:80]


def _purpose(ctx: StepContext) -> str:
    return render(
        f"purpose_{ctx.purpose}",
        trace=ctx.trace + 1,
        traces=ctx.traces,
        angle=ANGLES[ctx.trace % len(ANGLES)],
        used=f"{ctx.progress:.0%}",
    )


def _question(ctx: StepContext) -> str:
    parent = ctx.parent
    return context.join(
        context.task_section(ctx.task),
        context.observations_section(ctx.profile, parent.feedback if parent else None),
        context.parent_section(parent, ctx.parent_files, limit=CODE_CHARS),
        context.history_section(ctx.history, ctx.tried),
        context.memory_section(ctx.recalled),
        context.merge_section(ctx.merge_with, limit=CODE_CHARS) if ctx.purpose == "merge" else "",
        context.others_section(ctx.in_flight),
    )


def _new_ideas(answer: ProposeAnswer, ctx: StepContext) -> list[HypothesisAnswer]:
    """The hypotheses that are not tried or under way; only those on ensembles where one was asked for."""
    taken = ctx.tried | {p.edit_key for p in ctx.in_flight}
    fresh = [idea for idea in answer.hypotheses if edit_key(idea) not in taken]
    if not fresh:
        keys = ", ".join(edit_key(idea) for idea in answer.hypotheses)
        raise LlmFormat(
            f"all were tried on this parent or are being tried now: {keys}; propose another change"
        )
    if ctx.purpose == "ensemble":
        fresh = [idea for idea in fresh if idea.component == "ensemble"] or fresh
    return fresh


def _draw(ideas: Sequence[HypothesisAnswer], rng: random.Random) -> HypothesisAnswer:
    """Draw by merit (softmax), so that traces with equal answers do not all take the same step."""
    best = max(idea.merit for idea in ideas)
    weights = [math.exp((idea.merit - best) / TEMPERATURE) for idea in ideas]
    return rng.choices(list(ideas), weights)[0]


def _proposal(ctx: StepContext, answer: ProposeAnswer, idea: HypothesisAnswer) -> Proposal:
    cause = answer.causes[min(max(idea.cause, 0), len(answer.causes) - 1)]
    seen = [*(ctx.parent.feedback.observations if ctx.parent else ()), *ctx.profile]
    known = {o.name: o for o in reversed(seen)}
    named = dict.fromkeys(name.strip().strip("`").split(" ")[0] for name in cause.evidence)
    return Proposal(
        purpose=ctx.purpose,
        component=idea.component,
        hypothesis=idea.hypothesis,
        diagnosis=Diagnosis(
            cause=cause.cause,
            evidence=tuple(known[name] for name in named if name in known),
            expected_gain=cause.expected_gain,
            confidence=cause.confidence,
        ),
        step_size="draft" if ctx.purpose == "draft" else idea.step_size,
        edit=Edit(change=idea.change, merit=round(idea.merit, 3)).model_dump(),
        edit_key=edit_key(idea),
        citations=_citations(idea.uses, context.shown_entries(ctx)),
    )


def _citations(uses: Sequence[UseAnswer], shown: dict[str, int]) -> tuple[Citation, ...]:
    """Citations of entries that were really shown; the other shown ones are recorded as such."""
    used: dict[str, Citation] = {}
    for use in uses:
        entry = use.entry.strip().removeprefix("id ").strip()
        if entry in shown and entry not in used:
            used[entry] = Citation(entry=entry, trace=shown[entry], use=use.use)
    rest = (Citation(entry=e, trace=t, use="shown") for e, t in shown.items() if e not in used)
    return (*used.values(), *rest)
