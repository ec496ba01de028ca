"""Starts the warm process: `python zygote_main.py PACKAGE_ROOT CONTROL_FD`, with a clean environment.

The package need not be installed: its root is on the path only while our own modules are imported, so that
candidate programs find the same modules as in a fresh interpreter.
"""

from __future__ import annotations

import sys
from pathlib import Path


def main(argv: list[str]) -> None:
    """Import the server and let it run until the control socket closes."""
    root, control_fd = argv[1], int(argv[2])
    here = str(Path(__file__).parent)
    own = [path for path in sys.path if path not in ("", here, root)]
    sys.path[:] = [root, *own]
    from dojo.sandbox import linux, zygote_server

    sys.path[:] = own
    linux.default_signals()
    zygote_server.serve(control_fd)


if __name__ == "__main__":
    main(sys.argv)
