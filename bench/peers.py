"""Training steps against PyTorch and TensorFlow: forward, backward and Adam, all libraries timed in one run, in turn.

python -m bench.peers [--models lenet5,resnet20] [--formats nchw,tuned,nnfast] [--batch 128] [--threads 2] [--rounds 5]
                      [--steps 3] [--eager] [--scaling [batch|size]] [--torch-python PATH]
                      [--tensorflow-python PATH] [--patience 20] [--time-limit 300] [--save [FILE]]

README.md says how to install the others and how to read the table.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable, Sequence
from typing import Any

from .models import ANY_SIZE, NAMES
from .saved import Report, add_save_argument
from .scaling import FORMATS as SCALED
from .scaling import GROWTHS, scaling
from .training import FORMATS, Case, Format, Result, jemalloc, measure
from .training_table import DETAILS, Row, detail, header, line, record, summary
from .worker import PeerError, interpreter


def available(
    formats: Sequence[Format], chosen: dict[str, str | None]
) -> tuple[list[Format], dict[str, str], list[str]]:
    """The formats whose interpreter or allocator is there, the interpreters, and what to say of the others."""
    pythons, missing = {"nnfast": sys.executable}, []
    for library in dict.fromkeys(form.library for form in formats if form.library != "nnfast"):
        try:
            pythons[library] = interpreter(library, chosen[library])
        except PeerError as error:
            missing.append(str(error))
    found = [form for form in formats if form.library in pythons]
    if any(form.allocator == "jemalloc" for form in found) and jemalloc() is None:
        found = [form for form in found if form.allocator != "jemalloc"]
        missing.append("jemalloc is not installed here (NNFAST_JEMALLOC names it elsewhere); no column of it")
    return found, pythons, missing


def _names(text: str, known: Sequence[str]) -> list[str]:
    names = text.split(",")
    unknown = [name for name in names if name not in known]
    if unknown:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: not one of {', '.join(known)}")
    return names


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    formats = [form.name for form in FORMATS]
    parser.add_argument("--models", type=lambda text: _names(text, NAMES), default=list(NAMES), help=", ".join(NAMES))
    parser.add_argument("--formats", type=lambda text: _names(text, formats), help=", ".join(formats))
    parser.add_argument("--batch", type=int, default=128, help="images of a step")
    parser.add_argument("--threads", type=int, default=2, help="of each library")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each library")
    parser.add_argument("--steps", type=int, default=3, help="of a turn, at least")
    parser.add_argument("--eager", action="store_true", help="nnfast without nnfast.compile")
    parser.add_argument("--scaling", choices=GROWTHS, nargs="?", const="batch",
                        help="on 1 and on --threads threads: batches of 1 to 512, or images of 16 to 96")  # fmt: skip
    parser.add_argument("--torch-python", metavar="PATH", help="the interpreter that has PyTorch")
    parser.add_argument("--tensorflow-python", metavar="PATH", help="the interpreter that has TensorFlow and Keras")
    parser.add_argument("--patience", type=float, default=20, help="seconds a network waits for undisturbed turns")
    parser.add_argument("--time-limit", type=float, default=300, help="seconds that a library has for an answer")
    add_save_argument(parser, "training.txt, scaling.txt or scaling_size.txt")
    return parser.parse_args()


def _table(
    models: Sequence[str], formats: Sequence[Format], results: Callable[[str], list[Result]], say: Callable[[str], None]
) -> dict[str, Any]:
    """Print a row for every network as soon as it is there, then what they say together; as plain data."""
    say(header(formats))
    rows = []
    for model in models:
        rows.append(Row(model, results(model)))
        say(line(rows[-1]))
    say("\n" + "\n".join(summary(rows)) + "\n\n" + DETAILS)
    for row in rows:
        for result in row.results:
            say(detail(result))
    versions = {result.case.form.library: result.version for row in rows for result in row.results if result.version}
    say("\n" + "; ".join(f"{library} {version}" for library, version in versions.items()))
    return {"versions": versions, "rows": [record(row) for row in rows]}


def main() -> int:
    """Print the table."""
    arguments = _arguments()
    if arguments.scaling == "size":
        arguments.models = [model for model in arguments.models if model in ANY_SIZE]
        if not arguments.models:
            raise SystemExit(f"--scaling size: only {', '.join(ANY_SIZE)} take images of any size")
    wanted = arguments.formats or (SCALED if arguments.scaling else [form.name for form in FORMATS])
    formats, pythons, missing = available(
        [form for form in FORMATS if form.name in wanted],
        {"torch": arguments.torch_python, "tensorflow": arguments.tensorflow_python},
    )
    if arguments.eager:
        formats = [dataclasses.replace(form, variant="eager") if form.library == "nnfast" else form
                   for form in formats]  # fmt: skip

    def results(model: str, batch: int, size: int, threads: Sequence[int]) -> list[Result]:
        cases = [Case(form, model, batch, count, size) for form in formats for count in threads]
        workers = [(case, case.worker(pythons, arguments.time_limit)) for case in cases]
        return measure(workers, arguments.rounds, arguments.steps, arguments.patience)

    report = Report("bench.peers")
    for text in missing:
        report.say(text)
    batch, threads = arguments.batch, arguments.threads
    if arguments.scaling:
        growth = GROWTHS[arguments.scaling]
        figures = scaling(arguments.models, formats, threads, batch, growth, results, report.say)
        name, plot = {"batch": "scaling", "size": "scaling_size"}[growth.name], "scaling"
    else:
        report.say(f"batch {batch}, {threads} threads, {arguments.rounds} rounds\n")
        figures = _table(arguments.models, formats, lambda model: results(model, batch, 0, [threads]), report.say)
        name, plot = "training", "training"
    if arguments.save is not None:
        report.save(arguments.save or name, figures, plot)
    return 0


if __name__ == "__main__":
    sys.exit(main())
