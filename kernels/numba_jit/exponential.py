"""Elementary functions that vectorise, which calls into libm do not.

`exp`, `log`, `tanh` and `sigmoid` are branch-free polynomials in float32 with every special value right; the measured
errors stand with them, in units in the last place. They follow Moshier's Cephes library (expf.c, logf.c, tanhf.c).
Results below the smallest normal number are 0, for workers flush denormals. They take float32 numbers or vectors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .compiler import inline
from .vector import where

ZERO, HALF, ONE, TWO = (np.float32(number) for number in (0.0, 0.5, 1.0, 2.0))
INFINITY, NAN = np.float32(np.inf), np.float32(np.nan)


def _bits(kind: Any) -> Callable[[int], Any]:
    """Makes integer constants as wide as `kind`, the type of a float32 or of a vector of them."""
    if isinstance(kind, ir.VectorType):
        return lambda number: ir.Constant(ir.VectorType(_INT, kind.count), [number] * kind.count)
    return lambda number: ir.Constant(_INT, number)


_INT = ir.IntType(32)


@intrinsic
def sqrt(typingctx, x):  # type: ignore[no-untyped-def]
    """The square root as one instruction; Numba's own calls libm, which stops a loop from vectorising."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.call(builder.module.declare_intrinsic("llvm.sqrt", [values[0].type]), values)

    return x(x), codegen


# ---------------------------------------------------------------- exp

# 1.5 * 2**23: adding it rounds a float32 of modest size to an integer, which then stands in the low mantissa bits.
_ROUND = np.float32(12582912.0)
_ROUND_BIASED = _ROUND + np.float32(127.0)  # the exponent's bias
_LOG2_E = np.float32(1.44269504088896341)
_LN_2_HIGH, _LN_2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)  # ln 2; the first has few bits
_EXP_LOW, _EXP_HIGH = np.float32(-87.33654), np.float32(88.72283)  # between these exp is a normal number
_E2, _E3, _E4, _E5, _E6, _E7 = (np.float32(c) for c in (
    5.0000001201e-1, 1.6666665459e-1, 4.1665795894e-2, 8.3334519073e-3, 1.3981999507e-3, 1.9875691500e-4))  # fmt: skip


@intrinsic
def _times_power_of_two(typingctx, factor, rounded):  # type: ignore[no-untyped-def]
    """``factor * 2**n``, a normal number, where `rounded` is n + _ROUND: adds n to the exponent."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        bits = _bits(values[0].type)
        number, n = (builder.bitcast(value, bits(0).type) for value in values)
        return builder.bitcast(builder.add(number, builder.shl(n, bits(23))), values[0].type)

    return factor(factor, rounded), codegen


@intrinsic
def _power_of_two(typingctx, rounded):  # type: ignore[no-untyped-def]
    """``2**n``, a normal number, where `rounded` is n + _ROUND_BIASED: the bits of n + 127 become the exponent."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        bits = _bits(values[0].type)
        n = builder.bitcast(values[0], bits(0).type)
        return builder.bitcast(builder.shl(n, bits(23)), values[0].type)

    return rounded(rounded), codegen


@inline
def _split_exponent(x, shift):  # type: ignore[no-untyped-def]
    """(e**r - 1, n + `shift`) for x = n * ln 2 + r with the smallest |r|."""
    rounded = x * _LOG2_E + shift
    n = rounded - shift
    r = x - n * _LN_2_HIGH
    r = r - n * _LN_2_LOW
    z = r * r
    # In pairs: one step after the other, an exponential would mostly wait.
    p = ((_E7 * r + _E6) * z + (_E5 * r + _E4)) * z + (_E3 * r + _E2)
    return p * z + r, rounded


@inline
def exp(x):  # type: ignore[no-untyped-def]
    """e**x, within 1.02 units."""
    fraction, rounded = _split_exponent(x, _ROUND)
    result = _times_power_of_two(fraction + ONE, rounded)
    # Infinity beyond the upper bound, and NaN, for every comparison with it is false.
    result = where(x <= _EXP_HIGH, result, x * INFINITY)
    return where(x < _EXP_LOW, ZERO, result)


