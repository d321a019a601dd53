"""Train convolutional networks on CPUs, fast, with PyTorch's names."""

from importlib import import_module as _import_module
from importlib.util import find_spec as _find_spec

if _find_spec("nnfast.kernels") is None:
    raise ImportError(
        f"nnfast was imported from its source folder {__path__[0]}, where the compiled kernels are not. "
        "Run Python from another folder, or install with: pip install -e ."
    )

from . import creation, dispatch, dtypes, functional, grad_mode, nn, optim, random, tape
from .compiler.function import compile
from .creation import (
    arange,
    as_tensor,
    empty,
    empty_like,
    eye,
    full,
    full_like,
    linspace,
    ones,
    ones_like,
    rand,
    rand_like,
    randint,
    randn,
    randn_like,
    randperm,
    zeros,
    zeros_like,
)
from .dtypes import bool_ as bool
from .dtypes import float32, float64, int8, int16, int32, int64, uint8
from .functional import (
    abs,
    add,
    argmax,
    argmin,
    cat,
    chunk,
    clone,
    conv2d,
    div,
    dropout,
    exp,
    flatten,
    log,
    log_softmax,
    matmul,
    max,
    mean,
    min,
    mul,
    neg,
    permute,
    pow,
    relu,
    reshape,
    sigmoid,
    softmax,
    split,
    sqrt,
    square,
    squeeze,
    stack,
    std,
    sub,
    sum,
    t,
    tanh,
    transpose,
    unbind,
    unflatten,
    unsqueeze,
    var,
)
from .functional import matmul as mm
from .grad_mode import enable_grad, inference_mode, is_grad_enabled, no_grad, set_grad_enabled
from .kernels.backends import backend, current_backend, set_backend
from .kernels.choice import get_conv_algorithm, set_conv_algorithm
from .kernels.threads import get_num_threads, set_num_threads
from .random import get_rng_state, manual_seed, seed_everything, set_rng_state
from .tensor import Size, Tensor, from_numpy, tensor

float = float32
double = float64
long = int64
int = int32
concat = cat

__version__: str

__all__ = [
    "Size",
    "Tensor",
    "__version__",
    "abs",
    "add",
    "arange",
    "argmax",
    "argmin",
    "as_tensor",
    "backend",
    "bool",
    "cat",
    "chunk",
    "clone",
    "compile",
    "concat",
    "conv2d",
    "creation",
    "current_backend",
    "data",
    "dispatch",
    "div",
    "double",
    "dropout",
    "dtypes",
    "empty",
    "empty_like",
    "enable_grad",
    "exp",
    "eye",
    "flatten",
    "float",
    "float32",
    "float64",
    "from_numpy",
    "full",
    "full_like",
    "functional",
    "get_conv_algorithm",
    "get_num_threads",
    "get_rng_state",
    "grad_mode",
    "inference_mode",
    "int",
    "int8",
    "int16",
    "int32",
    "int64",
    "io",
    "is_grad_enabled",
    "is_tensor",
    "linspace",
    "load",
    "log",
    "log_softmax",
    "long",
    "manual_seed",
    "matmul",
    "max",
    "mean",
    "min",
    "mm",
    "models",
    "mul",
    "neg",
    "nn",
    "no_grad",
    "ones",
    "ones_like",
    "optim",
    "permute",
    "pow",
    "profile",
    "rand",
    "rand_like",
    "randint",
    "randn",
    "randn_like",
    "random",
    "randperm",
    "relu",
    "reshape",
    "save",
    "seed_everything",
    "set_backend",
    "set_conv_algorithm",
    "set_grad_enabled",
    "set_num_threads",
    "set_rng_state",
    "sigmoid",
    "softmax",
    "split",
    "sqrt",
    "square",
    "squeeze",
    "stack",
    "std",
    "sub",
    "sum",
    "t",
    "tanh",
    "tape",
    "tensor",
    "train",
    "transpose",
    "uint8",
    "unbind",
    "unflatten",
    "unsqueeze",
    "var",
    "zeros",
    "zeros_like",
]  # fmt: skip

_LAZY = {"data": "data", "io": "io", "train": "train", "models": "models", "save": "io:save", "load": "io:load",
         "profile": "compiler.profiler:profile", "__version__": "version:__version__"}  # fmt: skip
"""What is imported when it is asked for, so that an import stays quick."""


def is_tensor(obj: object) -> "bool":  # type: ignore[valid-type]
    """Whether something is a Tensor."""
    return isinstance(obj, Tensor)


def __dir__() -> list[str]:
    return sorted(__all__)


def __getattr__(name: str) -> object:
    if name in _LAZY:
        module, _, attribute = _LAZY[name].partition(":")
        found = _import_module(f".{module}", __name__)
        return getattr(found, attribute) if attribute else found
    raise AttributeError(f"nnfast has no {name!r}; what it has of PyTorch is listed by dir(nnfast)")
