"""Commits that are built to be measured: each in a worktree and a folder of installed packages of its own."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .machine import ROOT
from .worker import Worker

LIMIT = 900.0  # seconds for an answer: the first one compiles every kernel
PROGRAM = """
import sys
sys.path.insert(0, {built!r})
sys.path.append({root!r})
from bench.version_process import main
main({threads})
"""


def resolve(name: str, root: Path = ROOT) -> str:
    """The hash of a commit that git knows by this name.

    Raises
    ------
    ValueError : git knows none.
    """
    done = _git(root, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}", check=False)
    if done.returncode:
        raise ValueError(f"bench: {name!r} is neither a file of results nor a commit of {root}")
    return done.stdout.strip()


@contextmanager
def built(commits: list[str], root: Path = ROOT) -> Iterator[list[Path]]:
    """Install each commit into a folder of its own, which is gone when the ``with`` block ends.

    Raises
    ------
    RuntimeError : one of them could not be built; the message is the last that pip said.
    """
    with tempfile.TemporaryDirectory(prefix="nnfast-bench-") as folder:
        done: dict[str, Path] = {}
        for commit in commits:
            if commit not in done:
                done[commit] = _install(commit, Path(folder), root)
        yield [done[commit] for commit in commits]


def _install(commit: str, folder: Path, root: Path) -> Path:
    source, target = folder / f"{commit}-source", folder / commit
    _git(root, "worktree", "add", "--quiet", "--detach", str(source), commit)
    try:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation",
                   "--disable-pip-version-check", "--target", str(target), str(source)]  # fmt: skip
        pip = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    finally:
        _git(root, "worktree", "remove", "--force", str(source))
    if pip.returncode:
        said = [line for line in pip.stderr.splitlines() if line.strip()] or ["pip said nothing"]
        raise RuntimeError(f"bench: {commit[:12]} cannot be built ({said[-1].strip()}); it needs what "
                           "`pip install -e .[test]` installs, and a C compiler")  # fmt: skip
    return target


def worker(package: Path, threads: int) -> Worker:
    """A process that measures what is installed in `package`, on so many threads; not yet started.

    The workloads are those of the suite that asks, so that all versions compute the same.
    """
    program = PROGRAM.format(built=str(package), root=str(ROOT), threads=threads)
    return Worker([sys.executable, "-c", program], LIMIT, {})


def _git(root: Path, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(["git", "-C", str(root), *arguments], check=check, capture_output=True, text=True)
    except subprocess.CalledProcessError as error:
        raise RuntimeError(f"bench: git {arguments[0]} failed: {error.stderr.strip()}") from error
