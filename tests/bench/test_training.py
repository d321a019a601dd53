"""Training steps side by side: whose turn it is, what becomes of processes that fail, and the tables' arithmetic."""

from __future__ import annotations

import ast
import dataclasses
import itertools
import math
import os
import sys
from pathlib import Path

import pytest

import nnfast
from bench import models, own_steps, peers, scaling, startup, training
from bench.timing import Turn, geometric_mean
from bench.training import FORMATS, Case, Result
from bench.training_table import Row, detail, header, line, number, summary
from bench.worker import PeerError, Worker, interpreter
from nnfast import functional as F
from nnfast import nn

ROOT = Path(__file__).parents[2]
FORMAT = {form.name: form for form in FORMATS}
FAKE = """
import os, sys, time
from bench.worker import serve
name, log, kind = sys.argv[1:]

def answer(request):
    time.sleep(0.01)  # the others' signals have arrived
    with open(log, "a") as file:
        states = [open(f"/proc/{pid}/stat").read().split()[2] for pid in os.environ.get("OTHERS", "").split()]
        file.write(f"{name} {request['do']} {os.getpid()} {''.join(states)}\\n")
    if kind == "hangs" and request["do"] == "time":
        time.sleep(60)
    if kind == "dies" and request["do"] == "time":
        raise SystemExit(3)
    if kind == "refuses":
        raise ValueError("no such thing")
    if request["do"] == "time":
        return {"seconds": [0.01] * request["calls"], "waited": 0.0}
    return {"seconds": 0.5, "loss": float("nan") if kind == "diverges" else 2.0, "memory": 1 << 20}

serve(lambda: {"version": "1.0"}, answer)
"""


@pytest.fixture
def fake(tmp_path):
    script, log = tmp_path / "fake.py", tmp_path / "log"
    script.write_text(FAKE)
    made = []

    def make(name: str, kind: str = "works", limit: float = 20.0) -> tuple[Case, Worker]:
        command = [sys.executable, str(script), name, str(log), kind]
        made.append(Worker(command, limit, {"PYTHONPATH": str(ROOT)}))
        return Case(FORMAT[name], "lenet5", 128, 2), made[-1]

    make.log = log
    yield make
    for worker in made:
        worker.close()


def result(name: str, seconds: float, memory: int = 1 << 30, waited: float = 0.0, model: str = "lenet5") -> Result:
    turns = [Turn([seconds] * 3, waited)] * 2
    return Result(Case(FORMAT[name], model, 128, 2), "1", 1.0, memory, turns)


def test_turns_alternate(fake):
    found = training.measure([fake("nchw"), fake("nnfast")], rounds=3, steps=2, patience=0)
    prepared, *said = [text.split() for text in fake.log.read_text().splitlines()]
    assert prepared[:2] == ["nnfast", "first"]  # by a process that leaves its kernels to the other one
    assert prepared[2] not in [pid for _, _, pid in said]
    assert [text[:2] for text in said] == [
        [name, do] for do in ("first", "time", "time", "time", "time", "end") for name in ("nchw", "nnfast")
    ]
    for one in found:
        assert one.seconds == 0.01
        assert one.quartiles == (0.01, 0.01)
        assert [len(turn.seconds) for turn in one.turns] == [5] * 3  # 0.05 s of steps that take 0.01 s
        assert (one.first, one.memory, one.version, one.note) == (0.5, 1 << 20, "1.0", "")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_processes_are_stopped_while_another_one_computes(fake):
    (_, idle), (_, asked) = fake("nchw"), fake("nnfast")
    idle.ask({"do": "first"})
    asked.environment = {**asked.environment, "OTHERS": str(idle.process.pid)}
    asked.ask({"do": "first"})
    assert fake.log.read_text().split()[-1] == "T"
    assert idle.ask({"do": "first"})["loss"] == 2.0


