"""PyTorch's side of `bench.convolutions` and `bench.pytorch`, in a process and perhaps an interpreter of its own.

Its requests are ``load`` (a kernel's arrays from a folder), ``save`` (its results, to a folder) and ``time`` (a turn of
calls); the latter two name one of the memory formats that were loaded.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from bench.timing import turn
from bench.torch_calls import CALLS, Results
from bench.worker import serve

FORMATS = {"nchw": torch.contiguous_format, "channels_last": torch.channels_last}
Calls = dict[str, Callable[[], Results]]


def _tensor(file: Path, memory_format: torch.memory_format) -> torch.Tensor:
    """An array in memory of PyTorch's own; images and weights are NCHW whose channels come last in the file."""
    array = torch.from_numpy(np.load(file))
    return array.permute(0, 3, 1, 2).clone(memory_format=memory_format) if array.ndim == 4 else array.clone()


def _call(request: dict[str, Any], memory_format: str) -> Callable[[], Results]:
    arrays = {file.stem: _tensor(file, FORMATS[memory_format]) for file in Path(request["folder"]).glob("*.npy")}
    return CALLS[request["op"]](SimpleNamespace(**arrays), SimpleNamespace(**request["attributes"]))


def _save(results: Results, folder: Path) -> None:
    for name, value in results.items():
        last = value.permute(0, 2, 3, 1) if value.ndim == 4 else value
        np.save(folder / f"{name}.npy", last.contiguous().numpy())


def _answer(request: dict[str, Any], calls: Calls) -> dict[str, Any]:
    if request["do"] == "load":
        calls.clear()  # the memory of the last kernel is used again
        calls.update({name: _call(request, name) for name in request["formats"]})
        return {}
    call = calls[request["format"]]
    if request["do"] == "save":
        _save(call(), Path(request["folder"]))
        return {}
    return asdict(turn(call, request["calls"]))


def main() -> None:
    """Answer until the input ends."""
    torch.set_num_threads(int(sys.argv[1]))
    calls: Calls = {}
    with torch.no_grad():
        serve(lambda: {"version": torch.__version__}, lambda request: _answer(request, calls))


if __name__ == "__main__":
    main()
