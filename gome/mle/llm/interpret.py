"""INTERPRET with a language model: what was learnt, and a veto where a better score would not hold."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from dojo.environment import Feedback
from dojo.score import Comparison, Score
from gome.errors import BudgetExhausted, LlmError
from gome.llm.base import Message, Request
from gome.loop.proposal import Proposal
from gome.loop.strategy import Interpretation, StepContext
from gome.mle.llm import context
from gome.mle.llm.prompts import render
from gome.mle.llm.propose import need_llm
from gome.mle.llm.schemas import InterpretAnswer

MAX_TOKENS = 4096
DIFF_CHARS = 16_000


@dataclass(frozen=True)
class LlmInterpreter:
    """Reads valid results. A failure needs no model to be told: its report is the lesson."""

    def interpret(
        self,
        ctx: StepContext,
        proposal: Proposal,
        feedback: Feedback,
        score: Score | None,
        comparison: Comparison | None,
    ) -> Interpretation:
        """Say what was learnt.

        A run that was paid for is never thrown away because the model did not comment on it: when no usable
        answer comes, the lesson says so, and the numbers decide alone, as they do anyway.
        """
        if score is None:
            failure = feedback.failure
            return Interpretation(
                lesson=f"{failure.kind}: {failure.message[:300]}" if failure else "no score"
            )
        request = Request(
            role="reasoning",
            purpose="interpret",
            messages=(
                Message(role="system", content=render("interpret")),
                Message(role="user", content=_question(ctx, proposal, feedback, score, comparison)),
            ),
            max_tokens=MAX_TOKENS,
            seed=ctx.rng.getrandbits(31),
        )
        try:
            answer = need_llm(ctx).parse(request, InterpretAnswer)
        except (LlmError, BudgetExhausted) as exc:
            return Interpretation(lesson=f"{_outcome(score, comparison)} (not interpreted: {str(exc)[:200]})")
        veto = answer.reason if answer.veto and answer.reason else None
        told = "confirmed" if answer.confirmed else "not confirmed"
        return Interpretation(lesson=f"{told}: {answer.lesson}", veto=veto)


def _question(
    ctx: StepContext, proposal: Proposal, feedback: Feedback, score: Score, comparison: Comparison | None
) -> str:
    parent = ctx.parent
    scored = parent is not None and parent.score is not None
    before = f"The parent scored {parent.score}." if parent is not None and scored else "There was no parent."
    return context.join(
        context.task_section(ctx.task),
        context.proposal_section(proposal),
        f"# Result\n{before} {_outcome(score, comparison)}",
        context.observations_section((), feedback),
        _changes(ctx),
    )


def _outcome(score: Score, comparison: Comparison | None) -> str:
    text = f"score {score} on {score.n} hidden rows"
    if comparison is not None:
        text += (
            f"; {comparison.delta:+.4g} ± {comparison.se:.2g} against what it is compared with (positive is "
            f"better), better with probability {comparison.p_better:.2f}"
        )
    return text


def _changes(ctx: StepContext) -> str:
    """The new program, as a diff where there is a parent to compare it with."""
    if ctx.files is None:
        return ""
    if not ctx.parent_files:
        return "# Program\n" + context.code_block(ctx.files, DIFF_CHARS)
    lines: list[str] = []
    for name in sorted({*ctx.files, *ctx.parent_files}):
        old, new = ctx.parent_files.get(name, ""), ctx.files.get(name, "")
        lines += difflib.unified_diff(
            old.splitlines(), new.splitlines(), f"parent/{name}", f"child/{name}", lineterm="", n=6
        )
    return "# Program, as a diff from the parent's\n" + context.fence("diff", "\n".join(lines), DIFF_CHARS)
