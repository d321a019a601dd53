"""``nnfast train``: from data to a run folder."""

from __future__ import annotations

import argparse
import signal
import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from nnfast import models
from nnfast.commands.arguments import (
    add_execution_arguments,
    natural_number,
    not_negative,
    positive_integer,
    use_threads,
)
from nnfast.train.run_config import AUGMENTATIONS, OPTIMIZERS, SCHEDULES, WITH_MOMENTUM, RunConfig, load_run_config
from nnfast.train.run_folder import RunFolder, create_run_folder, open_run_folder

if TYPE_CHECKING:
    from nnfast.data import ImageDataset
    from nnfast.train import Callback, Trainer

HELP = "train a model and leave a run folder"
DESCRIPTION = """\
Train a model. Without arguments: a small network on the handwritten digits that ship with nnfast.

Leaves a run folder: model.safetensors, config.json, history.csv, curves.png, confusion.png and the last checkpoint.
Without --seed and --backend training begins at once on Cython's kernels, and moves to Numba's between two epochs, when
they are compiled. Ctrl-C stops after the current batch and keeps a checkpoint; --resume goes on from it and, if a seed
or a backend was given, ends with the same bits as a run that was never stopped. What is not said is chosen to suit the
model and the data."""

# These make the run what it is; --resume takes them from config.json.
_SETTINGS = ("model", "epochs", "batch_size", "optimizer", "lr", "momentum", "weight_decay", "schedule", "augment",
             "seed", "backend", "eager", "run")  # fmt: skip
_FAILED = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--data", metavar="PATH", help="a folder, zip, tar or .npz file, or a name: digits (default), "
                        "mnist, fashion-mnist, cifar10, cifar100")  # fmt: skip
    parser.add_argument("--model", metavar="NAME", help=f"one of {', '.join(models.names())}")
    parser.add_argument("--epochs", type=positive_integer, metavar="N")
    parser.add_argument("--batch-size", type=positive_integer, metavar="N")
    parser.add_argument("--optimizer", choices=OPTIMIZERS)
    parser.add_argument("--lr", type=not_negative, metavar="X", help="learning rate; the largest one of a schedule")
    parser.add_argument("--momentum", type=not_negative, metavar="X", help=f"for {' and '.join(WITH_MOMENTUM)}")
    parser.add_argument("--weight-decay", type=not_negative, metavar="X")
    parser.add_argument("--schedule", choices=SCHEDULES, help="of the learning rate; step: a tenth after each third")
    parser.add_argument("--augment", choices=AUGMENTATIONS, help="random shifts (crop) and mirror images (flip)")
    parser.add_argument("--seed", type=natural_number, metavar="N", help="of everything random (default: 0); with it a "
                        "run waits until Numba's kernels are compiled and is the same bits every time")  # fmt: skip
    add_execution_arguments(parser)
    parser.add_argument("--eager", action="store_true", default=None,
                        help="run operation by operation instead of compiling whole training steps")  # fmt: skip
    parser.add_argument("--profile", action="store_true", help="tell where the time of some training steps goes, and "
                        "leave trace.json for chrome://tracing or ui.perfetto.dev")  # fmt: skip
    parser.add_argument("--run", metavar="DIR", help="the run folder (default: runs/<date>-<time>-<model>)")
    parser.add_argument("--resume", metavar="RUN", help="go on with a run that was stopped")
    parser.add_argument("--workers", type=natural_number, default=0, metavar="N", help="threads that load batches")
    parser.add_argument("--no-plots", action="store_true", help="leave out curves.png and confusion.png")
    parser.add_argument("--quiet", action="store_true", help="print nothing but the last line, and errors")


def run(arguments: argparse.Namespace) -> int:
    """Train, and return the exit code."""
    use_threads(arguments.threads)
    config, folder, train, test = _resumed(arguments) if arguments.resume else _begun(arguments)
    return _run(config, folder, train, test, arguments)


