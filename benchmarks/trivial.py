"""A task and an agent that cost nothing, so that what is measured is the machinery around them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from dojo.environment import Feedback, Files
from dojo.score import Comparison, Score
from gome.loop.proposal import Diagnosis, Proposal
from gome.loop.strategy import Agent, Interpretation, StepContext

SOLUTION = '''"""Writes a prediction for every test row; the number below makes each child a new program."""

import argparse
import time

import pandas as pd

parser = argparse.ArgumentParser()
for name in ("--data", "--out", "--seed"):
    parser.add_argument(name)
parser.add_argument("--debug", action="store_true")
args = parser.parse_args()
time.sleep({sleep})
test = pd.read_csv(args.data + "/test.csv")
answer = {expression}
pd.DataFrame({{"id": test["id"], "y": answer}}).to_csv(args.out + "/submission.csv", index=False)
'''


@dataclass(frozen=True)
class TrivialStrategy:
    """Proposes the next number and writes the program with it."""

    binary: bool
    sleep: float

    def propose(self, ctx: StepContext) -> Proposal:
        """Count up."""
        return Proposal(
            purpose=ctx.purpose,
            component="number",
            hypothesis=f"step {ctx.step} of trace {ctx.trace}",
            diagnosis=Diagnosis(cause="a benchmark"),
            edit={"step": ctx.step},
            edit_key=f"number={ctx.step}",
        )

    def implement(self, ctx: StepContext, proposal: Proposal) -> Files:
        """Render the program."""
        tilt = 1.0 + 0.01 * ctx.step + 0.001 * ctx.trace
        if self.binary:
            expression = f"1 / (1 + (-{tilt} * test['a'] - 0.1 * test['b']).map(__import__('math').exp))"
        else:
            expression = f"{tilt} * test['a'] + 0.1 * test['b']"
        return {"solution.py": SOLUTION.format(sleep=self.sleep, expression=expression)}

    def repair(self, ctx: StepContext, proposal: Proposal, files: Files, feedback: Feedback) -> Files | None:
        """Give up."""
        return None

    def interpret(
        self,
        ctx: StepContext,
        proposal: Proposal,
        feedback: Feedback,
        score: Score | None,
        comparison: Comparison | None,
    ) -> Interpretation:
        """Say nothing."""
        return Interpretation(lesson="measured")


def trivial_agent(*, binary: bool = False, sleep: float = 0.0) -> Agent:
    """An agent whose reasoning takes no time and whose solutions sleep for `sleep` seconds."""
    strategy = TrivialStrategy(binary, sleep)
    return Agent("trivial", strategy, strategy, strategy)


def write_table(path: Path, *, rows: int, binary: bool, seed: int = 0) -> None:
    """A table of two numbers and a target that depends on them."""
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=rows), rng.normal(size=rows)
    y = 2 * a + b + rng.normal(size=rows)
    frame = pd.DataFrame({"id": np.arange(rows), "a": a, "b": b, "y": (y > 0).astype(int) if binary else y})
    frame.to_csv(path, index=False)
