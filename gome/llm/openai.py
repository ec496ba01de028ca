"""A language model behind an OpenAI-compatible endpoint, with one model to reason and one to write code."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from dojo.llm import (
    ChatClient,
    ChatMessage,
    ChatRequest,
    JsonMode,
    LlmBudgetError,
    LlmClientError,
    LlmDenied,
    LlmRefused,
    PriceTable,
    RetryPolicy,
    check_url,
)
from gome import errors
from gome.errors import ConfigError, GomeError
from gome.llm.base import Completion, Request, Usage
from gome.llm.policy import BaseLlm


class OpenAILlm(BaseLlm):
    """An `Llm` over `dojo.llm.ChatClient`. Picklable: a copy makes its own connections and takes the key from
    the environment of the process it lives in; no key is ever part of it.

    Args:
        reasoning_model: answers requests of the role `reasoning`.
        coding_model: answers requests of the role `coding`; by default the same.
        url: base URL of the endpoint; else `OPENAI_BASE_URL`, else OpenAI's.
        temperature, effort: sent with each request, if the model takes them.
        json_mode: force one form of structured output; found out by default.
        prices: price table; the package's own by default.
        retry: bounds on attempts and times.
        sleep: waits between attempts; replaced in tests.

    Raises:
        ConfigError: the url is not usable.
    """

    def __init__(
        self,
        reasoning_model: str,
        coding_model: str | None = None,
        url: str | None = None,
        *,
        temperature: float | None = None,
        effort: str | None = None,
        json_mode: JsonMode | None = None,
        prices: PriceTable | None = None,
        retry: RetryPolicy | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.reasoning_model = reasoning_model
        self.coding_model = coding_model or reasoning_model
        self._temperature = temperature
        self._effort = effort
        self._made_of: dict[str, Any] = {
            "url": url, "json_mode": json_mode, "prices": prices, "retry": retry, "sleep": sleep
        }  # fmt: skip
        self._client: ChatClient | None = None
        if url is not None:
            try:
                check_url(url)
            except LlmDenied as exc:
                raise ConfigError(str(exc)) from None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_client": None}

    @property
    def client(self) -> ChatClient:
        """The client, made at first use.

        Raises:
            ConfigError: there is no key, or the url in the environment is not usable.
        """
        if self._client is None:
            try:
                self._client = ChatClient(**self._made_of)
            except LlmDenied as exc:
                raise ConfigError(str(exc)) from None
        return self._client

    def close(self) -> None:
        """Close the connections; the next call makes new ones."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def model(self, role: str) -> str:
        """The model that answers a role."""
        return self.coding_model if role == "coding" else self.reasoning_model

    def answer(self, request: Request) -> Completion:
        """Ask the endpoint.

        Raises:
            LlmTransport: it could not be reached, kept failing, or does not take this request.
            LlmDenied: it takes none with this key, model or url.
            ConfigError: as for `client`.
        """
        try:
            answer = self.client.chat(self._chat_request(request))
        except LlmRefused as exc:
            # Recorded like any answer: nothing was billed, and asking again would give the same.
            return Completion(
                text=str(exc),
                model=self.model(request.role),
                usage=Usage(attempts=exc.attempts),
                finish="refused",
            )
        except LlmClientError as exc:
            raise mapped(exc) from None
        return Completion(
            text=answer.text,
            model=answer.model,
            usage=Usage(
                tokens_in=answer.tokens_in,
                tokens_out=answer.tokens_out,
                usd=answer.usd,
                attempts=answer.attempts,
                estimated=answer.estimated,
            ),
            finish=answer.finish,
        )

    def quote(self, request: Request) -> tuple[int, float | None]:
        """The most tokens and USD that an answer may use."""
        return self.client.worst_case(self._chat_request(request))

    def _chat_request(self, request: Request) -> ChatRequest:
        return ChatRequest(
            model=self.model(request.role),
            messages=tuple(ChatMessage(role=m.role, content=m.content) for m in request.messages),
            json_schema=request.json_schema,
            max_tokens=request.max_tokens,
            seed=request.seed,
            temperature=self._temperature,
            effort=self._effort,
        )


def mapped(exc: LlmClientError) -> GomeError:
    """The optimizer's error for one of the client."""
    if isinstance(exc, LlmDenied):
        return errors.LlmDenied(str(exc))
    if isinstance(exc, LlmBudgetError):
        return errors.BudgetExhausted(str(exc))
    return errors.LlmTransport(str(exc))
