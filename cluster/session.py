"""The connection to Ray, and the local Ray behind it when we started that.

Started in a thread of its own, for two reasons: starting takes seconds that the run uses for its baseline, and
Ray then leaves the process's signal handlers alone. The thread stays for as long as Ray does: the kernel ends
the processes that it started when the *thread* that started them ends (prctl(2), PR_SET_PDEATHSIG).
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import logging
import os
import shutil
import signal
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from cluster.errors import ClusterError
from dojo.errors import boundary
from gome.errors import GomeError

_STORE_BYTES = 128 * 2**20
_PREFIX = "gome-ray-"
_SOCKET_PATH = 80
"""Ray adds up to this many characters to its directory for its sockets; the kernel allows 107."""
_YOUNG_S = 60.0
_ENV = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".*",  # else it prints "A worker died …" on stdout; the run tells it better
    "RAY_kill_child_processes_on_worker_exit_with_raylet_subreaper": "true",
    "RAY_worker_niceness": "0",  # a slot is there to run solutions: at 15 the driver would starve them
}


class RaySession:
    """Ray, ready to be used. Connects to `address` or RAY_ADDRESS, else starts one on this machine.

    Args:
        address: of a running cluster; None looks at RAY_ADDRESS.
        namespace: of this run's actors.
        num_cpus: logical CPUs of a Ray that is started; by default the machine's.
        num_gpus: logical GPUs likewise.
    """

    def __init__(
        self,
        namespace: str,
        *,
        address: str | None = None,
        num_cpus: int | None = None,
        num_gpus: int | None = None,
    ) -> None:
        self.namespace = namespace
        self.address = address or os.environ.get("RAY_ADDRESS") or None
        self.local = self.address is None
        """Whether a Ray is (to be) started here."""
        self.borrowed = False
        """Whether this process was connected already; then it stays so."""
        self._num_cpus, self._num_gpus = num_cpus, num_gpus
        self._ready, self._stop, self._over = threading.Event(), threading.Event(), threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._main, name="ray", daemon=True)

    def start(self) -> None:
        """Begin to start or to connect; returns at once."""
        atexit.register(self.close)
        self._thread.start()

    def wait(self, timeout: float) -> None:
        """Wait until Ray can be used.

        Raises:
            ClusterError: it could not be reached or started.
        """
        if not self._ready.wait(timeout):
            raise ClusterError(
                f"Ray was not there within {timeout:g} s (see {tempfile.gettempdir()}/{_PREFIX}*)"
            )
        if self._error is not None:
            raise self._error
        _take_back_signals()

    def close(self, timeout: float = 30.0) -> None:
        """Disconnect, and end the Ray that was started here. Does not wait long for one that is still starting."""
        atexit.unregister(self.close)
        self._stop.set()
        if self._thread.is_alive():
            self._over.wait(timeout if self._ready.is_set() else min(timeout, 1.0))
        _take_back_signals()

    def _main(self) -> None:
        try:
            with boundary(ClusterError, self._what(), through=(GomeError,)), self._running():
                self._ready.set()
                self._stop.wait()
        except GomeError as exc:
            self._error = exc
        finally:
            self._ready.set()
            self._over.set()

    def _what(self) -> str:
        if self.local:
            return "Ray could not be started on this machine"
        return f"no Ray could be reached at {self.address}: start it, or unset RAY_ADDRESS to use a local one"

    @contextlib.contextmanager
    def _running(self) -> Iterator[None]:
        _quiet()
        for name, value in _ENV.items():
            os.environ.setdefault(name, value)
        import ray

        if ray.is_initialized():
            self.borrowed, self.local = True, False
            yield
            return
        with _temporary_directory() if self.local else contextlib.nullcontext() as root:
            try:
                if root is None:
                    self._connect()
                else:
                    self._start_local(root)
                yield
            finally:
                ray.shutdown()

    def _connect(self) -> None:
        import ray

        ray.init(
            address=self.address, namespace=self.namespace, log_to_driver=False, logging_level=logging.ERROR
        )

    def _start_local(self, root: Path) -> None:
        import ray

        with _python_path():
            ray.init(
                address="local",
                namespace=self.namespace,
                num_cpus=self._num_cpus,
                num_gpus=self._num_gpus,
                include_dashboard=False,
                object_store_memory=_STORE_BYTES,
                log_to_driver=False,
                logging_level=logging.ERROR,
                _temp_dir=str(root),
            )


def _take_back_signals() -> None:
    """Install Python's handlers once more.

    Ray's core puts its own over them, which print a stack trace, and takes all away when it ends. It ignores
    SIGCHLD too, and then no child's exit code can be learnt: `subprocess` says 0 of each.
    """
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            handler = signal.getsignal(number)
            if handler is not None:
                signal.signal(number, handler)


def _quiet() -> None:
    """Keep Ray's own logging off the terminal."""
    for name in ("ray", "ray._private.worker", "ray._private.services"):
        logging.getLogger(name).setLevel(logging.ERROR)


def extra_path() -> list[str]:
    """Entries of `sys.path` that a worker would not have: it has the libraries', the script's and the current."""
    paths = sysconfig.get_paths()
    own = {Path(paths[name]).resolve() for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    passed = {Path.cwd(), Path(sys.argv[0]).resolve().parent}
    found = (Path(entry or ".").resolve() for entry in sys.path)
    return [str(p) for p in found if p.is_dir() and p not in passed and not own & {p, *p.parents}]


@contextlib.contextmanager
def _python_path() -> Iterator[None]:
    """Let the workers import what this process can: the package may not be installed but lie in a folder."""
    extra, before = extra_path(), os.environ.get("PYTHONPATH")
    if not extra:
        yield
        return
    os.environ["PYTHONPATH"] = os.pathsep.join(extra)
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


@contextlib.contextmanager
def _temporary_directory() -> Iterator[Path]:
    """A directory with a short name for a local Ray, locked while it is in use. Takes away abandoned ones."""
    base = Path(tempfile.gettempdir())
    if len(str(base)) + _SOCKET_PATH > 100:
        base = Path("/tmp")
    _remove_abandoned(base)
    root = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base))
    with (root / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield root
        finally:
            _remove(root)


def _remove_abandoned(base: Path) -> None:
    """Directories whose run was killed: nobody holds their lock."""
    for lock_file in base.glob(f"{_PREFIX}*/lock"):
        try:
            if time.time() - lock_file.stat().st_mtime < _YOUNG_S:  # it may not be locked yet
                continue
            with lock_file.open("r+") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(lock_file.parent)
        except OSError:
            continue


def _remove(root: Path) -> None:
    """Remove a directory whose last writers may be ending still."""
    for _ in range(20):
        shutil.rmtree(root, ignore_errors=True)
        if not root.exists():
            return
        time.sleep(0.05)
