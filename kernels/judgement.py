"""How far a backend's results are from the reference's: in the same type, and in a wider one.

float32 is judged by the reference in float64, and float64, which the reference alone computes in, by the reference in
NumPy's ``longdouble``. What a result may be off by is `tolerance.py`'s to say.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from .backends import BACKENDS, has_numba, reference_function
from .binding import bind
from .launch import prepare, run, single_threaded_blas
from .operation import DTYPES
from .ops import OPS

Results = dict[str, np.ndarray]
Way = tuple[str, str | None]
"""A backend, and the name of its algorithm; the reference has none."""
WIDER: dict[np.dtype, np.dtype] = {
    np.dtype("float32"): np.dtype("float64"),
    np.dtype("float64"): np.dtype("longdouble"),
}


@dataclass(frozen=True, eq=False)
class Call:
    """An operation and all that it is given.

    Parameters
    ----------
    op : a key of `OPS`.
    arrays : its inputs and updates; they are not changed.
    attributes : all of its attributes.
    shown : what outputs are to whom the result is told, such as ``{"dw": "gradient of weight"}``.
    dtype : float32 or float64, what ``float`` in the declaration means.

    Raises
    ------
    TypeError, ValueError : operands that contradict the operation's declaration.
    NotImplementedError : float64 where NumPy knows nothing wider to judge it by.
    """

    op: str
    arrays: Mapping[str, np.ndarray]
    attributes: Mapping[str, Any]
    shown: Mapping[str, str] = field(default_factory=dict)
    dtype: np.dtype = DTYPES["float"]

    def __post_init__(self) -> None:
        if np.finfo(WIDER[self.dtype]).eps >= np.finfo(self.dtype).eps:
            raise NotImplementedError(
                f"{self.op}: {self.dtype} cannot be judged here, where NumPy's longdouble is as wide"
            )
        object.__setattr__(self, "arrays", {name: np.asarray(value, order="C") for name, value in self.arrays.items()})
        prepare(self.op, self._operands(), self.attributes, self._memory(self.dtype), "reference")

    def _operands(self) -> Results:
        """Inputs, and copies of the updates."""
        updates = {array.name for array in OPS[self.op].updates}
        return {name: value.copy() if name in updates else value for name, value in self.arrays.items()}

    def _memory(self, floating: np.dtype) -> Results:
        binding = bind(self.op, self.arrays, self.attributes)
        return {array.name: np.empty(shape, floating if array.dtype == "float" else DTYPES[array.dtype])
                for array, shape in binding.outputs}  # fmt: skip

    def results(self, backend: str, algorithm: str | None) -> Results:
        """Outputs and updates of a backend, in the call's own type."""
        operands = self._operands()
        outputs = run(self.op, operands, self.attributes, self._memory(self.dtype), backend, algorithm=algorithm)
        return outputs | {array.name: operands[array.name] for array in OPS[self.op].updates}

    @cached_property
    def reference(self) -> Results:
        """Outputs and updates of the reference, in the call's own type."""
        return self.results("reference", None)

    @cached_property
    def exact(self) -> Results:
        """Outputs and updates of the reference in the wider type."""
        op, wider = OPS[self.op], WIDER[self.dtype]
        operands = {array.name: np.array(self.arrays[array.name], wider if array.dtype == "float" else None)
                    for array in op.inputs + op.updates}  # fmt: skip
        outputs = self._memory(wider)
        with single_threaded_blas():
            reference_function(op)(**operands, **outputs, **self.attributes)
        return outputs | {array.name: operands[array.name] for array in op.updates}

    @cached_property
    def rounded(self) -> Results:
        """The exact outputs in the declared types, as other operations take them."""
        return {array.name: self.exact[array.name].astype(self.dtype if array.dtype == "float" else DTYPES[array.dtype])
                for array in OPS[self.op].outputs}  # fmt: skip


@dataclass(frozen=True)
class Errors:
    """The largest errors of an array.

    Attributes
    ----------
    max_abs, max_rel, max_ulp : absolute, relative to the expected value, and in units in the last place of the expected
        value, rounded to the type that was computed in. Elements that are not finite count as 0 where both agree, as
        infinite elsewhere.
    """

    max_abs: float = 0.0
    max_rel: float = 0.0
    max_ulp: float = 0.0

    def __str__(self) -> str:
        return f"{self.max_abs:9.2e} {self.max_rel:9.2e} {self.max_ulp:9.3g}"


