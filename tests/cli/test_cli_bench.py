"""``nnfast bench``: measuring, keeping, drawing and comparing."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from bench import command, document, machine, versions
from bench.moves import Move
from bench.worker import PeerError
from nnfast.cli import main
from nnfast.commands.bench import repository

ROOT = Path(__file__).parents[2]


@pytest.fixture
def inside(run, monkeypatch, tmp_path):
    """Return a function that runs ``nnfast bench`` in the repository; what it writes goes to an empty folder."""
    monkeypatch.setattr(machine, "ROOT", tmp_path / "root")

    def call(*arguments):
        monkeypatch.chdir(ROOT)
        return run("bench", *arguments)

    return call


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Return the path of a file of results of two operations."""
    folder = tmp_path_factory.mktemp("root")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(machine, "ROOT", folder)
        patch.chdir(ROOT)
        assert main(["bench", "--quick", "fill", "increment"]) == 0
    return folder / ".benchmarks" / "nnfast.json"


def test_results_are_shown_kept_and_drawn(inside, tmp_path):
    code, out, err = inside("--quick", "--save", "--plot", "--threads", 1, "increment")
    assert (code, err) == (0, "")
    assert re.search(r"^NumPy's BLAS: \w+ .*core type \w+", out, flags=re.MULTILINE)
    assert "times faster than NumPy" in out
    [file] = (tmp_path / "root" / "bench" / "results").glob("*/*.json")
    assert f"written: {file}" in out
    assert file.parent.name == machine.name()
    assert file.stem == machine.commit(ROOT)
    assert sorted(path.name for path in file.parent.iterdir()) == sorted([
        file.name, f"{file.stem}-speedups.png", f"{file.stem}-roofline.png"])  # fmt: skip
    rows = document.read(file).rows
    assert [(row.op, row.backend, row.threads) for row in rows] == [
        ("increment", "reference", 1), ("increment", "cython", 1), ("increment", "numba", 1)]  # fmt: skip


def test_results_that_are_not_kept_go_to_the_latest(results):
    assert {row.op for row in document.read(results).rows} == {"fill", "increment"}


def test_a_file_is_shown_again(inside, results, tmp_path):
    copy = tmp_path / "copy.json"
    copy.write_bytes(results.read_bytes())
    code, out, _ = inside("--from", copy, "--plot")
    assert code == 0
    assert "fill 1 M" in out
    assert (tmp_path / "copy-roofline.png").exists()


def test_what_failed_is_the_exit_code(inside, results, tmp_path):
    body = json.loads(results.read_text())
    body["rows"][1]["note"] = "wrong result: y is off"
    (tmp_path / "failed.json").write_text(json.dumps(body))
    code, out, _ = inside("--from", tmp_path / "failed.json")
    assert code == 1
    assert "failed:\n  fill 1 M, Cython: wrong result: y is off\n" in out


def test_files_are_compared(inside, results, tmp_path):
    body = json.loads(results.read_text())
    for row in body["rows"]:
        if row["backend"] == "numba" and row["op"] == "fill":
            row["seconds"] = [5 * value for value in row["seconds"]]
    (tmp_path / "slow.json").write_text(json.dumps(body))
    code, out, _ = inside("--compare", results, results)
    assert code == 0
    assert "not measured in turn" in out
    assert "4 compared: 0 faster, 0 slower" in out
    code, out, _ = inside("--compare", results, tmp_path / "slow.json")
    assert code == 1
    assert re.search(r"^fill 1 M, Numba +5\.00 .* SLOWER$", out, flags=re.MULTILINE)
    code, out, _ = inside("--compare", tmp_path / "slow.json", results, "increment")
    assert "2 compared: 0 faster, 0 slower" in out


def test_commits_are_compared(inside, monkeypatch):
    asked = []

    def commits(first, second, workloads, tell):
        asked.extend([first, second, [workload.name for workload in workloads]])
        tell("building")
        return [command.compare.Entry("fill 1 M, Numba", 1e-3, Move(1.5, 1.4, 1.6))]

    monkeypatch.setattr(command.compare, "commits", commits)
    code, out, _ = inside("--compare", "HEAD~1", "HEAD", "--quick", "fill")
    assert code == 1
    assert asked == ["HEAD~1", "HEAD", ["fill 1 M"]]
    assert out.startswith("building\n")
    assert "SLOWER" in out


