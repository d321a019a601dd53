"""Kernels for processors with narrower registers: results within the same bounds, and no code of a newer one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

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
