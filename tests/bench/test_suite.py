"""The suite of the kernels: what is in its zoo, that wrong results are not timed, and when a kernel is too slow."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from nnfast.kernels import OPS, get_num_threads
from nnfast.kernels.launch import run

from bench import calls, slower, suite, values
from bench.rows import Row, best
from bench.rows import slower as slower_backends
from bench.suite import Settings, measure, take_rounds
from bench.timing import Turn
from bench.workload import Workload, numba_kernels
from bench.zoo import ATTRIBUTES, FUSED_SHAPES, QUICK_SHAPES, SHAPES, convolution, large, plain, zoo

BRIEF = Settings(warm=0.0, seconds=0.0, fewest=3, most=3, patience=0.0)
SMALL = plain("add", "small", **{"...": 1000})


# ---------------------------------------------------------------- the zoo


@pytest.mark.parametrize("quick", [True, False])
def test_every_operation_is_in_the_zoo(quick):
    workloads = zoo(quick)
    assert list(dict.fromkeys(item.op for item in workloads)) == list(OPS)
    assert len({item.name for item in workloads}) == len(workloads)


def test_the_quick_zoo_is_a_part_of_the_whole():
    assert {item.name for item in zoo(True)} < {item.name for item in zoo(False)}


@pytest.mark.parametrize("workload", zoo(), ids=lambda item: item.name)
def test_workloads_agree_with_the_declarations(workload):
    op = workload.operation
    assert set(workload.attributes) == {item.name for item in op.attributes}
    assert workload.bytes > 0
    assert (workload.flops is None) == (op.flops is None)
    for backend in ("numba", "cython"):
        have = [algorithm for name, algorithm in workload.variants() if name == backend]
        assert have == list(op.suitable(workload.bound, backend))
        assert have


def test_every_algorithm_of_every_backend_is_measured():
    declared = {(op.name, backend, name) for op in OPS.values()
                for name, item in op.algorithms.items() for backend in item.backends}  # fmt: skip
    measured = {(item.op, *variant) for item in zoo(True) for variant in item.variants()[1:]}
    assert declared == measured


def test_numba_kernels_are_all_that_variants_need():
    [workload] = [item for item in convolution(QUICK_SHAPES[1]) if item.op == "conv2d_backward_weight"]
    stages = {stage for _, algorithm, stage in numba_kernels([workload]) if algorithm == "direct"}
    assert stages == {"direct_conv2d_backward_weight", "direct_conv2d_backward_weight_reduce"}


def test_shapes_are_those_that_networks_have():
    shapes = QUICK_SHAPES + SHAPES
    assert {1, 3, 5, 7} <= {shape.kernel for shape in shapes}
    assert any(shape.kernel == 7 and shape.stride == 2 for shape in shapes)
    assert any(shape.depthwise for shape in QUICK_SHAPES)
    assert {shape.depthwise for shape in FUSED_SHAPES} == {True, False}
    assert all(set(shape.directions) == {"forward", "data", "weight"} for shape in shapes if shape.c > 3)


def test_attributes_are_of_operations():
    assert set(ATTRIBUTES) <= set(OPS)


def test_large_arrays_are_beyond_the_caches():
    assert all(
        max(math.prod(array.shape(item.bound)) for array in item.operation.arrays) >= 1 << 24 for item in large()
    )


def test_unknown_operations_are_told():
    with pytest.raises(ValueError, match="no operation 'conv3d_forward', expected some of conv2d_forward"):
        zoo(ops=["conv3d_forward"])


def test_updates_move_twice_unless_they_are_only_written():
    assert plain("adam_step", "", **{"...": 1 << 20}).bytes == pytest.approx(4 * 7 * (1 << 20), rel=1e-4)
    assert plain("fill", "", **{"...": 8}).bytes == 4 * 8


# ---------------------------------------------------------------- values and calls


def test_values_are_always_the_same():
    one, other = (values.inputs_of(plain("softmax_backward", "", M=3, C=5)) for _ in range(2))
    np.testing.assert_array_equal(one["y"], other["y"])
    np.testing.assert_allclose(one["y"].sum(1), 1, rtol=1e-6)


@pytest.mark.parametrize("op", ["batch_norm_forward", "cross_entropy_forward", "sgd_step", "conv2d_backward_weight"])
def test_calls_do_what_run_does(op):
    workload = next(item for item in zoo(True) if item.op == op)
    prepared = calls.Prepared(workload)
    for backend, algorithm in workload.variants():
        assert max(prepared.share_of_bound(prepared.call(backend, algorithm), algorithm).values()) <= 1
    backend, algorithm = workload.variants()[-1]
    given = {name: value.copy() for name, value in prepared.given.items()}
    expected = run(op, given, workload.attributes, backend=backend, algorithm=algorithm)
    for name, value in expected.items():
        np.testing.assert_array_equal(prepared.memory[name], value)


# ---------------------------------------------------------------- measuring


def test_variants_are_timed_in_the_same_rounds():
    rows = measure(SMALL, BRIEF, "blas core")
    assert [(row.backend, row.algorithm) for row in rows] == SMALL.variants()
    assert [row.threads for row in rows] == [1, get_num_threads(), get_num_threads()]
    for row in rows:
        assert len(row.seconds) == 3
        assert row.reference == rows[0].seconds
        assert row.error <= 1
        assert row.blas == "blas core"
    assert rows[0].speedup == 1


def spoiled(monkeypatch, backend, change):
    """The backend's result of `SMALL` is changed after each of its calls; who was timed is noted."""
    right, timed = calls.Prepared.call, []

    def call(prepared, name, algorithm):
        made = right(prepared, name, algorithm)
        if name != backend:
            return made

        def wrong():
            timed.append(name)
            made()
            change(prepared.memory["y"])

        return wrong

    monkeypatch.setattr(calls.Prepared, "call", call)
    return timed


