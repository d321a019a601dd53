"""Every operation, declared once: arrays and their shapes, attributes, tasks, algorithms.

`operation.py` explains the language. What an operation computes stands in its reference kernel,
``reference/<module>.py``. Sizes: N images, H W height and width, C channels, K output channels, R S kernel height and
width, OH OW output height and width, M rows of a matrix; A R B the outer, reduced and inner length of a reduction.
The number of tasks and of partial results follows from sizes alone, so that results are the same bits on any number
of threads.
"""

from __future__ import annotations

from typing import Any

from .affine import AFFINE
from .blocking import BLOCK, PARTIALS, blocks, summed_rows
from .convolution import CONVOLUTION, CONVOLVED, INPUT_SIZE, KERNEL, WINDOW
from .fused import FUSED
from .matrix import LINEAR
from .operation import Operation, Sizes, algorithm, operation
from .pooling import POOLING


def _elements(s: Sizes) -> int:
    return blocks(s.SIZE, BLOCK)


def elementwise(
    name: str, inputs: str, outputs: str, attributes: str = "", updates: str = "", **rest: Any
) -> Operation:
    """An operation on each element alone; task i handles elements [i * BLOCK, (i + 1) * BLOCK)."""
    return operation(name, inputs, outputs, updates=updates, attributes=attributes, tasks=_elements, **rest)


# ---------------------------------------------------------------- windows unfolded

IM2COL = (
    operation(
        "im2col.im2col", "x: N H W C", "columns: N OH OW R S C", attributes="kernel_size: pair; " + WINDOW,
        derive={**KERNEL, **CONVOLVED}, tasks=lambda s: s.N * s.OH),
    operation(
        "im2col.col2im", "columns: N OH OW R S C", "x: N H W C", attributes="size: pair; " + WINDOW,
        derive=INPUT_SIZE, tasks=lambda s: s.N * s.H),
)  # fmt: skip

# ---------------------------------------------------------------- elements: activations, dropout, arithmetic

ACTIVATION = (
    elementwise("activation.relu_forward", "x: ...", "y: ..."),
    elementwise("activation.relu_backward", "dy: ...; y: ...", "dx: ..."),
    elementwise("activation.relu6_forward", "x: ...", "y: ..."),
    elementwise("activation.relu6_backward", "dy: ...; y: ...", "dx: ..."),
    elementwise("activation.leaky_relu_forward", "x: ...", "y: ...", "negative_slope: float"),
    elementwise("activation.leaky_relu_backward", "dy: ...; x: ...", "dx: ...", "negative_slope: float"),
    elementwise("activation.sigmoid_forward", "x: ...", "y: ..."),
    elementwise("activation.sigmoid_backward", "dy: ...; y: ...", "dx: ..."),
    elementwise("activation.tanh_forward", "x: ...", "y: ..."),
    elementwise("activation.tanh_backward", "dy: ...; y: ...", "dx: ..."),
)

DROPOUT = (elementwise("dropout.dropout", "x: ...; seed(uint64): 2", "y: ...", "p: float"),)

