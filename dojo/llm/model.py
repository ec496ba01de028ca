"""What goes to a chat endpoint and what comes back."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Literal

from pydantic import Field

from dojo.model import Frozen

JsonMode = Literal["json_schema", "json_object", "plain"]
Finish = Literal["stop", "length", "refused", "empty", "too_large"]


class ChatMessage(Frozen):
    """One chat message."""

    role: Literal["system", "user", "assistant"]
    content: str


class ChatRequest(Frozen):
    """One call of the chat-completions endpoint."""

    model: str
    messages: tuple[ChatMessage, ...]
    json_schema: dict[str, Any] | None = None
    """Asks for a JSON object of this schema, in the strongest form the endpoint accepts."""
    max_tokens: int = Field(default=8192, gt=0)
    seed: int | None = None
    temperature: float | None = None
    effort: str | None = None
    """`reasoning_effort`, for models that have it."""

    @property
    def hash(self) -> str:
        """Content hash, the key of a cache."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def estimated_tokens(self) -> int:
        """Estimate of the prompt's tokens, meant to be on the high side (see `estimate_tokens`)."""
        texts = [m.content for m in self.messages]
        if self.json_schema is not None:
            texts.append(json.dumps(self.json_schema))
        return sum(estimate_tokens(text) + 8 for text in texts)


class ChatAnswer(Frozen):
    """The answer to one call.

    `finish` says how it ended: `stop` is a whole answer; `length` was cut at `max_tokens`; `refused` by
    the model or a content filter; `empty` holds no text; `too_large` passed the bound on its size.
    """

    text: str
    model: str
    finish: Finish = "stop"
    tokens_in: int = 0
    tokens_out: int = 0
    estimated: bool = False
    """Whether the tokens are our estimate because the endpoint did not report them."""
    usd: float | None = None
    """None when no price is known for the model at this endpoint."""
    attempts: int = 1
    json_mode: JsonMode = "plain"
    cached: bool = False


def estimate_tokens(text: str) -> int:
    """Estimate the tokens of a text: a third of its UTF-8 bytes, rounded up.

    Common tokenizers average about 4 bytes a token for English and 3 for code, and about one token per CJK
    character (3 bytes), so this errs on the high side, as a reservation should.
    """
    return -(-len(text.encode("utf-8", "replace")) // 3)
