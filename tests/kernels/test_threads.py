"""The same bits on any number of threads, whatever the order and the grouping of tasks."""

from __future__ import annotations

import ctypes
import threading

import numpy as np
import pytest
from judging import COMPILED, each_algorithm, poisoned, run_case
from nnfast.kernels.backends import kernel_address
from nnfast.kernels.cases import Case, cases
from nnfast.kernels.launch import Binding, bind, place_temporaries
from nnfast.kernels.operation import DTYPES
from nnfast.kernels.ops import OPS
from nnfast.kernels.threads import set_num_threads

KERNEL = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
Arrays = dict[str, np.ndarray]


def assert_same_bits(actual: Arrays, expected: Arrays, what: str) -> None:
    assert actual.keys() == expected.keys()
    for name, array in expected.items():
        if actual[name].tobytes() != array.tobytes():
            wrong = [tuple(int(i) for i in place) for place in np.argwhere(bits(actual[name]) != bits(array))]
            raise AssertionError(
                f"{what}: {name} differs in {len(wrong)} of {array.size} elements, first at {wrong[0]}: "
                f"{actual[name][wrong[0]]} and {array[wrong[0]]}"
            )


def bits(array: np.ndarray) -> np.ndarray:
    return array.view(f"u{array.itemsize}")


def has_several_tasks(case: Case, algorithm: str) -> bool:
    return any(tasks > 1 for _, tasks in bind(case.op, case.arrays(), case.attributes, algorithm).tasks)


SEVERAL = [item for item in each_algorithm(cases()) if has_several_tasks(item.values[0], item.values[2])]


@pytest.mark.parametrize(("case", "backend", "algorithm"), SEVERAL)
def test_same_bits_on_one_two_and_three_threads(case: Case, backend: str, algorithm: str, threads: None) -> None:
    set_num_threads(1)
    expected = run_case(case, backend, algorithm=algorithm)
    for count in (2, 3):
        set_num_threads(count)
        actual = run_case(case, backend, algorithm=algorithm)
        assert_same_bits(actual, expected, f"{case.id} on {count} threads")


class Call:
    """A bound case in memory of its own, whose tasks can be run one by one."""

    def __init__(self, case: Case, backend: str, algorithm: str) -> None:
        arrays = case.arrays()
        self.backend = backend
        self.binding: Binding = bind(case.op, arrays, case.attributes, algorithm)
        op = OPS[case.op]
        sizes = self.binding.sizes
        self.results = {
            array.name: poisoned(array.name, array.shape(sizes), DTYPES[array.dtype]) for array in op.outputs
        }
        self.results |= {array.name: arrays[array.name] for array in op.updates}
        self.arrays = arrays
        self.scratch: list[np.ndarray] = []

        def allocate(name: str, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
            memory = poisoned(name, shape, dtype)
            if "#" in name:
                self.scratch.append(memory)
            return memory

        temporaries, _, self.owners = place_temporaries(self.binding, 1, allocate)
        memory = self.arrays | self.results
        addresses = [*(memory[array.name].ctypes.data for array in op.arrays), *temporaries[0]]
        self.block = self.binding.block.copy()
        self.block[: len(addresses)] = addresses

    def run(self, stage: str, begin: int, end: int) -> None:
        """Tasks [begin, end) of a stage; what earlier tasks left in the scratch memory is gone."""
        for memory in self.scratch:
            memory.view().reshape(-1).view(np.uint8)[...] = 0xFF
        KERNEL(kernel_address(self.binding.op.name, self.binding.algorithm, stage, self.backend))(
            self.block.ctypes.data, begin, end)  # fmt: skip


def without_denormals(results: Arrays) -> Arrays:
    """Denormal numbers as zeros: the executor's workers flush them, the thread that calls a kernel here does not."""
    return {name: np.where(np.abs(array) < np.finfo(array.dtype).tiny, 0, array).astype(array.dtype)
            if array.dtype.kind == "f" else array for name, array in results.items()}  # fmt: skip


def groups(tasks: int, way: str, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Ranges that cover all tasks once, in random order."""
    if way == "one by one":
        cuts = np.arange(tasks + 1) if tasks <= 300 else np.unique([0, tasks, *rng.integers(0, tasks, 200)])
    else:
        cuts = np.unique([0, tasks, *rng.integers(0, tasks + 1, 3)])
    ranges = list(zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True))
    return [ranges[i] for i in rng.permutation(len(ranges))]


@pytest.mark.parametrize(("case", "backend", "algorithm"), SEVERAL)
def test_same_bits_for_any_order_and_grouping_of_tasks(case: Case, backend: str, algorithm: str, threads: None) -> None:
    set_num_threads(1)
    expected = without_denormals(run_case(case, backend, algorithm=algorithm))
    rng = np.random.default_rng(0)
    for way in ("one by one", "in groups"):
        call = Call(case, backend, algorithm)
        for stage, tasks in call.binding.tasks:
            for begin, end in groups(tasks, way, rng) if tasks else []:
                call.run(stage, begin, end)
        assert_same_bits(without_denormals(call.results), expected, f"{case.id}, tasks {way}")


@pytest.mark.parametrize("backend", COMPILED)
def test_an_empty_range_of_tasks_writes_nothing(backend: str) -> None:
    last = {(item.values[0].op, item.values[2]): item.values for item in each_algorithm(cases(), [backend])}
    for (op, algorithm), (case, _, _) in last.items():
        call = Call(case, backend, algorithm)
        before = {name: array.tobytes() for name, array in call.results.items()}
        for stage, tasks in call.binding.tasks:
            if tasks > 1:  # the executor calls a single task once, and never for nothing
                call.run(stage, tasks // 2, tasks // 2)
        assert {name: array.tobytes() for name, array in call.results.items()} == before, (op, algorithm)


@pytest.mark.parametrize("backend", COMPILED)
def test_two_python_threads_may_run_at_once(backend: str, threads: None) -> None:
    set_num_threads(2)
    operations = ("conv2d_forward", "conv2d_backward_weight", "batch_norm_forward", "sum_forward")
    chosen = [next((case, algorithm) for case, found, algorithm in (item.values for item in SEVERAL)
                   if case.op == op and found == backend) for op in operations]  # fmt: skip
    expected = [run_case(case, backend, algorithm=algorithm) for case, algorithm in chosen]
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(10):
                for (case, algorithm), wanted in zip(chosen, expected, strict=True):
                    assert_same_bits(run_case(case, backend, algorithm=algorithm), wanted, case.id)
        except BaseException as error:  # carried to the main thread
            failures.append(error)

    workers = [threading.Thread(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not failures, failures[0]
