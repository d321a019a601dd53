"""``nnfast compare``, ``nnfast info``, ``--version``, ``--help``, and how errors are told."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
from nnfast.kernels import OPS, judgement, tolerance
from nnfast.kernels.backends import cython_module

from nnfast.cli import COMMANDS

MAIN = "import sys; from nnfast.cli import main; sys.exit(main())"


def rows(out):
    """The fields of every row; those of the reference have no algorithm and no errors against it."""
    return [line.split() for line in out.splitlines()[2:] if not line.startswith("does not hold")]


def test_compare_one_operation(run):
    code, out, err = run("compare", "relu_forward", "softmax", "--backend", "reference", "cython")
    assert (code, err) == (0, "")
    above, header, *_ = out.splitlines()
    assert "against the reference in float32   against the reference in float64" in above
    assert header.split() == ["operation", "backend", "algorithm", "cases", *["abs", "rel", "ULP"] * 2, "bound"]
    found = rows(out)
    assert [row[:3] for row in found] == [
        [op, *way] for op in ("relu_forward", "softmax_forward", "softmax_backward")
        for way in (("reference", "-"), ("cython", "default"))
    ]  # fmt: skip
    assert all(row[-1] == "holds" for row in found)
    assert found[0][4:7] == ["-"] * 3  # the reference is not compared with itself
    assert float(found[0][7]) == 0  # relu only chooses
    assert 0 < float(found[3][7]) < 1e-6  # softmax rounds


def test_compare_takes_all_backends_by_default(run):
    code, out, _ = run("compare", "relu_forward")
    assert code == 0
    assert [row[1] for row in rows(out)] == ["numba", "cython", "reference"]


def test_compare_all_operations(run):
    code, out, _ = run("compare", "--backend", "reference")
    assert code == 0
    assert [row[0] for row in rows(out)] == list(OPS)


def test_compare_takes_kernels_that_belong_together_and_all_algorithms(run):
    code, out, _ = run("compare", "linear", "adam", "--backend", "numba", "cython")
    assert code == 0
    assert [row[:3] for row in rows(out)] == [
        [op, *way]
        for op in ("linear_forward", "linear_backward_data", "linear_backward_weight")
        for way in (("numba", "panels"), ("cython", "panels"))
    ] + [["adam_step", backend, "default"] for backend in ("numba", "cython")]


def test_compare_in_float64_is_of_the_reference_by_something_wider(run):
    code, out, _ = run("compare", "linear_forward", "--dtype", "float64")
    assert code == 0
    assert "against the reference in longdouble" in out.splitlines()[0]
    *lines, last = out.splitlines()
    assert last == "numba and cython compute in float32 only and are not compared in float64"
    [row] = rows("\n".join(lines))
    assert row[1] == "reference"
    assert 0 < float(row[7]) < 1e-13


def test_compare_says_what_does_not_hold(run, monkeypatch):
    worst_error = tolerance.worst_error
    monkeypatch.setattr(tolerance, "worst_error", lambda *arrays: worst_error(*arrays) + 3)
    code, out, _ = run("compare", "relu_forward", "--backend", "cython")
    assert code == 1
    [row] = rows(out)
    assert row[-3:] == ["does", "not", "hold"]
    assert row[-4] == "300.0%"
    assert re.search(
        r"^does not hold: relu_forward on cython \(default\): .*, y: 3 times the bound$", out, re.MULTILINE
    )


def test_compare_says_which_backend_is_missing(run, monkeypatch):
    def missing(call, backends):
        raise ImportError("no compiler\nat all")

    monkeypatch.setattr(judgement, "ways", missing)
    code, out, _ = run("compare", "relu_forward", "--backend", "cython")
    assert code == 1
    assert "relu_forward  cython    not available: no compiler at all\n" in out
    assert "does not hold: relu_forward on cython: not available" in out


def test_compare_refuses(refused):
    assert refused("compare", "relu_sideways").startswith(
        "nnfast: compare: there is no operation 'relu_sideways', expected some of conv2d"
    )
    assert "invalid choice: 'cuda'" in refused("compare", "--backend", "cuda")
    assert "numba computes in float32 only" in refused("compare", "--dtype", "float64", "--backend", "numba")


def test_info(run):
    code, out, err = run("info")
    facts = dict(re.match(r"([^:]+): +(.*)", line).groups() for line in out.splitlines())
    assert (code, err) == (0, "")
    assert list(facts) == ["nnfast", "Python", "system", "packages", "extras", "built with", "processor", "vectors",
                           "Cython kernels", "threads", "threaded build", "backends", "BLAS", "Numba cache",
                           "digits"]  # fmt: skip
    assert "cannot be found out" not in out
    assert facts["Python"].startswith(".".join(map(str, sys.version_info[:3])))
    assert all(re.search(rf"{name} \d+\.\d+", facts["packages"]) for name in ("numpy", "scipy", "numba", "llvmlite"))
    assert re.match(r"Cython \d+\.\d+", facts["built with"])
    assert re.match(r"(4|8|16) lanes", facts["vectors"])
    assert re.match(r"(\w+); built for baseline.*; this processor runs baseline.*\b\1$", facts["Cython kernels"])
    assert re.match(r"\d+ by default; CPUs \d+", facts["threads"])
    assert re.fullmatch(
        r"numba( \(default\))? yes; cython( \(default\))? yes; reference( \(default\))? yes", facts["backends"]
    )
    assert "openblas" in facts["BLAS"] or "mkl" in facts["BLAS"] or "accelerate" in facts["BLAS"]
    assert facts["digits"] == "1,437 to train on, 360 held out"


def test_info_says_that_an_instruction_set_is_forced(run, monkeypatch):
    monkeypatch.setenv("NNFAST_INSTRUCTION_SET", "baseline")
    assert re.search(r"Cython kernels: +baseline, forced by NNFAST_INSTRUCTION_SET; built for ", run("info")[1])


def test_info_survives_what_is_broken(run, monkeypatch):
    from nnfast.commands import info

    def broken():
        raise OSError("no such thing")

    monkeypatch.setattr(info, "_cache", broken)
    code, out, _ = run("info")
    assert code == 0
    assert re.search(r"Numba cache: +cannot be found out: OSError: no such thing\n", out)


def test_info_says_why_a_backend_is_missing(run, monkeypatch):
    monkeypatch.setitem(sys.modules, cython_module("conv").__name__, None)
    assert re.search(r"cython.* no: ModuleNotFoundError: .*conv", run("info")[1])


def test_info_names_the_extra_of_what_is_missing(run, monkeypatch):
    from nnfast.commands import info

    version = info.version

    def without_pillow(name):
        if name == "pillow":
            raise info.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(info, "version", without_pillow)
    assert "pillow missing (pip install nnfast[data])" in run("info")[1]


def test_version(run):
    import nnfast

    assert run("--version") == (0, f"nnfast {nnfast.__version__}\n", "")


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
def test_help(run, command):
    code, out, err = run(*command, "--help")
    assert (code, err) == (0, "")
    assert out.startswith(f"usage: nnfast {' '.join(command)}".rstrip())
    assert all(name in out for name in (COMMANDS if not command else ()))


def test_no_command_and_a_wrong_one(refused):
    assert refused() == "nnfast: the following arguments are required: COMMAND; see nnfast --help"
    assert "invalid choice: 'trian'" in refused("trian")


def test_warnings_are_one_line(run, monkeypatch):
    import warnings

    from nnfast.commands import info

    def warn(arguments):
        warnings.warn("two\nlines", UserWarning, stacklevel=1)
        return 0

    monkeypatch.setattr(info, "run", warn)
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        assert run("info") == (0, "", "nnfast: warning: two lines\n")


def test_ctrl_c_before_training(run, monkeypatch):
    from nnfast.commands import info

    def interrupted(arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(info, "run", interrupted)
    assert run("info") == (130, "", "nnfast: interrupted\n")


@pytest.mark.skipif(os.name != "posix", reason="pipes close otherwise elsewhere")
def test_a_reader_that_goes_away_is_no_error():
    command = [sys.executable, "-c", MAIN, "info"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 1


def test_the_command_is_installed():
    from importlib.metadata import entry_points

    [entry] = entry_points(group="console_scripts", name="nnfast")
    assert entry.load().__module__ == "nnfast.cli"
