"""What benchmarks save: text, figures and plot; and the README's section that is made of it."""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import sys
from pathlib import Path

import pytest

from bench import charts, readme, saved, scaling
from bench.convolutions import Row as ConvolutionRow
from bench.convolutions import record as convolution_record
from bench.shapes import TABLE
from bench.timing import Turn
from bench.torch_cases import CASES, convolution
from bench.torch_rows import Row
from bench.training import FORMATS, Case, Result
from bench.training_table import Row as TrainingRow
from bench.training_table import record as training_record

ROOT = Path(__file__).parents[2]
TURNS = [Turn([0.002, 0.003], 0)] * 2
FORMAT = {form.name: form for form in FORMATS}


def kernel_rows():
    sides = {"nchw": TURNS, "channels_last": TURNS, "numba": TURNS, "cython": TURNS}
    busy = [Turn([1.0], 0.9)] * 2
    return [Row(CASES[0], sides), Row(CASES[-1], {"nchw": TURNS, "numba": TURNS, "cython": TURNS}),
            Row(CASES[1], dict.fromkeys(sides, busy)), Row(CASES[2], note="PyTorch: died")]  # fmt: skip


def training_results(model):
    return [Result(Case(FORMAT[name], model, 8, 2), "1", 1.0, 1 << 30, TURNS) for name in ("nchw", "bf16", "nnfast")]


def scaling_figures(name):
    def results(model, batch, size, threads):
        return [Result(Case(FORMAT["nnfast"], model, batch, count, size), "1", 1.0, 1.0, TURNS) for count in threads]

    growth = scaling.GROWTHS[name]
    return scaling.scaling(["resnet18", "resnet20"], [FORMAT["nnfast"]], 2, 8, growth, results, lambda text: None)


FIGURES = {
    "training": lambda: {"rows": [training_record(TrainingRow(model, training_results(model)))
                                  for model in ("lenet5", "resnet20")]},
    "scaling": lambda: scaling_figures("batch"),
    "scaling size": lambda: scaling_figures("size"),
    "kernels": lambda: {"backends": ["numba", "cython"], "rows": [row.record() for row in kernel_rows()]},
    "convolutions": lambda: {"rows": [
        convolution_record(ConvolutionRow(shape, direction, Row(
            convolution(shape, direction), {"numba": TURNS, "channels_last": TURNS}, note=note)))
        for shape, note in zip(TABLE[:2], ("", "PyTorch: died"), strict=True) for direction in shape.directions]},
}  # fmt: skip


def report(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["peers.py", "--rounds", "2"])
    made = saved.Report("bench.peers")
    made.say("a table")
    assert capsys.readouterr().out == "\n".join(made.lines) + "\n"
    return made


@pytest.mark.parametrize("name", FIGURES)
def test_text_figures_and_plot_are_saved(name, tmp_path, capsys, monkeypatch):
    made = report(capsys, monkeypatch)
    made.save(str(tmp_path / "table.txt"), FIGURES[name](), name.split()[0])
    assert sorted(os.listdir(tmp_path)) == ["table.json", "table.png", "table.txt"]
    text = (tmp_path / "table.txt").read_text()
    assert text.endswith("a table\n")
    record = json.loads((tmp_path / "table.json").read_text())
    assert saved.heading(text) == saved.Heading(record["command"], record["date"], record["machine"]) == made.heading
    assert record["command"] == "python -m bench.peers --rounds 2"
    assert record["figures"]["rows"]
    drawn = (tmp_path / "table.png").read_bytes()
    assert drawn.startswith(b"\x89PNG")
    (tmp_path / "table.png").unlink()
    monkeypatch.setattr(sys, "argv", ["charts.py", str(tmp_path / "table.json")])
    charts.main()
    assert (tmp_path / "table.png").read_bytes() == drawn


def test_bars_are_ratios_and_disturbed_rows_have_none():
    figure = charts.kernels(FIGURES["kernels"]())
    left, right = figure.axes
    assert [label.get_text().split()[0] for label in left.get_yticklabels()] == [CASES[0].op, CASES[-1].op]
    rows = [Row(CASES[0], {"nchw": [Turn([4.0], 0)], "channels_last": [Turn([3.0], 0)], "cython": [Turn([1.0], 0)]})]
    left, right = charts.kernels({"backends": ["cython"], "rows": [row.record() for row in rows]}).axes
    assert [axes.patches[0].get_x() + axes.patches[0].get_width() for axes in (left, right)] == [4, 3]


@pytest.mark.parametrize(("name", "labels"), [("training", ["NCHW", "bf16"]), ("kernels", ["numba", "cython"]),
                                              ("convolutions", ["forward", "data", "weight"])])  # fmt: skip
