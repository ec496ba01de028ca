"""Errors of a language-model endpoint.

```
LlmClientError (DojoError)
 ├ LlmUnavailable   could not be reached, or kept failing until retries or time were used up; retryable
 ├ LlmRejected      the endpoint will never serve this request: too long, a parameter it does not take
 │  └ LlmDenied     … nor any other of this kind: key, credit, model name, url; the user has to act
 ├ LlmRefused       a content filter stopped the request
 └ LlmBudgetError   a cap on tokens or money has no room for the call; nothing was sent
```

An answer of the wrong form is *not* an error here: it is a `ChatAnswer` whose `finish` says so, because it
was paid for and has to be recorded. Messages hold no key and are bounded.
"""

from __future__ import annotations

from dojo.errors import DojoError


class LlmClientError(DojoError):
    """Base class; `attempts` is how many HTTP requests were made."""

    def __init__(self, message: str, attempts: int = 0) -> None:
        super().__init__(message, attempts)
        self.message = message
        self.attempts = attempts

    def __str__(self) -> str:
        return self.message


class LlmUnavailable(LlmClientError):
    """The endpoint could not be reached, or kept failing; another try later may work."""


class LlmRejected(LlmClientError):
    """The endpoint refuses the request as such; the message says what to change."""


class LlmDenied(LlmRejected):
    """The endpoint serves nobody with this key, model or url; the message says what to change."""


class LlmRefused(LlmClientError):
    """A content filter stopped the request before a model answered."""


class LlmBudgetError(LlmClientError):
    """A cap on tokens or money has no room for the call."""
