"""The ``nnfast`` command: what can be asked for, and how errors are told. Each command is a file in ``commands``."""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any, NoReturn

import nnfast
from nnfast.commands import bench, compare, evaluate, info, predict, train

COMMANDS = {"train": train, "predict": predict, "evaluate": evaluate, "compare": compare, "bench": bench, "info": info}
USAGE_ERROR = 2
INTERRUPTED = 130  # 128 + SIGINT, as shells have it


class _Parser(argparse.ArgumentParser):
    """Tells an error in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(USAGE_ERROR, f"nnfast: {message}; see {self.prog} --help\n")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    parser = _Parser(prog="nnfast", description="Train convolutional networks on CPUs.")
    parser.add_argument("--version", action="version", version=f"nnfast {nnfast.__version__}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)
    for name, module in COMMANDS.items():
        subparser = subparsers.add_parser(
            name, help=module.HELP, description=module.DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        module.add_arguments(subparser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Errors that a user can mend are one line on standard error; ``NNFAST_TRACEBACK=1`` shows where they come from.

    Parameters
    ----------
    argv : sequence of str, optional
        Default: the process's arguments.

    Returns
    -------
    int
        0; 1 if a check or a training run failed; 2 for wrong usage or input; 128 + the signal's number after one.

    Examples
    --------
    >>> main(["train", "--data", "no/such/folder"])
    2
    """
    arguments = build_parser().parse_args(argv)
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning  # type: ignore[assignment]
        try:
            code = COMMANDS[arguments.command].run(arguments)
            sys.stdout.flush()
            return code
        except BrokenPipeError:
            # The reader (head, less) has gone. Python would complain once more when it flushes at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        except KeyboardInterrupt:
            print("nnfast: interrupted", file=sys.stderr)
            return INTERRUPTED
        except (ValueError, OSError, ImportError, NotImplementedError, MemoryError) as error:
            if os.environ.get("NNFAST_TRACEBACK"):
                raise
            print(f"nnfast: {_one_line(error)}", file=sys.stderr)
            return USAGE_ERROR


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        text = f"{error.filename}: {error.strerror}"
    else:
        text = str(error) or type(error).__name__
    return " ".join(text.split())


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    print(f"nnfast: warning: {' '.join(str(message).split())}", file=sys.stderr)
