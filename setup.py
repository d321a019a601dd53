"""What pyproject.toml cannot say: the Cython extensions, with OpenMP where the compiler has it."""

import os
import sys
import tempfile
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

THREADED = {"runtime"}  # the only module that makes threads
FLAGS = ["-O3", "-fno-math-errno", "-fno-trapping-math"]  # never -ffast-math: it changes NaN, and the whole process

sources = [Path("kernels/runtime.pyx"), *sorted(Path("kernels/cython_ext").glob("*.pyx"))]
extensions = [
    Extension(".".join(["nnfast", *source.with_suffix("").parts]), [source.as_posix()],
              include_dirs=["kernels/cython_ext"], depends=[path.as_posix() for path in Path("kernels/cython_ext").glob("*.h")])
    for source in sources
]  # fmt: skip


class Build(build_ext):
    """Adds the flags that the compiler at hand understands."""

    def build_extensions(self) -> None:
        openmp = self._openmp_flags()
        if openmp is None:
            print("nnfast: this compiler has no OpenMP; kernels will run on one thread", file=sys.stderr)
        for extension in self.extensions:
            if self.compiler.compiler_type != "msvc":
                extension.extra_compile_args += FLAGS
            if openmp and extension.name.rpartition(".")[2] in THREADED:
                extension.extra_compile_args += openmp
                extension.extra_link_args += openmp
        super().build_extensions()

    def _openmp_flags(self) -> "list[str] | None":
        """The flags that turn OpenMP on, or None if a program with them does not build."""
        if os.environ.get("NNFAST_NO_OPENMP"):
            return None
        flags = ["/openmp"] if self.compiler.compiler_type == "msvc" else ["-fopenmp"]
        with tempfile.TemporaryDirectory() as folder:
            program = Path(folder, "openmp.c")
            program.write_text("#include <omp.h>\nint main(void) { return omp_get_max_threads() < 1; }\n")
            try:
                objects = self.compiler.compile([str(program)], output_dir=folder, extra_postargs=flags)
                self.compiler.link_executable(objects, str(Path(folder, "openmp")), extra_postargs=flags)
            except Exception:  # the compilers' own error classes differ between setuptools versions
                return None
        return flags


setup(
    ext_modules=cythonize(extensions, compiler_directives={"language_level": 3}, build_dir="build/cython"),
    cmdclass={"build_ext": Build},
    options={"build_ext": {"parallel": os.cpu_count() or 1}},
)
