"""Reading files that a candidate program wrote, without being led elsewhere by them."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def read_output(directory: Path, name: str, max_bytes: int) -> bytes | None:
    """Read one regular file directly in `directory`, or None if there is no such file that can be trusted.

    Refused (None) are symlinks, directories, fifos, sockets, devices and files larger than `max_bytes`; the
    check is made on the opened file, so nothing can be swapped in between. Use this, never `open`, for
    whatever a confined program may have written.

    Args:
        directory: a directory of the host (itself not under the program's control).
        name: a plain file name without a slash.
        max_bytes: the largest size accepted.

    Raises:
        ValueError: `name` is not a plain file name.
    """
    if not name or name in (".", "..") or "/" in name or "\0" in name:
        raise ValueError(f"not a plain file name: {name!r}")
    try:
        directory_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        # O_NONBLOCK: opening a fifo must not wait for its other end.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        fd = os.open(name, flags, dir_fd=directory_fd)
    except OSError:
        return None
    finally:
        os.close(directory_fd)
    try:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode) or info.st_size > max_bytes:
            return None
        with open(fd, "rb", closefd=False) as file:
            data = file.read(max_bytes + 1)
    finally:
        os.close(fd)
    return data if len(data) <= max_bytes else None
