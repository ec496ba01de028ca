"""A real HTTP server on 127.0.0.1 that speaks the OpenAI chat protocol, well or badly, as a script says.

```
with ScriptedServer([Reply.error(429, retry_after=2), "hello"]) as server:
    ChatClient(server.url, api_key="k" * 20, sleep=waits.append).chat(request)
```

A script is a list of replies, used in order, or a function of (request body, number of the request). A string
stands for a good answer with that text. A request that the script has no reply for gets a 500 that says so.
"""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any


@dataclass(frozen=True)
class Reply:
    """One HTTP reply, and what goes wrong while it is sent.

    Attributes:
        body: what is sent; `repeat` times.
        cut_after: announce the whole length, send this many bytes, and close the connection.
        reset: close with a TCP reset instead of an answer.
        stall: seconds of silence before the status line (ends early when the server closes).
        trickle: seconds between single bytes of the body, sent without an announced length.
    """

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})
    repeat: int = 1
    cut_after: int | None = None
    reset: bool = False
    stall: float = 0.0
    trickle: float | None = None

    @classmethod
    def json(cls, data: Any, status: int = 200, **kwargs: Any) -> Reply:
        return cls(status=status, body=json.dumps(data).encode(), **kwargs)

    @classmethod
    def text(
        cls,
        content: Any,
        *,
        finish: str = "stop",
        usage: Any = (11, 7),
        message: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> Reply:
        """A chat completion; `usage` is (tokens in, tokens out), None to leave it out, or the raw object."""
        data: dict[str, Any] = {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": "scripted",
            "choices": [
                {
                    "index": 0,
                    "finish_reason": finish,
                    "message": {"role": "assistant", "content": content, **(message or {})},
                }
            ],
        }
        if isinstance(usage, tuple):
            usage = {
                "prompt_tokens": usage[0],
                "completion_tokens": usage[1],
                "total_tokens": usage[0] + usage[1],
            }
        if usage is not None:
            data["usage"] = usage
        return cls.json(data, **kwargs)

    @classmethod
    def error(
        cls, status: int, message: str = "scripted", *, retry_after: float | str | None = None, **more: Any
    ) -> Reply:
        headers = {"Content-Type": "application/json"}
        if retry_after is not None:
            headers["Retry-After"] = str(retry_after)
        error = {"message": message, "type": "error", "code": None, "param": None, **more}
        return cls.json({"error": error}, status=status, headers=headers)


Script = Sequence[Reply | str] | Callable[[dict[str, Any], int], Reply | str]


@dataclass(frozen=True)
class Seen:
    """One request as it came."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


class ScriptedServer:
    """The server; a context manager. `url` is the base URL, `seen` the chat requests so far."""

    def __init__(self, script: Script, models: Sequence[str] = ("scripted",)) -> None:
        self._script = script
        self.models = tuple(models)
        self.seen: list[Seen] = []
        self._lock = threading.Lock()
        self.closing = threading.Event()
        self._httpd = _Httpd(("127.0.0.1", 0), _Handler)
        self._httpd.scripted = self
        self._thread = threading.Thread(target=self._httpd.serve_forever, args=(0.02,), daemon=True)
        self.url = f"http://127.0.0.1:{self._httpd.server_address[1]}/v1"

    def __enter__(self) -> ScriptedServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closing.set()
        self._httpd.shutdown()
        self._httpd.server_close()
        self._thread.join()

    def reply(self, seen: Seen) -> Reply:
        """The scripted reply to one chat request."""
        with self._lock:
            number = len(self.seen)
            self.seen.append(seen)
        if callable(self._script):
            reply = self._script(seen.body, number)
        elif number < len(self._script):
            reply = self._script[number]
        else:
            reply = Reply.error(500, f"the script has no reply for request {number}")
        return Reply.text(reply) if isinstance(reply, str) else reply


class _Httpd(ThreadingHTTPServer):
    daemon_threads = True
    scripted: ScriptedServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up in the middle are part of the script."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Httpd

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        if self.path.rstrip("/") == "/v1/models":
            rows = [{"id": name, "object": "model"} for name in self.server.scripted.models]
            self._send(Reply.json({"object": "list", "data": rows}))
        else:
            self._send(Reply.error(404, "no such path"))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path != "/v1/chat/completions":
            self._send(Reply.error(404, "no such path"))
            return
        self._send(
            self.server.scripted.reply(Seen(self.path, {k.lower(): v for k, v in self.headers.items()}, body))
        )

    def _send(self, reply: Reply) -> None:
        closing = self.server.scripted.closing
        if reply.stall:
            closing.wait(reply.stall)
        if reply.reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()
            return
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if reply.trickle is None:
            self.send_header("Content-Length", str(len(reply.body) * reply.repeat))
        else:
            self.send_header("Connection", "close")
        self.end_headers()
        if reply.trickle is not None:
            for byte in reply.body * reply.repeat:
                self.wfile.write(bytes([byte]))
                if closing.wait(reply.trickle):
                    break
            self.close_connection = True
        elif reply.cut_after is not None:
            self.wfile.write((reply.body * reply.repeat)[: reply.cut_after])
            self.close_connection = True
        else:
            for _ in range(reply.repeat):
                self.wfile.write(reply.body)
