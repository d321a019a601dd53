"""The stages of the fused convolutions, one file an algorithm."""

from __future__ import annotations

from .fused_depthwise import (  # noqa: F401 - stages of this module's operations
    fused_depthwise_conv2d_backward_data,
    fused_depthwise_conv2d_backward_data_pack,
    fused_depthwise_conv2d_backward_data_sums,
    fused_depthwise_conv2d_backward_weight,
    fused_depthwise_conv2d_backward_weight_reduce,
    fused_depthwise_conv2d_forward,
    fused_depthwise_conv2d_forward_pack,
    fused_depthwise_conv2d_forward_sums,
)
from .fused_direct import (  # noqa: F401 - stages of this module's operations
    fused_direct_conv2d_backward_data,
    fused_direct_conv2d_backward_data_pack,
    fused_direct_conv2d_backward_data_sums,
    fused_direct_conv2d_backward_weight,
    fused_direct_conv2d_backward_weight_reduce,
    fused_direct_conv2d_forward,
    fused_direct_conv2d_forward_pack,
    fused_direct_conv2d_forward_sums,
)
from .fused_narrow import (  # noqa: F401 - stages of this module's operations
    fused_narrow_conv2d_backward_weight,
    fused_narrow_conv2d_backward_weight_reduce,
    fused_narrow_conv2d_forward,
    fused_narrow_conv2d_forward_pack,
    fused_narrow_conv2d_forward_sums,
)
from .fused_winograd import (  # noqa: F401 - stages of this module's operations
    fused_wide_winograd_conv2d_backward_data,
    fused_wide_winograd_conv2d_backward_data_inputs,
    fused_wide_winograd_conv2d_forward,
    fused_wide_winograd_conv2d_forward_inputs,
    fused_winograd_conv2d_backward_data,
    fused_winograd_conv2d_backward_data_sums,
    fused_winograd_conv2d_backward_weight,
    fused_winograd_conv2d_forward,
    fused_winograd_conv2d_forward_sums,
)
from .fused_winograd import fused_winograd_conv2d_backward_data_sums as fused_wide_winograd_conv2d_backward_data_sums  # noqa: F401
from .fused_winograd import fused_winograd_conv2d_forward_sums as fused_wide_winograd_conv2d_forward_sums  # noqa: F401
from .winograd import winograd_conv2d_backward_data_weights as fused_winograd_conv2d_backward_data_weights  # noqa: F401
from .winograd import winograd_conv2d_forward_weights as fused_winograd_conv2d_forward_weights  # noqa: F401
from .winograd_weight import winograd_conv2d_backward_weight_reduce as fused_winograd_conv2d_backward_weight_reduce  # noqa: F401
