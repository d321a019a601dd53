"""Kernels for processors with narrower registers: results within the same bounds, and no code of a newer one.

Numba compiles for another processor than this one; of Cython's kernels, another set of what was built is chosen.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from nnfast.kernels import instruction_sets
from nnfast.kernels.instruction_sets import VARIABLE, built, instruction_set, runnable

PROGRAM = Path(__file__).parents[1] / "narrow.py"
PROCESSORS = {
    "AVX2": ("haswell", "+avx,+avx2,+fma,+sse2,+sse4.1,+sse4.2,+ssse3,+popcnt,+bmi,+bmi2", 8),
    "SSE2": ("x86-64", "", 4),
}
REPRESENTATIVE = (
    "conv2d_forward", "conv2d_backward_data", "conv2d_backward_weight", "fused_conv2d_forward", "linear_forward",
    "max_pool2d_forward", "fused_max_pool2d_backward", "tanh_forward", "dropout", "add", "copy_strided",
    "sum_forward", "cross_entropy_forward", "batch_norm_forward", "affine_backward", "adam_step",
)  # fmt: skip
"""Every way to make code: GEMM tiles, transforms, windows, rows, elementary functions, integers, masked tails."""


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="names x86-64 processors")
@pytest.mark.parametrize(
    "chosen", [pytest.param(REPRESENTATIVE, id="representative"), pytest.param((), id="all", marks=pytest.mark.slow)]
)
def test_narrower_registers_give_results_within_the_same_bounds(chosen: tuple[str, ...], tmp_path: Path) -> None:
    running = {}
    for name, (cpu, features, lanes) in PROCESSORS.items():  # side by side: most of the time goes to compiling
        environment = {"NUMBA_CPU_NAME": cpu, "NUMBA_CPU_FEATURES": features, "NNFAST_CACHE_DIR": str(tmp_path / name)}
        running[name] = subprocess.Popen(
            [sys.executable, str(PROGRAM), str(lanes), *chosen],
            env=os.environ | environment | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    found = []
    for name, process in running.items():
        output, errors = process.communicate(timeout=1800)
        lines = output.splitlines()
        found += [f"{name}: {line.removeprefix('failed ')}" for line in lines if line.startswith("failed")]
        if process.returncode or not lines or lines[-1] == "done 0":
            found.append(f"{name}: exit {process.returncode} {errors[-2000:]}")
    assert not found, f"{len(found)} failures:\n" + "\n".join(found)


# ---------------------------------------------------------------- Cython


@pytest.fixture
def forced(monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """Sets the variable."""
    return lambda name: monkeypatch.setenv(VARIABLE, name)


def test_the_widest_instruction_set_is_used() -> None:
    assert instruction_set() == runnable()[-1]
    assert set(runnable()) <= set(built())
    assert "baseline" in runnable()


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="names x86-64 instruction sets")
def test_all_instruction_sets_are_built() -> None:
    assert built() == instruction_sets.INSTRUCTION_SETS


def test_an_instruction_set_is_forced(forced) -> None:  # type: ignore[no-untyped-def]
    forced("baseline")
    assert instruction_set() == "baseline"
    forced("")
    assert instruction_set() == runnable()[-1]


def test_an_unknown_instruction_set_is_refused(forced) -> None:  # type: ignore[no-untyped-def]
    forced("sse9")
    with pytest.raises(ValueError, match="NNFAST_INSTRUCTION_SET is 'sse9', expected one of baseline, avx2, avx512"):
        instruction_set()


def test_an_instruction_set_that_the_processor_lacks_is_refused(forced, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(instruction_sets.runtime, "processor_has", ())
    monkeypatch.setattr(instruction_sets, "_chosen", instruction_sets._chosen.__wrapped__)
    assert instruction_set() == "baseline"
    forced(built()[-1])
    with pytest.raises(ValueError, match="which this processor cannot run; it runs baseline"):
        instruction_set()


def test_an_instruction_set_that_was_not_built_is_refused(forced, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(instruction_sets, "built", lambda: ("baseline",))
    monkeypatch.setattr(instruction_sets, "_chosen", instruction_sets._chosen.__wrapped__)
    forced("avx2")
    with pytest.raises(ValueError, match="which this installation was built without; it has baseline"):
        instruction_set()


@pytest.mark.parametrize("name", runnable()[:-1])
def test_all_cases_hold_with_an_older_instruction_set(name: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "cython", "test_compiled.py"]
    found = subprocess.run(command, cwd=Path(__file__).parent, env=os.environ | {VARIABLE: name},
                           capture_output=True, text=True, timeout=600)  # fmt: skip
    assert found.returncode == 0, found.stdout[-3000:]
