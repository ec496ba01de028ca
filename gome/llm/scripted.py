"""Language models that are not: scripted answers, and answers recorded earlier."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from dojo.llm.model import estimate_tokens
from gome.errors import ConfigError, GomeError, LlmTransport, ResumeError
from gome.llm.base import Completion, Request, Usage
from gome.llm.policy import BaseLlm, estimate

Scripted = str | Completion | GomeError


class ScriptedLlm(BaseLlm):
    """Answers by a function, or with the next of a list; an error is raised. For tests and examples.

    Args:
        script: the function, or the answers in order.
        model: name the answers come under.

    Attributes:
        requests: what was asked, in order.
    """

    def __init__(
        self, script: Callable[[Request], Scripted] | Sequence[Scripted], model: str = "scripted"
    ) -> None:
        self._script = script
        self._model = model
        self.requests: list[Request] = []

    def answer(self, request: Request) -> Completion:
        """The scripted answer; its usage is estimated."""
        number = len(self.requests)
        self.requests.append(request)
        if callable(self._script):
            given = self._script(request)
        elif number < len(self._script):
            given = self._script[number]
        else:
            raise LlmTransport(f"the script has {number} answers and was asked for another")
        if isinstance(given, GomeError):
            raise given
        if isinstance(given, Completion):
            return given
        usage = Usage(tokens_in=estimate(request), tokens_out=estimate_tokens(given), estimated=True)
        return Completion(
            text=given, model=self._model, usage=usage, finish="stop" if given.strip() else "empty"
        )


class ReplayLlm(BaseLlm):
    """Gives the answers of an earlier run again, by the hash of the request and in their order.

    Args:
        answers: hash of a request and its answer, in the order in which they were given.
    """

    def __init__(self, answers: Iterable[tuple[str, Completion]]) -> None:
        self._answers: dict[str, deque[Completion]] = defaultdict(deque)
        for request, completion in answers:
            self._answers[request].append(completion)

    @classmethod
    def of_run(cls, path: Path) -> ReplayLlm:
        """The answers in a run directory's journal (or in a journal file).

        Raises:
            ConfigError: there is none, or it holds no answers.
        """
        from gome.loop.events import LlmAnswered
        from gome.loop.journal import read_journal

        file = path / "journal.jsonl" if path.is_dir() else path
        try:
            events = [record.event for record in read_journal(file)]
        except (ResumeError, OSError) as exc:
            raise ConfigError(f"cannot replay {path}: {exc}") from None
        answers = [(e.request, e.completion) for e in events if isinstance(e, LlmAnswered)]
        if not answers:
            raise ConfigError(f"cannot replay {path}: its journal holds no answers of a language model")
        return cls(answers)

    def answer(self, request: Request) -> Completion:
        """The recorded answer.

        Raises:
            LlmTransport: this request was not asked (so often) in the recorded run.
        """
        waiting = self._answers.get(request.hash)
        if not waiting:
            raise LlmTransport(f"the recorded run has no (further) answer to this {request.purpose} request")
        return waiting.popleft().model_copy(update={"cached": True})
