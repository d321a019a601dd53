"""New tensors. Their values are made by NumPy, outside of any kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .dispatch import allocate, filled
from .dtypes import as_dtype, float32, int64, is_floating
from .random import default_generator
from .tensor import Storage, Tensor, check_device, fresh, from_numpy, memory_shape, ordered, tensor, wrap, wrap_memory
from .tracing import recorder


def _shape(size: tuple[Any, ...], who: str) -> tuple[int, ...]:
    """``zeros(2, 3)`` and ``zeros((2, 3))`` mean the same."""
    given = size[0] if len(size) == 1 and isinstance(size[0], (tuple, list)) else size
    shape = tuple(int(n) for n in given)
    if min(shape, default=0) < 0:
        raise RuntimeError(f"{who}: sizes are {list(shape)}, expected none below 0")
    return shape


def _made(array: np.ndarray, requires_grad: bool) -> Tensor:
    return fresh(array).requires_grad_(requires_grad)


def _type(dtype: Any, who: str, device: Any, default: np.dtype = float32) -> np.dtype:
    check_device(device, who)
    return default if dtype is None else as_dtype(dtype, who)


def _captured(dtype: np.dtype) -> bool:
    """Whether a new tensor must be filled anew in every run of a plan; integers, which no kernel changes, need not."""
    return recorder() is not None and is_floating(dtype)


def _drawn(shape: tuple[int, ...], dtype: np.dtype, draw: Callable[[], np.ndarray]) -> Tensor:
    """A tensor of random numbers that `draw` gives; under capture, new ones in every run."""
    capture = recorder()
    if capture is None:
        return wrap(ordered(np.asarray(draw(), dtype)))
    storage = Storage()
    storage.capture = capture
    images = len(shape) == 4
    memory = capture.feed(memory_shape(shape), dtype, (lambda: draw().transpose(0, 2, 3, 1)) if images else draw)
    return wrap_memory(memory, storage)


def zeros(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of zeros.

    Parameters
    ----------
    size : sizes, or one tuple of them.
    dtype : float32 by default.
    device : ``"cpu"`` or None.
    requires_grad : whether gradients are wanted.

    Examples
    --------
    >>> zeros(2, 2)
    tensor([[0., 0.],
            [0., 0.]])
    """
    # Zeros have no order: reserve in memory order at once, so that untouched pages stay untouched.
    shape = _shape(size, "zeros")
    wanted = _type(dtype, "zeros", device)
    if _captured(wanted):
        return filled(shape, wanted, 0.0).requires_grad_(requires_grad)
    array = np.zeros(memory_shape(shape), wanted)
    return _made(array.transpose(0, 3, 1, 2) if len(shape) == 4 else array, requires_grad)


