"""Every backend has every declared kernel, with the declared names, and no other."""

from __future__ import annotations

import inspect
import re
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

import nnfast.kernels
import pytest
from judging import COMPILED
from nnfast.kernels.backends import cython_module, kernel_address, reference_function
from nnfast.kernels.operation import FIELDS_OF_KIND, Operation
from nnfast.kernels.ops import OPS

SOURCES = Path(nnfast.kernels.__file__).parent / "cython_ext"
STAGES = {
    backend: [(op.name, algorithm, stage.kernel) for op in OPS.values() for algorithm, chosen in op.algorithms.items()
              for stage in chosen.stages if backend in chosen.backends]
    for backend in COMPILED
}  # fmt: skip
MODULES = sorted({op.module for op in OPS.values()})
C_TYPES = {"float": "float", "double": "double", "int64": "int64_t", "uint64": "uint64_t", "uint8": "uint8_t"}


def stages(backend: str) -> list[Any]:
    """(operation, algorithm, stage) for `pytest.mark.parametrize`."""
    return [pytest.param(*item, id=item[2]) for item in STAGES[backend]]


def test_every_stage_has_a_name_of_its_own() -> None:
    names = [stage.kernel for op in OPS.values() for chosen in op.algorithms.values() for stage in chosen.stages]
    assert len(set(names)) == len(names)


# ---------------------------------------------------------------- reference


@pytest.mark.parametrize("op", OPS.values(), ids=lambda op: op.name)
def test_reference_takes_the_declared_parameters(op: Operation) -> None:
    parameters = inspect.signature(reference_function(op)).parameters.values()
    assert tuple(item.name for item in parameters) == op.parameters
    assert {item.kind for item in parameters} == {inspect.Parameter.POSITIONAL_OR_KEYWORD}
    assert {item.default for item in parameters} == {inspect.Parameter.empty}


@pytest.mark.parametrize("op", OPS.values(), ids=lambda op: op.name)
def test_reference_says_what_every_parameter_is(op: Operation) -> None:
    text = inspect.getdoc(reference_function(op)) or ""
    missing = [name for name in op.parameters if not re.search(rf"^(\w+, )*{name}(, \w+)* :", text, re.MULTILINE)]
    assert not missing


@pytest.mark.parametrize("module", MODULES)
def test_reference_module_has_no_undeclared_operation(module: str) -> None:
    """A function that returns nothing and writes arrays is an operation; others are pieces of one."""
    content = import_module(f"nnfast.kernels.reference.{module}")
    found = {name for name, value in vars(content).items()
             if inspect.isfunction(value) and value.__module__ == content.__name__ and not name.startswith("_")
             and inspect.signature(value).return_annotation in (None, "None")}  # fmt: skip
    assert found == {op.name for op in OPS.values() if op.module == module}


# ---------------------------------------------------------------- Numba


@pytest.mark.parametrize(("op", "algorithm", "stage"), stages("numba"))
def test_numba_kernel_takes_fields_of_the_argument_block(op: str, algorithm: str, stage: str) -> None:
    function = getattr(import_module(f"nnfast.kernels.numba_jit.{OPS[op].module}"), stage)
    assert function.is_kernel
    parameters = list(inspect.signature(function).parameters)
    assert parameters[-2:] == ["begin", "end"]
    assert set(parameters[:-2]) <= set(OPS[op].layout(algorithm).names)
    assert function.__doc__


@pytest.mark.parametrize(("op", "algorithm", "stage"), stages("numba"))
def test_every_numba_stage_has_an_address(op: str, algorithm: str, stage: str) -> None:
    assert kernel_address(op, algorithm, stage, "numba") > 0


@pytest.mark.parametrize("module", MODULES)
def test_numba_module_has_no_undeclared_kernel(module: str) -> None:
    content = vars(import_module(f"nnfast.kernels.numba_jit.{module}"))
    assert {name for name, value in content.items() if getattr(value, "is_kernel", False)} == declared_in(
        module, "numba"
    )


def declared_in(module: str, backend: str) -> set[str]:
    return {stage for op, _, stage in STAGES[backend] if OPS[op].module == module}


# ---------------------------------------------------------------- Cython


@pytest.mark.parametrize(("op", "algorithm", "stage"), stages("cython"))
def test_every_cython_stage_has_an_address(op: str, algorithm: str, stage: str) -> None:
    assert kernel_address(op, algorithm, stage, "cython") > 0


@pytest.mark.parametrize("module", MODULES)
def test_cython_module_has_no_undeclared_kernel(module: str) -> None:
    assert set(cython_module(module).ADDRESSES) == declared_in(module, "cython")


@lru_cache(maxsize=1)
def cython_source() -> str:
    files = sorted([*SOURCES.glob("*.pyx"), *SOURCES.glob("*.pxi")])
    if not files:
        pytest.skip(f"{SOURCES} holds no .pyx files: not a source tree")
    return "\n".join(re.sub(r"#.*", "", file.read_text()) for file in files)


def struct_fields(name: str) -> list[tuple[str, str, int]]:
    """(type, name, length) of every field of a Cython struct; pointers end in ``*``."""
    found = re.search(rf"^cdef struct {name}:\n((?:[ \t]+.*\n|\s*\n)+)", cython_source() + "\n", re.MULTILINE)
    assert found, f"no struct {name}"
    fields = []
    for line in filter(str.strip, found[1].splitlines()):
        kind, names = re.fullmatch(r"\s*(?:const )?(\w+)\s*(.*?)\s*", line).groups()  # type: ignore[union-attr]
        for item in names.split(","):
            star, field, length = re.fullmatch(r"\s*(\*?)\s*(\w+)(?:\[(\d+)\])?\s*", item).groups()  # type: ignore[union-attr]
            fields.append((kind + star, field, int(length or 1)))
    return fields


@pytest.mark.parametrize(("op", "algorithm", "stage"), stages("cython"))
def test_cython_struct_is_the_argument_block(op: str, algorithm: str, stage: str) -> None:
    body = re.search(rf"^cdef void {stage}\(const int64_t ?\* ?args, int64_t begin, int64_t end\) noexcept nogil:\n"
                     r"((?:[ \t]+.*\n|\s*\n)+)", cython_source() + "\n", re.MULTILINE)  # fmt: skip
    assert body, f"no kernel 'cdef void {stage}(const int64_t *args, int64_t begin, int64_t end) noexcept nogil'"
    name = re.search(r"<const (\w+) ?\*> ?args", body[1])
    assert name, f"{stage} does not read its block as a struct"
    layout = OPS[op].layout(algorithm)
    expected = [(C_TYPES[array.dtype] + "*", array.name, 1) for array in layout.arrays]
    expected += [("int64_t", size, 1) for size in layout.sizes]
    expected += [("double" if item.kind == "float" else "int64_t", item.name, FIELDS_OF_KIND[item.kind])
                 for item in layout.attributes]  # fmt: skip
    assert struct_fields(name[1]) == expected


def test_both_compiled_backends_have_a_file_for_every_module() -> None:
    for module in MODULES:
        assert (SOURCES.parent / "numba_jit" / f"{module}.py").exists()
        assert (SOURCES.parent / "reference" / f"{module}.py").exists()
        cython_module(module)
