"""The attack suite: everything a hostile program may try, against each sealed sandbox."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dojo.sandbox import open_sandbox
from dojo.sandbox.base import Job, Limits, Mount, Sandbox
from dojo.sandbox.probe import attack_names, probes

pytestmark = pytest.mark.attack
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module", params=["warm", "bubblewrap"])
def sandbox(request, tmp_path_factory) -> Iterator[Sandbox]:
    box = open_sandbox(request.param, scratch=tmp_path_factory.mktemp("box"), preload=("numpy", "pandas"))
    yield box
    box.close()


@pytest.fixture(scope="module")
def unconfined(tmp_path_factory) -> Iterator[Sandbox]:
    box = open_sandbox("process", scratch=tmp_path_factory.mktemp("box"))
    yield box
    box.close()


@pytest.mark.parametrize("name", attack_names())
def test_attack_fails(sandbox, tmp_path, name):
    (result,) = probes(sandbox, tmp_path, only=name)
    assert result.passed, result.detail
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name",
    ["network", "reading answers", "patching", "killing processes outside", "writing outside", "symlinks in"],
)
def test_attack_succeeds_where_nothing_confines(unconfined, tmp_path, name):
    """The attacks are real: without a box they get through, and are told with a fix."""
    (result,) = probes(unconfined, tmp_path, only=name)
    assert not result.passed
    assert result.fix


def run(sandbox: Sandbox, tmp_path: Path, script: str, **limits):
    (tmp_path / "code").mkdir(exist_ok=True)
    (tmp_path / "out").mkdir(exist_ok=True)
    (tmp_path / "code" / "s.py").write_text(script)
    mounts = (
        Mount(source=tmp_path / "code", target="/code"),
        Mount(source=tmp_path / "out", target="/out", writable=True),
    )
    return sandbox.exec(
        Job(
            argv=("python", "/code/s.py"),
            python_script="/code/s.py",
            cwd="/out",
            mounts=mounts,
            limits=Limits(**{"wall_s": 60.0, "memory_mb": 1024, "disk_mb": 16, **limits}),
        )
    )


def test_a_gigabyte_of_output(sandbox, tmp_path):
    result = run(sandbox, tmp_path, "b = 'x' * (1 << 20)\nfor _ in range(1024): print(b)\n", output_kb=8)
    assert result.outcome == "ok"
    assert len(result.stdout) < 9000


def test_output_after_which_nothing_reads_does_not_hang(sandbox, tmp_path):
    script = "import os, sys\nif os.fork() == 0:\n    while True: os.write(1, b'x' * 65536)\nprint('done')\n"
    assert run(sandbox, tmp_path, script, output_kb=8).outcome == "ok"


def test_sparse_and_linked_files_do_not_multiply_on_the_host(sandbox, tmp_path):
    sparse = "open('hole', 'wb').truncate(1 << 23)\nimport os\nfor i in range(50): os.link('hole', f'l{i}')\n"
    result = run(sandbox, tmp_path, sparse, disk_mb=16)
    copied = sum(f.stat().st_size for f in (tmp_path / "out").iterdir())
    assert result.outcome == "quota"
    assert copied <= 16 << 20


def test_planted_link_does_not_redirect_what_comes_next(sandbox, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("untouched")
    run(sandbox, tmp_path, f"import os\nos.symlink({str(secret)!r}, 'model.txt')\nos.symlink('/', 'all')\n")
    assert list((tmp_path / "out").iterdir()) == []
    run(sandbox, tmp_path, "open('model.txt', 'w').write('mine')")
    assert secret.read_text() == "untouched"
    assert (tmp_path / "out" / "model.txt").read_text() == "mine"


def test_deep_and_odd_names_come_home_or_are_left_out(sandbox, tmp_path):
    script = """
import os
open(b'\\xff\\xfe', 'w').write('1')
for i in range(300):
    os.mkdir('d' * 100); os.chdir('d' * 100)
os.chdir('/out'); os.mkdir('locked'); open('locked/x', 'w').write('1'); os.chmod('locked', 0)
open('unreadable', 'w').write('1'); os.chmod('unreadable', 0)
"""
    result = run(sandbox, tmp_path, script)
    assert result.outcome == "ok", result.stderr
    names = [os.fsencode(path.name) for path in (tmp_path / "out").iterdir()]
    assert b"\xff\xfe" in names


def test_hostile_early_report_does_not_fool_or_stop_the_harness(sandbox, tmp_path):
    script = """
