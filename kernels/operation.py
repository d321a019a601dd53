"""The language in which `ops.py` declares operations, and the flat argument block that every kernel reads.

A kernel is ``void kernel(const int64_t *args, int64_t begin, int64_t end)``. ``args`` holds 8-byte fields, in order:

1. the address of every array: inputs, updates, outputs, then the algorithm's workspace and scratch;
2. every size, once, in the order in which it first appears in the array specifications, then those only derived, for
   the operation and for the algorithm;
3. every attribute: an ``int`` is one field, a ``float`` one (the bits of a double), a ``pair`` two, a ``six`` six.

Arrays are C-contiguous. Array specifications are text: ``"x: N H W C; target(int64): N"``. A capital name is a size, a
number is itself, ``...`` stands for any shape and gives the size ``SIZE``. The type ``float`` (the default) is float32
in the compiled backends; the reference takes float64 too.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import SimpleNamespace
from typing import Any

import numpy as np

DTYPES: dict[str, np.dtype[Any]] = {name: np.dtype(name) for name in ("int64", "uint64", "uint8")} | {
    "float": np.dtype("float32"), "double": np.dtype("float64")}  # fmt: skip
COMPILED = ("numba", "cython")
FIELDS_OF_KIND = {"int": 1, "float": 1, "pair": 2, "six": 6}

Sizes = SimpleNamespace


@dataclass(frozen=True)
class Array:
    """One array of an operation: its name, element type (a key of `DTYPES`) and the names of its sizes."""

    name: str
    dtype: str
    dims: tuple[str, ...]

    @property
    def elementwise(self) -> bool:
        """Whether the array may have any shape (the kernels see it flat, as ``SIZE`` elements)."""
        return self.dims == ("...",)

    def shape(self, sizes: Sizes) -> tuple[int, ...]:
        """The shape that `sizes` gives; elementwise arrays have the shape of the first one that was bound."""
        if self.elementwise:
            return sizes.any_shape
        return tuple(int(dim) if dim.isdigit() else getattr(sizes, dim) for dim in self.dims)


def _arrays(specification: str) -> tuple[Array, ...]:
    parsed = []
    for part in filter(None, (text.strip() for text in specification.split(";"))):
        match = re.fullmatch(r"(\w+)(?:\((\w+)\))?: (.+)", part)
        if match is None or (match[2] or "float") not in DTYPES:
            raise ValueError(f"array specification {part!r} is not 'name: DIMS' or 'name(dtype): DIMS'")
        parsed.append(Array(match[1], match[2] or "float", tuple(match[3].split())))
    return tuple(parsed)


@dataclass(frozen=True)
class Attribute:
    """One attribute of an operation: its name and kind (a key of `FIELDS_OF_KIND`)."""

    name: str
    kind: str


def _attributes(specification: str) -> tuple[Attribute, ...]:
    parsed = []
    for part in filter(None, (text.strip() for text in specification.split(";"))):
        name, _, kind = part.partition(": ")
        if kind not in FIELDS_OF_KIND:
            raise ValueError(f"attribute {part!r} is not 'name: kind' with kind in {', '.join(FIELDS_OF_KIND)}")
        parsed.append(Attribute(name, kind))
    return tuple(parsed)


@dataclass(frozen=True)
class Stage:
    """One kernel of an algorithm and how many tasks it has: a function of the sizes alone, never of the threads."""

    kernel: str
    tasks: Callable[[Sizes], int]


@dataclass(frozen=True)
class Algorithm:
    """A way to compute an operation: stages that run one after the other and the memory they need.

    Parameters
    ----------
    stages : the kernels, in order; all read the same argument block.
    workspace : arrays shared by all tasks (packed weights, partial results).
    scratch : arrays of which every worker has its own; their contents never outlive a task.
    derive : sizes of its own, after those of the operation, in the order in which they are computed.
    backends : the compiled backends that have its kernels.
    suits : whether it can compute an operation of given sizes.
    """

    stages: tuple[Stage, ...]
    workspace: tuple[Array, ...] = ()
    scratch: tuple[Array, ...] = ()
    derive: Mapping[str, Callable[[Sizes], int]] = field(default_factory=dict)
    backends: tuple[str, ...] = COMPILED
    suits: Callable[[Sizes], bool] = lambda sizes: True

    def sizes(self, of: Sizes) -> Sizes:
        """The sizes of the operation and this algorithm's own."""
        sizes = Sizes(**vars(of))
        for name, rule in self.derive.items():
            setattr(sizes, name, rule(sizes))
        return sizes


