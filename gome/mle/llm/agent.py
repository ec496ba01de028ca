"""The agent whose reasoning and code come from a language model."""

from __future__ import annotations

from gome.llm.spec import LlmFactory, parse_llm
from gome.loop.strategy import Agent
from gome.mle.llm.implement import LlmImplementer
from gome.mle.llm.interpret import LlmInterpreter
from gome.mle.llm.prompts import versions
from gome.mle.llm.propose import LlmProposer


def llm_agent(name: str = "openai", *, max_repairs: int = 2) -> Agent:
    """The agent; which model it asks comes with the step (`StepContext.llm`).

    Args:
        name: recorded with the run; a specification that `from_spec` reads makes the run resumable by name.
        max_repairs: how often a program that failed is mended within one step.
    """
    return Agent(
        name=name,
        proposer=LlmProposer(),
        implementer=LlmImplementer(),
        interpreter=LlmInterpreter(),
        needs_llm=True,
        debug_run=True,
        max_repairs=max_repairs,
        options={f"prompt.{prompt}": str(version) for prompt, version in versions().items()},
    )


def from_spec(spec: str) -> tuple[Agent, LlmFactory]:
    """The agent and the factory of its model's clients, from `openai:MODEL[,…]` (see `gome.llm.spec`).

    Raises:
        ConfigError: the specification cannot be used.
    """
    made = parse_llm(spec)
    return llm_agent(str(made)), made.factory()
