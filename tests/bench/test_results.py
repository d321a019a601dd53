"""The suite's results: their files, tables and pictures, and what counts as a move."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from bench import compare, document, machine, moves, plots, report, slower
from bench.compare import Entry
from bench.document import Document
from bench.moves import Move, of_pairs, of_runs
from bench.rows import Row
from bench.timing import Turn
from bench.worker import PeerError
from bench.workload import Workload

MACHINE = {
    "name": "cpu-2-abcd", "processor": "CPU", "llvm_processor": "znver5", "cores": 2, "threads": 2, "system": "x",
    "limits": {"gflops": 100.0, "gbytes": 10.0, "disturbed": False},
    "blas": {"name": "openblas", "version": "0.3", "core": "Haswell", "threads": 1},
    "versions": {"python": "3.11", "numpy": "2.0"},
}  # fmt: skip


def row(backend="numba", algorithm="winograd", times=0.5, **changes):
    reference = [0.010, 0.011, 0.012, 0.010, 0.010, 0.011, 0.010, 0.012]
    made = Row("conv2d_forward", "3x3", backend, algorithm, 2, "openblas Haswell", 10**9, 10**6,
               [times * value for value in reference], reference, 0.1)  # fmt: skip
    return replace(made, **changes)


def results(*rows, **changes):
    return replace(Document(MACHINE, "0123456789ab", "2025-01-01T00:00:00+00:00", False, rows), **changes)


REFERENCE = row("reference", "", 1.0, threads=1)


# ---------------------------------------------------------------- rows


def test_speedups_are_of_rounds():
    one = replace(row(), seconds=[1.0, 10.0, 2.0], reference=[2.0, 10.0, 6.0])
    assert one.speedup == 2  # and not 6 / 2
    assert one.time == 2


def test_rates_and_limits():
    one = replace(row(), seconds=[0.02], reference=[0.1])
    assert (one.rate, one.unit) == (50e9, "GFLOP/s")
    limits = machine.limits_of(MACHINE)
    assert one.part_of(limits) == pytest.approx(0.5)
    memory = replace(one, flops=None, bytes=10**8)
    assert (memory.rate, memory.unit) == (5e9, "GB/s")
    assert memory.part_of(limits) == pytest.approx(0.5)
    assert replace(one, bytes=10**8 * 2).part_of(limits) == pytest.approx(1.0)  # memory binds


def test_rows_without_times_are_nan():
    empty = row(seconds=[], reference=[])
    assert math.isnan(empty.time)
    assert math.isnan(empty.speedup)
    assert empty.to_json(machine.limits_of(MACHINE))["speedup"] is None


# ---------------------------------------------------------------- files


def test_documents_are_read_as_they_were_written(tmp_path):
    path = tmp_path / "new" / "results.json"
    written = results(REFERENCE, row(), row("cython", "im2col", seconds=[], reference=[], note="wrong result: y"))
    document.write(written, path)
    found = document.read(path)
    assert replace(found, rows=()) == replace(written, rows=())
    assert list(found.rows) == list(written.rows)
    body = json.loads(path.read_text())
    assert [entry["speedup"] for entry in body["rows"]] == [1.0, 2.0, None]
    assert body["rows"][1]["unit"] == "GFLOP/s"
    assert body["rows"][1]["percent_of_limit"] == pytest.approx(100 * 1e9 / 0.00525 / 100e9, rel=0.1)


def test_numbers_that_are_not_finite_are_null(tmp_path):
    document.write(results(row(seconds=[], reference=[], error=math.nan)), tmp_path / "results.json")
    assert json.loads((tmp_path / "results.json").read_text())["rows"][0]["error"] is None
    assert math.isnan(document.read(tmp_path / "results.json").rows[0].error)


@pytest.mark.parametrize(("text", "message"), [
    ("{", "not JSON"), ("[]", "format is 'missing', expected 1"), ('{"format": 2}', "format is 2, expected 1"),
    ('{"format": 1}', "machine is missing or no dict"), ("\xff", "not"),
])  # fmt: skip
def test_other_files_are_told(tmp_path, text, message):
    path = tmp_path / "results.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=f"results.json: {message}"):
        document.read(path)


def test_damaged_rows_are_told(tmp_path):
    path = tmp_path / "results.json"
    document.write(results(row()), path)
    body = json.loads(path.read_text())
    del body["rows"][0]["op"]
    path.write_text(json.dumps(body))
    with pytest.raises(ValueError, match=r"results.json: machine or rows: TypeError: .*'op'"):
        document.read(path)


def test_results_have_a_place_for_each_machine_and_commit():
    expected = machine.ROOT / "bench/results/cpu-2-abcd/0123456789ab.json"
    assert document.kept_at(results()) == expected


def test_this_machine():
    described = machine.describe(0.0)
    assert described == json.loads(json.dumps(described))
    assert described["name"] == machine.name() == machine.name()
    assert set(described["name"]) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    limits = machine.limits_of(described)
    assert limits.flops > 1e9
    assert limits.bandwidth > 1e8
    assert set(described["versions"]) == {"python", "numpy", "numba", "cython", "nnfast"}


def test_the_blas_is_that_of_numpy():
    import scipy.linalg.blas  # noqa: F401 - brings a BLAS of its own

    found, built = machine.blas(), np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    if "openblas" not in built["name"]:
        pytest.skip(f"NumPy was built with {built['name']}")
    assert found["name"] == "openblas"
    assert found["version"].split(".")[:3] == built["version"].split(".")[:3]


# ---------------------------------------------------------------- tables


def test_the_table_of_speedups():
    slow = row("cython", "im2col", 0.25, disturbed=True)
    lines = report.speedups([REFERENCE, slow, row("numba", "im2col", 1.0), row()])
    assert lines[1].split() == ["conv2d_forward", "3x3", "10.5", "4.00?", "im2col", "2.00", "winograd"]
    assert lines[2].split() == ["geometric", "mean", "4.00", "of", "1", "2.00", "of", "1"]
    assert lines[0].index("Numba x") + len("Numba x") == lines[1].index("2.00") + len("2.00")
    assert lines[3].startswith("?: ")


def test_rows_are_grouped_by_operation():
    text = report.lines([REFERENCE, row(), replace(row(), label="1x1")], machine.limits_of(MACHINE))
    assert [line.split()[0] for line in text[1:]] == ["conv2d_forward", "3x3", "NumPy", "Numba", "1x1", "Numba"]
    assert text[4].split() == ["Numba", "winograd", "5.25", "2.00", "190", "GFLOP/s", "190%", "0.10", "2", "openblas",
                               "Haswell"]  # fmt: skip


def test_the_header_names_the_core_type():
    told = report.header(MACHINE)[2]
    assert told == "NumPy's BLAS: openblas 0.3, core type Haswell (LLVM calls this processor znver5), on 1 thread"


def test_the_table_stands_at_the_end():
    rows = [REFERENCE, row(note="wrong result: y is off", seconds=[], reference=[])]
    assert report.summary(MACHINE, rows)[-len(report.speedups(rows)) :] == report.speedups(rows)
    assert report.failures(rows) == ["conv2d_forward 3x3, Numba winograd: wrong result: y is off"]


def test_kernels_known_to_be_slower_are_told(monkeypatch):
    monkeypatch.setattr(slower, "SLOWER", {("cython", "tanh_forward"): "its polynomials take longer"})
    reference = replace(REFERENCE, op="tanh_forward", label="1 M")
    known = replace(row("cython", "default", 3.0), op="tanh_forward", label="1 M")
    [told] = report.known([reference, known])
    assert told.startswith("tanh_forward 1 M, Cython (0.33): its polynomials")
    [told] = report.known([reference, replace(known, seconds=[0.001] * 8)])
    assert "is no longer slower" in told
    wrong = replace(known, seconds=[], reference=[], note="wrong result: y is off")
    assert report.known([reference, wrong]) == []
    assert report.failures([reference, wrong]) == ["tanh_forward 1 M, Cython: wrong result: y is off"]


def test_pictures(tmp_path):
    memory = replace(row(), op="add", flops=None)
    found = results(REFERENCE, row(), row("cython", "im2col"), memory)
    paths = plots.plot(found, tmp_path / "0123.json")
    assert [path.name for path in paths] == ["0123-speedups.png", "0123-roofline.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)


# ---------------------------------------------------------------- moves


def noisy(rng, count=compare.PAIRS, spread=0.1):
    """Times of a busy machine: mostly a little longer, sometimes much."""
    times = 1 + np.abs(rng.normal(0, spread, count))
    times[rng.random(count) < 0.05] *= 3
    return times


def test_noise_alone_rarely_moves():
    rng = np.random.default_rng(0)
    found = [of_pairs(noisy(rng), noisy(rng)).direction for _ in range(200)]
    assert np.count_nonzero(found) <= 4
    assert not any(moves.confirmed(of_pairs(noisy(rng), noisy(rng)), of_pairs(noisy(rng), noisy(rng)))
                   for _ in range(200))  # fmt: skip


@pytest.mark.parametrize(("factor", "direction"), [(1.5, 1), (1 / 1.5, -1)])
def test_what_moved_is_found(factor, direction):
    rng = np.random.default_rng(1)
    found = [of_pairs(noisy(rng), factor * noisy(rng)) for _ in range(50)]
    assert sum(one.direction == direction for one in found) >= 45
    assert not any(one.direction == -direction for one in found)
    assert np.median([one.ratio for one in found]) == pytest.approx(factor, rel=0.05)


def test_a_machine_that_becomes_slow_moves_nothing():
    """Both sides of a pair are slow together."""
    drift = np.geomspace(1, 4, 11)
    jitter = np.random.default_rng(2).normal(1, 0.005, (2, 11))
    assert of_pairs(drift * jitter[0], drift * jitter[1]).direction == 0
    assert of_pairs(drift * jitter[0], 1.2 * drift * jitter[1]).direction == 1


def test_small_moves_are_below_the_threshold():
    times = np.linspace(1, 1.001, 11)
    assert of_pairs(times, 1.03 * times).low > 1
    assert of_pairs(times, 1.03 * times).direction == 0
    assert of_pairs(times, 1.06 * times).direction == 1


def test_too_few_pairs_say_nothing():
    assert of_pairs([1.0] * 4, [2.0] * 4).direction == 0


def test_runs_must_differ_by_more_than_their_noise():
    one, other = [1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6], [1.3, 1.4, 1.5, 1.6, 1.7, 1.8, 1.9]
    assert of_runs(one, other).direction == 0
    assert of_runs(one, [value + 1 for value in other]).direction == 1
    assert of_runs([value + 1 for value in other], one).direction == -1


# ---------------------------------------------------------------- comparing


def test_files_are_compared_as_parts_of_numpys_time():
    slow_machine = [3 * value for value in REFERENCE.reference]
    same = row(reference=slow_machine, seconds=[0.5 * value for value in slow_machine])
    slower = row(algorithm="direct", times=1.0)
    new = row(algorithm="narrow")
    one = results(REFERENCE, row(), row(algorithm="direct"), row("cython", "gone"))
    found = {entry.name: entry for entry in compare.compared_files(one, results(REFERENCE, same, slower, new))}
    assert found["conv2d_forward 3x3, Numba winograd"].move.direction == 0
    assert found["conv2d_forward 3x3, Numba winograd"].move.ratio == pytest.approx(1)
    assert found["conv2d_forward 3x3, Numba direct"].move.direction == 1
    assert found["conv2d_forward 3x3, Cython gone"].note == "is not in both"
    assert len(found) == 3


def test_files_of_few_rounds_say_nothing():
    short = row(seconds=[0.005] * 5, reference=[0.01] * 5)
    [entry] = compare.compared_files(results(short), results(short))
    assert entry.note == "fewer than 6 rounds say nothing"


def test_files_of_other_machines_are_told(tmp_path):
    for name, blas in (("a", "Haswell"), ("b", "Zen")):
        described = MACHINE | {"blas": MACHINE["blas"] | {"core": blas}}
        document.write(results(REFERENCE, row(), machine=described), tmp_path / name)
    entries, caveats = compare.files(tmp_path / "a", tmp_path / "b")
    assert len(entries) == 1
    assert len(caveats) == 3
    assert "blas" in caveats[2]


class Version:
    """A version's process, which takes so many seconds for each variant."""

    def __init__(self, times, notes=None, log=None):
        self.times, self.notes, self.log, self.process = times, notes or {}, log, object()
        self.rng = np.random.default_rng(len(times))

    def ask(self, request):
        if request["do"] == "load":
            if request["op"] == "gone":
                raise PeerError("ValueError: gone is declared otherwise here")
            return {"variants": list(self.times), "notes": self.notes}
        if self.log is not None:
            self.log.append(self)
        times = self.times[request["variant"]] * self.rng.normal(1, 0.01, request["count"])
        return {"seconds": times.tolist(), "waited": 0.0}