Parts = tuple[RunConfig, RunFolder, "ImageDataset", "ImageDataset"]


def _begun(arguments: argparse.Namespace) -> Parts:
    """Open the data, settle what was not said, and make the run folder."""
    from nnfast.data import open_dataset

    if arguments.model is not None:
        models.default_shape(arguments.model)  # a wrong name should not wait for the data
    data = arguments.data or "digits"
    train, test = open_dataset(data)
    config = _config(arguments, data, train)
    _build_model(config)  # what does not fit is told before anything is written
    folder = create_run_folder(arguments.run, config.model)
    config.save(folder.config)
    return config, folder, train, test


def _resumed(arguments: argparse.Namespace) -> Parts:
    """Open a run folder and its data, and check that they belong together."""
    from nnfast.data import open_dataset
    from nnfast.train.run import check_data

    for name in _SETTINGS:
        if getattr(arguments, name) is not None:
            option = name.replace("_", "-")
            raise ValueError(f"--resume goes on with the settings of {arguments.resume}; remove --{option}")
    folder = open_run_folder(arguments.resume)
    config = load_run_config(folder.config)
    data = arguments.data or config.data
    train, test = open_dataset(data)
    check_data(config, folder, data, train)
    if len(train) != config.images:
        raise ValueError(f"{data}: has {len(train)} images to train on, {folder.path} was begun with {config.images}")
    _build_model(config)
    return config, folder, train, test


def _config(arguments: argparse.Namespace, data: str, train: ImageDataset) -> RunConfig:
    import nnfast
    from nnfast.train.recipes import USUAL_LR, recipe, usual_model
    from nnfast.train.run import mean_and_std

    channels, height, width = train.images.shape[1:]
    model = arguments.model or usual_model(channels, height, width)
    settings: dict[str, Any] = recipe(model)._asdict()
    if arguments.optimizer not in (None, settings["optimizer"]):
        settings |= {"lr": USUAL_LR[arguments.optimizer], "momentum": 0.9 if arguments.optimizer == "sgd" else 0.0}
    settings |= {name: getattr(arguments, name) for name in settings if getattr(arguments, name) is not None}
    if arguments.momentum is not None and settings["optimizer"] not in WITH_MOMENTUM:
        raise ValueError(f"--momentum is for {' and '.join(WITH_MOMENTUM)}, the optimizer is {settings['optimizer']}")
    mean, std = mean_and_std(train)
    return RunConfig(
        nnfast=nnfast.__version__, model=model, classes=list(train.classes), channels=channels, height=height,
        width=width, mean=mean, std=std, data=data, images=len(train), seed=arguments.seed or 0,
        backend=arguments.backend or _usual_backend(seeded=arguments.seed is not None), eager=bool(arguments.eager),
        **settings,
    )  # fmt: skip


def _usual_backend(seeded: bool) -> str:
    from nnfast.kernels.backends import chosen_backend, current_backend, try_numba
    from nnfast.train.tiers import AUTO, tell_without_numba

    if chosen_backend() is None and seeded:
        try_numba()
        tell_without_numba()
    return chosen_backend() or (current_backend() if seeded else AUTO)


def _build_model(config: RunConfig) -> Any:
    from nnfast.random import seed_everything
    from nnfast.train.run import build_model

    seed_everything(config.seed)
    return build_model(config)