@pytest.mark.parametrize(("kind", "note"), [("hangs", "no answer in 3 s"), ("dies", "died (3)"),
                                            ("refuses", "ValueError: no such thing"),
                                            ("diverges", "the loss is nan")])  # fmt: skip
def test_a_failure_is_a_note_and_stops_nobody_else(fake, kind, note):
    failed, good = training.measure([fake("nchw", kind, limit=3.0), fake("nnfast")], 2, 1, patience=0)
    assert failed.note == note
    assert math.isnan(failed.seconds)
    assert not failed.disturbed
    assert good.seconds == 0.01
    assert note in detail(failed)
    assert math.isnan(Row("lenet5", [failed, good]).ratio)


def test_an_interpreter_without_the_library_says_why_it_ended(fake):
    worker = Worker([sys.executable, "-c", "import no_such_library"], 20.0, {})
    with pytest.raises(PeerError, match=r"died \(1\) ModuleNotFoundError: No module named 'no_such_library'"):
        worker.ask({"do": "first"})


def test_processes_end_with_the_one_that_asks(fake):
    _, worker = fake("nchw")
    worker.ask({"do": "first"})
    process = worker.process
    worker.close()
    assert process.returncode == -9
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)


def test_missing_interpreters_are_told(monkeypatch):
    monkeypatch.delenv("NNFAST_TENSORFLOW_PYTHON", raising=False)
    monkeypatch.setenv("NNFAST_TORCH_PYTHON", "/no/such/python")
    monkeypatch.setattr("bench.worker.importlib.util.find_spec", lambda name: None)
    formats, pythons, missing = peers.available(FORMATS, {"torch": None, "tensorflow": None})
    assert [form.name for form in formats] == ["nnfast"]
    assert list(pythons) == ["nnfast"]
    assert missing[0] == "/no/such/python is not a program (--torch-python or NNFAST_TORCH_PYTHON)"
    assert "pip install tensorflow-cpu" in missing[1]
    assert "NNFAST_TENSORFLOW_PYTHON" in missing[1]


def test_interpreters_that_are_chosen_are_taken(monkeypatch):
    monkeypatch.setenv("NNFAST_TORCH_PYTHON", "/no/such/python")
    assert interpreter("torch", sys.executable) == sys.executable


@pytest.mark.parametrize("library", ["/usr/lib/libjemalloc.so.2", None])
def test_jemalloc_is_a_column_where_it_is_installed(monkeypatch, library):
    monkeypatch.delenv("NNFAST_JEMALLOC", raising=False)
    monkeypatch.setattr("bench.training.ctypes.util.find_library", lambda name: library)
    chosen = {"torch": sys.executable, "tensorflow": sys.executable}
    formats, _, missing = peers.available(FORMATS, chosen)
    assert ("jemalloc" in [form.name for form in formats]) == (library is not None) == (not missing)
    if library:
        assert training.environment(FORMAT["jemalloc"], 2)["LD_PRELOAD"] == library


def test_allocators_are_tuned_where_the_format_says_so():
    assert [form.name for form in FORMATS if "GLIBC_TUNABLES" in training.environment(form, 2)] == ["tuned"]


def test_ratio_is_to_the_fastest_peer_in_fp32():
    row = Row("lenet5", [result("nchw", 0.009), result("tuned", 0.004, 500 << 20), result("compile", 0.010, 2 << 30),
                         result("tensorflow", 0.006, 100 << 20), result("bf16", 0.001, 100 << 20),
                         result("nnfast", 0.002, 200 << 20)])  # fmt: skip
    assert row.peer.case.form.name == "tuned"
    assert row.ratio == 2
    assert row.memory_ratio == 0.4
    assert line(row).split() == ["lenet5", "9.00", "4.00", "10.0", "6.00", "1.00", "2.00", "2.00-2.00", "2.00",
                                 "tuned", "200", "500", "0.40"]  # fmt: skip


