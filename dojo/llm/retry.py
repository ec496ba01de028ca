"""When to try again, and how long to wait."""

from __future__ import annotations

import email.utils
import random
import time
from collections.abc import Mapping

from pydantic import Field

from dojo.model import Frozen


class RetryPolicy(Frozen):
    """Bounds on one call, over all its attempts."""

    attempts: int = Field(default=6, ge=1)
    """How often a request that failed for a passing reason is sent in all."""
    timeout_s: float = Field(default=600.0, gt=0)
    """Longest silence, and longest download of an answer, of one attempt. Some models think for minutes."""
    connect_s: float = Field(default=15.0, gt=0)
    total_s: float = Field(default=1800.0, gt=0)
    """Longest time of all attempts and waits together."""
    base_s: float = Field(default=1.0, ge=0)
    """The first wait; doubles with each failure."""
    cap_s: float = Field(default=60.0, ge=0)
    """Longest wait, unless the endpoint asks for a longer one."""

    def wait(self, failures: int, retry_after: float | None, rng: random.Random) -> float:
        """Seconds to wait after the `failures`-th failure (from 1).

        Exponential backoff with jitter, so that parallel traces do not come back at the same moment; never
        shorter than what the endpoint asked for.
        """
        backoff = min(self.cap_s, self.base_s * 2.0 ** min(failures - 1, 30))
        jittered = backoff * rng.uniform(0.5, 1.0)
        if retry_after is None:
            return jittered
        return retry_after + jittered * 0.1


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Read `retry-after-ms` or `Retry-After` (seconds or an HTTP date, RFC 9110 10.2.3), in seconds."""
    for name, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            seconds = float(value) * scale
        except ValueError:
            parsed = email.utils.parsedate_tz(value)
            if parsed is None:
                continue
            seconds = email.utils.mktime_tz(parsed) - time.time()
        if seconds == seconds and seconds != float("inf"):
            return max(0.0, seconds)
    return None
