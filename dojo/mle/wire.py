"""Length-prefixed frames over pipes: a JSON header and raw byte strings.

Frame: 4 bytes big-endian header length, the header (UTF-8 JSON with the lengths of the byte strings under
`blobs`), the byte strings. No pickle: the sender of a frame may have been taken over by the file it parsed.
"""

from __future__ import annotations

import json
import os
import select
import struct
import time
from collections.abc import Mapping, Sequence
from typing import Any

_LENGTH = struct.Struct(">I")
MOST_HEADER = 16 * 1024 * 1024
_CHUNK = 1 << 20


class WireError(Exception):
    """The other side closed the pipe or sent what is no frame."""


class WireTimeout(WireError):
    """The other side took longer than the deadline."""


def _wait(fd: int, event: int, deadline: float | None) -> None:
    if deadline is None:
        return
    poller = select.poll()  # select.select breaks on descriptors above 1023
    poller.register(fd, event)
    if not poller.poll(max(0.0, deadline - time.monotonic()) * 1000):
        raise WireTimeout("no answer in time")


def _read(fd: int, size: int, deadline: float | None) -> bytes:
    parts: list[bytes] = []
    while size:
        _wait(fd, select.POLLIN, deadline)
        part = os.read(fd, min(size, _CHUNK))
        if not part:
            raise WireError("closed")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _write(fd: int, data: bytes | memoryview, deadline: float | None) -> None:
    view = memoryview(data)
    while view:
        _wait(fd, select.POLLOUT, deadline)
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            continue
        except BrokenPipeError as exc:
            raise WireError("closed") from exc


def send(
    fd: int, header: Mapping[str, Any], blobs: Sequence[bytes] = (), deadline: float | None = None
) -> None:
    """Write one frame.

    Args:
        fd: descriptor of a pipe; a deadline holds only if it is non-blocking.
        header: JSON-serialisable; NaN and infinity are refused.
        blobs: byte strings.
        deadline: `time.monotonic()` value after which to give up.

    Raises:
        WireError: the other side is gone.
        WireTimeout: the deadline has passed.
    """
    text = json.dumps({**header, "blobs": [len(b) for b in blobs]}, allow_nan=False).encode()
    _write(fd, b"".join([_LENGTH.pack(len(text)), text, *blobs]), deadline)


def receive(
    fd: int, deadline: float | None = None, *, most: int = 4 * 1024**3
) -> tuple[dict[str, Any], list[bytes]]:
    """Read one frame.

    Args:
        fd: descriptor of a pipe.
        deadline: `time.monotonic()` value after which to give up.
        most: bytes that all byte strings together may have.

    Raises:
        WireError: the pipe was closed, or what came is no frame.
        WireTimeout: the deadline has passed.
    """
    (size,) = _LENGTH.unpack(_read(fd, _LENGTH.size, deadline))
    if size > MOST_HEADER:
        raise WireError("header too long")
    try:
        header = json.loads(_read(fd, size, deadline))
    except (ValueError, RecursionError) as exc:
        raise WireError("the header is not JSON") from exc
    lengths = header.pop("blobs", None) if isinstance(header, dict) else None
    if not isinstance(lengths, list) or not all(isinstance(n, int) and n >= 0 for n in lengths):
        raise WireError("the header has no lengths")
    if sum(lengths) > most:
        raise WireError("too many bytes")
    return header, [_read(fd, n, deadline) for n in lengths]
