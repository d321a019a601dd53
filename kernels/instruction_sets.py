"""Which version of the Cython kernels runs.

Each kernel is compiled once for every instruction set of `INSTRUCTION_SETS`, from the same source. The best one that
this build has and the processor can run is chosen when the first kernel is asked for. ``NNFAST_INSTRUCTION_SET`` forces
another one, for tests or to look into a difference: results of different sets differ in their last bits.
"""

from __future__ import annotations

import os
from functools import cache
from importlib.util import find_spec

from . import runtime

VARIABLE = "NNFAST_INSTRUCTION_SET"
INSTRUCTION_SETS = ("baseline", "avx2", "avx512")
"""From the narrowest registers to the widest. ``baseline`` is what every processor of its kind has (x86-64: SSE2,
arm64: NEON), ``avx2`` brings fused multiply-add, and ``avx512`` the subsets F, BW, DQ and VL."""


@cache
def built() -> tuple[str, ...]:
    """The instruction sets that this installation has kernels for."""
    names = (f"{__package__}.cython_ext.{name}.activation" for name in INSTRUCTION_SETS)
    return tuple(name for name, module in zip(INSTRUCTION_SETS, names, strict=True) if find_spec(module) is not None)


def runnable() -> tuple[str, ...]:
    """Those of `built` that this processor can run."""
    return tuple(name for name in built() if name in ("baseline", *runtime.processor_has))


def instruction_set() -> str:
    """The one that is used: the widest of `runnable`, or what ``$NNFAST_INSTRUCTION_SET`` says.

    Raises
    ------
    ValueError : the variable names one that is unknown, not built, or too new for this processor.
    ImportError : no kernels were built at all.
    """
    return _chosen(os.environ.get(VARIABLE) or "")


@cache
def _chosen(forced: str) -> str:
    if not built():
        raise ImportError("the cython backend's kernels are missing from this installation; build them with "
                          "`pip install .`")  # fmt: skip
    if not forced:
        return runnable()[-1]
    if forced not in INSTRUCTION_SETS:
        raise ValueError(f"{VARIABLE} is {forced!r}, expected one of {', '.join(INSTRUCTION_SETS)}")
    if forced not in built():
        raise ValueError(f"{VARIABLE} is {forced!r}, which this installation was built without; "
                         f"it has {', '.join(built())}")  # fmt: skip
    if forced not in runnable():
        raise ValueError(f"{VARIABLE} is {forced!r}, which this processor cannot run; it runs "
                         f"{', '.join(runnable())}")  # fmt: skip
    return forced
