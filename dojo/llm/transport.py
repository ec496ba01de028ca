"""The HTTP client under the `openai` package, with bounds that the package leaves open.

A read timeout bounds only the silence between two packets: an endpoint that trickles (some send blank lines
to keep a queued request alive) or never stops sending would hold a caller for ever or fill its memory. Every
body, also of an error, is therefore bounded in bytes and time. Imports `httpx2`, which `openai` itself uses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import httpx2
import openai


class BodyTooLarge(Exception):
    """A body passed its bound in bytes."""

    def __init__(self, received: int, status: int) -> None:
        super().__init__(received, status)
        self.received = received
        self.status = status


class BodyTooSlow(Exception):
    """A body was not complete in time."""


class _Bounded(httpx2.SyncByteStream):
    def __init__(
        self,
        stream: httpx2.SyncByteStream,
        status: int,
        max_bytes: int,
        clock: Callable[[], float],
        deadline: float,
    ) -> None:
        self._stream = stream
        self._status = status
        self._max_bytes = max_bytes
        self._deadline = deadline
        self._clock = clock

    def __iter__(self) -> Iterator[bytes]:
        received = 0
        for chunk in self._stream:
            received += len(chunk)
            if received > self._max_bytes:
                raise BodyTooLarge(received, self._status)
            if self._clock() > self._deadline:
                raise BodyTooSlow
            yield chunk

    def close(self) -> None:
        self._stream.close()


def bounded_http_client(max_bytes: int, clock: Callable[[], float]) -> httpx2.Client:
    """An HTTP client for `openai.OpenAI(http_client=…)`.

    Its requests ask for uncompressed bodies, so that `max_bytes` bounds what is held in memory. The time
    for a body is the read timeout of its request, from the moment the request was sent.
    """

    def on_request(request: httpx2.Request) -> None:
        request.headers["accept-encoding"] = "identity"
        timeout = request.extensions.get("timeout", {}).get("read")
        request.extensions["deadline"] = clock() + timeout if timeout is not None else float("inf")

    def on_response(response: httpx2.Response) -> None:
        if isinstance(response.stream, httpx2.SyncByteStream):
            deadline = response.request.extensions["deadline"]
            response.stream = _Bounded(response.stream, response.status_code, max_bytes, clock, deadline)
        if response.headers.get("content-encoding", "identity") != "identity":
            # Nobody asked for it; decoding could blow a small body up without bound.
            del response.headers["content-encoding"]

    return openai.DefaultHttpxClient(event_hooks={"request": [on_request], "response": [on_response]})
