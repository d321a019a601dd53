"""The one place that knows Numba's options and how a Python function becomes a kernel's object code.

A kernel is an ordinary function marked with `kernel`. Its parameters name what it reads of the operation's argument
block: arrays arrive as C-contiguous Numba arrays of the declared shape (elementwise ones flat), sizes and ``int``
attributes as int64, ``float`` attributes as float64, pairs as tuples; the last two are ``begin`` and ``end``. Around it
stands a C callback ``void (const int64_t *args, int64_t begin, int64_t end)``, compiled to one relocatable object that
needs nothing of Numba at run time: `objects.py` keeps it on disk and loads it. Numba's own cache is not used. It was
seen to serve stale code for an intrinsic edited in another file and after a kill between its two writes, never hits for
closures over intrinsics, and holds pickles.
"""

from __future__ import annotations

import dis
import gc
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase
from numba.core.compiler_lock import global_compiler_lock
from numba.core.compiler_machinery import PassManager
from numba.core.registry import CPUDispatcher, cpu_target
from numba.core.typed_passes import (
    AnnotateTypes,
    IRLegalization,
    NativeLowering,
    NoPythonBackend,
    NopythonTypeInference,
    PreLowerStripPhis,
)
from numba.core.untyped_passes import FixupArgs, GenericRewrites, IRProcessing, ReconstructSSA, TranslateByteCode

from ..operation import FIELDS_OF_KIND, Layout, Operation
from .objects import target_machine

OPTIONS = {"nogil": True, "error_model": "numpy", "boundscheck": False, "_nrt": False}
# No "nnan" and "ninf": the losses and pooling promise what happens to NaN and infinity. No "reassoc": the order of a
# sum is part of the result. "contract" lets a * b + c be one instruction.
FASTMATH = {"contract", "nsz"}

ELEMENT: dict[str, Any] = {"float": types.float32, "double": types.float64, "int64": types.int64,
           "uint64": types.uint64, "uint8": types.uint8}  # fmt: skip
# What object code may take from the process: libc and libm, present in every Python.
RUNTIME_SYMBOLS = {"memset", "memcpy", "memmove", "expf", "exp", "logf", "log", "tanhf", "tanh", "powf", "pow",
                   "log1pf", "log1p", "expm1f", "expm1"}  # fmt: skip


def kernel(function: Callable[..., None]) -> Callable[..., None]:
    """Mark `function` as a kernel of this module. It stays plain Python until `compile_object` compiles it."""
    _refuse_raise(function)
    function.is_kernel = True  # type: ignore[attr-defined]
    return function


def _refuse_raise(function: Callable[..., Any]) -> None:
    """Nobody looks at what a kernel returns: an error would go unnoticed."""
    if any(instruction.opname == "RAISE_VARARGS" for instruction in dis.get_instructions(function)):
        raise TypeError(f"{function.__module__}.{function.__name__} raises or asserts: kernels trust what they get")


def inline(function: Callable[..., Any]) -> Any:
    """Decorator for functions that kernels call; compiled into each kernel that uses them.

    They are never called from Python, so neither wrappers nor machine code of their own are made: that would double the
    time a kernel takes to compile.
    """
    _refuse_raise(function)
    without_wrappers = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    return _OnlyCalledByKernels(function, {**OPTIONS, **without_wrappers, "fastmath": FASTMATH, "nopython": True})


class _KernelCompiler(CompilerBase):
    """Numba's passes without those for what no kernel has: closures, array expressions, ``with``, exceptions."""

    def define_pipelines(self) -> list[PassManager]:
        passes = PassManager("kernel")
        for item in (TranslateByteCode, FixupArgs, IRProcessing, GenericRewrites, ReconstructSSA,
                     NopythonTypeInference, PreLowerStripPhis, IRLegalization, AnnotateTypes,
                     NativeLowering, NoPythonBackend):  # fmt: skip
            passes.add_pass(item, item.__name__)
        passes.finalize()
        return [passes]