def test_a_wrong_result_is_found_before_it_is_timed(monkeypatch):
    def change(y):
        y[7] += 0.01

    timed = spoiled(monkeypatch, "cython", change)
    _, cython, numba = measure(SMALL, BRIEF, "")
    assert len(timed) == 1  # the call that was checked
    assert cython.seconds == []
    assert cython.note.startswith("wrong result: y is off by ")
    assert math.isnan(cython.time)
    assert len(numba.seconds) == 3
    assert not numba.note


def test_a_kernel_that_writes_nothing_is_wrong(monkeypatch):
    monkeypatch.setattr(calls, "compiled", lambda *_: lambda: None)
    rows = measure(SMALL, BRIEF, "")
    assert not rows[0].note
    assert all(row.note.startswith("wrong result") for row in rows[1:])


def test_a_backend_that_is_not_there_is_told(monkeypatch):
    def missing(*_):
        raise ImportError("add: install numba")

    monkeypatch.setattr(calls, "compiled", missing)
    assert [row.note for row in measure(SMALL, BRIEF, "")][1:] == ["not available: add: install numba"] * 2


def counted(monkeypatch, ratios):
    """Measurements that find these times, as parts of NumPy's."""
    attempts = []

    def times(timed, settings):
        attempts.append(1)
        for row, _ in timed:
            row.reference = [1e-3] * 3
            row.seconds = [1e-3 * (1 if row.backend == "reference" else ratios[row.backend][len(attempts) - 1])] * 3

    monkeypatch.setattr(suite, "_time", times)
    return attempts


def test_a_kernel_is_slow_if_it_is_each_time(monkeypatch):
    attempts = counted(monkeypatch, {"numba": [2, 2, 2], "cython": [2, 0.5, 2]})
    notes = [row.note for row in measure(SMALL, BRIEF, "")]
    assert notes == ["", "", "slower than NumPy in 3 measurements"]
    assert len(attempts) == 3


def test_a_kernel_that_was_slow_by_chance_is_not(monkeypatch):
    attempts = counted(monkeypatch, {"numba": [2, 0.5], "cython": [1.1, 1.1]})
    assert not any(row.note for row in measure(SMALL, BRIEF, ""))
    assert len(attempts) == 2


