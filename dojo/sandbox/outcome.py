"""From what was observed of an ended job to its typed outcome."""

from __future__ import annotations

import errno
import re
import signal

from dojo.sandbox.base import ExecResult, Outcome
from dojo.sandbox.streams import Streams, Verdict

_MEMORY_ERROR = re.compile(r"^(\w+\.)*_?(Array)?MemoryError\b|^(\w+\.)*OutOfMemoryError\b|std::bad_alloc\b")
_NO_SPACE = re.compile(rf"\[Errno ({errno.ENOSPC}|{errno.EDQUOT}|{errno.EFBIG})\]|No space left on device")


def classify(
    *,
    verdict: Verdict,
    status: int | None,
    streams: Streams,
    oom_kills: int,
    disk_full: bool,
    wall_s: float,
    cpu_s: float,
    peak_mb: float,
    warm: bool,
) -> ExecResult:
    """Build the result of a job that has ended.

    Args:
        verdict: why waiting ended.
        status: wait status of the program (as of waitpid), None if the box was killed before it ended.
        streams: its output, drained.
        oom_kills: processes the kernel killed for the job's memory limit.
        disk_full: whether the disk quota was used up at the end.
        wall_s: seconds from start to end.
        cpu_s: CPU seconds of the whole tree.
        peak_mb: peak memory in MiB.
        warm: whether the program ran in a forked interpreter.
    """
    exit_code = signal_number = None
    if status is not None and verdict == "done":  # otherwise it is our own signal
        if status & 0x7F:
            signal_number = status & 0x7F
        else:
            exit_code = status >> 8
    stderr = streams.stderr.text()
    outcome = _outcome(verdict, exit_code, signal_number, stderr, oom_kills, disk_full)
    return ExecResult(
        outcome=outcome,
        exit_code=exit_code,
        signal=signal_number,
        stdout=streams.stdout.text(),
        stderr=stderr,
        wall_s=wall_s,
        cpu_s=cpu_s,
        peak_mb=peak_mb,
        warm=warm,
    )


def _outcome(
    verdict: Verdict,
    exit_code: int | None,
    signal_number: int | None,
    stderr: str,
    oom_kills: int,
    disk_full: bool,
) -> Outcome:
    if verdict == "timed_out":
        return "timed_out"
    if verdict == "out_of_memory":
        return "out_of_memory"
    if verdict == "over_quota":
        return "quota"
    if verdict == "too_many_tasks":
        return "killed"
    if exit_code == 0:
        return "ok"
    last_line = stderr.rstrip().rpartition("\n")[2].strip()
    if oom_kills or _MEMORY_ERROR.search(last_line):
        return "out_of_memory"
    if disk_full or signal_number == signal.SIGXFSZ or _NO_SPACE.search(last_line):
        return "quota"
    return "killed" if signal_number is not None else "failed"
