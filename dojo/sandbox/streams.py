"""Reading what a job prints, bounded, while waiting for it to end."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable
from typing import Literal

Verdict = Literal["done", "timed_out", "out_of_memory", "too_many_tasks", "over_quota"]

_CHUNK = 1 << 16
_WATCH_EVERY_S = 0.05


class Tail:
    """Keeps the first and the last half of a stream, within `limit` bytes."""

    def __init__(self, limit: int) -> None:
        self._head_limit = limit // 2
        self._tail_limit = limit - self._head_limit
        self._head = bytearray()
        self._tail = bytearray()
        self._total = 0

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        self._total += len(data)
        room = self._head_limit - len(self._head)
        if room > 0:
            self._head += data[:room]
            data = data[room:]
        self._tail += data
        if len(self._tail) > 4 * self._tail_limit + _CHUNK:
            del self._tail[: -self._tail_limit or None]

    def text(self) -> str:
        """What was kept, with a line in the middle that says how much was left out."""
        tail = self._tail[-self._tail_limit :] if self._tail_limit else bytearray()
        left_out = self._total - len(self._head) - len(tail)
        if left_out <= 0:
            return (self._head + tail).decode(errors="replace")
        middle = f"\n… {left_out} bytes left out …\n"
        return self._head.decode(errors="replace") + middle + tail.decode(errors="replace")


class Streams:
    """The read ends of a job's stdout and stderr pipes."""

    def __init__(self, limit_kb: int) -> None:
        self.stdout, self.stderr = Tail(limit_kb << 10), Tail(limit_kb << 10)
        self._readers: dict[int, Tail] = {}
        self.write_ends: list[int] = []
        for tail in (self.stdout, self.stderr):
            read_end, write_end = os.pipe2(os.O_CLOEXEC)
            os.set_blocking(read_end, False)
            self._readers[read_end] = tail
            self.write_ends.append(write_end)

    def close_write_ends(self) -> None:
        """Close this process's copies once the job has its own."""
        while self.write_ends:
            os.close(self.write_ends.pop())

    def close(self) -> None:
        """Close everything still open."""
        self.close_write_ends()
        while self._readers:
            os.close(self._readers.popitem()[0])

    def watch(
        self,
        done_fds: tuple[int, ...],
        deadline: float,
        watchdog: Callable[[], Verdict | None] | None = None,
    ) -> Verdict:
        """Read until one of `done_fds` is readable or closed, or the deadline has passed, or the watchdog bites.

        The deadline is a time of `time.monotonic`; the watchdog is asked about 20 times a second.
        """
        poll = select.poll()
        for fd in (*done_fds, *self._readers):
            poll.register(fd, select.POLLIN)
        next_look = time.monotonic() + _WATCH_EVERY_S
        while True:
            now = time.monotonic()
            if now >= deadline:
                return "timed_out"
            if watchdog is not None and now >= next_look:
                verdict = watchdog()
                if verdict is not None:
                    return verdict
                next_look = time.monotonic() + _WATCH_EVERY_S
            until = deadline if watchdog is None else min(deadline, next_look)
            events = poll.poll(max(0.0, until - now) * 1000 + 1)
            for fd, _ in events:
                if fd not in done_fds and not self._read(fd):
                    poll.unregister(fd)
            if any(fd in done_fds for fd, _ in events):
                return "done"

    def drain(self) -> None:
        """Read what is left without waiting; call when every writer is gone."""
        for fd in list(self._readers):
            while fd in self._readers and self._read(fd):
                pass

    def _read(self, fd: int) -> bool:
        """Read one piece; False when nothing more can come now."""
        try:
            data = os.read(fd, _CHUNK)
        except BlockingIOError:
            return False
        if not data:
            del self._readers[fd]
            os.close(fd)
            return False
        self._readers[fd].feed(data)
        return True
