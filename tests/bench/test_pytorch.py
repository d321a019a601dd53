"""Kernels beside PyTorch's: every case computes, wrong results are found and blamed on who is wrong, and the table."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from nnfast.kernels import OPS

from bench import convolutions, own, pytorch, shapes, torch_cases, torch_rows
from bench.peer_process import Peer
from bench.timing import Turn
from bench.torch_cases import Case, convolution
from bench.worker import PeerError, interpreter

SMALL = shapes.Shape("", 16, 32, 6, 3, 2, batch=2)
CASES = {
    **{f"convolution {direction}": convolution(SMALL, direction) for direction in SMALL.directions},
    **{f"{case.op} {case.name}": case for make, sizes in (
        (torch_cases._linear, (3, 40, 17)), (torch_cases._rows, (5, 7))) for case in make(*sizes)},
    **{f"{case.op} {case.name}": case for make in (torch_cases._pooling, torch_cases._norms, torch_cases._elements)
       for case in make((2, 9, 9, 5))},
    **{f"{case.op} {case.name}": case for case in torch_cases._optimizers(100)},
}  # fmt: skip
"""A small one of each kind."""


class InProcess(Peer):
    """A peer that computes with nnfast's reference and adds an error to one memory format."""

    def __init__(self, case: Case, error: float = 0.0) -> None:
        super().__init__("", 1, 1.0)
        self.case, self.error, self.timed = case, error, []

    def load(self, folder, op, attributes, formats):
        assert (op, attributes) == (self.case.op, self.case.attributes)
        self.arrays = {file.stem: np.load(file) for file in Path(folder).glob("*.npy")}

    def save(self, memory_format, folder):
        for name, value in own.reference(self.case, self.arrays).items():
            if value.dtype == np.float32:
                np.save(Path(folder, f"{name}.npy"), value * np.float32(1 + self.error * (memory_format == "nchw")))

    def time(self, memory_format, calls):
        self.timed.append(memory_format)
        return Turn([1.0] * calls, 0)


def measured(case, peer, backends=("numba", "cython"), formats=pytorch.FORMATS):
    [row] = torch_rows.rows([case], peer, formats, backends, 1, 0.0, lambda row: None)
    return row


def test_there_is_a_case_of_every_kernel_that_pytorch_has():
    text = (Path(torch_cases.__file__).parent / "torch_calls.py").read_text()
    ops = {case.op for case in torch_cases.CASES}
    assert ops == {name for name in OPS if f'    "{name}": ' in text}
    assert {case.op for case in CASES.values()} == ops
    assert len({(case.op, case.name) for case in torch_cases.CASES}) == len(torch_cases.CASES)


@pytest.mark.parametrize("name", CASES)
def test_backends_agree_with_the_reference(name):
    case = CASES[name]
    peer = InProcess(case)
    row = measured(case, peer)
    assert row.note == ""
    assert set(peer.timed) == set(pytorch.FORMATS if case.has_images else pytorch.FORMATS[:1])
    assert row.turns.keys() == {*peer.timed, "numba", "cython"}
    assert max(row.errors.values()) <= torch_rows.error_bound(case.summands, "winograd")


@pytest.fixture(scope="module")
def torch_process():
    try:
        python = interpreter("torch", None)
    except PeerError as error:
        pytest.skip(f"PyTorch is not here: {error}")
    peer = Peer(python, 1, 60.0)
    yield peer
    peer.close()


@pytest.mark.parametrize("name", CASES)
def test_pytorch_computes_the_same(name, torch_process):
    """In both memory formats: what is timed is the same operation."""
    row = measured(CASES[name], torch_process, ("cython",))
    assert row.note == ""
    assert row.errors["cython"] <= torch_rows.error_bound(CASES[name].summands, "")


def test_wrong_results_of_pytorch_are_not_timed():
    case = CASES["convolution forward"]
    row = measured(case, InProcess(case, 1e-3))
    assert row.note == "wrong result of PyTorch's"
    assert not row.wrong
    assert math.isnan(row.ratio("numba", "nchw"))