class _OnlyCalledByKernels(CPUDispatcher):
    def __init__(self, function: Callable[..., Any], targetoptions: dict[str, Any]) -> None:
        super().__init__(function, targetoptions=targetoptions, pipeline_class=_KernelCompiler)
        compiler: Any = self._compiler  # type: ignore[attr-defined]
        compiler._customize_flags = _without_machine_code

    def add_overload(self, result: Any) -> None:
        # Callers find the code through the entry point, which only has to be unique.
        result = result._replace(entry_point=(self, result.signature))
        cpu_target.target_context.insert_user_function(result.entry_point, result.fndesc, [result.library])
        self.overloads[tuple(result.signature.args)] = result


def _without_machine_code(flags: Any) -> Any:
    flags.no_compile = True
    return flags


class _PartOfKernel(JITCodeLibrary):
    """Code that waits to be linked into a kernel, which is optimised as a whole; Numba's engine never sees it."""

    def finalize(self) -> None:
        self._finalized = True

    def link(self) -> Any:
        """The optimised module of this library and all that it calls."""
        # Callers first: what nothing refers to yet would be left out.
        for part in reversed(_with_callees(self, {})):
            if part is not self:
                self._final_module.link_in(part._get_module_for_linking(), preserve=True)
        made = self._codegen._module_pass_manager()  # with the legacy manager of older versions: no pass builder
        manager, *builder = made if isinstance(made, tuple) else (made,)
        manager.run(self._final_module, *builder)
        self._final_module.verify()
        return self._final_module


def _with_callees(library: Any, found: dict[Any, None]) -> dict[Any, None]:
    """`found`, and behind it `library` and what it calls, callees first."""
    for callee in library._linking_libraries:
        if callee not in found:
            _with_callees(callee, found)
    found[library] = None
    return found


@contextmanager
def _compiling_kernels() -> Iterator[None]:
    """Make all code that Numba compiles meanwhile a `_PartOfKernel`, and Numba faster.

    It looks for the types of ``a + b`` among NumPy's rules for arrays each time; of numbers they are kept. Most of what
    it allocates lives on, so collecting garbage finds little.
    """
    typing, codegen, collects = cpu_target.typing_context, cpu_target.target_context.codegen(), gc.isenabled()
    with global_compiler_lock:
        before, codegen._library_class = codegen._library_class, _PartOfKernel
        typing.resolve_function_type = partial(_type_of_call, typing)
        gc.disable()
        try:
            yield
        finally:
            codegen._library_class = before
            del typing.resolve_function_type
            if collects:
                gc.enable()


_of_numbers: dict[Any, Any] = {}


def _type_of_call(typing: Any, function: Any, args: tuple[types.Type, ...], kws: dict[str, types.Type]) -> Any:
    """The signature with which `function` is called."""
    if kws or isinstance(function, types.Dispatcher) or not all(isinstance(item, types.Number) for item in args):
        return type(typing).resolve_function_type(typing, function, args, kws)
    if (function, args) not in _of_numbers:
        _of_numbers[function, args] = type(typing).resolve_function_type(typing, function, args, kws)
    return _of_numbers[function, args]


def _field(name: str, layout: Layout) -> tuple[types.Type, Callable[..., Any]]:
    """The Numba type of a kernel's parameter, and what builds it: ``build(context, builder, block)``."""
    for array in layout.arrays:
        if array.name == name:
            dims = ("SIZE",) if array.elementwise else array.dims
            of_type = types.Array(ELEMENT[array.dtype], len(dims), "C")
            return of_type, partial(_array, kind=of_type, name=name, dims=dims, layout=layout)
    position = layout.offsets[name]
    kind = next((item.kind for item in layout.attributes if item.name == name), "int")
    if kind == "float":
        return types.float64, partial(_double, position=position)
    if kind == "int":
        return types.int64, partial(_integer, position=position)
    numbers = types.UniTuple(types.int64, FIELDS_OF_KIND[kind])
    return numbers, partial(_numbers, kind=numbers, position=position)


