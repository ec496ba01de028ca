"""Prices of models: a data file, by host and model. An unknown model has tokens but no price.

Prices belong to a host, not to a name: a local server may call its model `gpt-4o` and cost nothing.
"""

from __future__ import annotations

import json
import re
from importlib import resources
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import Field, ValidationError

from dojo.errors import TaskError
from dojo.model import Frozen


class Price(Frozen):
    """USD per million tokens."""

    input: float = Field(alias="in", ge=0)
    output: float = Field(alias="out", ge=0)
    cached_in: float | None = Field(default=None, ge=0)
    """Price of prompt tokens that the endpoint had cached; None means as `input`."""

    def usd(self, tokens_in: int, tokens_out: int, cached: int = 0) -> float:
        """Cost of a call; `cached` of the `tokens_in` were served from the endpoint's cache."""
        cached = min(cached, tokens_in)
        cached_price = self.input if self.cached_in is None else self.cached_in
        return ((tokens_in - cached) * self.input + cached * cached_price + tokens_out * self.output) / 1e6


class PriceTable(Frozen):
    """The form of a price file."""

    as_of: str = ""
    source: str = ""
    unit: str = "USD per million tokens"
    hosts: dict[str, dict[str, Price]]

    def find(self, url: str, model: str) -> Price | None:
        """The price of a model at an endpoint, or None. A dated snapshot costs what its model costs."""
        models = self.hosts.get(urlsplit(url).hostname or "", {})
        return models.get(model) or models.get(re.sub(r"-20\d\d-\d\d-\d\d$", "", model))


def load_prices(path: Path | None = None) -> PriceTable:
    """Read a price file, or the one that comes with the package.

    Raises:
        TaskError: the file cannot be read or has not the form of `prices.json`.
    """
    try:
        if path is None:
            text = resources.files("dojo.llm").joinpath("prices.json").read_text(encoding="utf-8")
        else:
            text = path.read_text(encoding="utf-8")
        return PriceTable.model_validate(json.loads(text))
    except (OSError, ValueError, ValidationError) as exc:
        first = str(exc).splitlines()[0]
        raise TaskError(f"not a usable price file ({first}); see dojo/llm/prices.json", str(path)) from None
