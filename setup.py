"""What pyproject.toml cannot say: the Cython extensions and their compiler flags."""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

FLAGS = ["-O3", "-fno-math-errno", "-fno-trapping-math"]  # never -ffast-math: it changes NaN, and the whole process
SERIAL = [("NNFAST_NO_THREADS", "1")] if os.environ.get("NNFAST_NO_THREADS") else []

sources = [Path("kernels/runtime.pyx"), *sorted(Path("kernels/cython_ext").glob("*.pyx"))]
headers = [path.as_posix() for path in sorted(Path("kernels").rglob("*.h"))]
extensions = [
    Extension(
        ".".join(["nnfast", *source.with_suffix("").parts]),
        [source.as_posix()],
        include_dirs=[source.parent.as_posix()],
        depends=headers,
        define_macros=SERIAL,
    )
    for source in sources
]


class Build(build_ext):
    """Adds the flags that the compiler at hand understands."""

    def build_extensions(self) -> None:
        if self.compiler.compiler_type != "msvc":
            for extension in self.extensions:
                extension.extra_compile_args += [*FLAGS, "-pthread"]
                extension.extra_link_args += ["-pthread"]
        super().build_extensions()


setup(
    ext_modules=cythonize(extensions, compiler_directives={"language_level": 3}, build_dir="build/cython"),
    cmdclass={"build_ext": Build},
    options={"build_ext": {"parallel": os.cpu_count() or 1}},
)