def ones(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of ones; see `zeros`.

    Examples
    --------
    >>> ones(2)
    tensor([1., 1.])
    """
    shape, wanted = _shape(size, "ones"), _type(dtype, "ones", device)
    if _captured(wanted):
        return filled(shape, wanted, 1.0).requires_grad_(requires_grad)
    return _made(np.ones(shape, wanted), requires_grad)


def full(size: Any, fill_value: float, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of one value, of its type: float32, int64 or bool.

    Examples
    --------
    >>> full((2,), 7)
    tensor([7, 7])
    """
    default = np.dtype(bool) if isinstance(fill_value, bool) else int64 if isinstance(fill_value, int) else float32
    shape, wanted = _shape((size,), "full"), _type(dtype, "full", device, default)
    if _captured(wanted):
        return filled(shape, wanted, float(fill_value)).requires_grad_(requires_grad)
    array = np.full(shape, fill_value, wanted)
    return _made(array, requires_grad)


def empty(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of undefined contents; see `zeros`.

    Examples
    --------
    >>> empty(2, 3).shape
    nnfast.Size([2, 3])
    """
    return allocate(_shape(size, "empty"), _type(dtype, "empty", device)).requires_grad_(requires_grad)


def zeros_like(input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Zeros of the shape and type of another tensor."""
    return zeros(input.shape, dtype=input.dtype if dtype is None else dtype, device=device, requires_grad=requires_grad)


def ones_like(input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Ones of the shape and type of another tensor."""
    return ones(input.shape, dtype=input.dtype if dtype is None else dtype, device=device, requires_grad=requires_grad)


def empty_like(input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Undefined contents in the shape and type of another tensor."""
    return empty(input.shape, dtype=input.dtype if dtype is None else dtype, device=device, requires_grad=requires_grad)


def full_like(
    input: Tensor, fill_value: float, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """One value in the shape and type of another tensor."""
    return full(
        input.shape,
        fill_value,
        dtype=input.dtype if dtype is None else dtype,
        device=device,
        requires_grad=requires_grad,
    )


def arange(
    start: float,
    end: float | None = None,
    step: float = 1,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Numbers from `start` (0 if only one number is given) up to but without `end`, `step` apart.

    Examples
    --------
    >>> arange(3)
    tensor([0, 1, 2])
    """
    if step == 0:
        raise RuntimeError("arange: step must be nonzero")
    first, last = (0, start) if end is None else (start, end)
    whole = all(isinstance(number, (int, np.integer)) for number in (first, last, step))
    wanted = _type(dtype, "arange", device, int64 if whole else float32)
    return _made(np.arange(first, last, step).astype(wanted), requires_grad)


def linspace(
    start: float, end: float, steps: int, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """`steps` numbers from `start` to `end`, both included.

    Examples
    --------
    >>> linspace(0, 1, 3)
    tensor([0.0000, 0.5000, 1.0000])
    """
    return _made(np.linspace(start, end, steps).astype(_type(dtype, "linspace", device)), requires_grad)


def eye(n: int, m: int | None = None, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A matrix of ones on the diagonal and zeros elsewhere.

    Examples
    --------
    >>> eye(2)
    tensor([[1., 0.],
            [0., 1.]])
    """
    return _made(np.eye(n, m, dtype=_type(dtype, "eye", device)), requires_grad)


def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """`data` as a tensor: the same tensor or memory where it already fits, else a copy.

    Examples
    --------
    >>> x = ones(2)
    >>> as_tensor(x) is x
    True
    """
    check_device(device, "as_tensor")
    if isinstance(data, Tensor):
        return data.to(dtype)
    if isinstance(data, np.ndarray):
        return from_numpy(data).to(dtype)
    return tensor(data, dtype=dtype)


# ---------------------------------------------------------------- random


def _generator(generator: Any, who: str) -> Callable[[], np.random.Generator]:
    """What gives the generator to draw from: `manual_seed` makes another default one."""
    if generator is None:
        return default_generator
    if not isinstance(generator, np.random.Generator):
        raise TypeError(f"{who}: generator is {type(generator).__name__}, expected a numpy.random.Generator")
    return lambda: generator


def uniform(shape: tuple[int, ...], low: float, high: float, dtype: np.dtype, generator: Any = None) -> Tensor:
    """Uniform random numbers in [low, high), drawn in the order of the shape."""
    source = _generator(generator, "uniform")
    return _drawn(shape, dtype, lambda: low + (high - low) * source().random(shape, dtype=dtype.type))


def normal(shape: tuple[int, ...], mean: float, std: float, dtype: np.dtype, generator: Any = None) -> Tensor:
    """Normally distributed random numbers, drawn in the order of the shape."""
    source = _generator(generator, "normal")
    return _drawn(shape, dtype, lambda: mean + std * source().standard_normal(shape, dtype=dtype.type))


def rand(
    *size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False, generator: Any = None
) -> Tensor:
    """Uniform random numbers in [0, 1).

    Examples
    --------
    >>> rand(2, 3).shape
    nnfast.Size([2, 3])
    """
    made = uniform(_shape(size, "rand"), 0.0, 1.0, _floating(dtype, "rand", device), generator)
    return made.requires_grad_(requires_grad)


def randn(
    *size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False, generator: Any = None
) -> Tensor:
    """Random numbers from the standard normal distribution.

    Examples
    --------
    >>> randn(2, 3).shape
    nnfast.Size([2, 3])
    """
    made = normal(_shape(size, "randn"), 0.0, 1.0, _floating(dtype, "randn", device), generator)
    return made.requires_grad_(requires_grad)


def _floating(dtype: Any, who: str, device: Any) -> np.dtype:
    found = _type(dtype, who, device)
    if found.kind != "f":
        raise TypeError(f"{who}: dtype is {found}, expected float32 or float64")
    return found


def rand_like(input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """`rand` in the shape and type of another tensor."""
    return rand(input.shape, dtype=input.dtype if dtype is None else dtype, device=device, requires_grad=requires_grad)


def randn_like(input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """`randn` in the shape and type of another tensor."""
    return randn(input.shape, dtype=input.dtype if dtype is None else dtype, device=device, requires_grad=requires_grad)


def randint(
    low: int, high: Any = None, size: Any = None, *, dtype: Any = None, device: Any = None, generator: Any = None
) -> Tensor:
    """Random whole numbers from `low` (0 if only ``randint(high, size)`` is given) up to but without `high`.

    Examples
    --------
    >>> randint(10, (3,)).shape
    nnfast.Size([3])
    """
    if size is None:
        low, high, size = 0, low, high
    if size is None:
        raise TypeError("randint: size is missing")
    if low >= high:
        raise RuntimeError(f"randint: expected low < high, got {low} and {high}")
    wanted = _type(dtype, "randint", device, int64)
    source, shape = _generator(generator, "randint"), _shape((size,), "randint")
    return _drawn(shape, wanted, lambda: source().integers(low, high, shape))


def randperm(n: int, *, dtype: Any = None, device: Any = None, generator: Any = None) -> Tensor:
    """The numbers 0 to n - 1 in random order.

    Examples
    --------
    >>> sorted(randperm(3).tolist())
    [0, 1, 2]
    """
    wanted = _type(dtype, "randperm", device, int64)
    source = _generator(generator, "randperm")
    return _drawn((n,), wanted, lambda: source().permutation(n))
