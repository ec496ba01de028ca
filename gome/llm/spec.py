"""Naming a language model in one line: `openai:gpt-5,coder=gpt-5-mini,url=http://localhost:8000/v1`.

The word before the colon is the backend, then comes its model, then options, apart by commas:

```
openai:MODEL[,coder=MODEL][,url=URL][,effort=low|…][,temperature=T][,json=auto|json_schema|json_object|plain]
            [,timeout=SECONDS][,attempts=N][,prices=FILE]
replay:RUN_DIR
```

A specification is plain text without secrets: it is stored with the run, and it is what travels to workers,
which build their own client with the key of their own environment.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import ValidationError

from dojo.errors import TaskError
from dojo.llm import JsonMode, RetryPolicy, load_prices
from dojo.model import Frozen
from gome.errors import ConfigError
from gome.llm.policy import BaseLlm

USAGE = "openai:MODEL[,coder=MODEL][,url=URL][,effort=…][,temperature=…][,json=…][,timeout=S][,attempts=N][,prices=F]"
BACKENDS = ("openai", "replay")


class LlmFactory:
    """Makes copies of a language model that share no connection. Picklable, and without a key."""

    def __init__(self, llm: BaseLlm) -> None:
        self._llm = llm

    def __call__(self) -> BaseLlm:
        """A new client."""
        return copy.deepcopy(self._llm)


class LlmSpec(Frozen):
    """A language model by name."""

    backend: Literal["openai", "replay"] = "openai"
    model: str
    """The model that reasons; for `replay` the path of a run directory."""
    coder: str | None = None
    """The model that writes code, when it is another."""
    url: str | None = None
    effort: str | None = None
    temperature: float | None = None
    json_mode: JsonMode | None = None
    timeout_s: float | None = None
    attempts: int | None = None
    prices: str | None = None

    def __str__(self) -> str:
        """The specification in its normal form; `parse_llm` reads it back."""
        names = {"json_mode": "json", "timeout_s": "timeout"}
        values = self.model_dump(exclude={"backend", "model"}, exclude_none=True)
        options = [f"{names.get(key, key)}={value}" for key, value in values.items()]
        return f"{self.backend}:{','.join([self.model, *options])}"

    def build(
        self, *, retry: RetryPolicy | None = None, sleep: Callable[[float], None] = time.sleep
    ) -> BaseLlm:
        """Make the client; network and key are not touched before its first call.

        Args:
            retry: bounds on attempts and times, instead of what the specification says.
            sleep: waits between attempts.

        Raises:
            ConfigError: an option cannot be used (url, price file, recorded run).
        """
        if self.backend == "replay":
            from gome.llm.scripted import ReplayLlm

            return ReplayLlm.of_run(Path(self.model))
        from gome.llm.openai import OpenAILlm

        if retry is None:
            own: dict[str, Any] = {} if self.attempts is None else {"attempts": self.attempts}
            if self.timeout_s is not None:
                own |= {"timeout_s": self.timeout_s, "total_s": 3 * self.timeout_s}
            retry = RetryPolicy(**own)
        try:
            prices = None if self.prices is None else load_prices(Path(self.prices))
        except TaskError as exc:
            raise ConfigError(str(exc)) from None
        return OpenAILlm(
            self.model,
            self.coder,
            self.url,
            temperature=self.temperature,
            effort=self.effort,
            json_mode=self.json_mode,
            prices=prices,
            retry=retry,
            sleep=sleep,
        )

    def factory(self) -> LlmFactory:
        """A picklable factory of clients; files the specification names are read here, not on the workers.

        Raises:
            ConfigError: as for `build`.
        """
        return LlmFactory(self.build())


def parse_llm(spec: str, url: str | None = None) -> LlmSpec:
    """Read a specification.

    Args:
        spec: see the head of this module.
        url: base URL of the endpoint, when it is given apart (`--llm-url`); counts over `url=`.

    Raises:
        ConfigError: no such backend or option, or a value that cannot be; the message says what can.
    """
    # Messages repeat names but no values: a key typed into the wrong place is not to end up in a log.
    backend, colon, rest = spec.strip().partition(":")
    if backend not in BACKENDS:
        raise ConfigError(f"unknown language model {backend!r}: use {USAGE} or replay:RUN_DIR")
    if backend == "replay":
        if not rest.strip() or url is not None:
            raise ConfigError("replay needs the path of a run directory and nothing else: replay:RUN_DIR")
        return LlmSpec(backend="replay", model=rest.strip())
    model, *options = (part.strip() for part in rest.split(","))
    if not colon or not model or "=" in model:
        raise ConfigError(f"no model is named: use {USAGE}")
    values: dict[str, object] = {"model": model}
    for option in options:
        name, equals, value = option.partition("=")
        if name not in _OPTIONS or not equals or not value:
            raise ConfigError(f"unknown or empty option {name!r}: use {USAGE}")
        field, read = _OPTIONS[name]
        if field in values:
            raise ConfigError(f"option {name!r} is given twice")
        try:
            values[field] = read(value)
        except ValueError as exc:
            raise ConfigError(f"option {name!r}: {exc}") from None
    if url is not None:
        values["url"] = url
    try:
        made = LlmSpec.model_validate(values)
    except ValidationError as exc:
        raise ConfigError(str(exc.errors()[0]["msg"])) from None
    made.build()
    return made


def _number(low: float, high: float) -> Callable[[str], float]:
    def read(value: str) -> float:
        number = float(value)
        if not (math.isfinite(number) and low <= number <= high):
            raise ValueError(f"must be between {low:g} and {high:g}")
        return number

    return read


def _attempts(value: str) -> int:
    return int(_number(1, 100)(value))


def _json_mode(value: str) -> str | None:
    modes = get_args(JsonMode)
    if value not in ("auto", *modes):
        raise ValueError(f"must be auto, {', '.join(modes)}")
    return None if value == "auto" else value


_OPTIONS: dict[str, tuple[str, Callable[[str], object]]] = {
    "coder": ("coder", str),
    "url": ("url", str),
    "effort": ("effort", str),
    "temperature": ("temperature", _number(0, 2)),
    "json": ("json_mode", _json_mode),
    "timeout": ("timeout_s", _number(0.01, 86_400)),
    "attempts": ("attempts", _attempts),
    "prices": ("prices", str),
}