def _run(
    config: RunConfig, folder: RunFolder, train: ImageDataset, test: ImageDataset, arguments: argparse.Namespace
) -> int:
    import nnfast
    from nnfast.train import NonFiniteLossError, TrainingInterrupted, stop_on_signals
    from nnfast.train.run import evaluation_loader, training_loader
    from nnfast.train.tiers import AUTO, kernels_of

    train_batches = training_loader(config, train, arguments.workers)
    test_batches = evaluation_loader(config, test, arguments.workers)
    # Which kernels "auto" is, the trainer finds out, and for what comes after it, what is on disk by then.
    with nullcontext() if config.backend == AUTO else nnfast.backend(config.backend):
        trainer = _trainer(config, folder, len(train_batches), arguments)
        if not arguments.quiet:
            print(_summary(config, trainer), flush=True)
        try:
            with stop_on_signals(trainer):
                trainer.fit(train_batches, test_batches, config.epochs, checkpoint=folder.checkpoint)
            with kernels_of(config.backend):
                _finish(config, folder, trainer, test_batches, arguments)
        except TrainingInterrupted as error:
            return _tell(error, folder, 128 + (error.signal or 0))
        except KeyboardInterrupt:
            return _tell("interrupted", folder, 128 + signal.SIGINT)
        except NonFiniteLossError as error:
            return _tell(error, folder, _FAILED)
        except OSError as error:
            return _tell(f"{error.filename}: {error.strerror}" if error.filename else error, folder, _FAILED)
    return 0


def _trainer(config: RunConfig, folder: RunFolder, batches: int, arguments: argparse.Namespace) -> Trainer:
    from nnfast.train import CSVLogger, ProfileSteps, ProgressBar, load_checkpoint
    from nnfast.train.run import build_trainer

    callbacks: list[Callback] = [CSVLogger(folder.history)]
    if not arguments.quiet:
        callbacks.append(ProgressBar())
    if arguments.profile:
        callbacks.append(ProfileSteps(folder.trace, sys.stdout if not arguments.quiet else None))
    trainer = build_trainer(config, _build_model(config), batches, callbacks)
    if arguments.resume and folder.has_checkpoint():
        load_checkpoint(trainer, folder.checkpoint)
    return trainer


def _finish(
    config: RunConfig, folder: RunFolder, trainer: Trainer, test_batches: Any, arguments: argparse.Namespace
) -> None:
    """Write the results, and tell where they are."""
    from nnfast.io import save_file
    from nnfast.train.report import measure
    from nnfast.train.run import load_model

    save_file(trainer.model.state_dict(), folder.model)
    if not (arguments.quiet and arguments.no_plots):
        # Measured on what was written, so that the numbers are those of the file.
        report = measure(load_model(config, folder), test_batches, len(config.classes), not config.eager)
        if not arguments.quiet:
            held_out = f"{len(test_batches.dataset):,} held-out images"
            print(f"accuracy {report.accuracy:.2%}, loss {report.loss:.4f} on {held_out}")
        if not arguments.no_plots:
            from nnfast.train.plots import plot_confusion, plot_curves

            plot_curves(trainer.history.history, folder.curves)
            plot_confusion(report.confusion, config.classes, folder.confusion)
    print(f"The model, its history and its pictures are in {folder.path}; "
          f"to use it: nnfast predict {folder.path} IMAGE")  # fmt: skip


def _tell(error: BaseException | str, folder: RunFolder, code: int) -> int:
    where = "from the last checkpoint" if folder.has_checkpoint() else "from the start"
    print(f"nnfast: {error}; go on {where} with: nnfast train --resume {folder.path}", file=sys.stderr)
    return code


def _summary(config: RunConfig, trainer: Trainer) -> str:
    import nnfast
    from nnfast.train.tiers import AUTO

    parameters = sum(parameter.numel() for parameter in trainer.model.parameters())
    shape = "x".join(map(str, config.shape))
    done = ""
    if trainer.epoch or trainer.batch:
        done = f"; going on after {trainer.epoch} epochs and {trainer.batch} batches"
    kernels = "" if config.backend == AUTO else f"{config.backend} "  # each epoch's line says which ran
    return (
        f"{config.model} ({parameters:,} parameters) on {config.images:,} images of {shape} from {config.data}: "
        f"{config.epochs} epochs, {config.optimizer}, lr {config.lr:g}, schedule {config.schedule}, "
        f"augment {config.augment}; {kernels}{'eager' if config.eager else 'compiled'} on "
        f"{nnfast.get_num_threads()} threads{done}"
    )
