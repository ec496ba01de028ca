"""Running one script inside a forked interpreter as `python SCRIPT ARGS…` would. Standard library only.

What a fresh interpreter does differently, and how it is matched:

- environment, arguments, `sys.path[0]`, standard streams and `__main__` are set anew;
- NumPy's global generator is seeded from the system (the fork would repeat the parent's state);
- thread counts: OpenMP reads its environment when the library is *loaded*, which was before the fork, so
  the counts asked for are set by calling the loaded libraries;
- at the end: threads are joined, exit functions run, the script's globals are dropped (files left open are
  written out), streams are flushed; the rest of the interpreter is not torn down, which saves its time.
"""

from __future__ import annotations

import atexit
import builtins
import contextlib
import ctypes
import gc
import io
import itertools
import os
import resource
import struct
import sys
import threading
import traceback
import types
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NoReturn

_THREAD_SETTERS = (
    ("libgomp", "omp_set_num_threads", "OMP_NUM_THREADS"),
    ("libomp", "omp_set_num_threads", "OMP_NUM_THREADS"),
    ("libiomp5", "omp_set_num_threads", "OMP_NUM_THREADS"),
    ("openblas", "openblas_set_num_threads", "OPENBLAS_NUM_THREADS"),
    ("openblas", "openblas_set_num_threads64_", "OPENBLAS_NUM_THREADS"),
    ("openblas", "scipy_openblas_set_num_threads", "OPENBLAS_NUM_THREADS"),
    ("openblas", "scipy_openblas_set_num_threads64_", "OPENBLAS_NUM_THREADS"),
)


REPORT = struct.Struct("=idd")
"""How a program's end is told: wait status, CPU seconds, peak resident MiB."""


def loaded_thread_setters() -> list[tuple[str, Callable[[int], object]]]:
    """The functions that set thread counts in the OpenMP and BLAS libraries loaded now; none is called."""
    found: list[tuple[str, Callable[[int], object]]] = []
    lines = Path("/proc/self/maps").read_text().splitlines()
    paths = sorted({line.split(maxsplit=5)[5] for line in lines if ".so" in line})
    for path in paths:
        for part, symbol, variable in _THREAD_SETTERS:
            if part not in Path(path).name:
                continue
            try:
                function = getattr(ctypes.CDLL(path, mode=os.RTLD_NOLOAD), symbol)
            except (OSError, AttributeError):
                continue
            function.argtypes = [ctypes.c_int]
            found.append((variable, function))
    return found


def rehearse() -> None:
    """Read and write a tiny table if pandas is loaded, as nearly every script does; calls no BLAS or OpenMP.

    In the warm process it loads what libraries load on first use; in a child it copies the pages that are
    written to.
    """
    pandas = sys.modules.get("pandas")
    if pandas is None:
        return
    table = pandas.read_csv(io.StringIO("a,b\n1,x\n2.5,y\n"))
    pandas.DataFrame({"a": table["a"]}).to_csv(io.StringIO(), index=False)


def prepare() -> set[str]:
    """Do beforehand, in a child that waits for its script, what needs no script; returns the modules loaded.

    The first writes to pages shared with the parent copy them, which is most of what a short script would
    wait for. So the steps that every script takes are rehearsed here.
    """
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()
    for name in [n for n in sys.modules if n == "dojo" or n.startswith("dojo.")]:
        del sys.modules[name]
    rehearse()
    gc.enable()
    gc.collect()
    return set(sys.modules)