def test_wrong_results_of_our_own_fail_the_row(monkeypatch):
    right = own.Call.run

    def wrong(call):
        right(call)
        if call.backend == "cython":
            next(iter(call.results.values()))[0] += 0.1

    monkeypatch.setattr(own.Call, "run", wrong)
    case = CASES["convolution data"]
    row = measured(case, InProcess(case))
    assert row.wrong == ["cython"]
    assert row.note == "WRONG RESULT"
    assert not row.turns
    found = convolutions.Row(SMALL, "data", row, "cython")
    assert convolutions.summary([found], sweep=False)[-1].startswith("wrong: ")
    assert pytorch.summary([row], ["cython"])[-1].startswith("wrong: conv2d_backward_data")


def test_a_peer_that_hangs_leaves_our_times():
    case = CASES["convolution weight"]
    peer = InProcess(case)

    def hang(memory_format, calls):
        raise PeerError("no answer in 1 s")

    peer.time = hang
    row = measured(case, peer, ("cython",))
    assert row.note == "PyTorch: no answer in 1 s"
    assert row.seconds("cython") > 0
    assert math.isnan(row.ratio("cython", "nchw"))
    assert "no answer" in pytorch.line(row, ["cython"])


def test_a_backend_without_the_kernel_says_so(monkeypatch):
    case = CASES["convolution forward"]
    monkeypatch.setattr(type(OPS[case.op]), "suitable", lambda op, sizes, backend: ())
    row = measured(case, InProcess(case), ("cython",))
    assert "the cython backend has no kernel" in row.note
    assert row.note in pytorch.line(row, ["cython"])


def test_relative_error():
    ones = np.ones(4, np.float32)
    assert torch_rows.relative_error(ones, ones) == 0
    assert torch_rows.relative_error(1.5 * ones, ones) == 0.5
    assert torch_rows.relative_error(math.nan * ones, ones) == math.inf
    assert torch_rows.relative_error(ones, 0 * ones) == 2


def timed(case, waited=0.0, **seconds):
    return torch_rows.Row(case, {side: [Turn([value] * 3, waited)] * 3 for side, value in seconds.items()},
                          errors={"cython": 1e-7})  # fmt: skip


def test_ratios_are_to_nchw_and_to_the_better_format():
    row = timed(CASES["convolution forward"], nchw=0.008, channels_last=0.002, numba=0.001, cython=0.004)
    text = pytorch.line(row, ["numba", "cython"])
    assert text.endswith("8.00      2.00      1.00      4.00 |          8.00    2.00 |          2.00    0.50  1.0e-07")
    header = pytorch.header(["numba", "cython"])
    for title, value in (("NCHW ms", " 8.00"), ("cython |", "4.00 |"), ("error", "1.0e-07")):
        assert header.index(title) + len(title) == text.index(value) + len(value)


def test_summary_says_whether_nchw_is_ever_faster():
    fast = timed(CASES["convolution forward"], nchw=0.008, channels_last=0.002, numba=0.001, cython=0.004)
    slow = timed(CASES["convolution data"], nchw=0.001, channels_last=0.002, numba=0.001, cython=0.004)
    unsure = timed(CASES["convolution weight"], 0.5, nchw=0.001, channels_last=0.002, numba=0.1, cython=0.1)
    assert pytorch.summary([fast, slow, unsure], ["numba", "cython"]) == [
        "3 kernels, 2 of them timed undisturbed beside PyTorch",
        "numba against PyTorch NCHW: geometric mean 2.83, minimum 1.00, never slower",
        "numba against the better of both formats: geometric mean 1.41, minimum 1.00, never slower",
        "cython against PyTorch NCHW: geometric mean 0.71, minimum 0.25, slower in 1 of 2",
        f"  0.25 conv2d_backward_data {slow.case.name}",
        "cython against the better of both formats: geometric mean 0.35, minimum 0.25, slower in 2 of 2",
    ]
    assert pytorch.line(unsure, ["numba"]).endswith("(disturbed)")


def test_kernels_without_images_have_one_format():
    row = timed(CASES["add 5 @9 n2"], nchw=0.002, cython=0.001)
    assert row.ratio("cython", *pytorch.FORMATS) == 2
    assert pytorch.line(row, ["cython"]).split()[-7:] == ["2.00", "-", "1.00", "|", "2.00", "2.00", "1.0e-07"]
