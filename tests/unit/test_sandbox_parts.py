"""The parts of the sandbox that need no box."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dojo.sandbox import cgroups, channel, seccomp
from dojo.sandbox.base import Job, Limits, Mount
from dojo.sandbox.imports import can_fork, host_path
from dojo.sandbox.layout import Layout, base_env, shows
from dojo.sandbox.outcome import classify
from dojo.sandbox.outputs import read_output
from dojo.sandbox.process import _translate
from dojo.sandbox.staging import Stage
from dojo.sandbox.streams import Streams, Tail


@given(pieces=st.lists(st.binary(max_size=50)), limit=st.integers(2, 40))
def test_tail_keeps_both_ends(pieces, limit):
    tail = Tail(limit)
    for piece in pieces:
        tail.feed(piece)
    whole = b"".join(pieces)
    if len(whole) <= limit:
        assert tail.text() == whole.decode(errors="replace")
    else:
        head, rest = whole[: limit // 2], whole[len(whole) - (limit - limit // 2) :]
        assert tail.text().startswith(head.decode(errors="replace"))
        assert tail.text().endswith(rest.decode(errors="replace"))
        assert f"{len(whole) - limit} bytes left out" in tail.text()


def result_of(status=None, verdict="done", stderr="", oom_kills=0, disk_full=False):
    streams = Streams(64)
    streams.stderr.feed(stderr.encode())
    streams.close()
    return classify(
        verdict=verdict,
        status=status,
        streams=streams,
        oom_kills=oom_kills,
        disk_full=disk_full,
        wall_s=1.0,
        cpu_s=1.0,
        peak_mb=1.0,
        warm=True,
    )


@pytest.mark.parametrize(
    ("arguments", "outcome"),
    [
        ({"status": 0}, "ok"),
        ({"status": 0, "disk_full": True, "oom_kills": 1}, "ok"),
        ({"status": 3 << 8}, "failed"),
        ({"status": 11}, "killed"),
        ({"status": 11 | 0x80}, "killed"),
        ({"status": 9, "oom_kills": 1}, "out_of_memory"),
        ({"status": 1 << 8, "oom_kills": 1}, "out_of_memory"),
        ({"status": 1 << 8, "stderr": "x\nMemoryError\n"}, "out_of_memory"),
        ({"status": 1 << 8, "stderr": "numpy._core._exceptions._ArrayMemoryError: no\n"}, "out_of_memory"),
        ({"status": 1 << 8, "stderr": "torch.OutOfMemoryError: CUDA\n"}, "out_of_memory"),
        ({"status": 1 << 8, "stderr": "MemoryError\nValueError: later\n"}, "failed"),
        ({"status": 1 << 8, "stderr": "OSError: [Errno 28] No space left on device: 'x'\n"}, "quota"),
        ({"status": 1 << 8, "disk_full": True}, "quota"),
        ({"status": 25}, "quota"),
        ({"status": 9, "verdict": "timed_out", "oom_kills": 1}, "timed_out"),
        ({"verdict": "out_of_memory"}, "out_of_memory"),
        ({"verdict": "too_many_tasks"}, "killed"),
        ({"verdict": "over_quota"}, "quota"),
    ],
)
def test_outcomes(arguments, outcome):
    assert result_of(**arguments).outcome == outcome


def test_our_own_kill_is_not_told_as_a_signal():
    result = result_of(status=9, verdict="timed_out")
    assert (result.exit_code, result.signal) == (None, None)


def test_read_output_takes_plain_files_only(tmp_path):
    (tmp_path / "plain").write_bytes(b"12345")
    (tmp_path / "link").symlink_to(tmp_path / "plain")
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as sock:
        here = Path.cwd()
        os.chdir(tmp_path)  # the path of a socket must be short
        try:
            sock.bind("socket")
        finally:
            os.chdir(here)
        for name in ("link", "directory", "fifo", "socket", "missing"):
            assert read_output(tmp_path, name, 100) is None
    assert read_output(tmp_path, "plain", 5) == b"12345"
    assert read_output(tmp_path, "plain", 4) is None
    assert read_output(tmp_path / "none", "plain", 5) is None


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/etc/passwd", "a\0b"])
def test_read_output_wants_a_plain_name(tmp_path, name):
    with pytest.raises(ValueError, match="plain file name"):
        read_output(tmp_path, name, 10)


def forkable(tmp_path: Path, source: str, **changes) -> bool:
    (tmp_path / "s.py").write_text(source)
    mounts = (Mount(source=tmp_path, target="/code"),)
    job = Job(argv=("python", "/code/s.py"), python_script="/code/s.py", mounts=mounts)
    return can_fork(job.model_copy(update=changes))


def test_what_can_be_forked(tmp_path):
    assert forkable(tmp_path, "import pandas\n")
    assert not forkable(tmp_path, "import torch\n")
    assert not forkable(tmp_path, "def f():\n    from transformers import pipeline\n")
    assert not forkable(tmp_path, "__import__('torch.nn')\n")
    assert forkable(tmp_path, "torchlight = 1\n")
    assert not forkable(tmp_path, "pass", python_script=None)
    assert not forkable(tmp_path, "pass", devices=("/dev/null",))
    assert not forkable(tmp_path, "pass", env={"PYTHONHASHSEED": "1"})
    assert forkable(tmp_path, "pass", env={"PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "2"})
    assert not forkable(tmp_path, "pass", env={"PYTHONPATH": "/code"})
    assert not forkable(tmp_path, "pass", env={"LD_PRELOAD": "x.so"})
    assert not forkable(tmp_path, "pass", python_script="/elsewhere/s.py")
    (tmp_path / "helper.py").write_text("import torch\n")
    assert not forkable(tmp_path, "import helper\n")


def test_host_path_takes_the_innermost_mount(tmp_path):
    mounts = (Mount(source=tmp_path / "a", target="/w"), Mount(source=tmp_path / "b", target="/w/x"))
    job = Job(argv=("a",), cwd="/w", mounts=mounts)
    assert host_path(job, "/w/x/f") == tmp_path / "b" / "f"
    assert host_path(job, "f") == tmp_path / "a" / "f"
    assert host_path(job, "/other") is None


def test_layout_shows_neither_home_nor_checkout(tmp_path):
    layout = Layout(tmp_path)
    shown = [Path(target) for _, target in layout.binds]
    hidden = [Path.home(), Path(__file__).parents[2], Path(sys.prefix), tmp_path, Path("/"), Path("/etc")]
    assert not set(shown) & set(hidden)
    assert any(Path(sys.executable).resolve().is_relative_to(s.resolve()) for s in shown)


def test_base_env_has_nothing_of_ours(monkeypatch):
    monkeypatch.setenv("API_KEY", "x")
    assert "API_KEY" not in base_env()
    assert base_env()["PYTHONHASHSEED"] == "0"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/data", "/host/d"),
        ("/data/train.csv", "/host/d/train.csv"),
        ("--data=/data", "--data=/host/d"),
        ("/database", "/database"),
        ("/x/data", "/x/data"),
        ("/data:/data/y", "/host/d:/host/d/y"),
    ],
)
def test_process_sandbox_translates_paths(text, expected):
    assert _translate(text, {"/data": "/host/d"}) == expected


def run_filter(program: bytes, number: int, arguments: tuple[int, ...] = (), arch: int = 0xC000_003E) -> int:
    """A classic BPF machine, for the four instructions used."""
    data = struct.pack("=iIQ6Q", number, arch, 0, *arguments, *([0] * (6 - len(arguments))))
    code = list(struct.iter_unpack("=HBBI", program))
    position = accumulator = 0
    while True:
        operation, if_true, if_false, value = code[position]
        position += 1
        if operation == 0x20:
            accumulator = struct.unpack_from("=I", data, value)[0]
        elif operation == 0x06:
            return value
        else:
            met = accumulator == value if operation == 0x15 else accumulator >= value
            position += if_true if met else if_false


ALLOW, EPERM, NO_FAMILY, KILL = 0x7FFF_0000, 0x0005_0001, 0x0005_0061, 0x8000_0000


@pytest.mark.parametrize("strict", [False, True])
def test_system_call_filter(strict):
    program = seccomp.filter_program("x86_64", keep_parent_signal=strict)
    assert run_filter(program, 0) == ALLOW  # read
    assert run_filter(program, 59) == ALLOW  # execve
    for refused in (101, 165, 250, 272, 308, 321, 425, 442):
        assert run_filter(program, refused) == EPERM
    for family in (1, 2, 10, 16):
        assert run_filter(program, 41, (family,)) == ALLOW
    for family in (0, 17, 38, 40, 44):
        assert run_filter(program, 41, (family,)) == NO_FAMILY
    assert run_filter(program, 302, (0,)) == ALLOW  # prlimit of itself
    assert run_filter(program, 302, (1,)) == EPERM
    assert run_filter(program, 157, (1,)) == (EPERM if strict else ALLOW)  # parent-death signal
    assert run_filter(program, 157, (15,)) == ALLOW  # thread name
    assert run_filter(program, 0x4000_0000) == EPERM  # x32
    assert run_filter(program, 0, arch=0x4000_0003) == KILL  # i386


def test_system_call_filter_of_other_machines():
    program = seccomp.filter_program("aarch64", keep_parent_signal=True)
    assert run_filter(program, 198, (40,), arch=0xC000_00B7) == NO_FAMILY
    assert run_filter(program, 167, (1,), arch=0xC000_00B7) == EPERM
    assert run_filter(program, 63, arch=0xC000_00B7) == ALLOW
    assert seccomp.filter_program("riscv64") == b""


def test_control_groups_of_version_2(tmp_path):
    where = cgroups.Hierarchies(2, tmp_path, tmp_path)
    group = cgroups.Group.of(where, "a")
    group.create()
    for name in ("memory.max", "memory.swap.max", "memory.oom.group", "pids.max", "cgroup.procs"):
        (tmp_path / "a" / name).touch()
    group.enter(7)
    group.limit(64, 8)
    assert (tmp_path / "a" / "memory.max").read_text() == str(64 << 20)
    assert (tmp_path / "a" / "memory.swap.max").read_text() == "0"
    assert (tmp_path / "a" / "pids.max").read_text() == "8"
    assert (tmp_path / "a" / "cgroup.procs").read_text() == "7"
    assert (group.oom_kills(), group.peak_mb()) == (0, 0.0)
    (tmp_path / "a" / "memory.events").write_text("low 0\noom 3\noom_kill 2\n")
    (tmp_path / "a" / "memory.peak").write_text(f"{5 << 20}\n")
    assert (group.oom_kills(), group.peak_mb()) == (2, 5.0)
    assert cgroups.Group.from_list(group.as_list()) == group


def test_where_control_groups_are_looked_for(tmp_path):
    tree = tmp_path / "cg"
    (tree / "user" / "scope").mkdir(parents=True)
    (tree / "user" / "cgroup.controllers").write_text("cpu memory pids\n")
    (tree / "user" / "scope" / "cgroup.controllers").write_text("\n")
    member, mounts = tmp_path / "cgroup", tmp_path / "mountinfo"
    member.write_text("0::/user/scope\n")
    mounts.write_text(f"30 20 0:26 / {tree} rw shared:4 - cgroup2 cgroup2 rw\n")
    found = list(cgroups._candidates(member, mounts))
    assert found == [cgroups.Hierarchies(2, tree / "user", tree / "user")]
    member.write_text("4:memory:/docker/x\n8:pids:/\n0::/user\n")
    mounts.write_text(
        "31 20 0:27 /docker /m rw - cgroup cgroup rw,memory\n32 20 0:28 / /p rw - cgroup cgroup rw,pids\n"
    )
    assert list(cgroups._candidates(member, mounts)) == [cgroups.Hierarchies(1, Path("/m/x"), Path("/p"))]
    member.write_text("")
    assert list(cgroups._candidates(member, mounts)) == []


def test_channel_carries_messages_and_descriptors(tmp_path):
    left, right = socket.socketpair()
    with left, right:
        channel.send(left, {"long": "x" * 100_000, "n": 1})
        message, fds = channel.receive(right)
        assert (len(message["long"]), message["n"], fds) == (100_000, 1, [])
        with (tmp_path / "f").open("w") as file:
            channel.send(left, {}, (file.fileno(),))
        _, fds = channel.receive(right)
        os.write(fds[0], b"through")
        assert not os.get_inheritable(fds[0])
        channel.close_all(fds)
        assert (tmp_path / "f").read_text() == "through"
        left.sendall(b"\xff\xff\xff\xff")
        with pytest.raises(channel.ChannelClosed):
            channel.receive(right)
        left.close()
        with pytest.raises(channel.ChannelClosed):
            channel.receive(right)


def stage(tmp_path: Path, **limits) -> Stage:
    (tmp_path / "box" / "0").mkdir(parents=True)
    (tmp_path / "host").mkdir()
    mounts = (Mount(source=tmp_path / "host", target="/out", writable=True),)
    fd = os.open(tmp_path / "box", os.O_RDONLY | os.O_DIRECTORY)
    return Stage(fd, Job(argv=("x",), mounts=mounts, limits=Limits(**limits)))


def test_staging_there_and_back(tmp_path):
    work = stage(tmp_path)
    host, box = tmp_path / "host", tmp_path / "box" / "0"
    (host / "d").mkdir()
    (host / "d" / "same").write_text("1")
    (host / "gone").write_text("1")
    (host / "link").symlink_to("/etc/passwd")
    work.fill()
    assert sorted(p.name for p in box.rglob("*")) == ["d", "gone", "same"]
    untouched = (host / "d" / "same").stat()
    (box / "gone").unlink()
    (box / "new").write_text("2")
    (box / "evil").symlink_to("/etc/passwd")
    (box / "link").mkdir()
    (box / "link" / "x").write_text("3")
    assert work.collect()
    work.close()
    work.close()
    assert sorted(str(p.relative_to(host)) for p in host.rglob("*")) == [
        "d",
        "d/same",
        "link",
        "link/x",
        "new",
    ]
    assert not (host / "link").is_symlink()
    assert (host / "d" / "same").stat().st_ino == untouched.st_ino


def test_staging_stops_at_the_quota(tmp_path):
    work = stage(tmp_path, disk_mb=1)
    for index in range(3):
        (tmp_path / "box" / "0" / f"f{index}").write_bytes(b"x" * 700_000)
    assert not work.collect()
    work.close()
    assert len(list((tmp_path / "host").iterdir())) == 1


def test_importing_the_package_is_light():
    code = "import dojo.sandbox, sys; print(sorted({'pydantic', 'numpy', 'pandas', 'psutil'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    "folder", ["/usr/src/app/runs/x", "/lib/x", f"{sys.prefix}/share/x", f"{sys.prefix}/lib/x"]
)
def test_what_lies_among_system_files_and_libraries_is_known_to_be_shown(folder, tmp_path):
    assert shows(Path(folder))
    assert not shows(tmp_path)
    assert not shows(Path(sys.prefix) / "runs")
    (tmp_path / "link").symlink_to("/usr")
    assert shows(tmp_path / "link" / "src")
