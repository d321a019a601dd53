"""Tensor: one NumPy array, in nnfast's memory order, with a place on the tape.

Memory invariant: arrays of four dimensions are channels-last, so that ``array.transpose(0, 2, 3, 1)`` is C-contiguous
while ``array.shape`` reads (N, C, H, W), or (O, I, H, W) for weights; all others are C-contiguous. Arrays are brought
into that order once, where they enter: in `from_numpy` and `tensor`.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np

import nnfast

from .dtypes import bool_, float32, int64, is_floating, legacy_name
from .grad_mode import is_grad_enabled
from .tensor_methods import TensorMethods
from .tracing import Recorder, recorder, structure_changed


class Size(tuple):
    """A tensor's shape: a tuple that knows how many elements it stands for.

    Examples
    --------
    >>> Size((2, 3)).numel()
    6
    """

    __slots__ = ()

    def numel(self) -> int:
        """The number of elements."""
        return math.prod(self)

    def __repr__(self) -> str:
        return f"nnfast.Size([{', '.join(map(str, self))}])"


class Storage:
    """What tensors on the same memory have in common.

    Attributes
    ----------
    version : how often the memory was changed in place; the tape compares it with what it was when it saved a tensor.
    viewed : whether a view was taken, whose history an in-place change on the tape would have to rewrite.
    copy_of : the call that had to copy where PyTorch gives a view, or None; a change would not reach the original.
    capture : the capture that made the memory, whose values exist only while its plan runs; else None.
    """

    __slots__ = ("capture", "copy_of", "version", "viewed")

    def __init__(self) -> None:
        self.version = 0
        self.viewed = False
        self.copy_of: str | None = None
        self.capture: Recorder | None = None


class Tensor(TensorMethods):
    """An array of numbers that can take part in automatic differentiation.

    Make one with `nnfast.tensor`, `nnfast.from_numpy`, `nnfast.zeros`...; ``Tensor(data)`` is a float32 tensor of
    `data`, as in PyTorch.

    Parameters
    ----------
    data : numbers, nested lists of numbers, or an array.

    Attributes
    ----------
    grad : Tensor or None
        The gradient that `backward` accumulated; only leaves (and tensors after `retain_grad`) get one.

    Examples
    --------
    >>> import nnfast
    >>> x = nnfast.tensor([1.0, 2.0], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad
    tensor([2., 4.])
    """

    __slots__ = ("__weakref__", "_grad", "_requires_grad", "array", "node", "storage")

    array: np.ndarray
    storage: Storage
    node: nnfast.tape.Node | None

    def __init__(self, data: Any) -> None:
        if isinstance(data, int) and not isinstance(data, bool):
            raise TypeError("Tensor(size) makes uninitialised memory in PyTorch; use nnfast.empty(size)")
        self._set(tensor(data, dtype=float32).array, Storage())

    def _set(self, array: np.ndarray, storage: Storage) -> None:
        self.array = array
        self.storage = storage
        self.node = None
        self._requires_grad = False
        self._grad: Tensor | None = None
        capture = recorder()
        if capture is not None:
            capture.makes(self)

    # ------------------------------------------------------------ memory

    @property
    def memory(self) -> np.ndarray:
        """The array as it lies in memory, C-contiguous: (N, H, W, C) where `shape` says (N, C, H, W)."""
        return self.array.transpose(0, 2, 3, 1) if self.array.ndim == 4 else self.array

    def read(self) -> np.ndarray:
        """The values, for use outside of kernels. Whatever depends on values of a tensor comes through here."""
        capture = recorder() or self.storage.capture
        if capture is not None:
            capture.reads(self)
        return self.array

    # ------------------------------------------------------------ what it is

    @property
    def shape(self) -> Size:
        """The sizes of the dimensions: (N, C, H, W) for images, (O, I, H, W) for convolution weights."""
        return Size(self.array.shape)

    @property
    def dtype(self) -> np.dtype:
        """The element type."""
        return self.array.dtype

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return self.array.ndim

    @property
    def device(self) -> str:
        """Where the tensor lives: always ``cpu``."""
        return "cpu"

    @property
    def is_cuda(self) -> bool:
        """Whether the tensor is on a GPU: never."""
        return False

    def is_floating_point(self) -> bool:
        """Whether the element type is float32 or float64."""
        return is_floating(self.array.dtype)

    def is_contiguous(self, memory_format: Any = None) -> bool:
        """True: every tensor is contiguous in the one memory order of its rank."""
        return True

    def type(self) -> str:
        """PyTorch's legacy name of the type."""
        return f"nnfast.{legacy_name(self.dtype)}Tensor"

    def __len__(self) -> int:
        if self.ndim == 0:
            raise TypeError("len() of a 0-d tensor")
        return self.array.shape[0]

    # ------------------------------------------------------------ differentiation

    @property
    def requires_grad(self) -> bool:
        """Whether gradients with respect to this tensor are wanted."""
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        if not value and self.node is not None:
            raise RuntimeError(
                "you can only change requires_grad flags of leaf variables. If you want to use a computed "
                "variable in a subgraph that doesn't require differentiation use var_no_grad = var.detach()."
            )
        if value and not self.is_floating_point():
            raise RuntimeError(f"only Tensors of floating point dtype can require gradients, got {self.dtype}")
        if self._requires_grad is not bool(value):
            capture = recorder()
            if capture is not None:
                capture.sets_requires_grad(self)
            self._requires_grad = bool(value)
            structure_changed()

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Set `requires_grad` and return the tensor itself."""
        self.requires_grad = requires_grad
        return self

    @property
    def is_leaf(self) -> bool:
        """Whether no recorded operation made this tensor."""
        return self.node is None

    @property
    def grad_fn(self) -> nnfast.tape.Node | None:
        """The recorded operation that made this tensor, or None for a leaf."""
        return self.node

    @property
    def grad(self) -> Tensor | None:
        """The gradient that `backward` accumulated."""
        capture = recorder()
        if capture is not None:
            capture.reads_gradient(self)
        return self._grad

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        if value is not None:
            if not isinstance(value, Tensor):
                raise TypeError(
                    f"assigned grad expected to be a Tensor or None but got grad of type {type(value).__name__}"
                )
            if value.shape != self.shape:
                raise RuntimeError(
                    f"assigned grad has data of a different size: {list(value.shape)}, expected {list(self.shape)}"
                )
            if value.dtype != self.dtype:
                raise RuntimeError(f"assigned grad has data of a different type: {value.dtype}, expected {self.dtype}")
        capture = recorder()
        if capture is not None:
            capture.writes_gradient(self)
        self._grad = value

    def backward(
        self, gradient: Tensor | None = None, retain_graph: bool | None = None, create_graph: bool = False
    ) -> None:
        """Add the gradients of this tensor to the `grad` of every leaf that it was computed from.

        Parameters
        ----------
        gradient : the gradient of this tensor; may be left out for a tensor of one element, where it is 1.
        retain_graph : keep the tape for another `backward`; it is freed otherwise.
        create_graph : not supported: gradients of gradients are not recorded.

        Raises
        ------
        RuntimeError : the tensor does not require a gradient, has several elements and no `gradient`, the tape was
            freed by an earlier `backward`, or a tensor saved on the tape was changed in place.
        NotImplementedError : ``create_graph=True``.

        Examples
        --------
        >>> import nnfast
        >>> w = nnfast.ones(2, 3, requires_grad=True)
        >>> w.mean().backward()
        >>> w.grad.shape
        nnfast.Size([2, 3])
        """
        if create_graph:
            raise NotImplementedError(
                "backward: create_graph=True is not supported; gradients of gradients are not recorded"
            )
        nnfast.tape.backward(self, gradient, bool(retain_graph))

    def retain_grad(self) -> None:
        """Keep this tensor's gradient in `grad` although it is not a leaf."""
        if not self._requires_grad:
            raise RuntimeError("can't retain_grad on Tensor that has requires_grad=False")
        if self.node is not None:
            self.node.retain(self)

    def alias(self) -> Tensor:
        """The same memory and storage as a tensor that is not on the tape."""
        capture = recorder()
        if capture is not None:
            capture.views(self)
        return wrap(self.array, self.storage)

    def detach(self) -> Tensor:
        """The same memory as a tensor that is not on the tape.

        Examples
        --------
        >>> import nnfast
        >>> x = nnfast.ones(2, requires_grad=True)
        >>> x.detach().requires_grad
        False
        """
        return self.alias()

    def detach_(self) -> Tensor:
        """Take this tensor itself off the tape."""
        self.node = None
        if self._requires_grad:
            self._requires_grad = False
            structure_changed()
        return self

    @property
    def data(self) -> Tensor:
        """The same memory, off the tape, and with a version of its own: changes through it are not noticed."""
        capture = recorder()
        if capture is not None:
            capture.views(self)
        storage = Storage()
        storage.capture = self.storage.capture
        return wrap(self.array, storage)

    @data.setter
    def data(self, value: Tensor) -> None:
        if not isinstance(value, Tensor):
            raise TypeError(f"data is {type(value).__name__}, expected a Tensor")
        if is_floating(value.dtype) != is_floating(self.dtype):
            raise RuntimeError(f"data is {value.dtype}, expected a type like the present one, {self.dtype}")
        capture = recorder()
        if capture is not None:
            capture.refuse("data of a tensor is replaced; copy into it, with nnfast.no_grad(): x.copy_(value)")
        self.array = value.array
        structure_changed()

    # ------------------------------------------------------------ values

    def item(self) -> Any:
        """The only element, as a Python number.

        Raises
        ------
        RuntimeError : the tensor does not have exactly one element.
        """
        if self.array.size != 1:
            raise RuntimeError(f"a Tensor with {self.array.size} elements cannot be converted to Scalar")
        return self.read().item()

    def tolist(self) -> Any:
        """The elements as nested lists of Python numbers."""
        return self.read().tolist()

    def numpy(self, *, force: bool = False) -> np.ndarray:
        """The elements as a NumPy array on the same memory.

        Parameters
        ----------
        force : as ``tensor.detach().numpy()``.

        Raises
        ------
        RuntimeError : the tensor requires a gradient.
        """
        if self._requires_grad and not force:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")
        return self.read()

    __array_ufunc__ = None  # np.float32(2) * tensor and array * tensor come to Tensor's operators

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        array = self.numpy()
        if dtype is not None and array.dtype != dtype:
            if copy is False:
                raise ValueError(f"__array__: a tensor of {array.dtype} cannot become {np.dtype(dtype)} without a copy")
            return array.astype(dtype)
        return array.copy() if copy else array

    def __bool__(self) -> bool:
        if self.array.size != 1:
            raise RuntimeError(
                "Boolean value of Tensor with "
                f"{'no values' if self.array.size == 0 else 'more than one value'} is ambiguous"
            )
        return bool(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        if self.array.size != 1 or self.is_floating_point():
            raise TypeError("only integer tensors of a single element can be converted to an index")
        return int(self.item())

    def __format__(self, specification: str) -> str:
        return format(self.item(), specification) if self.ndim == 0 else object.__format__(self, specification)

    def __hash__(self) -> int:
        return id(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if self.node is not None:
            raise RuntimeError(
                "Only Tensors created explicitly by the user (graph leaves) support the deepcopy protocol"
            )
        made = type(self).__new__(type(self))
        memo[id(self)] = made
        made._set(ordered(self.read().copy()), Storage())
        made._requires_grad = self._requires_grad
        made._grad = None if self._grad is None else self._grad.__deepcopy__(memo)
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        if self.node is not None:
            raise RuntimeError("only leaf tensors can be pickled; use detach() first")
        return _rebuild, (type(self), self.read(), self._requires_grad)

    def __repr__(self) -> str:
        return f"tensor({_text(self)})"


def _rebuild(kind: type[Tensor], array: np.ndarray, requires_grad: bool) -> Tensor:
    made = kind.__new__(kind)
    made._set(ordered(array), Storage())
    made._requires_grad = requires_grad
    return made


def _text(x: Tensor) -> str:
    values = x.read()
    whole = x.is_floating_point() and bool(np.all(np.mod(values[np.isfinite(values)], 1) == 0))
    mode: Literal["maxprec", "fixed"] = "maxprec" if whole else "fixed"
    text = np.array2string(
        np.ascontiguousarray(values).reshape(values.shape),
        precision=4,
        separator=", ",
        prefix="tensor(",
        floatmode=mode,
        threshold=1000,
    )
    if x.array.size == 0:
        text = "[]" if x.ndim == 1 else f"[], size=({', '.join(map(str, x.shape))})"
    if x.dtype not in (float32, int64, bool_):
        text += f", dtype=nnfast.{x.dtype}"
    if x.node is not None:
        return f"{text}, grad_fn={x.node!r}"
    return f"{text}, requires_grad=True" if x.requires_grad else text


def wrap(array: np.ndarray, storage: Storage | None = None) -> Tensor:
    """A tensor on an array that already is in nnfast's memory order."""
    made = Tensor.__new__(Tensor)
    made._set(array, storage or Storage())
    return made


def wrap_memory(memory: np.ndarray, storage: Storage | None = None) -> Tensor:
    """A tensor on C-contiguous memory, which is (N, H, W, C) if it has four dimensions."""
    return wrap(memory.transpose(0, 3, 1, 2) if memory.ndim == 4 else memory, storage)


def memory_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """How the elements of a tensor of this shape lie in memory: (N, H, W, C) for (N, C, H, W)."""
    return (shape[0], shape[2], shape[3], shape[1]) if len(shape) == 4 else shape


def in_order(array: np.ndarray) -> bool:
    """Whether an array obeys the memory invariant."""
    return (array.transpose(0, 2, 3, 1) if array.ndim == 4 else array).flags.c_contiguous


def ordered(array: np.ndarray) -> np.ndarray:
    """The array in nnfast's memory order: itself, or a copy."""
    if in_order(array):
        return array
    if array.ndim == 4:
        return np.ascontiguousarray(array.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    return np.ascontiguousarray(array)


def from_numpy(array: np.ndarray) -> Tensor:
    """A tensor of an array; on the same memory where its order allows, otherwise on a copy.

    Parameters
    ----------
    array : of any shape, of a type that nnfast has. Four dimensions are (N, C, H, W); memory is shared if they are
        channels-last (``array.transpose(0, 2, 3, 1)`` is C-contiguous), for other ranks if they are C-contiguous.

    Raises
    ------
    TypeError : not an array.
    NotImplementedError : an element type that nnfast does not have.

    Examples
    --------
    >>> import numpy as np
    >>> from_numpy(np.arange(3))
    tensor([0, 1, 2])
    """
    if not isinstance(array, np.ndarray):
        raise TypeError(f"expected np.ndarray (got {type(array).__name__})")
    made = wrap(ordered(_native(array, "from_numpy")))
    capture = recorder()
    if capture is not None:
        capture.constant(made.array, borrowed=made.array is array)
    return made


def _native(array: np.ndarray, who: str) -> np.ndarray:
    native = nnfast.dtypes.as_dtype(array.dtype.newbyteorder("="), who)
    return array if array.dtype.isnative else array.astype(native)


def fresh(array: np.ndarray) -> Tensor:
    """A tensor on an array that NumPy has just made for it, or on a copy in memory order."""
    made = wrap(ordered(_native(array, "tensor")))
    capture = recorder()
    if capture is not None:
        capture.constant(made.array)
    return made


def tensor(data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor with a copy of `data`.

    Parameters
    ----------
    data : a number, nested sequences of numbers, an array or a tensor.
    dtype : the element type; by default that of an array, float32 for Python floats, int64 for ints, bool for bools.
    device : ``"cpu"`` or None.
    requires_grad : whether gradients are wanted.

    Raises
    ------
    ValueError : sequences of unequal lengths.
    NotImplementedError : an element type that nnfast does not have, or another device.

    Examples
    --------
    >>> tensor([[1, 2], [3, 4]]).shape
    nnfast.Size([2, 2])
    """
    check_device(device, "tensor")
    array = np.array(_values(data), copy=True)
    wanted = None if dtype is None else nnfast.dtypes.as_dtype(dtype, "tensor")
    if wanted is None and array.dtype == np.float64 and not isinstance(data, (np.ndarray, np.generic, Tensor)):
        wanted = float32
    if array.dtype.kind not in "biuf":
        raise TypeError(f"tensor: data holds {array.dtype}, expected numbers")
    made = fresh(array if wanted is None else array.astype(wanted, copy=False))
    return made.requires_grad_(requires_grad)


def _values(data: Any) -> Any:
    """`data` with the tensors inside of lists read."""
    if isinstance(data, Tensor):
        return data.read()
    if isinstance(data, (list, tuple)) and any(isinstance(item, (Tensor, list, tuple)) for item in data):
        return [_values(item) for item in data]
    return data


def check_device(device: Any, who: str) -> None:
    """Accept the CPU, under any of its names.

    Raises
    ------
    NotImplementedError : any other device.
    """
    if device is not None and str(device).partition(":")[0] != "cpu":
        raise NotImplementedError(f"{who}: device is {str(device)!r}; nnfast runs on 'cpu' only")


def recording(*tensors: Tensor | None) -> bool:
    """Whether an operation on `tensors` goes on the tape."""
    return is_grad_enabled() and any(x is not None and x._requires_grad for x in tensors)
