"""Winograd's convolution between batch norms: the loops of `winograd*.py` with the loads and stores of fused ones."""

from __future__ import annotations

from .compiler import kernel
from .fused_winograd_blocks import load_activated, load_composed, load_composed_gradients, store_masked, store_moments
from .fusion import add_tasks
from .memory import at, number
from .winograd import convolve_tiles, transform_panel, transform_turned_panel
from .winograd_weight import sum_tiles
from .winograd_wide import convolve_blocks, transform_blocks


@kernel
def fused_winograd_conv2d_forward(  # type: ignore[no-untyped-def]
    x, b, scale, shift, centre, transformed, task_sums, inputs, products, y, activation, padding, N, H,
    W, C, OH, OW, K, B, P, E, TH, TW, TILES, ROW, INPUTS, PRODUCTS, WEIGHTS, PANELS, GROUP, SPLIT, begin, end,
):  # fmt: skip
    """See `convolve_tiles`."""
    image, change = (at(x, 0), H, W, C, padding[0], padding[1]), (P, at(scale, 0), at(shift, 0), activation)
    result = (at(y, 0), OH, OW, K, at(b, 0), B), E, at(centre, 0), at(task_sums, 0)
    convolve_tiles(load_activated, image, change, C, store_moments, result, K, transformed, at(inputs, 0),
                   at(products, 0), N, TH, TW, TILES, ROW, INPUTS, PRODUCTS, WEIGHTS, PANELS, GROUP, SPLIT, begin,
                   end)  # fmt: skip


@kernel
def fused_winograd_conv2d_backward_data(  # type: ignore[no-untyped-def]
    dy, z, slope, factor, offset, x, scale, shift, centre, transformed, task_sums, inputs, products, dx,
    activation, padding, N, H, W, C, OH, OW, K, G, P, E, TH, TW, TILES, ROW, INPUTS, PRODUCTS, WEIGHTS, PANELS, GROUP,
    SPLIT, begin, end,
):  # fmt: skip
    """See `convolve_tiles`."""
    image = at(dy, 0), OH, OW, K, 2 - padding[0], 2 - padding[1]
    change = G, at(z, 0), at(slope, 0), at(factor, 0), at(offset, 0)
    stored = at(dx, 0), H, W, C, at(dx, 0), number(0)
    result = stored, at(x, 0), P, at(scale, 0), at(shift, 0), activation, E, at(centre, 0), at(task_sums, 0)
    convolve_tiles(load_composed, image, change, K, store_masked, result, C, transformed, at(inputs, 0),
                   at(products, 0), N, TH, TW, TILES, ROW, INPUTS, PRODUCTS, WEIGHTS, PANELS, GROUP, SPLIT, begin,
                   end)  # fmt: skip


@kernel
def fused_wide_winograd_conv2d_forward_inputs(  # type: ignore[no-untyped-def]
    x, scale, shift, transformed, activation, padding, N, H, W, C, P, TH, TW, TILES, INPUTS, RUNS, begin, end
):  # fmt: skip
    """See `transform_blocks`."""
    image, change = (at(x, 0), H, W, C, padding[0], padding[1]), (P, at(scale, 0), at(shift, 0), activation)
    transform_blocks(load_activated, image, change, C, transformed, N, TH, TW, TILES, INPUTS, RUNS, begin, end)


@kernel
def fused_wide_winograd_conv2d_backward_data_inputs(  # type: ignore[no-untyped-def]
    dy, z, slope, factor, offset, transformed, padding, N, OH, OW, K, G, TH, TW, TILES, INPUTS, RUNS, begin, end
):  # fmt: skip
    """See `transform_blocks`."""
    image = at(dy, 0), OH, OW, K, 2 - padding[0], 2 - padding[1]
    change = G, at(z, 0), at(slope, 0), at(factor, 0), at(offset, 0)
    transform_blocks(load_composed, image, change, K, transformed, N, TH, TW, TILES, INPUTS, RUNS, begin, end)


@kernel
def fused_wide_winograd_conv2d_forward(  # type: ignore[no-untyped-def]
    w, b, centre, transformed, task_sums, weights, products, y, N, C, OH, OW, K, B, E, TH, TW, TILES, INPUTS, PRODUCTS,
    PANELS, RUNS, begin, end,
):  # fmt: skip
    """See `convolve_blocks`."""
    result = (at(y, 0), OH, OW, K, at(b, 0), B), E, at(centre, 0), at(task_sums, 0)
    convolve_blocks(transform_panel, w, K, C, C, store_moments, result, K, transformed, at(weights, 0),
                    at(products, 0), N, TH, TW, TILES, INPUTS, PRODUCTS, PANELS, RUNS, begin, end)  # fmt: skip


@kernel
def fused_wide_winograd_conv2d_backward_data(  # type: ignore[no-untyped-def]
    w, x, scale, shift, centre, transformed, task_sums, weights, products, dx, activation, N, H, W, C, K, P, E, TH, TW,
    TILES, INPUTS, PRODUCTS, PANELS, RUNS, begin, end,
):  # fmt: skip
    """See `convolve_blocks`."""
    stored = at(dx, 0), H, W, C, at(dx, 0), number(0)
    result = stored, at(x, 0), P, at(scale, 0), at(shift, 0), activation, E, at(centre, 0), at(task_sums, 0)
    convolve_blocks(transform_turned_panel, w, K, C, K, store_masked, result, C, transformed, at(weights, 0),
                    at(products, 0), N, TH, TW, TILES, INPUTS, PRODUCTS, PANELS, RUNS, begin, end)  # fmt: skip


@kernel
def fused_winograd_conv2d_forward_sums(task_sums, sums, BLOCKS, E, begin, end):  # type: ignore[no-untyped-def]
    """sums = those of all blocks, added in order, in one task."""
    for _ in range(begin, end):
        add_tasks(at(task_sums, 0), at(sums, 0), BLOCKS, E)


@kernel
def fused_winograd_conv2d_backward_data_sums(task_sums, sums, BLOCKS, E, begin, end):  # type: ignore[no-untyped-def]
    """sums = those of all blocks, added in order, in one task."""
    for _ in range(begin, end):
        add_tasks(at(task_sums, 0), at(sums, 0), BLOCKS, E)


@kernel
def fused_winograd_conv2d_backward_weight(  # type: ignore[no-untyped-def]
    x, dy, scale, shift, z, slope, factor, offset, partial, inputs, gradients, products, activation,
    padding, H, W, C, OH, OW, K, P, G, N, TH, TW, TILES, BLOCKS, PANELS, PAIRS, RUNS, PARTS, INPUTS, GRADIENTS,
    PRODUCTS, begin, end,
):  # fmt: skip
    """See `sum_tiles`."""
    image, change = (at(x, 0), H, W, C, padding[0], padding[1]), (P, at(scale, 0), at(shift, 0), activation)
    gradient = at(dy, 0), OH, OW, K, number(0), number(0)
    composition = G, at(z, 0), at(slope, 0), at(factor, 0), at(offset, 0)
    sum_tiles(load_activated, image, change, C, load_composed_gradients, gradient, composition, G, at(z, 0), K,
              partial, at(inputs, 0), at(gradients, 0), at(products, 0), N, TH, TW, TILES, BLOCKS, PANELS, PAIRS, RUNS,
              PARTS, INPUTS, GRADIENTS, PRODUCTS, begin, end)  # fmt: skip
