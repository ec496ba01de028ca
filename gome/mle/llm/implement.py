"""IMPLEMENT with a language model: a change to a whole new program, and repair of one that failed."""

from __future__ import annotations

import ast
from dataclasses import dataclass

from dojo.environment import Feedback, Files
from gome.errors import LlmFormat
from gome.llm.base import Completion, Message, Request
from gome.llm.extract import find_code
from gome.llm.policy import ask
from gome.loop.proposal import Proposal
from gome.loop.strategy import StepContext
from gome.mle.llm import context
from gome.mle.llm.prompts import render
from gome.mle.llm.propose import need_llm

ENTRY = "solution.py"
MAX_TOKENS = 16_384
_REMINDER = "Answer with the complete program in one ```python block."
_UNPARSABLE = (SyntaxError, ValueError, RecursionError, MemoryError)


@dataclass(frozen=True)
class LlmImplementer:
    """Asks for whole files: a diff against long code is the more fragile form."""

    def implement(self, ctx: StepContext, proposal: Proposal) -> Files:
        """Write the child's program.

        Raises:
            LlmFormat: no answer held a whole program that parses and differs from the parent.
            LlmError, BudgetExhausted: from the model.
        """
        question = context.join(
            context.task_section(ctx.task),
            context.observations_section(ctx.profile, None),
            context.parent_section(ctx.parent, ctx.parent_files, limit=2 * context.CODE_CHARS),
            context.merge_section(ctx.merge_with, limit=context.CODE_CHARS) if ctx.purpose == "merge" else "",
            context.proposal_section(proposal),
        )
        return _program(ctx, "code", question, before=ctx.parent_files)

    def repair(self, ctx: StepContext, proposal: Proposal, files: Files, feedback: Feedback) -> Files | None:
        """Mend a program that failed; None when the program is not to blame.

        Raises:
            LlmError, BudgetExhausted: as for `implement`.
        """
        if feedback.failure is not None and feedback.failure.boundary == "infra":
            return None
        question = context.join(
            context.task_section(ctx.task),
            context.proposal_section(proposal),
            "# Program\n" + context.code_block(files, 2 * context.CODE_CHARS),
            context.failure_section(feedback),
        )
        return _program(ctx, "repair", question, before=files)


def _program(ctx: StepContext, purpose: str, question: str, *, before: Files) -> Files:
    request = Request(
        role="coding",
        purpose=purpose,
        messages=(
            Message(role="system", content=render(purpose, contract=context.contract(ctx.task))),
            Message(role="user", content=question),
        ),
        max_tokens=MAX_TOKENS,
        seed=ctx.rng.getrandbits(31),
    )
    code = ask(
        need_llm(ctx).complete,
        request,
        lambda completion: read_program(completion, before.get(ENTRY, "")),
        reminder=_REMINDER,
    )
    return {ENTRY: code}


def read_program(completion: Completion, before: str) -> str:
    """Take a program from an answer.

    Raises:
        LlmFormat: there is none, it was cut, is too long, does not parse, or is the one from before.
    """
    raw = completion.text
    if completion.finish == "length":
        raise LlmFormat("the answer was cut at the token limit; write a shorter program", raw)
    try:
        code = find_code(raw)
    except ValueError as exc:
        raise LlmFormat(str(exc), raw) from None
    if len(code) > context.CODE_CHARS:
        raise LlmFormat(
            f"the program has {len(code):,} characters; at most {context.CODE_CHARS:,} are taken", raw
        )
    try:
        tree = ast.parse(code)
    except SyntaxError as exc:
        raise LlmFormat(f"the program does not parse: line {exc.lineno}: {exc.msg}", raw) from None
    except _UNPARSABLE as exc:
        raise LlmFormat(f"the program does not parse: {type(exc).__name__}", raw) from None
    if not tree.body:
        raise LlmFormat("the program is empty", raw)
    if _same(tree, before):
        raise LlmFormat("the program is the same as before; make the change", raw)
    return code


def _same(tree: ast.Module, before: str) -> bool:
    """Whether two programs differ in comments and layout at most."""
    try:
        return ast.dump(tree) == ast.dump(ast.parse(before))
    except _UNPARSABLE:
        return False
