"""``nnfast train`` without a seed begins on Cython's kernels, with one it waits; the folder says which."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap

import pytest
from nnfast.kernels import background

from nnfast.io import load
from nnfast.train import Trainer


@pytest.fixture
def compiling(monkeypatch):
    """Pretend that kernels are missing, and compile none: ``compiling.clear()`` is when they are there."""
    left = {"kernel"}

    class Idle:
        def __init__(self, folder):
            pass

        def need(self, needs):
            pass

        def failure(self):
            return None

        def end(self):
            pass

    monkeypatch.delenv("NNFAST_BACKEND", raising=False)
    monkeypatch.setattr(background, "Builder", Idle)
    monkeypatch.setattr(background, "missing", lambda needs: list(left))
    monkeypatch.setattr(background, "unsettled", lambda needs: [])
    return left


@pytest.fixture
def train(run, small_data, tmp_path):
    """Return a function that trains on the small data: exit code, standard output, standard error."""

    def call(*arguments):
        return run("train", "--data", small_data, "--run", tmp_path / "run", "--no-plots", *arguments)

    return call


def backend_of(folder):
    return json.loads((folder / "run" / "config.json").read_text())["backend"]


def test_a_run_without_a_seed_begins_on_cython_and_says_so(train, run, compiling, tmp_path):
    code, out, err = train("--epochs", 2)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert "; compiled on " in lines[0]
    assert lines[1] == "cython, until the kernels of numba are compiled, once for this machine ..."
    assert [line.split()[-1] for line in lines[2:4]] == ["cython", "cython"]
    assert backend_of(tmp_path) == "auto"
    assert load(tmp_path / "run" / "checkpoint.safetensors")["history"]["backend"] == ["cython", "cython"]
    code, out, err = run("predict", "run", "--index", 0)
    assert (code, err) == (0, "")
    assert run("evaluate", "run")[0] == 0


def test_what_comes_after_training_waits_for_nothing(train, run, compiling, monkeypatch, tmp_path):
    from nnfast.kernels import backends

    def compiled(*_):
        raise AssertionError("a kernel of Numba's was asked for")

    monkeypatch.setattr(backends, "numba_code", compiled)
    monkeypatch.setattr("nnfast.kernels.build.compile_missing", compiled)
    assert train("--epochs", 1)[0] == 0
    for command in (["predict", "run", "--index", 0], ["evaluate", "run"]):
        assert run(*command)[0] == 0
    assert run("train", "--resume", "run", "--no-plots")[0] == 0


@pytest.mark.parametrize(("arguments", "backend"), [(["--seed", 0], "numba"), (["--backend", "cython"], "cython")])
def test_with_a_seed_or_a_backend_it_is_settled(train, compiling, tmp_path, arguments, backend):
    code, out, _ = train("--epochs", 2, *arguments)
    assert code == 0
    assert f"; {backend} compiled on " in out.splitlines()[0]
    assert [line.split()[-1] for line in out.splitlines() if line.startswith("epoch")] == [backend] * 2
    assert backend_of(tmp_path) == backend


def test_the_environments_backend_is_a_chosen_one(train, compiling, monkeypatch, tmp_path):
    monkeypatch.setenv("NNFAST_BACKEND", "cython")
    assert "; cython compiled on " in train("--epochs", 1)[1]
    assert backend_of(tmp_path) == "cython"


def test_a_run_without_a_seed_goes_on_with_what_is_there(train, run, compiling, monkeypatch):
    fit, fitted = Trainer.fit, []

    def stop_after_one(self, loader, validation=None, epochs=1, **rest):
        fitted.append(self)
        return fit(self, loader, validation, min(epochs, len(fitted)), **rest)

    monkeypatch.setattr(Trainer, "fit", stop_after_one)
    assert train("--epochs", 2)[0] == 0
    compiling.clear()
    code, out, _ = run("train", "--resume", "run", "--no-plots")
    assert code == 0
    assert [line.split()[-1] for line in out.splitlines() if line.startswith("epoch")] == ["numba"]
    assert fitted[1].history.backend == ["cython", "numba"]


def test_other_commands_work_without_numba(tmp_path):
    program = """
        import sys
        sys.modules["numba"] = sys.modules["llvmlite"] = None
        from nnfast.cli import main
        assert main(["info"]) == 0
        assert main(["compare", "relu_forward"]) == 0
        assert main(["train", "--epochs", "1", "--run", "run", "--quiet", "--seed", "1"]) == 0
        assert main(["evaluate", "run"]) == 0
        assert main(["predict", "run", "--index", "1"]) == 0
        assert main(["train", "--epochs", "1", "--run", "other", "--backend", "numba"]) == 2
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "numba no: " in done.stdout
    assert "cython (default) yes" in done.stdout
    assert "cannot be found out" not in done.stdout
    told, refused = done.stderr.splitlines()
    assert told.startswith("nnfast: warning: numba and llvmlite are not installed; nnfast computes with its Cython")
    assert "install numba, or call nnfast.set_backend('cython')" in refused