def _integer(context: Any, builder: Any, fields: Any, position: int) -> Any:
    return _load(builder, fields, position)


def _double(context: Any, builder: Any, fields: Any, position: int) -> Any:
    return builder.bitcast(_load(builder, fields, position), ir.DoubleType())


def _numbers(context: Any, builder: Any, fields: Any, kind: types.UniTuple, position: int) -> Any:
    return context.make_tuple(builder, kind, [_load(builder, fields, position + i) for i in range(kind.count)])


def _load(builder: Any, fields: Any, position: int) -> Any:
    return builder.load(builder.gep(fields, [ir.Constant(ir.IntType(64), position)]))


def _array(context: Any, builder: Any, fields: Any, kind: Any, name: str, dims: tuple[str, ...], layout: Layout) -> Any:
    """A Numba array that owns nothing, over the address in the argument block."""
    array = context.make_array(kind)(context, builder)
    lengths = [
        ir.Constant(ir.IntType(64), int(dim)) if dim.isdigit() else _load(builder, fields, layout.offsets[dim])
        for dim in dims
    ]
    itemsize = context.get_abi_sizeof(context.get_data_type(kind.dtype))
    strides: list[Any] = []
    step = ir.Constant(ir.IntType(64), itemsize)
    for length in reversed(lengths):
        strides.insert(0, step)
        step = builder.mul(step, length)
    address = _load(builder, fields, layout.offsets[name])
    context.populate_array(
        array,
        data=builder.inttoptr(address, array.data.type),
        shape=cgutils.pack_array(builder, lengths),
        strides=cgutils.pack_array(builder, strides),
        itemsize=ir.Constant(ir.IntType(64), itemsize),
        meminfo=None,
    )
    return array._getvalue()


def _library(function: Callable[..., None], layout: Layout) -> _PartOfKernel:
    """The code of `function` and of ``kernel(args, begin, end)``, which unpacks the block and calls it."""
    fields = [_field(name, layout) for name in list(inspect.signature(function).parameters)[:-2]]
    kinds = (*(kind for kind, _ in fields), types.int64, types.int64)
    body = inline(function)
    body.compile(kinds)
    compiled = body.overloads[kinds]
    context = cpu_target.target_context
    library = context.codegen().create_library(function.__name__)
    module = library.create_ir_module(function.__name__)
    i64 = ir.IntType(64)
    entry = ir.Function(module, ir.FunctionType(ir.VoidType(), [i64.as_pointer(), i64, i64]), "kernel")
    builder = ir.IRBuilder(entry.append_basic_block())
    block, begin, end = entry.args
    unpacked = [build(context, builder, block) for _, build in fields]
    # It returns a status, which is always "ok" in code that cannot raise.
    context.call_conv.call_function(builder, context.declare_function(module, compiled.fndesc), types.none, kinds,
                                    (*unpacked, begin, end))  # fmt: skip
    builder.ret_void()
    library.add_ir_module(module)
    library.add_linking_library(compiled.library)
    return library


def compile_object(function: Callable[..., None], op: Operation, algorithm: str) -> bytes:
    """The object code of a stage's kernel, which defines the symbol ``kernel``.

    Raises
    ------
    RuntimeError : the kernel needs something of Numba or Python at run time, e.g. prints.
    numba.TypingError : it is no Numba code, or allocates.
    """
    with _compiling_kernels():
        module = _library(function, op.layout(algorithm)).link()
        for item in module.functions:
            if item.is_declaration and not item.name.startswith("llvm.") and item.name not in RUNTIME_SYMBOLS:
                raise RuntimeError(f"{function.__module__}.{function.__name__} calls {item.name}: a kernel may not "
                                   "call back")  # fmt: skip
            if not item.is_declaration and item.name != "kernel":
                item.linkage = "internal"
        return target_machine().emit_object(module)