ADD = Workload("add", "small", {"...": 3}, {"alpha": 1.0})


def test_versions_are_timed_in_turn():
    log = []
    sides = [Version({"numba default": 0.01}, log=log), Version({"numba default": 0.02}, log=log)]
    [entry] = compare.compared(sides, ADD, set())
    assert entry.name == "add small, numba"
    assert entry.move.direction == 1
    assert entry.move.ratio == pytest.approx(2, rel=0.05)
    assert [sides.index(side) for side in log] == [0, 1] + [0, 1, 1, 0] * 7 + [0, 1]


def test_variants_that_one_version_lacks_are_told():
    sides = [Version({"numba default": 0.01}, {"cython default": "wrong result"}), Version({"cython default": 0.01})]
    numba, cython = compare.compared(sides, ADD, set())
    assert numba == Entry("add small, numba", note="in the second version: is not there")
    assert cython == Entry("add small, cython", note="in the first version: wrong result")
    [entry] = compare.compared(sides, replace(ADD, op="gone"), set())
    assert entry.note.startswith("ValueError: gone")


def measured_twice(monkeypatch, *factors):
    """Comparisons in which the second version takes so many times as long, the first time and the second."""
    given = iter(factors)

    def measured(packages, workloads, tell, only=()):
        factor = next(given)
        sides = [Version({"numba default": 0.01}), Version({"numba default": 0.01 * factor})]
        return [entry for workload in workloads for entry in compare.compared(sides, workload, set(only))]

    class Built:
        def __enter__(self):
            return ["a", "b"]

        def __exit__(self, *_):
            return None

    monkeypatch.setattr(compare, "_measured", measured)
    monkeypatch.setattr(compare.versions, "resolve", lambda name: name)
    monkeypatch.setattr(compare.versions, "built", lambda commits: Built())
    return compare.commits("a", "b", [ADD], lambda line: None), given