@pytest.mark.parametrize(("arguments", "message"), [
    (["conv3d_forward"], "there is no operation 'conv3d_forward'"),
    (["--compare", "no-such-commit", "HEAD"], "'no-such-commit' is neither a file of results nor a commit"),
    (["--compare", "README.md", "HEAD"], "README.md and HEAD are a file of results and a commit"),
    (["--compare", "README.md", "README.md"], "README.md: not JSON"),
    (["--compare", "a", "b", "--save"], "--compare takes no --save"),
    (["--from", "x.json", "--save"], "--save and --from exclude each other"),
    (["--from", "no/such/file.json"], "no/such/file.json: No such file"),
    (["--threads", "0"], "--threads"),
])  # fmt: skip
def test_wrong_usage_is_told(inside, arguments, message):
    code, out, err = inside(*arguments)
    assert code == 2
    assert out == ""
    assert message in err
    assert err.count("\n") == 1


def test_outside_of_the_repository_it_says_where_the_suite_is(refused):
    assert "is not in a clone of nnfast's repository" in refused("bench")


def test_the_repository_is_found_from_inside_of_it():
    assert repository(ROOT / "bench" / "results") == ROOT


# ---------------------------------------------------------------- versions


@pytest.fixture
def small_repository(tmp_path):
    """Return a repository of a package with two commits: one that can be installed, one that cannot."""
    root = tmp_path / "repository"
    (root / "nnfast").mkdir(parents=True)
    (root / "nnfast" / "__init__.py").write_text("VERSION = 1\n")
    (root / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
        '[project]\nname = "nnfast"\nversion = "1"\n[tool.setuptools]\npackages = ["nnfast"]\n'
    )

    def git(*arguments):
        subprocess.run(["git", "-C", str(root), "-c", "user.name=a", "-c", "user.email=a@b", *arguments], check=True,
                       capture_output=True)  # fmt: skip

    git("init", "-q", "-b", "main")
    git("add", ".")
    git("commit", "-qm", "good")
    (root / "pyproject.toml").write_text("[project\n")
    git("commit", "-qam", "bad")
    return root


def worktrees(root):
    return subprocess.run(["git", "-C", str(root), "worktree", "list"], capture_output=True, text=True).stdout.count(
        "\n"
    )


def test_commits_are_built_apart_and_leave_nothing(small_repository):
    commit = versions.resolve("HEAD~1", small_repository)
    with versions.built([commit, commit], small_repository) as (first, second):
        assert first == second  # built once
        assert (first / "nnfast" / "__init__.py").read_text() == "VERSION = 1\n"
        assert worktrees(small_repository) == 1
    assert not first.exists()
    assert machine.commit(small_repository) == versions.resolve("HEAD", small_repository)[:12]


def test_commits_that_cannot_be_built_are_told(small_repository):
    commit = versions.resolve("HEAD", small_repository)
    with pytest.raises(RuntimeError, match=f"bench: {commit[:12]} cannot be built"), versions.built(
        [commit], small_repository
    ):  # fmt: skip
        pass
    assert worktrees(small_repository) == 1


def test_changed_files_make_a_commit_dirty(small_repository, tmp_path):
    (small_repository / "nnfast" / "__init__.py").write_text("VERSION = 2\n")
    assert machine.commit(small_repository).endswith("-dirty")
    assert machine.commit(tmp_path) == "unknown"


def test_a_version_is_measured_in_its_own_process():
    """The package that is installed here stands for a version that was built."""
    import nnfast

    package = Path(nnfast.__file__).parents[1]
    workload = next(item for item in command.zoo(True, ["fill"]))
    described = {"op": workload.op, "label": workload.label, "sizes": dict(workload.sizes),
                 "attributes": dict(workload.attributes)}  # fmt: skip
    worker = versions.worker(package, 1)
    try:
        worker.ask({"do": "compile", "workloads": [described, described | {"op": "gone"}]})
        assert Path(worker.hello["file"]).is_relative_to(package)
        loaded = worker.ask({"do": "load"} | described)
        assert loaded == {"variants": ["cython default", "numba default"], "notes": {}}
        answer = worker.ask({"do": "time", "variant": "numba default", "count": 3})
        assert len(answer["seconds"]) == 3
        with pytest.raises(PeerError, match="gone is declared otherwise here"):
            worker.ask({"do": "load"} | described | {"op": "gone"})
    finally:
        worker.close()
