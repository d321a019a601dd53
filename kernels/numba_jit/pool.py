"""The kernels of pooling, one file for averages and one for maxima."""

from __future__ import annotations

from .avg_pool import (  # noqa: F401 - kernels of this module's operations
    adaptive_avg_pool2d_backward,
    adaptive_avg_pool2d_forward,
    avg_pool2d_backward,
    avg_pool2d_forward,
)
from .max_pool import (  # noqa: F401 - kernels of this module's operations
    fused_max_pool2d_backward,
    fused_max_pool2d_backward_sums,
    fused_max_pool2d_forward,
    max_pool2d_backward,
    max_pool2d_forward,
)
