"""The folder of compiled kernels: its name follows everything that code depends on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from nnfast.kernels import cache


def test_the_folders_name_follows_sources_versions_and_processor(monkeypatch):
    before = cache.fingerprint.__wrapped__()
    assert before == cache.fingerprint.__wrapped__()
    real = Path.read_bytes
    for name in ("ops.py", "gemm.py", "simd.py"):
        monkeypatch.setattr(Path, "read_bytes", lambda path, name=name: real(path) + b"#" * (path.name == name))
        assert cache.fingerprint.__wrapped__() != before, f"an edit of {name} would go unnoticed"
    monkeypatch.setattr(Path, "read_bytes", real)
    monkeypatch.setattr(cache, "_version", lambda package: "other" if package == "llvmlite" else "same")
    other = cache.fingerprint.__wrapped__()
    monkeypatch.setattr(cache, "_version", lambda package: "same")
    same = cache.fingerprint.__wrapped__()
    assert same != other
    monkeypatch.setenv("NUMBA_CPU_NAME", "haswell")
    assert cache.fingerprint.__wrapped__() != same
    monkeypatch.delenv("NUMBA_CPU_NAME")
    monkeypatch.setattr(cache, "processor", lambda: "another")
    assert cache.fingerprint.__wrapped__() != same


def test_a_processor_is_told_by_its_features_and_not_by_its_clock(monkeypatch):
    def processor(text):
        monkeypatch.setattr(Path, "read_text", lambda *_, **__: text)
        return cache.processor()

    lines = "processor : {}\nmodel name : A\ncpu MHz : {}\nflags : fpu {}\n"
    one = processor(lines.format(0, 2000, "avx") + lines.format(1, 2500, "avx"))
    assert one == processor(lines.format(0, 2100, "avx"))
    assert one != processor(lines.format(0, 2000, "avx avx512f"))
    arm = "CPU implementer : 0x41\nCPU part : {}\nFeatures : asimd\nBogoMIPS : 50\n"
    assert processor(arm.format("0xd0c")) != processor(arm.format("0xd40"))


def test_looking_for_kernels_needs_neither_numba_nor_llvmlite():
    program = """if True:
        import sys
        sys.modules["numba"] = sys.modules["llvmlite"] = None
        from nnfast.kernels.cache import cache_folder, kept
        assert cache_folder() is not None
        assert not kept("nothing.of.this.name")
    """
    subprocess.run([sys.executable, "-c", program], check=True)