def run_script(
    script: str,
    arguments: list[str],
    env: dict[str, str],
    setters: Iterable[tuple[str, Callable[[int], object]]],
    known: set[str],
    report_fd: int,
) -> NoReturn:
    """Run `script` as `__main__` and end the process as the interpreter would.

    Standard streams must be in place as descriptors 0 to 2, the working directory set, and `prepare` done:
    `known` is what it returned. When the program is over, that is told on `report_fd` at once: giving back the
    memory of a large process takes the kernel milliseconds nobody need wait for. (A program that writes there
    itself only ends its own run.)
    """
    os.environ.clear()
    os.environ.update(env)
    for variable, function in setters:
        count = env.get(variable, "")
        if count.isdigit() and int(count) > 0:
            function(int(count))
    _open_streams(unbuffered=bool(env.get("PYTHONUNBUFFERED")))
    sys.argv = [script, *arguments]
    sys.path.insert(0, str(Path(script).parent))
    sys.dont_write_bytecode = True
    main = types.ModuleType("__main__")
    main.__file__ = script
    main.__dict__.update({"__builtins__": builtins, "__cached__": None, "__spec__": None})
    sys.modules["__main__"] = main
    code = _execute(script, main)
    _finish(code, known, report_fd)


def _open_streams(*, unbuffered: bool) -> None:
    sys.stdin = io.TextIOWrapper(open(0, "rb", closefd=False), encoding="utf-8")  # noqa: SIM115
    for fd, name, errors in ((1, "stdout", "strict"), (2, "stderr", "backslashreplace")):
        raw = open(fd, "wb", closefd=False)  # noqa: SIM115 - lives as long as the process
        stream = io.TextIOWrapper(
            raw, encoding="utf-8", errors=errors, line_buffering=fd == 2, write_through=unbuffered
        )
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _execute(script: str, main: types.ModuleType) -> int:
    """Execute the script; returns the exit code, with the traceback printed where there is one."""
    try:
        with open(script, "rb") as file:  # noqa: PTH123 - as the interpreter does
            source = file.read()
    except OSError as exc:
        sys.stderr.write(
            f"{sys.executable}: can't open file {script!r}: [Errno {exc.errno}] {exc.strerror}\n"
        )
        return 2
    try:
        exec(compile(source, script, "exec", dont_inherit=True), main.__dict__)
    except SystemExit as exc:
        return _exit_code(exc)
    except BaseException as exc:  # noqa: BLE001 - the program's own error, told as the interpreter tells it
        trace = exc.__traceback__
        exc.__traceback__ = trace.tb_next if trace else None
        _flush(sys.stdout)
        try:
            sys.excepthook(type(exc), exc, exc.__traceback__)
        except BaseException:  # noqa: BLE001 - a hook of the program's own failed
            traceback.print_exc()
        return 130 if isinstance(exc, KeyboardInterrupt) else 1
    return 0


def _exit_code(exc: SystemExit) -> int:
    if exc.code is None:
        return 0
    if isinstance(exc.code, int):
        return exc.code & 0xFF
    _flush(sys.stdout)
    sys.stderr.write(f"{exc.code}\n")
    return 1


def _finish(code: int, known: set[str], report_fd: int) -> NoReturn:
    try:
        threading._shutdown()  # type: ignore[attr-defined]  # noqa: SLF001 - as the interpreter's end does
        atexit._run_exitfuncs()  # noqa: SLF001
        # The modules loaded last stand last; to look at the others too would copy the pages they lie on.
        newest = itertools.islice(reversed(sys.modules), max(0, len(sys.modules) - len(known)))
        for name in ["__main__", *newest]:
            if name == "__main__" or name not in known:
                vars(sys.modules[name]).clear()
        gc.collect()
    except BaseException:  # noqa: BLE001 - the program's own threads and exit functions
        traceback.print_exc()
    if not (_flush(sys.stdout) and _flush(sys.stderr)):
        code = code or 120  # what the interpreter returns when its last flush fails
    cpu_s = 0.0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        usage = resource.getrusage(who)
        cpu_s += usage.ru_utime + usage.ru_stime
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    with contextlib.suppress(OSError):
        os.write(report_fd, REPORT.pack((code & 0xFF) << 8, cpu_s, peak))
    os._exit(code)


def _flush(stream: object) -> bool:
    try:
        stream.flush()  # type: ignore[attr-defined]
    except (OSError, ValueError, AttributeError):
        return stream is None
    return True
