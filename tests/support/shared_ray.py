"""One Ray for all tests of a session, and a look at what tests leave behind."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterator

import psutil
import pytest

from cluster.session import RaySession

MARK = "GOME_TEST_SESSION"
"""Environment variable by which processes of a test session are known, also when their parent is gone."""
PATIENCE_S = 30.0
_held: list[RaySession] = []
_users = 0


def eventually(what: Callable[[], bool], message: str = "it never came true") -> None:
    """Poll until something holds, for a bounded time."""
    deadline = time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < deadline, message
        psutil.Process().cpu_percent(interval=0.05)


def marked(mark: str) -> list[psutil.Process]:
    """Live processes that carry the mark, this one left out."""
    found = []
    for process in psutil.process_iter():
        try:
            mine = process.environ().get(MARK) == mark and process.pid != os.getpid()
            if mine and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def named(mark: str, *words: str) -> list[psutil.Process]:
    """Marked processes with one of these words in their command line."""
    found = []
    for process in marked(mark):
        try:
            line = " ".join(process.cmdline())
        except psutil.Error:
            continue
        if any(word in line for word in words):
            found.append(process)
    return found


@pytest.fixture(scope="session")
def shared_ray() -> Iterator[str]:
    """A Ray with 2 CPUs and 4 logical GPUs in this process; gives the mark of its processes."""
    global _users
    if not _held:
        os.environ[MARK] = uuid.uuid4().hex
        session = RaySession("gome-tests", num_cpus=2, num_gpus=4)
        session.local, session.address = True, None
        session.start()
        session.wait(120)
        _held.append(session)
    _users += 1
    yield os.environ[MARK]
    _users -= 1
    if _users == 0:
        _held.pop().close()
        eventually(lambda: not marked(os.environ[MARK]), "Ray left processes behind")
        del os.environ[MARK]


@pytest.fixture
def no_orphans(shared_ray: str) -> Iterator[str]:
    """Fails a test that leaves workers, their children, or reserved resources behind."""
    import ray

    yield shared_ray
    words = ("ray::Trace", "ray::Memory", "sys.stdin.buffer.read")
    eventually(lambda: not named(shared_ray, *words), "workers or their children are left")
    total = ray.cluster_resources()
    names = ("CPU", "GPU")
    eventually(lambda: all(ray.available_resources().get(n) == total[n] for n in names), "slots are left")
