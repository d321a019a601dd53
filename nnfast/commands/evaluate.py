"""``nnfast evaluate``: how good a trained model is."""

from __future__ import annotations

import argparse

from nnfast.commands.arguments import add_execution_arguments, use_threads

HELP = "measure a trained model on labelled images"
DESCRIPTION = """\
Measure a trained model on the test part of a data set: loss, accuracy, and precision and recall of each class."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("run_folder", metavar="RUN", help="a folder that nnfast train made")
    parser.add_argument("--data", metavar="PATH", help="another data set than the run's; same classes, same image size")
    add_execution_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Measure, print, and return the exit code."""
    from nnfast.data import open_dataset
    from nnfast.train.report import measure
    from nnfast.train.run import check_data, evaluation_loader, load_model
    from nnfast.train.run_config import load_run_config
    from nnfast.train.run_folder import open_run_folder
    from nnfast.train.tiers import kernels_of

    use_threads(arguments.threads)
    folder = open_run_folder(arguments.run_folder)
    config = load_run_config(folder.config)
    model = load_model(config, folder)
    data = arguments.data or config.data
    _, test = open_dataset(data)
    check_data(config, folder, data, test)
    with kernels_of(arguments.backend or config.backend):
        report = measure(model, evaluation_loader(config, test), len(config.classes), not config.eager)
    print(f"{config.model} from {folder.path} on the {len(test):,} test images of {data}")
    print(f"loss {report.loss:.4f}, accuracy {report.accuracy:.2%}\n")
    print(report.table(config.classes))
    return 0