@inline
def exp_bounded(x):  # type: ignore[no-untyped-def]
    """e**x of numbers up to 88 in fewer steps, within 1.02 units; of a logarithm of a probability, for example."""
    fraction, rounded = _split_exponent(x, _ROUND_BIASED)
    # A product, for NaN stays NaN in it.
    return where(x < _EXP_LOW, ZERO, (fraction + ONE) * _power_of_two(rounded))


@inline
def sigmoid(x):  # type: ignore[no-untyped-def]
    """1 / (1 + e**-x), within 2.5 units; an infinite e**-x gives 0."""
    return ONE / (ONE + exp(-x))


# ---------------------------------------------------------------- tanh

_TANH_SMALL, _TANH_ONE = np.float32(0.625), np.float32(10.0)  # from 9.02 on tanh rounds to 1
_T3, _T5, _T7, _T9, _T11 = (np.float32(c) for c in (
    -3.33332819422e-1, 1.33314422036e-1, -5.37397155531e-2, 2.06390887954e-2, -5.70498872745e-3))  # fmt: skip
_SIGN = 0x80000000


@intrinsic
def _with_sign(typingctx, size, x):  # type: ignore[no-untyped-def]
    """|`size`| with the sign of x."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        bits = _bits(values[0].type)
        number, signed = (builder.bitcast(value, bits(0).type) for value in values)
        joined = builder.or_(builder.and_(number, bits(_SIGN - 1)), builder.and_(signed, bits(_SIGN)))
        return builder.bitcast(joined, values[0].type)

    return size(size, x), codegen


@inline
def tanh(x):  # type: ignore[no-untyped-def]
    """Within 1.4 units: an odd polynomial near 0, where the other form cancels; else from e**2|x|, with x's sign."""
    size = where(x > ZERO, x, -x)
    z = x * x
    near = ((((_T11 * z + _T9) * z + _T7) * z + _T5) * z + _T3) * z * x + x
    # Where it is no more than 10, e**2|x| needs no care for overflow.
    far = where(size > _TANH_ONE, _TANH_ONE, size)
    fraction, rounded = _split_exponent(far + far, _ROUND_BIASED)
    far = ONE - TWO / ((fraction + ONE) * _power_of_two(rounded) + ONE)
    return where(size < _TANH_SMALL, near, _with_sign(far, x))


# ---------------------------------------------------------------- log

_SQRT_HALF_BITS = 0x3F3504F3
_L3, _L4, _L5, _L6, _L7, _L8, _L9, _L10, _L11 = (np.float32(c) for c in (
    3.3333331174e-1, -2.4999993993e-1, 2.0000714765e-1, -1.6668057665e-1, 1.4249322787e-1, -1.2420140846e-1,
    1.1676998740e-1, -1.1514610310e-1, 7.0376836292e-2))  # fmt: skip


@intrinsic
def _split(typingctx, x):  # type: ignore[no-untyped-def]
    """(m, n) with x = m * 2**n and m in [sqrt(1/2), sqrt(2)), for positive normal x."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kind = values[0].type
        bits = _bits(kind)
        number = builder.bitcast(values[0], bits(0).type)
        n = builder.ashr(builder.sub(number, bits(_SQRT_HALF_BITS)), bits(23))
        mantissa = builder.sub(number, builder.shl(n, bits(23)))
        parts = [builder.bitcast(mantissa, kind), builder.sitofp(n, kind)]
        return context.make_tuple(builder, signature.return_type, parts)

    return types.UniTuple(x, 2)(x), codegen


@inline
def log(x):  # type: ignore[no-untyped-def]
    """The natural logarithm, within 0.9 units; workers take denormal numbers for 0, whose logarithm is -infinity."""
    mantissa, n = _split(x)
    r = mantissa - ONE
    z = r * r
    p = (((_L11 * r + _L10) * r + _L9) * r + _L8) * r + _L7
    p = (((p * r + _L6) * r + _L5) * r + _L4) * r + _L3
    tail = p * r * z + n * _LN_2_LOW - HALF * z
    result = (r + tail) + n * _LN_2_HIGH
    result = where(x == INFINITY, x, result)
    result = where(x == ZERO, -INFINITY, result)
    # The comparison is false for NaN too.
    return where(x >= ZERO, result, NAN)
