"""Judges Numba kernels for the processor that the environment names: ``python narrow.py 8 conv2d_forward add``.

Starts from ``NUMBA_CPU_NAME`` and ``NUMBA_CPU_FEATURES``; prints a line for each case that fails, then how many ran.
Without operations, all of them are judged.
"""

from __future__ import annotations

import re
import sys

import numpy as np
from judging import algorithms, assert_correct, reference_results, run_case
from llvmlite import binding as llvm
from nnfast.kernels.cases import cases
from nnfast.kernels.numba_jit import objects
from nnfast.kernels.ops import OPS

WIDER = {4: r"%[xyz]mm(1[6-9]|2\d|3[01])|%[yz]mm|%k[0-7]|^\s+v[a-z]", 8: r"%[xyz]mm(1[6-9]|2\d|3[01])|%zmm|%k[0-7]"}
"""What the assembly of a processor of so many lanes cannot hold: registers, and encodings, of a newer one."""


class Machine:
    """A target machine that reads what it generates."""

    def __init__(self, machine: llvm.TargetMachine, lanes: int) -> None:
        self.machine, self.lanes = machine, lanes

    def emit_object(self, module: llvm.ModuleRef) -> bytes:
        code = self.machine.emit_object(module)
        found = re.search(rf".*?({WIDER[self.lanes]}).*", self.machine.emit_assembly(module), re.MULTILINE)
        assert found is None, f"has an instruction of a newer processor: {found[0].strip()}"
        return code


def main(lanes: int, chosen: list[str]) -> None:
    from nnfast.kernels.numba_jit import compiler

    assert objects.vector_lanes() == lanes, objects.cpu()
    machine = Machine(objects.target_machine(), lanes)
    compiler.target_machine = lambda: machine
    ran = 0
    for case in cases():
        if chosen and case.op not in chosen:
            continue
        for algorithm in algorithms(case, "numba"):
            try:
                actual = run_case(case, "numba", algorithm=algorithm)
                assert_correct(case, actual, reference_results(case), np.float32, algorithm)
                ran += 1
            except Exception as error:
                print("failed", f"{case.id}-{algorithm}:", repr(error)[:1000], flush=True)
    assert set(chosen) <= OPS.keys(), set(chosen) - OPS.keys()
    print("done", ran, flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