import os, socket
for fd in range(3, 64):
    try:
        os.write(fd, b'\\xff' * 16)
    except OSError:
        pass
open('late', 'w').write('1')
raise SystemExit(5)
"""
    result = run(sandbox, tmp_path, script)
    assert (result.outcome, result.exit_code) == ("failed", 5)


def test_closing_every_descriptor_is_survived(sandbox, tmp_path):
    result = run(
        sandbox, tmp_path, "import os\nos.closerange(0, 4096)\nopen('x', 'w').write('1')\nos._exit(4)\n"
    )
    assert result.exit_code == 4
    assert (tmp_path / "out" / "x").exists()


def test_parent_death_signal_cannot_be_cleared(tmp_path):
    with open_sandbox("warm", scratch=tmp_path / "box", preload=()) as box:  # type: ignore[attr-defined]
        script = "import ctypes\nprint(ctypes.CDLL(None).prctl(1, 0, 0, 0, 0))\n"
        assert run(box, tmp_path, script).stdout == "-1\n"


def test_nothing_of_the_checkout_is_shown(sandbox, tmp_path):
    places = [str(ROOT / "pyproject.toml"), str(ROOT / "dojo")]
    script = f"import os\nprint(*[os.path.exists(p) for p in {places}])"
    assert run(sandbox, tmp_path, script).stdout == "False False\n"


def test_many_groups_are_not_left(sandbox, tmp_path):
    for _ in range(3):
        assert run(sandbox, tmp_path, "pass").ok
    hierarchies = sandbox._hierarchies
    if hierarchies is None:
        pytest.skip("no control groups here")
    left = [p.name for root in hierarchies.roots for p in root.iterdir() if p.is_dir()]
    assert len(left) <= 2 * 7  # boxes that are ready or being taken apart


UNPRIVILEGED = """
set -e
mount --make-rprivate /
mount -t tmpfs -o mode=0755 tmpfs /mnt
mkdir -p "/mnt{prefix}"
mount --bind "{prefix}" "/mnt{prefix}"
mount --rbind "/mnt/{top}" "/{top}"
cd /
exec setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps=-all env -i PATH=/usr/bin:/bin \\
    PYTHONDONTWRITEBYTECODE=1 "{python}" "{script}" "{root}" "{scratch}"
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become an ordinary user")
def test_all_attacks_fail_for_an_ordinary_user_without_control_groups(tmp_path):
    """The same attacks where the limits are held by resource limits and the watchdog."""
    scratch = Path("/var/tmp") / f"dojo-nobody-{os.getpid()}"
    scratch.mkdir()
    os.chown(scratch, 65534, 65534)
    script = tmp_path / "attack.py"
    script.write_text(
        "import sys\nsys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\nfrom dojo.sandbox import open_sandbox\nfrom dojo.sandbox.probe import probes\n"
        "scratch = Path(sys.argv[2])\n"
        "for kind in ('warm', 'bubblewrap'):\n"
        "    box = open_sandbox(kind, scratch=scratch / 'box', preload=('numpy', 'pandas'))\n"
        "    for r in probes(box, scratch / 'probe'):\n"
        "        print('held' if r.passed else 'FAILED', kind, r.name, '|', r.detail, flush=True)\n"
        "    box.close()\n"
    )
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents:
        if parent.name.startswith("pytest-"):
            parent.chmod(0o755)
    prefix = sys.base_prefix
    top = Path(prefix).parts[1]
    text = UNPRIVILEGED.format(
        prefix=prefix, top=top, python=sys.executable, script=script, root=ROOT, scratch=scratch
    )
    try:
        done = subprocess.run(
            ["unshare", "--mount", "sh", "-c", text], capture_output=True, text=True, timeout=250, check=False
        )
        assert done.returncode == 0, done.stderr[-2000:]
        lines = done.stdout.splitlines()
        assert len(lines) == 2 * len(attack_names())
        assert [line for line in lines if not line.startswith("held")] == []
    finally:
        subprocess.run(["rm", "-rf", str(scratch)], check=True)