def test_bars_have_a_legend_and_plain_numbers(name, labels):
    figure = charts.CHARTS[name](FIGURES[name]())
    [legend] = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == labels
    for axes in figure.axes:
        assert axes.get_xscale() == "log"
        assert axes.xaxis.get_major_formatter()(0.5) == "0.5"


def test_lines_are_times_of_an_image():
    first, second = charts.scaling(FIGURES["scaling"]()).axes
    assert [axes.get_title() for axes in (first, second)] == ["resnet18", "resnet20"]
    [one, _] = first.lines
    assert one.get_label() == "nnfast, 1 thread"
    assert list(one.get_xdata()) == [1 << power for power in range(10)]
    assert list(one.get_ydata())[:2] == [2500, 1250]


def test_numbers_that_json_does_not_have_become_null():
    assert saved._plain({"a": [math.nan, 1.0], "b": (math.inf, "x")}) == {"a": [None, 1.0], "b": [None, "x"]}


def test_results_are_saved_whole_or_not_at_all(tmp_path, capsys, monkeypatch):
    file = tmp_path / "table.txt"
    file.write_text("old")
    made = report(capsys, monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", lambda *names: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            made.save(str(file))
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]
    made.save(str(file))
    assert file.read_text() == "\n".join(made.lines) + "\n"


@pytest.mark.parametrize("file", sorted(saved.RESULTS.glob("*.txt")), ids=lambda file: file.stem)
def test_saved_tables_say_what_when_and_where(file):
    made = saved.heading(file.read_text())
    assert made.command.startswith("python -m bench.")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", made.date)
    assert made.machine


def test_a_table_without_heading_is_refused():
    with pytest.raises(ValueError, match=r"the first line is 'python -m bench.peers', expected '\$ command"):
        saved.heading("python -m bench.peers\n")


def test_readme_is_what_the_tables_say():
    text = (ROOT / "README.md").read_text()
    assert readme.replaced(text, readme.section()) == text, "run python -m bench.readme"


TABLE_TEXT = """\
$ python -m bench.peers    (2026-01-02, Some CPU, 2 CPUs)
jemalloc is missing
batch 8, 2 threads

ms a step  x
lenet5 1.5

1 networks
  a row

more
"""


def test_section_takes_lines_of_the_tables(tmp_path):
    (tmp_path / "training.txt").write_text(TABLE_TEXT)
    (tmp_path / "training.png").touch()
    text = readme.section(tmp_path)
    assert "[training.txt](bench/results/training.txt): Some CPU, 2 CPUs; 2026-01-02.\n" in text
    assert "```\nbatch 8, 2 threads\n\nms a step  x\nlenet5 1.5\n\n1 networks\n```\n" in text
    assert "![training](bench/results/training.png)" in text
    assert "bench.startup" not in text  # its table is not there
    (tmp_path / "training.txt").write_text(TABLE_TEXT.replace("ms a step", "seconds"))
    with pytest.raises(ValueError, match=r"training.txt: no paragraph begins with 'ms a step'"):
        readme.section(tmp_path)


def test_only_what_stands_between_the_markers_is_replaced():
    text = f"before\n{readme.BEGIN}\nold\n{readme.END}\nafter\n"
    assert readme.replaced(text, "new") == "before\nnew\nafter\n"
    for wrong in ("no markers", text + readme.END, f"{readme.END}{readme.BEGIN}"):
        with pytest.raises(ValueError, match=r"README.md: expected .* once each"):
            readme.replaced(wrong, "new")


def test_check_says_whether_the_readme_is_up_to_date(tmp_path, monkeypatch):
    file = tmp_path / "README.md"
    file.write_text(f"{readme.BEGIN}\nold\n{readme.END}\n")
    monkeypatch.setattr(readme, "README", file)
    monkeypatch.setattr(sys, "argv", ["readme.py", "--check"])
    assert readme.main() == 1
    assert "old" in file.read_text()
    monkeypatch.setattr(sys, "argv", ["readme.py"])
    assert readme.main() == 0
    monkeypatch.setattr(sys, "argv", ["readme.py", "--check"])
    assert readme.main() == 0


def test_save_may_stand_without_a_file():
    parser = argparse.ArgumentParser()
    saved.add_save_argument(parser, "table.txt")
    assert parser.parse_args([]).save is None
    assert parser.parse_args(["--save"]).save == ""
    assert parser.parse_args(["--save", "mine.txt"]).save == "mine.txt"
    with pytest.raises(SystemExit):
        parser.parse_args(["--save", "mine.json"])