def test_columns_stand_under_their_titles():
    formats = [FORMAT["nchw"], FORMAT["nnfast"]]
    row = Row("mobilenetv2", [result("nchw", 1.63), result("nnfast", 0.5)])
    text = line(row)
    for title, value in (("NCHW", "1630"), ("nnfast", "500"), ("quartiles", "500-500"), (" MB", " 1024")):
        assert header(formats).index(title) + len(title) == text.index(value) + len(value)


@pytest.mark.parametrize("busy", ["nnfast", "tuned"])
def test_disturbed_rows_have_no_ratio(busy):
    row = Row("lenet5", [result("nchw", 0.009, waited=0.5), *(result(name, 0.004, waited=0.5 * (name == busy))
                                                               for name in ("tuned", "nnfast"))])  # fmt: skip
    assert math.isnan(row.ratio)
    assert line(row).endswith("(disturbed)")
    assert summary([row]) == ["1 networks, 0 of them with a ratio"]


@pytest.mark.parametrize(("fastest", "ratio"), [(0.005, 2.0), (0.003, math.nan)])
def test_a_disturbed_peer_matters_where_a_step_of_it_was_the_fastest(fastest, ratio):
    slow = result("nchw", 0.009, waited=0.5)
    slow.turns[0].seconds[1] = fastest
    row = Row("lenet5", [slow, result("tuned", 0.004), result("nnfast", 0.002)])
    assert row.peer.case.form.name == "tuned"
    assert row.ratio == pytest.approx(ratio, nan_ok=True)


def test_rows_without_peers_have_times():
    row = Row("lenet5", [result("nnfast", 0.002)])
    assert line(row).split() == ["lenet5", "2.00", "2.00-2.00", "-", "-", "1024", "-", "-"]
    assert line(Row("lenet5", [result("bf16", 0.002)])).split()[1:4] == ["2.00", "-", "-"]


def test_summary_says_which_targets_are_met():
    rows = [Row(model, [result("tuned", seconds, model=model), result("nnfast", 1.0, memory, model=model)])
            for model, seconds, memory in (("resnet20", 8.0, 1 << 30), ("resnet18", 1.5, 1 << 29))]  # fmt: skip
    assert summary(rows) == [
        "2 networks, 2 of them with a ratio",
        "geometric mean 3.46 (target 2.2: met), minimum 1.50, resnet18 (target 1.6: NOT met)",
        "memory of resnet18: 0.50 of PyTorch's (target 0.5: met)",
    ]


def test_geometric_mean():
    assert geometric_mean([1.0, 8.0, 1.0]) == pytest.approx(2)


@pytest.mark.parametrize(("value", "text"), [(0.0123, "0.01"), (4.378, "4.38"), (43.78, "43.8"), (1054.4, "1054"),
                                             (math.nan, "-"), (0.0, "0.00")])  # fmt: skip
def test_numbers_have_three_digits(value, text):
    assert number(value) == text


def test_short_steps_are_timed_more_often():
    assert training.steps_per_turn([Turn([0.01], 0), Turn([0.002], 0)], 3) == 5
    assert training.steps_per_turn([Turn([1e-5], 0)], 3) == training.LONGEST
    assert training.steps_per_turn([Turn([1.0], 0), Turn([], 0)], 3) == 3


def test_scaling_pairs_threads_and_batches():
    asked, said = [], []

    def results(model, batch, size, threads):
        asked.append((model, batch, size))
        return [dataclasses.replace(result(name, 0.001 * batch / count), case=Case(FORMAT[name], model, batch, count))
                for name, count in itertools.product(("channels_last", "nnfast"), threads)]  # fmt: skip

    formats = [FORMAT["channels_last"], FORMAT["nnfast"]]
    figures = scaling.scaling(["lenet5"], formats, 2, 128, scaling.GROWTHS["batch"], results, said.append)
    assert asked == [("lenet5", batch, 0) for batch in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)]
    assert len(figures["rows"]) == 40
    assert figures["rows"][-1] == {"model": "lenet5", "batch": 512, "images": 512, "format": "nnfast",
                                   "title": "nnfast", "threads": 2, "ms": 256.0, "disturbed": False}  # fmt: skip
    columns = ["|", "512", "1000", "256", "500", "2.00"]
    assert said[-1].split() == ["lenet5", "512", *columns, *columns]
    assert len(said[1]) == len(said[-1])


