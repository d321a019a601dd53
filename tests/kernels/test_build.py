"""Kernels compiled by several processes at once: all are there in the end, whoever compiled them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from nnfast.kernels.build import turned

KERNELS = [(f"{name}_forward", "default", f"{name}_forward") for name in ("relu", "relu6", "sigmoid", "tanh")] + [
    (name, "default", name) for name in ("add", "mul", "div", "scale", "exp", "log", "fill", "clamp")
]
PROGRAM = """
import json, os, sys
from nnfast.kernels import backends, build, cache, threads
from nnfast.kernels.numba_jit import compiler

kernels = [tuple(kernel) for kernel in json.loads(sys.argv[1])]
build.default_num_threads = lambda: int(sys.argv[2])
started = []
start = build._start
build._start = lambda *args: started.append(start(*args)) or started[-1]
if sys.argv[3] == "broken":
    build.PROGRAM = "raise SystemExit(1)"
if sys.argv[3] == "absent":
    sys.executable = "/nowhere/python"
own = []
compile_object = compiler.compile_object
compiler.compile_object = lambda function, *rest: own.append(function) or compile_object(function, *rest)
build.build(kernels)
assert all(cache.kept(".".join(kernel)) for kernel in kernels)
assert all(process.returncode is not None for process in started)
print(len(started), len(own))
build.build(kernels)
print(len(started), len(own))
"""


def run(folder: Path, threads: int, how: str = "") -> list[list[int]]:
    command = [sys.executable, "-c", PROGRAM, json.dumps(KERNELS), str(threads), how]
    environment = {**os.environ, "NNFAST_CACHE_DIR": str(folder)}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return [[int(number) for number in line.split()] for line in done.stdout.splitlines()]


def test_two_processes_share_the_work(tmp_path):
    first, again = run(tmp_path, 2)
    assert first[0] == 1
    assert first[1] < len(KERNELS)
    assert again == first  # nothing is left to do


def test_one_process_does_it_all(tmp_path):
    assert run(tmp_path, 1)[0] == [0, len(KERNELS)]


@pytest.mark.parametrize("how", ["broken", "absent"])
def test_other_processes_may_fail(tmp_path, how):
    first, _ = run(tmp_path, 2, how)
    assert first == [1 if how == "broken" else 0, len(KERNELS)]


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_each_order_has_every_kernel_and_begins_elsewhere(count):
    orders = [turned(KERNELS, number, count) for number in range(count)]
    assert all(sorted(order) == sorted(KERNELS) for order in orders)
    assert len({order[0] for order in orders}) == count
