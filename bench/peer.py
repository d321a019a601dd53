"""PyTorch's side of `bench.convolutions`, in a process and perhaps an interpreter of its own.

Its requests are ``load`` (arrays from a folder), ``save`` (a result, to a file) and ``time`` (a turn of calls).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.timing import turn
from bench.worker import serve

Calls = dict[str, Callable[[], torch.Tensor]]


def _image(file: Path) -> torch.Tensor:
    """An array whose channels come last as PyTorch's ``channels_last``, in memory of PyTorch's own."""
    return torch.from_numpy(np.load(file)).permute(0, 3, 1, 2).clone()


def _calls(folder: Path, stride: int, padding: int, groups: int) -> Calls:
    x, w, dy = (_image(folder / f"{name}.npy") for name in ("x", "w", "dy"))
    pairs = [stride] * 2, [padding] * 2, [1] * 2

    def backward(*mask: bool) -> tuple[torch.Tensor, ...]:
        return torch.ops.aten.convolution_backward(dy, x, w, None, *pairs, False, [0, 0], groups, mask)

    return {
        "forward": lambda: torch.conv2d(x, w, None, *pairs, groups),
        "data": lambda: backward(True, False, False)[0],
        "weight": lambda: backward(False, True, False)[1],
    }


def _answer(request: dict[str, Any], calls: Calls) -> dict[str, Any]:
    if request["do"] == "load":
        calls.clear()  # the memory of the last shape is used again
        calls.update(_calls(Path(request["folder"]), request["stride"], request["padding"], request["groups"]))
        return {}
    call = calls[request["direction"]]
    if request["do"] == "save":
        np.save(request["file"], call().permute(0, 2, 3, 1).contiguous().numpy())
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