def test_what_moved_is_measured_again(monkeypatch):
    [entry], left = measured_twice(monkeypatch, 1.5, 1.3)
    assert entry.move.ratio == pytest.approx(1.3, rel=0.05)
    assert entry.move.direction == 1
    assert not list(left)


@pytest.mark.parametrize("again", [1.0, 0.6])
def test_what_moved_once_has_not(monkeypatch, again):
    [entry], _ = measured_twice(monkeypatch, 1.5, again)
    assert entry.move.direction == 0


def test_what_did_not_move_is_not_measured_again(monkeypatch):
    [entry], left = measured_twice(monkeypatch, 1.0, 1.0)
    assert entry.move.direction == 0
    assert list(left) == [1.0]


def test_the_table_of_moves_begins_with_the_largest():
    entries = [Entry("a", 1e-3, Move(1.1, 1.06, 1.2)), Entry("b", 1e-3, Move(0.5, 0.4, 0.6)),
               Entry("c", 1e-3, Move(1.2, 0.9, 1.3)), Entry("d", note="is not in both")]  # fmt: skip
    lines = compare.table(entries)
    assert lines[1].split() == ["b", "0.50", "0.40", "0.60", "1.00", "faster"]
    assert lines[2].split() == ["a", "1.10", "1.06", "1.20", "1.00", "SLOWER"]
    assert lines[3] == "3 compared: 1 faster, 1 slower, 1 within 5% or the noise"
    assert lines[-1] == "  d: is not in both"


def test_turns_cross_as_json():
    """What `version_process` sends is what `_time` reads."""
    assert set(Turn([1.0], 0.0).__dict__) >= {"seconds", "waited"}