def algorithm(
    *stages: tuple[str, Callable[[Sizes], int]], workspace: str = "", scratch: str = "", **rest: Any
) -> Algorithm:
    """An `Algorithm` from ``(kernel name, tasks)`` pairs and array specifications."""
    return Algorithm(tuple(Stage(*stage) for stage in stages), _arrays(workspace), _arrays(scratch), **rest)


@dataclass(frozen=True)
class Operation:
    """One operation: its arrays, attributes, sizes and algorithms. See the module's docstring for the language.

    Parameters
    ----------
    module : the file that holds its kernels in every backend (``conv`` for ``conv.py``).
    name : the operation's name, and the reference kernel's.
    inputs, updates, outputs : arrays read, arrays changed in place, arrays written whole. Outputs of elementwise
        operations may be the same memory as an input.
    attributes : numbers that are fixed when a kernel is bound.
    either : sizes that may take one of two values, e.g. ``{"B": (0, "K")}``: an absent array has length 0.
    derive : sizes that follow from bound sizes and attributes, in the order in which they are computed.
    algorithms : by name; the first is the default.
    candidates : the names of the algorithms that may be the fastest for given sizes, the likeliest first, where there
        are several; `choice.py` measures them.
    flops : floating-point operations for given sizes, where they and not memory are the limit.
    """

    module: str
    name: str
    inputs: tuple[Array, ...]
    outputs: tuple[Array, ...]
    algorithms: Mapping[str, Algorithm]
    updates: tuple[Array, ...] = ()
    attributes: tuple[Attribute, ...] = ()
    either: Mapping[str, tuple[int, int | str]] = field(default_factory=dict)
    derive: Mapping[str, Callable[[Sizes], int]] = field(default_factory=dict)
    candidates: Callable[[Sizes], tuple[str, ...]] | None = None
    flops: Callable[[Sizes], int] | None = None

    @cached_property
    def arrays(self) -> tuple[Array, ...]:
        """The arrays that a caller sees: inputs, updates, outputs."""
        return self.inputs + self.updates + self.outputs

    @cached_property
    def floating(self) -> tuple[str, ...]:
        """The names of the arrays that say what ``float`` means: inputs and updates, or else outputs."""
        given = tuple(array.name for array in self.inputs + self.updates if array.dtype == "float")
        return given or tuple(array.name for array in self.outputs if array.dtype == "float")

    @cached_property
    def parameters(self) -> tuple[str, ...]:
        """The names that the reference kernel takes: arrays, then attributes."""
        return (*(array.name for array in self.arrays), *(item.name for item in self.attributes))

    def bind(self, shapes: Mapping[str, tuple[int, ...]], attributes: Mapping[str, Any]) -> Sizes:
        """Name the sizes of the given input and update shapes, derive the others, check that they agree.

        Raises
        ------
        ValueError : a rank or a size that contradicts the declaration; the message names operation and array.
        """
        sizes = Sizes(any_shape=(), **attributes)
        for array in self.inputs + self.updates:
            self._bind_array(array, shapes[array.name], sizes)
        for name, rule in self.derive.items():
            value = rule(sizes)
            if getattr(sizes, name, value) != value:
                raise ValueError(
                    f"{self.name}: {self._owner(name)} has {name} = {getattr(sizes, name)}, expected {value}"
                )
            setattr(sizes, name, value)
        for name, allowed in self.either.items():
            values = [value if isinstance(value, int) else getattr(sizes, value) for value in allowed]
            if getattr(sizes, name) not in values:
                raise ValueError(f"{self.name}: {self._owner(name)} has {getattr(sizes, name)} elements, "
                                 f"expected {values[0]} or {values[1]}")  # fmt: skip
        return sizes

    def _bind_array(self, array: Array, shape: tuple[int, ...], sizes: Sizes) -> None:
        if array.elementwise:
            if hasattr(sizes, "SIZE") and shape != sizes.any_shape:
                raise ValueError(f"{self.name}: {array.name} has shape {shape}, expected {sizes.any_shape}")
            sizes.any_shape, sizes.SIZE = shape, math.prod(shape)
            return
        if shape == (0,) and array.dims[0] in self.either:  # an absent array
            setattr(sizes, array.dims[0], 0)
            return
        if len(shape) != len(array.dims):
            raise ValueError(f"{self.name}: {array.name} has shape {shape}, expected ({', '.join(array.dims)})")
        for dim, length in zip(array.dims, shape, strict=True):
            expected = int(dim) if dim.isdigit() else getattr(sizes, dim, length)
            if length != expected:
                raise ValueError(f"{self.name}: {array.name} has shape {shape}, where {dim} is {expected} "
                                 f"in ({', '.join(array.dims)})")  # fmt: skip
            if not dim.isdigit():
                setattr(sizes, dim, length)

    def _owner(self, size: str) -> str:
        return next(array.name for array in self.arrays if size in array.dims)

    def suitable(self, sizes: Sizes, backend: str) -> tuple[str, ...]:
        """The names of the algorithms with which `backend` can compute these sizes."""
        return tuple(name for name, item in self.algorithms.items() if backend in item.backends and item.suits(sizes))

    def ranked(self, sizes: Sizes, backend: str) -> tuple[str, ...]:
        """The suitable algorithms that may be the fastest, the likeliest first."""
        suitable = self.suitable(sizes, backend)
        ranking = self.candidates(sizes) if self.candidates else ()
        return tuple(name for name in ranking if name in suitable) or suitable[:1]

    def layout(self, name: str) -> Layout:
        """The argument block of the algorithm called `name`."""
        chosen = self.algorithms[name]
        arrays = self.arrays + chosen.workspace + chosen.scratch
        return Layout(
            arrays, tuple(dict.fromkeys([*_size_names(arrays), *self.derive, *chosen.derive])), self.attributes
        )


