"""How far the backends' results are from the reference's, for arrays of one's own."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .backends import BACKENDS
from .binding import bind
from .functions import FUNCTIONS
from .judgement import Call, Comparison, errors_columns, errors_header, installed, judge, ways, wider_name
from .launch import floating_dtype
from .ops import OPS


class Comparisons(tuple[Comparison, ...]):
    """Several comparisons; printed, they are a table."""

    __slots__ = ()

    @property
    def holds(self) -> bool:
        """Whether every result is as close as it must be."""
        return all(item.holds for item in self)

    def __repr__(self) -> str:
        if not self:
            return "no comparisons"
        name = self[0].dtype.name
        above, header = errors_header(name, wider_name(self[0].dtype))
        operation = max(len(item.op) for item in self)
        result = max(len(item.array) for item in self)
        columns = f"{'operation':{operation}} {'result':{result}} {'backend':9} {'algorithm':14}"
        lines = [f"{'':{len(columns) + 2}}{above}  share of", f"{columns}  {header}     bound"]
        for item in self:
            columns = errors_columns(item.against_reference, item.against_wider)
            lines.append(f"{item.op:{operation}} {item.array:{result}} {item.backend:9} {item.algorithm or '-':14}  "
                         f"{columns}  {item.worst:8.1%}  {'holds' if item.holds else 'does not hold'}")  # fmt: skip
        return "\n".join(lines)


def compare(
    name: str, /, *arguments: Any, backend: str | None = None, gradient: Any = None, seed: int = 0, **options: Any
) -> Comparisons:
    """Measure how far every backend is from the reference on arrays of your own: results and gradients.

    Every operation that a function consists of is computed by all algorithms of each backend that suit, and judged
    alone, by the same inputs: against the NumPy reference in the same type, and against it in a wider one (float64 for
    float32). What must hold is the share of the error that the length of its sums explains.

    Parameters
    ----------
    name : a function of ``torch.nn.functional``, a key of `functions.FUNCTIONS`; or one kernel, a key of `OPS`.
    arguments, options : what the function takes, as in PyTorch: images NCHW, weights OIHW, NumPy arrays of float32. A
        kernel takes a mapping of its inputs and updates, one of its attributes, and, as `compare_kernel` has them, the
        backend and the algorithm.
    backend : ``"numba"``, ``"cython"`` or ``"reference"``; None: all that are installed. float64 is for the reference.
    gradient : with respect to the result, of its shape; random numbers if None.
    seed : of these numbers.

    Returns
    -------
    Comparisons
        A tuple of `Comparison` that prints as a table; ``holds`` says whether all of them do.

    Raises
    ------
    ValueError : an unknown name or backend, shapes that do not fit.
    TypeError : arguments that the function does not take, arrays of a type that it does not compute in.

    Examples
    --------
    >>> x, w = np.ones((1, 3, 8, 8), np.float32), np.ones((4, 3, 3, 3), np.float32)
    >>> found = compare("conv2d", x, w, stride=2, backend="reference")
    >>> found.holds
    True
    >>> [item.array for item in found]
    ['y', 'gradient of input', 'gradient of weight']
    """
    if name in OPS and isinstance(arguments[0] if arguments else options.get("arrays"), Mapping):
        kernel: Callable[..., Comparisons] = compare_kernel
        return kernel(name, *arguments, **options, **({} if backend is None else {"backend": backend}))
    backends = installed() if backend is None else (backend,)
    if not set(backends) <= set(BACKENDS):
        raise ValueError(f"compare: backend is {backend!r}, expected one of {', '.join(BACKENDS)}")
    calls = _calls(name, arguments, options, gradient, seed)
    return Comparisons(item for call in calls for way in ways(call, backends) for item in judge(call, *way))


def compare_kernel(
    name: str,
    arrays: Mapping[str, np.ndarray],
    attributes: Mapping[str, Any],
    backend: str = "numba",
    algorithm: str | None = None,
) -> Comparisons:
    """Measure how far one kernel is from the reference.

    Parameters
    ----------
    name : a key of `OPS`.
    arrays : its inputs and updates, float32 where the declaration says ``float``; they are not changed.
    attributes : all of its attributes.
    backend : the backend to judge.
    algorithm : a key of the operation's algorithms; None takes the one that its sizes make likeliest to be fast.

    Returns
    -------
    Comparisons
        One for each output and update.

    Raises
    ------
    TypeError, ValueError : arrays that contradict the operation's declaration.

    Examples
    --------
    >>> x = np.array([-1.0, 2.0], np.float32)
    >>> [relu] = compare_kernel("relu_forward", {"x": x}, {}, "reference")
    >>> relu.holds, relu.max_abs
    (True, 0.0)
    """
    call = Call(name, arrays, attributes, dtype=floating_dtype(OPS[name], arrays, backend))
    if algorithm is None and backend != "reference":
        algorithm = OPS[name].ranked(bind(name, call.arrays, attributes).sizes, backend)[0]
    return Comparisons(judge(call, backend, algorithm))


def _calls(name: str, arguments: tuple[Any, ...], options: Mapping[str, Any], gradient: Any, seed: int) -> list[Call]:
    """The calls of a function with these arguments."""
    if name not in FUNCTIONS:
        kernel = f"; {name} is a kernel: give mappings of its arrays and attributes" if name in OPS else ""
        raise ValueError(f"compare: there is no function {name!r}, expected one of {', '.join(FUNCTIONS)}{kernel}")

    def upstream(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        if gradient is None:
            return np.random.default_rng(seed).standard_normal(shape, np.float32).astype(dtype)
        given = np.asarray(gradient)
        if given.shape != shape:
            raise ValueError(f"compare: {name}: gradient has shape {given.shape}, the result has {shape}")
        return given

    function = FUNCTIONS[name]
    signature = inspect.signature(function)
    try:
        bound = signature.bind(upstream, *arguments, **options)
    except TypeError as error:
        takes = ", ".join(list(signature.parameters)[1:])
        raise TypeError(f"compare: {name}: {error}; it takes {takes}") from None
    return function(*bound.args, **bound.kwargs)
