"""Numba kernels on disk: loaded without Numba, never stale or half written, never in a folder that others may write."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import numba
import numpy as np
import pytest
from nnfast.kernels.numba_jit import compiler, objects
from nnfast.kernels.ops import OPS

RELU = """
    import sys, warnings
    import numpy as np
    from nnfast.kernels import get
    y = get("relu_forward", "numba")(x=np.array([-1.0, 2.0], np.float32))
    assert y.tolist() == [0.0, 2.0], y
    print("compiled" if "numba" in sys.modules else "loaded")
"""


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, in this process and in those it starts."""
    monkeypatch.setenv("NNFAST_CACHE_DIR", str(tmp_path / "cache"))
    objects.cache_folder.cache_clear()
    yield tmp_path / "cache"
    objects.cache_folder.cache_clear()


def run_relu(program: str = RELU) -> tuple[str, str]:
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), done.stderr


def kept(cache: Path) -> Path:
    (file,) = cache.glob("*/*.o")
    return file


def test_a_kept_kernel_is_loaded_without_importing_numba(cache):
    assert run_relu() == ("compiled", "")
    assert run_relu() == ("loaded", "")


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "gone"])
def test_a_damaged_kernel_is_compiled_again(cache, damage):
    run_relu()
    file = kept(cache)
    content = file.read_bytes()
    if damage == "gone":
        file.unlink()
    else:
        middle = len(content) // 2
        flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        file.write_bytes({"truncated": content[:middle], "flipped": flipped, "empty": b""}[damage])
    assert run_relu()[0] == "compiled"
    assert file.stat().st_size > len(content) // 2, "it was not kept again"
    assert run_relu()[0] == "loaded"


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX")
def test_the_folder_is_private(cache):
    run_relu()
    assert stat.S_IMODE(kept(cache).parent.stat().st_mode) == 0o700


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX")
def test_a_folder_that_others_may_write_is_not_used(cache):
    run_relu()
    kept(cache).parent.chmod(0o777)
    state, warning = run_relu()
    assert state == "compiled"
    assert "writable by others" in warning
    assert "NNFAST_CACHE_DIR" in warning


def test_without_a_cache_everything_works_and_one_warning_says_so(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NNFAST_CACHE_DIR", str(tmp_path / "file" / "cache"))
    state, warning = run_relu(RELU + '    get("relu_backward", "numba")(dy=y, y=y)\n')
    assert state == "compiled"
    assert warning.count("RuntimeWarning") == 1
    assert "cannot be used" in warning


def test_a_full_disk_only_means_compiling_again(cache, monkeypatch):
    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.warns(RuntimeWarning, match="could not keep a compiled kernel: .*No space left"):
        objects.write("kernel", b"code")
    assert objects.read("kernel") is None
    assert not list(cache.glob("*/*")), "a temporary file was left behind"


def test_the_folders_name_follows_sources_versions_and_processor(monkeypatch):
    before = objects.fingerprint.__wrapped__()
    assert before == objects.fingerprint.__wrapped__()
    real = Path.read_bytes
    for name in ("ops.py", "gemm.py", "simd.py"):
        monkeypatch.setattr(Path, "read_bytes", lambda path, name=name: real(path) + b"#" * (path.name == name))
        assert objects.fingerprint.__wrapped__() != before, f"an edit of {name} would go unnoticed"
    monkeypatch.setattr(Path, "read_bytes", real)
    monkeypatch.setattr(objects, "_version", lambda package: "other" if package == "llvmlite" else "same")
    other = objects.fingerprint.__wrapped__()
    monkeypatch.setattr(objects, "_version", lambda package: "same")
    assert objects.fingerprint.__wrapped__() != other
    monkeypatch.setenv("NUMBA_CPU_NAME", "haswell")
    assert objects.fingerprint.__wrapped__() != other


def test_kernels_may_not_allocate_raise_or_call_back():
    def allocates(x, y, SIZE, begin, end):
        zeros = np.zeros(SIZE, np.float32)
        for i in range(SIZE):
            y[i] = zeros[i] + x[i]

    def prints(x, y, SIZE, begin, end):
        print(SIZE)

    def asserts(x, y, SIZE, begin, end):
        assert SIZE > 0

    with pytest.raises(numba.TypingError):
        compiler.compile_object(compiler.kernel(allocates), OPS["relu_forward"], "default")
    with pytest.raises(RuntimeError, match=r"prints calls .*: a kernel may not call back"):
        compiler.compile_object(compiler.kernel(prints), OPS["relu_forward"], "default")
    for decorator in (compiler.kernel, compiler.inline):
        with pytest.raises(TypeError, match="asserts raises or asserts"):
            decorator(asserts)


@pytest.mark.parametrize(
    ("name", "features", "lanes"),
    [("x86-64", "", 4), ("haswell", "+avx,+avx2,+fma,+sse2,+sse4.1,+sse4.2,+ssse3,+popcnt,+bmi,+bmi2", 8)],
)
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="names x86-64 processors")
def test_older_processors_get_code_of_their_own(cache, monkeypatch, name, features, lanes):
    """GEMM, elementary functions and masked tails for narrower registers give results within the same bounds."""
    monkeypatch.setenv("NUMBA_CPU_NAME", name)
    monkeypatch.setenv("NUMBA_CPU_FEATURES", features)
    program = f"""
        from nnfast.kernels import compare
        from nnfast.kernels.cases import cases_of
        from nnfast.kernels.numba_jit.objects import vector_lanes
        assert vector_lanes() == {lanes}
        for op in ("linear_forward", "conv2d_backward_weight", "tanh_forward", "max_pool2d_forward", "sum_forward"):
            for case in cases_of(op):
                assert all(item.holds for item in compare(op, case.arrays(), case.attributes, "numba")), case.id
        print("holds")
    """
    assert run_relu(program)[0] == "holds"