ARITHMETIC = (
    elementwise("arithmetic.add", "a: ...; b: ...", "y: ...", "alpha: float"),
    elementwise("arithmetic.mul", "a: ...; b: ...", "y: ..."),
    elementwise("arithmetic.div", "a: ...; b: ...", "y: ..."),
    elementwise("arithmetic.scale", "x: ...", "y: ...", "alpha: float; beta: float"),
    elementwise("arithmetic.scale_by", "x: ...; factor: 1", "y: ..."),
    elementwise("arithmetic.clamp", "x: ...", "y: ...", "low: float; high: float"),
    elementwise("arithmetic.power", "x: ...", "y: ...", "exponent: float"),
    elementwise("arithmetic.exp", "x: ...", "y: ..."),
    elementwise("arithmetic.log", "x: ...", "y: ..."),
    elementwise("arithmetic.fill", "", "", "value: float", updates="y: ..."),
    operation(
        "arithmetic.copy_strided", "x: X", "", updates="y: Y",
        attributes="shape: six; x_strides: six; y_strides: six; x_offset: int; y_offset: int",
        # Six loops; task i handles runs [i * RUNS, (i + 1) * RUNS) of the innermost one.
        derive={"OUTER": lambda s: s.shape[0] * s.shape[1] * s.shape[2] * s.shape[3] * s.shape[4],
                "RUNS": lambda s: max(1, BLOCK // max(1, s.shape[5]))},
        tasks=lambda s: blocks(s.OUTER, s.RUNS) if s.shape[5] else 0),
    operation("arithmetic.increment", "", "", updates="step(int64): 1", tasks=lambda s: 1),
)  # fmt: skip

# ---------------------------------------------------------------- reductions: sums, softmax, losses, batch norm

_SUM_TASKS = {
    "OUTER": lambda s: max(1, BLOCK // max(1, s.R * s.B)),  # outer indices a task handles
    "ROWS": lambda s: max(1, BLOCK // max(1, s.B), blocks(s.R, PARTIALS)),  # reduced indices a task handles
    "PARTS": lambda s: blocks(s.R, s.ROWS),
}


def _sum(name: str) -> Operation:
    return operation(
        f"reduce.{name}_forward", "x: A R B", "y: A B", derive=_SUM_TASKS,
        algorithms={"default": algorithm(
            (f"{name}_forward", lambda s: blocks(s.A, s.OUTER) * s.PARTS),
            (f"{name}_forward_reduce", lambda s: blocks(s.A * s.B, BLOCK)),
            workspace="partial(double): PARTS A B")})  # fmt: skip


def _sum_backward(name: str) -> Operation:
    return operation(
        f"reduce.{name}_backward", "dy: A B", "dx: A R B", attributes="count: int",
        derive={"R": lambda s: s.count, "ROWS": lambda s: max(1, BLOCK // max(1, s.B))},
        tasks=lambda s: blocks(s.A * s.R, s.ROWS))  # fmt: skip


REDUCTION = (
    _sum("sum"), _sum_backward("sum"), _sum("mean"), _sum_backward("mean"),
    operation(
        "reduce.sum_squares", "x: ...", "y(double): 1", derive={"PARTS": _elements},
        algorithms={"default": algorithm(
            ("sum_squares", _elements),
            ("sum_squares_reduce", lambda s: 1),
            workspace="partial(double): PARTS")}),
)  # fmt: skip

_ROW_BLOCK = {"ROWS": lambda s: max(1, BLOCK // max(1, s.C))}


def _row_blocks(s: Sizes) -> int:
    return blocks(s.M, s.ROWS)


def _rows(name: str, inputs: str, outputs: str, **rest: Any) -> Operation:
    return operation(name, inputs, outputs, derive=_ROW_BLOCK, tasks=_row_blocks, **rest)


def _loss_forward(name: str, outputs: str, attributes: str) -> Operation:
    return operation(
        f"loss.{name}_forward", "x: M C; target(int64): M; weight: CW", outputs,
        attributes=attributes, either={"CW": (0, "C")}, derive=_ROW_BLOCK | {"PARTS": _row_blocks},
        algorithms={"default": algorithm(
            (f"{name}_forward", _row_blocks),
            (f"{name}_forward_reduce", lambda s: 1),
            workspace="partial(double): PARTS 2")})  # fmt: skip


LOSS = (
    _rows("loss.softmax_forward", "x: M C", "y: M C"),
    _rows("loss.softmax_backward", "dy: M C; y: M C", "dx: M C"),
    _rows("loss.log_softmax_forward", "x: M C", "y: M C"),
    _rows("loss.log_softmax_backward", "dy: M C; y: M C", "dx: M C"),
    _loss_forward("cross_entropy", "loss: M; lse: M; y: 1; normaliser(double): 1",
                  "ignore_index: int; label_smoothing: float; mean: int"),
    _rows("loss.cross_entropy_backward",
          "dy: DY; x: M C; target(int64): M; weight: CW; lse: M; normaliser(double): 1", "dx: M C",
          attributes="ignore_index: int; label_smoothing: float", either={"CW": (0, "C"), "DY": (1, "M")}),
    _loss_forward("nll_loss", "loss: M; y: 1; normaliser(double): 1", "ignore_index: int; mean: int"),
    operation(
        "loss.nll_loss_backward", "dy: DY; target(int64): M; weight: CW; normaliser(double): 1", "dx: M C",
        attributes="classes: int; ignore_index: int", either={"CW": (0, "C"), "DY": (1, "M")},
        derive={"C": lambda s: s.classes} | _ROW_BLOCK, tasks=_row_blocks),
)  # fmt: skip

_NORM_BLOCK = {
    "ROWS": lambda s: summed_rows(s.M, s.C),
    "PARTS": _row_blocks,
}
_OPTIONAL = {"CW": (0, "C"), "CB": (0, "C")}


def _channels(name: str, inputs: str, outputs: str, **rest: Any) -> Operation:
    """An operation on a few numbers a channel, in one task."""
    return operation(name, inputs, outputs, tasks=lambda s: 1, **rest)


NORM = (
    operation(
        "norm.batch_norm_forward", "x: M C; w: CW; b: CB; momentum(double): 1", "y: M C; mean: C; invstd: C",
        updates="running_mean: CR; running_var: CR", attributes="eps: float", either=_OPTIONAL | {"CR": (0, "C")},
        derive=_NORM_BLOCK,
        algorithms={"default": algorithm(
            ("batch_norm_forward_statistics", _row_blocks),
            ("batch_norm_forward_combine", lambda s: 1),
            ("batch_norm_forward", _row_blocks),
            workspace="partial(double): PARTS 2 C")}),
    operation(
        "norm.batch_norm_inference", "x: M C; w: CW; b: CB; running_mean: C; running_var: C", "y: M C",
        attributes="eps: float", either=_OPTIONAL, derive=_NORM_BLOCK, tasks=_row_blocks),
    operation(
        "norm.batch_norm_backward", "dy: M C; x: M C; w: CW; mean: C; invstd: C", "dx: M C; dw: C; db: C",
        either={"CW": (0, "C")}, derive=_NORM_BLOCK,
        algorithms={"default": algorithm(
            ("batch_norm_backward_sums", _row_blocks),
            ("batch_norm_backward_combine", lambda s: 1),
            ("batch_norm_backward", _row_blocks),
            workspace="partial(double): PARTS 2 C")}),
    operation(
        "norm.batch_norm_inference_backward", "dy: M C; x: M C; w: CW; running_mean: C; running_var: C",
        "dx: M C; dw: C; db: C", attributes="eps: float", either={"CW": (0, "C")}, derive=_NORM_BLOCK,
        algorithms={"default": algorithm(
            ("batch_norm_inference_backward", _row_blocks),
            ("batch_norm_inference_backward_combine", lambda s: 1),
            workspace="partial(double): PARTS 2 C")}),
    operation(
        "norm.channel_sums", "x: M C; centre: C", "sums(double): 2 C", derive=_NORM_BLOCK,
        algorithms={"default": algorithm(
            ("channel_sums", _row_blocks),
            ("channel_sums_combine", lambda s: 1),
            workspace="partial(double): PARTS 2 C")}),
    _channels(
        "norm.batch_norm_statistics", "sums(double): 2 C; centre: C; w: CW; b: CB",
        "mean: C; var: C; invstd: C; scale: C; shift: C", attributes="count: int; eps: float",
        either=_OPTIONAL),
    _channels(
        "norm.batch_norm_running", "mean: C; var: C; momentum(double): 1", "",
        updates="running_mean: C; running_var: C", attributes="count: int"),
    _channels(
        "norm.batch_norm_scale", "running_mean: C; running_var: C; w: CW; b: CB", "scale: C; shift: C",
        attributes="eps: float", either=_OPTIONAL),
    _channels(
        "norm.batch_norm_gradient", "sums(double): 2 C; w: CW; mean: C; invstd: C",
        "dw: C; db: C; slope: C; factor: C; offset: C", attributes="count: int", either={"CW": (0, "C")}),
    _channels("norm.channel_gradient", "sums(double): 2 C", "db: C"),
)  # fmt: skip

# ---------------------------------------------------------------- optimizers: the learning rate and step are buffers

_STEP = "g: ...; lr(double): 1; step(int64): 1"

OPTIM = (
    elementwise("optim.sgd_step", _STEP, "", updates="p: ...; momentum_buffer: V", either={"V": (0, "SIZE")},
                attributes="momentum: float; dampening: float; weight_decay: float; nesterov: int; maximize: int"),
    elementwise("optim.adam_step", _STEP, "", updates="p: ...; exp_avg: ...; exp_avg_sq: ...",
                attributes="beta1: float; beta2: float; eps: float; weight_decay: float; maximize: int"),
    elementwise("optim.adamw_step", _STEP, "", updates="p: ...; exp_avg: ...; exp_avg_sq: ...",
                attributes="beta1: float; beta2: float; eps: float; weight_decay: float; maximize: int"),
    elementwise("optim.adagrad_step", _STEP, "", updates="p: ...; sum: ...",
                attributes="lr_decay: float; eps: float; weight_decay: float; maximize: int"),
    elementwise("optim.rmsprop_step", _STEP, "", updates="p: ...; square_avg: ...; momentum_buffer: V; grad_avg: G",
                either={"V": (0, "SIZE"), "G": (0, "SIZE")},
                attributes="alpha: float; eps: float; weight_decay: float; momentum: float; maximize: int"),
    elementwise("optim.adadelta_step", _STEP, "", updates="p: ...; square_avg: ...; acc_delta: ...",
                attributes="rho: float; eps: float; weight_decay: float; maximize: int"),
    operation("optim.gradient_norm", "squares(double): P", "norm: 1; factor: 1", attributes="max_norm: float",
              tasks=lambda s: 1),
    operation("optim.finite", "squares(double): P; losses: L", "total(double): 1", tasks=lambda s: 1),
)  # fmt: skip

_GROUPS = (CONVOLUTION, FUSED, IM2COL, POOLING, LINEAR, ACTIVATION, DROPOUT, ARITHMETIC, REDUCTION, LOSS, NORM, AFFINE,
           OPTIM)  # fmt: skip
OPS: dict[str, Operation] = {op.name: op for group in _GROUPS for op in group}
"""Every operation by name."""
