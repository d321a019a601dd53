"""Files for the data tests: small ones made here, and the real ones in ../shared/data if they are there."""

from __future__ import annotations

import io
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

SHARED_DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes more than a few seconds")


@pytest.fixture(autouse=True)
def cache_home(tmp_path, monkeypatch):
    """No test reads or writes the user's own cache, nor inherits another test's "said once"."""
    home = tmp_path / "cache-home"
    monkeypatch.setenv("XDG_CACHE_HOME", str(home))
    monkeypatch.setattr("nnfast.data.cache._warned", False)
    return home


@pytest.fixture
def shared_file():
    """Return the path of a file in ../shared/data, or skip."""

    def find(name):
        path = SHARED_DATA / name
        if not path.exists():
            pytest.skip(f"{path} is not there")
        return path

    return find


@pytest.fixture
def idx_bytes():
    """Return the content of an IDX file for an array of unsigned bytes."""

    def encode(array):
        array = np.asarray(array, dtype=np.uint8)
        return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()

    return encode


@pytest.fixture
def zip_of(tmp_path):
    """Return the path of a new zip file with the given contents by name."""

    def write(contents, name="data.zip"):
        path = tmp_path / name
        with zipfile.ZipFile(path, "w") as archive:
            for member, content in contents.items():
                archive.writestr(member, content)
        return path

    return write


@pytest.fixture
def tar_of(tmp_path):
    """Return the path of a new tar file with the given contents by name; a TarInfo stands for itself."""

    def write(contents, name="data.tar.gz"):
        path = tmp_path / name
        with tarfile.open(path, "w:gz" if name.endswith("gz") else "w") as archive:
            for member, content in contents.items():
                if isinstance(content, tarfile.TarInfo):
                    archive.addfile(content)
                else:
                    info = tarfile.TarInfo(member)
                    info.size = len(content)
                    archive.addfile(info, io.BytesIO(content))
        return path

    return write


@pytest.fixture
def folder_of(tmp_path):
    """Return the path of a new folder with the given contents by name."""

    def write(contents, name="data"):
        for member, content in contents.items():
            path = tmp_path / name / member
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return tmp_path / name

    return write


@pytest.fixture
def image_bytes():
    """Return an encoded image of one value (a number is grey, a triple is colour)."""
    Image = pytest.importorskip("PIL.Image")

    def encode(value, size=(4, 4), kind="PNG", mode=None):
        mode = mode or ("L" if isinstance(value, int) else "RGB")
        stream = io.BytesIO()
        Image.new(mode, size[::-1], value).save(stream, kind)
        return stream.getvalue()

    return encode