def _size_names(arrays: Iterable[Array]) -> list[str]:
    names = ("SIZE" if dim == "..." else dim for array in arrays for dim in array.dims)
    return [name for name in names if not name.isdigit()]


@dataclass(frozen=True)
class Layout:
    """Which field of the argument block holds what."""

    arrays: tuple[Array, ...]
    sizes: tuple[str, ...]
    attributes: tuple[Attribute, ...]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The name of every item in order: arrays, sizes, attributes."""
        return (*(array.name for array in self.arrays), *self.sizes, *(item.name for item in self.attributes))

    @cached_property
    def offsets(self) -> dict[str, int]:
        """The first field of every item."""
        offsets, position = {}, 0
        kinds = {item.name: item.kind for item in self.attributes}
        for name in self.names:
            offsets[name] = position
            position += FIELDS_OF_KIND[kinds.get(name, "int")]
        return offsets

    def numbers(self, sizes: Sizes, attributes: Mapping[str, Any]) -> list[int]:
        """The values of the fields behind them: sizes and attributes."""
        fields = [getattr(sizes, name) for name in self.sizes]
        for item in self.attributes:
            value = attributes[item.name]
            if item.kind == "float":
                fields.append(struct.unpack("q", struct.pack("d", value))[0])
            elif item.kind == "int":
                fields.append(int(value))
            else:
                fields.extend(int(number) for number in value)
        return fields


def operation(
    name: str,
    inputs: str,
    outputs: str,
    *,
    updates: str = "",
    attributes: str = "",
    either: Mapping[str, tuple[int, int | str]] | None = None,
    derive: Mapping[str, Callable[[Sizes], int]] | None = None,
    tasks: Callable[[Sizes], int] | None = None,
    algorithms: Mapping[str, Algorithm] | None = None,
    candidates: Callable[[Sizes], tuple[str, ...]] | None = None,
    flops: Callable[[Sizes], int] | None = None,
) -> Operation:
    """An `Operation` called ``module.name``; with `tasks` it is one kernel of the same name, else see `algorithms`."""
    module, _, short = name.partition(".")
    if tasks is not None:
        algorithms = {"default": algorithm((short, tasks))}
    return Operation(
        module, short, _arrays(inputs), _arrays(outputs), algorithms or {}, _arrays(updates), _attributes(attributes),
        either or {}, derive or {}, candidates, flops,
    )  # fmt: skip
