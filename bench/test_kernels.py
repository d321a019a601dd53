"""pytest-benchmark over the workloads: ``pytest bench --benchmark-only``, grouped by operation."""

from __future__ import annotations

import pytest
from nnfast.kernels import BACKENDS, compare
from nnfast.kernels.launch import run

from bench.workloads import names, workload


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", names())
def test_kernel(benchmark, name, backend):
    op = name.partition(" ")[0]
    arrays, attributes = workload(name)
    assert all(item.holds for item in compare(op, arrays, attributes, backend))
    outputs = run(op, arrays, attributes, backend=backend)
    benchmark.group = name
    benchmark(run, op, arrays, attributes, outputs, backend)
