"""When a learning rate schedule makes its step, and with what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def usual_interval(scheduler: Any) -> str:
    """Return "batch" for the schedules that PyTorch documents as stepped after each batch, else "epoch"."""
    return "batch" if type(scheduler).__name__ in ("OneCycleLR", "CyclicLR") else "epoch"


def step_after_epoch(scheduler: Any, logs: Mapping[str, float]) -> None:
    """Make an epoch's step; a schedule that waits for a plateau watches the validation loss, or else the loss."""
    if type(scheduler).__name__ == "ReduceLROnPlateau":
        scheduler.step(logs.get("val_loss", logs["loss"]))
    else:
        scheduler.step()
