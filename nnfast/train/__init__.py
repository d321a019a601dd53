"""Training loops: Trainer, callbacks, metrics, checkpoints, and what a run leaves on disk."""

from nnfast.train.callbacks import Callback, EarlyStopping, ModelCheckpoint
from nnfast.train.checkpoint import load_checkpoint, save_checkpoint
from nnfast.train.errors import NonFiniteLossError, TrainingInterrupted
from nnfast.train.history import CSVLogger, History
from nnfast.train.interrupt import stop_on_signals
from nnfast.train.metrics import accuracy, confusion_matrix, precision_recall
from nnfast.train.profiling import ProfileSteps
from nnfast.train.progress import ProgressBar
from nnfast.train.trainer import Trainer

__all__ = [
    "CSVLogger",
    "Callback",
    "EarlyStopping",
    "History",
    "ModelCheckpoint",
    "NonFiniteLossError",
    "ProfileSteps",
    "ProgressBar",
    "Trainer",
    "TrainingInterrupted",
    "accuracy",
    "confusion_matrix",
    "load_checkpoint",
    "precision_recall",
    "save_checkpoint",
    "stop_on_signals",
]