def wider_name(dtype: np.dtype) -> str:
    """What `dtype` is judged by: ``float64`` or ``longdouble``."""
    return "float64" if dtype == np.float32 else "longdouble"


def errors_header(*types: str) -> tuple[str, str]:
    """Two lines that stand above columns of `Errors` against these types of the reference."""
    above = "   ".join(f"{'against the reference in ' + name:^29}" for name in types)
    return above, "   ".join([f"{'abs':>9} {'rel':>9} {'ULP':>9}"] * len(types))


def errors_columns(against_reference: Errors | None, against_wider: Errors) -> str:
    """Both errors; dashes for the reference itself."""
    return f"{against_reference or ' '.join(['        -'] * 3)}   {against_wider}"


def errors(actual: np.ndarray, expected: np.ndarray, dtype: np.dtype) -> Errors:
    """How far `actual`, which was computed in `dtype`, is from `expected`, which may be of a wider type.

    Examples
    --------
    >>> print(errors(np.array([2.0, 1.5], np.float32), np.array([2.0, 1.0]), np.dtype("float32")))
     5.00e-01  5.00e-01  4.19e+06
    """
    if not actual.size:
        return Errors()
    wide = np.result_type(expected.dtype, np.float64)
    got, want = actual.astype(wide), expected.astype(wide)
    with np.errstate(all="ignore"):
        same = (got == want) | (np.isnan(got) & np.isnan(want))
        error = np.abs(got - want)
        kinds = error, error / np.abs(want), error / np.spacing(np.abs(want).astype(dtype)).astype(wide)
        return Errors(*(float(np.where(same, 0.0, np.nan_to_num(each, nan=np.inf)).max()) for each in kinds))


@dataclass(frozen=True)
class Comparison:
    """The largest errors of one output or update.

    Attributes
    ----------
    op, array : the operation, and the output's or update's name, or what it is to the caller: ``gradient of weight``.
    backend, algorithm : what computed; an operation's only algorithm is called ``default``, the reference has none.
    dtype : what was computed in.
    against_reference : errors against the reference in the same type; None for the reference itself.
    against_wider : errors against the reference in the wider type (float64 for float32).
    worst : the largest error against the wider type in units of what `tolerance.error_bounds` allows.
    """

    op: str
    array: str
    backend: str
    algorithm: str | None
    dtype: np.dtype
    against_reference: Errors | None
    against_wider: Errors
    worst: float

    @property
    def holds(self) -> bool:
        """Whether every element is as close as it must be."""
        return self.worst <= 1.0

    @property
    def max_abs(self) -> float:
        """The largest absolute error against the wider type."""
        return self.against_wider.max_abs

    @property
    def max_rel(self) -> float:
        """The largest relative error against the wider type."""
        return self.against_wider.max_rel

    @property
    def max_ulp(self) -> float:
        """The largest error against the wider type in units in the last place."""
        return self.against_wider.max_ulp


def installed() -> tuple[str, ...]:
    """The backends that can be compared here: Numba may be missing."""
    return tuple(name for name in BACKENDS if name != "numba" or has_numba())


def ways(call: Call, backends: Sequence[str]) -> Iterator[Way]:
    """All algorithms of all `backends` that can compute a call.

    Raises
    ------
    NotImplementedError : a backend has none.
    """
    op, sizes = OPS[call.op], bind(call.op, call.arrays, call.attributes).sizes
    for backend in backends:
        suitable = (None,) if backend == "reference" else op.suitable(sizes, backend)
        if not suitable:
            raise NotImplementedError(f"{call.op}: the {backend} backend has no algorithm for these sizes")
        for algorithm in suitable:
            yield backend, algorithm


def judge(call: Call, backend: str, algorithm: str | None) -> list[Comparison]:
    """Compute on a backend and compare each output and update that is not absent."""
    from .tolerance import error_bounds, worst_error

    op, exact = OPS[call.op], call.exact
    bounds = error_bounds(call.op, call.arrays, call.attributes, exact, call.dtype, algorithm)
    found = call.results(backend, algorithm)
    return [
        Comparison(
            call.op,
            call.shown.get(array.name, array.name),
            backend,
            algorithm,
            call.dtype,
            None if backend == "reference" else errors(found[array.name], call.reference[array.name], call.dtype),
            errors(found[array.name], exact[array.name], call.dtype),
            worst_error(found[array.name], exact[array.name], bounds[array.name]),
        )
        for array in op.outputs + op.updates
        if found[array.name].size or array.dims[0] not in op.either
    ]