def test_a_kernel_known_to_be_slower_fails_nothing(monkeypatch):
    monkeypatch.setitem(slower.SLOWER, ("cython", "add"), "it is slow")
    attempts = counted(monkeypatch, {"numba": [1], "cython": [2]})
    assert not any(row.note for row in measure(SMALL, BRIEF, ""))
    assert len(attempts) == 1


def timed(backend, algorithm, seconds, reference=1e-3):
    return Row("conv2d_forward", "3x3", backend, algorithm, 1, "", 100, 10, [seconds] * 3, [reference] * 3)


def test_backends_are_judged_by_their_fastest_algorithm():
    rows = [timed("reference", "", 1e-3), timed("numba", "im2col", 3e-3), timed("numba", "direct", 1e-4),
            timed("cython", "im2col", 3e-3)]  # fmt: skip
    assert best(rows)["numba"].algorithm == "direct"
    assert slower_backends(rows) == {"cython"}
    assert slower_backends([timed("cython", "im2col", 3e-5, reference=1e-5)]) == set()  # the call was measured


def test_one_undisturbed_call_is_enough_to_be_fast():
    row = timed("cython", "im2col", 3e-3)
    row.seconds = [3e-3, 3e-3, 0.9e-3]
    assert slower_backends([row]) == set()


@pytest.mark.parametrize(("seconds", "disturbed", "slow"), [(1.1e-3, False, False), (1.3e-3, False, True),
                                                            (1.3e-3, True, False), (2.1e-3, True, True)])  # fmt: skip
def test_a_busy_machine_must_be_more_certain(seconds, disturbed, slow):
    row = replace(timed("cython", "im2col", seconds), disturbed=disturbed)
    assert slower_backends([row]) == ({"cython"} if slow else set())


@pytest.mark.parametrize("algorithm", ["direct", "winograd"])
def test_winograd_has_bounds_of_its_own(algorithm):
    """Its errors on a first layer are beyond those of sums in any order."""
    [workload] = [item for item in convolution(QUICK_SHAPES[7]) if item.op == "conv2d_forward"]
    prepared = calls.Prepared(workload)
    shares = prepared.share_of_bound(prepared.call("numba", algorithm), algorithm)
    assert shares["y"] <= 1
    assert ("winograd" in prepared.bounds) == (algorithm == "winograd")


def test_rounds_alternate_and_stay_whole():
    said = []

    def side(name, waited):
        given = iter(waited)
        return lambda: said.append(name) or Turn([1.0], next(given))

    rounds = take_rounds([side("a", [0, 0.9, 0, 0]), side("b", [0, 0, 0, 0])], 3, patience=10)
    assert said == ["a", "b", "b", "a", "a", "b", "b", "a"]
    assert len(rounds) == 3
    assert not any(turn.disturbed for one in rounds for turn in one)


def test_rounds_end_where_the_machine_stays_busy():
    numbers = itertools.count()
    rounds = take_rounds([lambda: Turn([1.0], 0.5 + next(numbers))], 3, patience=0)
    assert [one[0].waited for one in rounds] == [0.5, 1.5, 2.5]


# ---------------------------------------------------------------- what is known


def test_kernels_known_to_be_slower_exist():
    measured = {(backend, item.op) for item in zoo(True) for backend, _ in item.variants()}
    assert set(slower.SLOWER) <= measured


def test_an_entry_knows_its_kernel_and_no_other(monkeypatch):
    monkeypatch.setattr(slower, "SLOWER", {("cython", "conv2d_forward"): "it is slow"})
    row = timed("cython", "im2col", 1e-3)
    assert slower.why_slower(row) == "it is slow"
    assert slower.why_slower(replace(row, backend="numba")) is None
    assert slower.why_slower(replace(row, op="add")) is None


def test_workloads_say_what_they_are():
    assert Workload("add", "small", {"...": 3}, {"alpha": 1.0}).name == "add small"
