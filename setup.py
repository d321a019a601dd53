"""What pyproject.toml cannot say: the Cython extensions and their compiler flags.

Kernels are compiled once for each instruction set that the compiler knows, from the same source, and
`kernels/instruction_sets.py` chooses among them where they run. Nothing depends on the machine that builds.
"""

import os
import re
import shutil
import tempfile
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

FLAGS = ["-O3", "-fno-math-errno", "-fno-trapping-math"]  # never -ffast-math: it changes NaN, and the whole process
INSTRUCTION_SETS = {
    "baseline": [],
    "avx2": ["-mavx2", "-mfma", "-mbmi2"],
    "avx512": ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx2", "-mfma", "-mbmi2",
               "-mprefer-vector-width=512"],
}  # fmt: skip
"""Flags of the folders of `kernels/cython_ext`; a compiler that refuses them, for another processor, leaves one out."""
SERIAL = [("NNFAST_NO_THREADS", "1")] if os.environ.get("NNFAST_NO_THREADS") else []
KERNELS, BUILD = Path("kernels/cython_ext"), Path("build/cython")


def included(source: Path) -> set[Path]:
    """The files beside a source that it includes, and that these include."""
    names = re.findall(r'(?:include|from) "([\w.]+)"', source.read_text(encoding="utf-8"))
    found = {source.parent / name for name in names if (source.parent / name).exists()}
    return found.union(*map(included, found))


def extension(name: str, source: Path, written: Path) -> Extension:
    """The extension of a source, and of what was written by hand: the same, or what the source was translated from."""
    return Extension(name, [source.as_posix()], include_dirs=[written.parent.as_posix()], define_macros=SERIAL,
                     depends=sorted(path.as_posix() for path in included(written)))  # fmt: skip


def translated() -> list[Extension]:
    """The executor, and the kernels as C for each instruction set, in a folder of its own: its objects stand apart."""
    sources = {f"nnfast.kernels.cython_ext.baseline.{path.stem}": path for path in sorted(KERNELS.glob("*.pyx"))}
    executor = Path("kernels/runtime.pyx")
    made = [extension("nnfast.kernels.runtime", executor, executor),
            *(extension(name, path, path) for name, path in sources.items())]  # fmt: skip
    runtime, *kernels = cythonize(made, compiler_directives={"language_level": 3}, build_dir=BUILD.as_posix())
    extensions = [runtime]
    for kernel in kernels:
        for instruction_set in INSTRUCTION_SETS:
            source = Path(kernel.sources[0])
            copy = BUILD / instruction_set / source.name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, copy)  # with its time: what did not change is not compiled again
            name = kernel.name.replace(".baseline.", f".{instruction_set}.")
            extensions.append(extension(name, copy, sources[kernel.name]))
    return extensions


class Build(build_ext):
    """Adds the flags that the compiler at hand understands."""

    def build_extensions(self) -> None:
        if self.compiler.compiler_type == "msvc":
            known: dict[str, list[str]] = {"baseline": []}
        else:
            known = {name: flags for name, flags in INSTRUCTION_SETS.items() if not flags or self.accepts(flags)}
            for item in self.extensions:
                item.extra_compile_args += [*FLAGS, *known.get(item.name.split(".")[-2], []), "-pthread"]
                item.extra_link_args += ["-pthread"]
        left_out = INSTRUCTION_SETS.keys() - known
        self.extensions = [item for item in self.extensions if item.name.split(".")[-2] not in left_out]
        super().build_extensions()

    def accepts(self, flags: list[str]) -> bool:
        """Whether the compiler compiles for an instruction set: all names that kernels use must be there."""
        with tempfile.TemporaryDirectory() as folder:
            probe = Path(folder, "probe.c")
            probe.write_text("#include <immintrin.h>\n__m256 probe(__m256 x) { return _mm256_fmadd_ps(x, x, x); }\n")
            try:
                self.compiler.compile([str(probe)], output_dir=folder, extra_postargs=flags)
            except Exception:  # what a compiler's failure is called depends on setuptools
                print(f"nnfast: this compiler does not take {' '.join(flags)}: no kernels for it")
                return False
            return True


setup(
    ext_modules=translated(),
    cmdclass={"build_ext": Build},
    options={"build_ext": {"parallel": os.cpu_count() or 1}},
)
