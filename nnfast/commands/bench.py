"""``nnfast bench``: time every kernel beside NumPy, keep the results, compare commits."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from pathlib import Path

from nnfast.commands.arguments import positive_integer, use_threads

HELP = "time the kernels beside NumPy, and compare commits"
DESCRIPTION = """\
Check every kernel against the NumPy reference and time it beside it, in turn; print each with its speedup, its GFLOP/s
or GB/s and the part of this machine's limit that it reached. Exit code 1 if a result is wrong, if a kernel is slower
than NumPy, or if --compare finds one slower. The suite stands in nnfast's repository, in bench/: run this inside of a
clone."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("op", metavar="OP", nargs="*", help="operations, such as conv2d_forward (default: all)")
    parser.add_argument("--quick", action="store_true", help="fewer shapes and rounds, under three minutes")
    parser.add_argument("--save", action="store_true", help="keep the results in bench/results/MACHINE/COMMIT.json")
    parser.add_argument("--plot", action="store_true",
                        help="draw speedups and a roofline as PNG files beside the results")  # fmt: skip
    parser.add_argument("--from", dest="source", metavar="FILE",
                        help="show, and with --plot draw, the results in FILE instead of measuring")  # fmt: skip
    parser.add_argument("--compare", nargs=2, metavar=("A", "B"),
                        help="what moved beyond the noise from A to B: commits, which are built and timed in turn, "
                        "or files of results")  # fmt: skip
    parser.add_argument("--threads", type=positive_integer, metavar="N", help="threads that compute")


def run(arguments: argparse.Namespace) -> int:
    """Run the suite of the repository that this is called in, and return the exit code."""
    given = [f"--{name}" for name, value in (("save", arguments.save), ("from", arguments.source)) if value]
    if arguments.compare and (given or arguments.plot):
        raise ValueError(f"bench: --compare takes no {', '.join([*given, *['--plot'] * arguments.plot])}")
    if len(given) == 2:
        raise ValueError("bench: --save and --from exclude each other, the file is there already")
    root = repository(Path.cwd())
    sys.path.append(str(root))
    command = import_module("bench.command")
    if not Path(command.__file__ or "").is_relative_to(root):
        raise ValueError(f"bench: another package of this name was imported, {command.__file__}")
    use_threads(arguments.threads)
    return command.run(arguments)


def repository(folder: Path) -> Path:
    """The root of nnfast's sources that a folder is in.

    Raises
    ------
    ValueError : it is in none; the message says where the suite is.
    """
    for root in (folder, *folder.parents):
        if (root / "bench" / "command.py").is_file() and (root / "kernels" / "ops.py").is_file():
            return root
    raise ValueError(f"bench: {folder} is not in a clone of nnfast's repository or an unpacked sdist, where the suite "
                     "is; it is no part of the installed package (nnfast compare is)")  # fmt: skip