def test_scaling_by_the_size_of_images():
    asked, said = [], []

    def results(model, batch, size, threads):
        asked.append((batch, size))
        seconds = size * size * batch * 1e-6
        return [dataclasses.replace(result("nnfast", seconds / count), case=Case(FORMAT["nnfast"], model, batch, count))
                for count in threads]  # fmt: skip

    scaling.scaling(["resnet18"], [FORMAT["nnfast"]], 2, 128, scaling.GROWTHS["size"], results, said.append)
    assert asked == [(128, 16), (128, 32), (128, 64), (128, 96)]
    assert [text.split()[4:] for text in said[2:]] == [
        ["1000", f"{size * size * 128 / 2000:.0f}" if size > 32 else f"{size * size * 128 / 2000:.1f}", "500", "2.00"]
        for size in (16, 32, 64, 96)
    ]


@pytest.mark.parametrize("name", models.ANY_SIZE)
def test_networks_of_any_size_take_any_size(name):
    network, shape = models.build(name, nn, F, 16)
    assert shape == (3, 16, 16)
    assert network(nnfast.zeros(2, *shape)).shape == (2, models.CLASSES)


@pytest.mark.parametrize(("name", "parameters"), [("lenet5", 61_706), ("mnist_cnn", 1_199_882),
                                                  ("resnet18", 11_173_962), ("mobilenetv2", 2_236_682)])  # fmt: skip
def test_networks_are_those_of_the_papers(name, parameters):
    network, _ = models.build(name, nn, F)
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters


@pytest.mark.parametrize("variant", ["compile", "eager"])
def test_own_steps_train(variant):
    step = own_steps.training_step("lenet5", 8, 1, variant, 0)
    losses = [float(step()) for _ in range(6)]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", ["keras_models", "keras_steps", "models", "peer", "timing", "torch_calls",
                                  "torch_steps", "training_process", "worker"])  # fmt: skip
def test_what_other_interpreters_run_imports_no_nnfast(name):
    tree = ast.parse((ROOT / "bench" / f"{name}.py").read_text())
    modules = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    modules += [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert not any(module.split(".")[0] == "nnfast" for module in modules)


def test_startup_gives_an_empty_folder_and_then_the_last_one(tmp_path, monkeypatch):
    script = """import os, pathlib, sys
kernel = pathlib.Path(os.environ["NNFAST_CACHE_DIR"], "kernel")
with open(sys.argv[1], "a") as log:
    print(kernel.exists(), file=log)
kernel.touch()
print("done", flush=True)"""
    monkeypatch.setattr(startup, "SCRIPT", script)
    monkeypatch.setattr(startup, "TIERED", script)
    found = startup.measure([str(tmp_path / "log")], 2)
    assert (tmp_path / "log").read_text().split() == ["False"] * 4 + ["True", "True"]
    assert {case: len(seconds) for case, seconds in found.items()} == dict.fromkeys(startup.TARGETS, 2)
    assert min(min(seconds) for seconds in found.values()) > 0


def test_startup_takes_a_first_step_on_cython(tmp_path):
    command = [sys.executable, "-c", startup.TIERED, "lenet5", "4", "1", "compile"]
    assert 0 < startup.first_step(command, str(tmp_path)) < 60


def test_startup_says_when_the_step_failed():
    with pytest.raises(SystemExit, match="failed with status 3"):
        startup.first_step([sys.executable, "-c", "raise SystemExit(3)"], "")
