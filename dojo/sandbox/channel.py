"""Length-prefixed JSON messages with file descriptors over a Unix stream socket. Standard library only."""

from __future__ import annotations

import json
import os
import socket
import struct
from typing import Any

_HEADER = struct.Struct("!I")
_MAX_BYTES = 16 << 20
_MAX_FDS = 8


class ChannelClosed(ConnectionError):
    """The other end is gone."""


def send(sock: socket.socket, message: dict[str, Any], fds: tuple[int, ...] = ()) -> None:
    """Send one message; the descriptors travel with its first byte.

    Raises:
        ChannelClosed: the other end is gone.
    """
    body = json.dumps(message).encode()
    try:
        header = _HEADER.pack(len(body))
        if fds:
            sent = socket.send_fds(sock, [header], fds)
            header = header[sent:]
        sock.sendall(header + body)
    except (BrokenPipeError, ConnectionResetError) as exc:
        raise ChannelClosed(str(exc)) from exc


def receive(sock: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Receive one message and its descriptors (close-on-exec).

    Raises:
        ChannelClosed: the other end closed, or sent what is no message.
    """
    fds: list[int] = []
    try:
        header = b""
        while len(header) < _HEADER.size:
            data, more, _, _ = socket.recv_fds(sock, _HEADER.size - len(header), _MAX_FDS)
            fds += more
            if not data:
                raise ChannelClosed("end of stream")
            header += data
        size = _HEADER.unpack(header)[0]
        if size > _MAX_BYTES:
            raise ChannelClosed("oversized message")
        body = bytearray()
        while len(body) < size:
            data = sock.recv(min(size - len(body), 1 << 16))
            if not data:
                raise ChannelClosed("end of stream")
            body += data
        message = json.loads(body)
        if not isinstance(message, dict):
            raise ChannelClosed("not a message")
    except (ConnectionResetError, ValueError) as exc:
        close_all(fds)
        raise ChannelClosed(str(exc)) from exc
    except ChannelClosed:
        close_all(fds)
        raise
    for fd in fds:
        os.set_inheritable(fd, False)
    return message, fds


def close_all(fds: list[int] | tuple[int, ...]) -> None:
    """Close descriptors, ignoring those already closed."""
    for fd in fds:
        try:
            os.close(fd)
        except OSError:
            continue
