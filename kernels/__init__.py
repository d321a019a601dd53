"""Kernels: every operation in three backends (NumPy reference, Numba, Cython), over plain arrays.

>>> import numpy as np
>>> relu = get("relu_forward", "reference")
>>> relu(x=np.array([-1.0, 2.0], np.float32))
array([0., 2.], dtype=float32)
"""

from typing import TYPE_CHECKING, Any

from .backends import BACKENDS, backend, current_backend, set_backend
from .launch import get
from .ops import OPS
from .threads import get_num_threads, set_num_threads

if TYPE_CHECKING:
    from .comparison import Comparisons, compare, compare_kernel
    from .judgement import Comparison

__all__ = ["BACKENDS", "OPS", "Comparison", "Comparisons", "backend", "compare", "compare_kernel", "current_backend",
           "get", "get_num_threads", "set_backend", "set_num_threads"]  # fmt: skip


def __getattr__(name: str) -> Any:
    """What compares backends is imported when it is asked for: training does not need it."""
    if name in ("Comparison", "Comparisons", "compare", "compare_kernel"):
        from . import comparison

        return getattr(comparison, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
