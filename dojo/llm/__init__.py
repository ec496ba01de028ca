"""The one client of language models: retries, structured outputs, metering, caps and caching.

Light to import: the `openai` package is loaded with the first call.
"""

from dojo.llm.client import ChatClient, check_url, spent_by
from dojo.llm.errors import LlmBudgetError, LlmClientError, LlmDenied, LlmRefused, LlmRejected, LlmUnavailable
from dojo.llm.meter import Meter, Reservation, Spent
from dojo.llm.model import ChatAnswer, ChatMessage, ChatRequest, Finish, JsonMode, estimate_tokens
from dojo.llm.prices import Price, PriceTable, load_prices
from dojo.llm.retry import RetryPolicy

__all__ = [
    "ChatAnswer",
    "ChatClient",
    "ChatMessage",
    "ChatRequest",
    "Finish",
    "JsonMode",
    "LlmBudgetError",
    "LlmClientError",
    "LlmDenied",
    "LlmRefused",
    "LlmRejected",
    "LlmUnavailable",
    "Meter",
    "Price",
    "PriceTable",
    "Reservation",
    "RetryPolicy",
    "Spent",
    "check_url",
    "estimate_tokens",
    "load_prices",
    "spent_by",
]
