"""Numba kernels on disk: loaded without Numba, never stale or half written, never in a folder that others may write."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import textwrap
from importlib import import_module
from pathlib import Path

import numba
import numpy as np
import pytest
from nnfast.kernels import cache as folder_of
from nnfast.kernels.numba_jit import compiler, objects
from nnfast.kernels.ops import OPS

import nnfast
from nnfast import kernels

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
    folder_of.opened.cache_clear()
    yield tmp_path / "cache"
    folder_of.opened.cache_clear()


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


def test_a_kernel_for_another_processor_is_compiled_again(cache, monkeypatch):
    """Even where the folder is the same, for a virtual machine may hide features of a processor."""
    objects.write("kernel", b"code")
    assert objects.read("kernel") == b"code"
    monkeypatch.setattr(objects, "cpu", lambda: ("another", ""))
    assert objects.read("kernel") is None


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


# ---------------------------------------------------------------- what Numba's own cache gets wrong

PRODUCT = """
    import sys
    import numpy as np
    from nnfast.kernels import get, ops
    y = get("linear_forward", "numba")(x=np.full((3, 5), 2.0, np.float32), w=np.full((7, 5), 3.0, np.float32))
    assert (y == y[0, 0]).all(), y
    print(ops.__file__, y[0, 0], "compiled" if "numba" in sys.modules else "loaded")
"""
NEGATED = """

def fma(b, factor, other, addend):
    return b.fsub(addend, b.fmul(factor, other))
"""


def test_an_edited_intrinsic_is_never_served_stale(cache, tmp_path, monkeypatch):
    """Its caller's file is untouched: a cache that looks at that file alone goes on with the old code."""
    package = tmp_path / "source" / "nnfast"
    shutil.copytree(Path(nnfast.__file__).parent, package)
    shutil.copytree(Path(kernels.__file__).parent, package / "kernels", dirs_exist_ok=True)
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    monkeypatch.chdir(tmp_path)  # `python -c` looks in the working folder first
    ops, simd = package / "kernels" / "ops.py", package / "kernels" / "numba_jit" / "simd.py"
    original = simd.read_text()
    assert run_relu(PRODUCT)[0] == f"{ops} 30.0 compiled"
    assert run_relu(PRODUCT)[0] == f"{ops} 30.0 loaded"
    times = simd.stat()
    simd.write_text(original + NEGATED)
    os.utime(simd, ns=(times.st_atime_ns, times.st_mtime_ns))  # contents count, not times
    shutil.rmtree(simd.parent / "__pycache__", ignore_errors=True)
    assert run_relu(PRODUCT)[0] == f"{ops} -30.0 compiled"
    assert run_relu(PRODUCT)[0] == f"{ops} -30.0 loaded"
    simd.write_text(original)
    assert run_relu(PRODUCT)[0] == f"{ops} 30.0 loaded"


KILLED = """
    import os, signal, sys
    from nnfast.kernels import cache
    from nnfast.kernels.numba_jit import objects

    left = int(sys.argv[1])

    def trace(frame, event, argument):
        global left
        if frame.f_code not in (objects.write.__code__, cache.opened.__wrapped__.__code__):
            return None
        left -= event == "line"
        if left == 0:
            print(frame.f_code.co_name, frame.f_lineno, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        return trace

    class Half:
        "A file of which half is written when the process dies."

        def __init__(self, descriptor, mode):
            self.descriptor = descriptor

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def write(self, content):
            os.write(self.descriptor, content[: len(content) // 2])
            os.kill(os.getpid(), signal.SIGKILL)

    if left:
        sys.settrace(trace)
    else:
        os.fdopen = Half
    objects.write("relu_forward.default.relu_forward", open(sys.argv[2], "rb").read())
"""


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX")
@pytest.mark.parametrize("before", ["nothing", "another version"])
def test_a_process_killed_at_any_line_of_a_write_leaves_a_whole_kernel_or_none(cache, tmp_path, before):
    name, module = "relu_forward.default.relu_forward", import_module("nnfast.kernels.numba_jit.activation")
    code = compiler.compile_object(module.relu_forward, OPS["relu_forward"], "default")
    (tmp_path / "code").write_bytes(code)
    found, places = set(), []
    for line in range(100):
        shutil.rmtree(cache, ignore_errors=True)
        folder_of.opened.cache_clear()
        if before != "nothing":
            objects.write(name, b"old" + code)
        arguments = [sys.executable, "-c", textwrap.dedent(KILLED), str(line), str(tmp_path / "code")]
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=120)
        folder_of.opened.cache_clear()
        found.add(objects.read(name))
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
        places.append(done.stdout.split()[:1])
    assert ["write"] in places
    assert [] in places
    assert found == {code, None if before == "nothing" else b"old" + code}, "half a kernel was read"
    assert objects.read(name) == code
    assert run_relu() == ("loaded", "")


TRAINING = """
    import sys
    import nnfast as torch
    from nnfast import functional as F, nn, optim
    from nnfast.kernels.choice import set_conv_algorithm

    compiled = []
    if sys.argv[1] == "count":
        from nnfast.kernels.numba_jit import compiler

        def count(function, op, algorithm, compile_object=compiler.compile_object):
            compiled.append(f"{op.name}.{algorithm}.{function.__name__}.o")
            return compile_object(function, op, algorithm)

        compiler.compile_object = count
    set_conv_algorithm("winograd")
    model = nn.Sequential(
        nn.Conv2d(3, 17, 3, padding=1), nn.BatchNorm2d(17), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(17, 6, 3, stride=2, padding=1), nn.Flatten(), nn.Linear(6, 5),
    )
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    x, y = torch.ones(2, 3, 4, 4), torch.tensor([1, 4])
    for _ in range(2):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    print(*sorted(compiled) if sys.argv[1] == "count" else ["numba" in sys.modules])
"""


def run_training(what: str) -> list[str]:
    program = [sys.executable, "-c", textwrap.dedent(TRAINING), what]
    done = subprocess.run(program, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_every_kernel_of_a_training_step_is_compiled_once(cache):
    """Most of them are functions made around intrinsics with literal arguments, which Numba's cache never finds."""
    compiled = run_training("count")
    assert len(compiled) == len(set(compiled)) > 15
    assert any("winograd" in name for name in compiled)
    assert any("direct" in name for name in compiled)
    inodes = {file.name: file.stat().st_ino for file in cache.glob("*/*.o")}
    assert sorted(inodes) == compiled
    assert run_training("count") == []
    assert run_training("load") == ["False"], "Numba was imported"
    assert {file.name: file.stat().st_ino for file in cache.glob("*/*.o")} == inodes, "a kernel was compiled again"
