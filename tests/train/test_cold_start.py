"""New processes with nothing cached, without Numba, or without a place for its kernels: training begins and says so."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

PROGRAM = """
    import sys
    import numpy as np
    import nnfast
    from nnfast import data, nn, optim
    from nnfast.train import Callback, Trainer

    class Look(Callback):
        def on_train_batch_end(self, batch, logs):
            print("step", sorted({"numba", "llvmlite"} & set(sys.modules)), self.trainer.epoch)

    rng = np.random.default_rng(0)
    images = data.ArrayDataset(rng.random((24, 1, 8, 8), np.float32), rng.integers(0, 3, 24))
    if "seed" in sys.argv:
        nnfast.manual_seed(0)
    layers = [nn.Flatten(), nn.Linear(64, 3)]
    if "network" in sys.argv:
        layers = [nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.1),
                  nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64, 3)]
    model = nn.Sequential(*layers)
    for layer in model:
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, 0, 0.1)
            nn.init.zeros_(layer.bias)
    trainer = Trainer(model, optim.SGD(model.parameters(), lr=0.1), nn.CrossEntropyLoss(), callbacks=[Look()])
    loader = data.DataLoader(images, 8, shuffle=True)
    trainer.fit(loader, data.DataLoader(images, 8), epochs=2)
    print("backend", *trainer.history.backend)
    trainer.evaluate(data.DataLoader(images, 8))
    print("imported", sorted({"numba", "llvmlite"} & set(sys.modules)))
    import hashlib
    print("weights", hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in model.parameters())).hexdigest())
"""
BLOCKED = """
    import sys

    class Blocked:
        "Refuses two packages, as if they were not installed."

        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] in ("numba", "llvmlite"):
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    sys.meta_path.insert(0, Blocked())
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Return a function that runs a program with an empty cache: its lines by their first word, and what it warned."""
    monkeypatch.delenv("NNFAST_BACKEND", raising=False)
    monkeypatch.setenv("NNFAST_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONWARNINGS", "default")

    def call(*arguments, program=PROGRAM):
        command = [sys.executable, "-c", textwrap.dedent(program), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        lines: dict[str, list[str]] = {}
        for line in done.stdout.splitlines():
            word, _, rest = line.partition(" ")
            lines.setdefault(word, []).append(rest)
        return lines, done.stderr

    return call


def test_nothing_of_numba_is_imported_before_the_run_moves(run):
    lines, warned = run("network")
    assert lines["step"][0] == "[] 0"
    assert set(lines["step"][:3]) == {"[] 0"}
    if lines["backend"] == ["cython cython"]:  # else the machine was quick enough to compile all within an epoch
        assert lines["imported"] == ["[]"]
    assert warned == ""


def test_a_seeded_run_waits_and_ends_with_the_same_bits_whatever_is_cached(run, monkeypatch, tmp_path):
    cold, warned = run("seed")
    cached, _ = run("seed")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NNFAST_CACHE_DIR", str(tmp_path / "file" / "cache"))
    nowhere, told = run("seed")
    assert cold["backend"] == cached["backend"] == nowhere["backend"] == ["numba numba"]
    assert cold["weights"] == cached["weights"] == nowhere["weights"]
    assert warned == ""
    assert told.count("RuntimeWarning") == 1
    assert "anew in every process" in told


def test_a_run_whose_cache_cannot_be_written_stays_on_cython_and_says_so_once(run, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NNFAST_CACHE_DIR", str(tmp_path / "file" / "cache"))
    lines, warned = run()
    assert lines["backend"] == ["cython cython"]
    assert lines["imported"] == ["[]"]
    assert warned.count("RuntimeWarning") == 1
    assert "nnfast computes with its Cython kernels, not with Numba's, which cannot be kept" in warned
    assert "Set NNFAST_CACHE_DIR" in warned


@pytest.mark.parametrize("seed", [[], ["seed"]])
def test_without_numba_everything_runs_on_cython_and_one_warning_says_so(run, seed):
    lines, warned = run("network", *seed, program=BLOCKED + PROGRAM)
    assert lines["backend"] == ["cython cython"]
    assert lines["imported"] == ["[]"]
    assert warned.count("RuntimeWarning") == 1
    assert "numba and llvmlite are not installed; nnfast computes with its Cython kernels" in warned


BROKEN = "raise ImportError('Numba needs NumPy 2.2 or less')\n"


@pytest.mark.parametrize("seed", [[], ["seed"]])
def test_a_numba_that_cannot_be_imported_is_as_good_as_none(run, monkeypatch, tmp_path, seed):
    (tmp_path / "path" / "numba").mkdir(parents=True)
    (tmp_path / "path" / "numba" / "__init__.py").write_text(BROKEN)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "path"))
    program = PROGRAM.replace("    class Look", "    import time\n\n    class Look", 1)
    program = program.replace(
        'print("step"', 'time.sleep(0.5); print("step"'
    )  # an epoch in which the process has failed
    lines, warned = run(*seed, program=program)
    assert lines["backend"] == ["cython cython"]
    assert warned.count("RuntimeWarning") == 1
    assert "Numba needs NumPy 2.2 or less" in warned


def test_numba_chosen_where_it_is_not_installed_is_an_error_that_says_what_to_do(run):
    program = (
        BLOCKED
        + """
    import nnfast
    for compiled in (False, True):
        square = lambda x: nnfast.relu(x) * x
        try:
            with nnfast.backend("numba"):
                (nnfast.compile(square) if compiled else square)(nnfast.ones(3))
        except ImportError as error:
            print("error", error)
    print("eager", nnfast.current_backend(), (nnfast.ones(3) * 2).sum().item())
    step = nnfast.compile(square)
    print("compiled", step(nnfast.ones(3)).sum().item())
"""
    )
    lines, warned = run(program=program)
    assert len(lines["error"]) == 2
    assert all("install numba, or call nnfast.set_backend('cython')" in text for text in lines["error"])
    assert lines["eager"] == ["cython 6.0"]
    assert lines["compiled"] == ["3.0"]
    assert warned == ""
