"""The files of a folder, zip or tar under one interface, read where they are and never unpacked.

What an archive says about itself is not believed: names that would leave the archive and links are refused, sizes in
headers bound nothing (a caller says how much it will take, and reading stops there), checksums are verified because
every file is read to its end.
"""

from __future__ import annotations

import gzip
import os
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

# What the standard library raises for damaged or unsupported content. NotImplementedError and RuntimeError are
# zipfile's, for compression methods it lacks and for encryption.
DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    gzip.BadGzipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    OverflowError,
)
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Source:
    """Where a data set is read from; made by ``open_source``.

    Attributes
    ----------
    path : pathlib.Path
        The folder or archive.
    files : dict of str to object
        What ``opener`` needs, by name: relative, with "/" between parts, in the order of storage. Hidden files and
        ``__MACOSX`` are left out.
    folders : set of str
        Folders that are listed on their own, which includes empty ones.
    opener : callable
        Opens an entry of ``files`` for reading.
    """

    path: Path
    files: dict[str, Any]
    folders: set[str]
    opener: Callable[[Any], IO[bytes]]

    def where(self, name: str) -> str:
        """Say where a file is, for messages: ``data.zip: cat/1.png`` or ``data/cat/1.png``."""
        return str(self.path / name) if self.path.is_dir() else f"{self.path}: {name}"

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """Open a file for reading in binary.

        Raises
        ------
        ValueError
            If what is read, here or inside the ``with`` block, turns out to be damaged.
        """
        try:
            with self.opener(self.files[name]) as stream:
                yield stream
        except DAMAGE as error:
            raise ValueError(f"{self.where(name)}: damaged or not readable: {error}") from error

    def read(self, name: str, limit: int) -> bytearray:
        """Read a whole file.

        Parameters
        ----------
        name : str
        limit : int
            The most bytes that are accepted.

        Raises
        ------
        ValueError
            If the file is damaged or holds more.
        """
        with self.open(name) as stream:
            content = read_at_most(stream, limit + 1)
        if len(content) > limit:
            raise ValueError(f"{self.where(name)}: more than {limit} bytes")
        return content

    def in_storage_order(self, names: Iterable[str]) -> list[str]:
        """Sort names as they are stored: going backwards in a tar.gz means to decompress it from its start again."""
        place = {name: position for position, name in enumerate(self.files)}
        return sorted(names, key=place.__getitem__)

    def fingerprint(self) -> list[Any]:
        """Return what changes when the content does: the archive's size and time, or those of each file in a folder."""
        if not self.path.is_dir():
            status = self.path.stat()
            return [str(self.path.resolve()), status.st_size, status.st_mtime_ns]
        statuses = ((name, os.stat(path)) for name, path in sorted(self.files.items()))
        return [
            str(self.path.resolve()),
            *((name, s.st_size, s.st_mtime_ns) for name, s in statuses),
        ]


def read_at_most(stream: IO[bytes], limit: int) -> bytearray:
    """Read to the end or to ``limit`` bytes, in small pieces: memory grows with what is there, not with a claim."""
    content = bytearray()
    while len(content) < limit and (piece := stream.read(min(_CHUNK, limit - len(content)))):
        content += piece
    return content


@contextmanager
def open_source(path: str | os.PathLike[str]) -> Iterator[Source]:
    """Open a folder, a zip file or a tar file (plain or gzip).

    Parameters
    ----------
    path : str or os.PathLike

    Yields
    ------
    Source

    Raises
    ------
    FileNotFoundError
        If there is nothing at ``path``.
    ValueError
        If it is no such file, is damaged, or holds links or names that lead out of it.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "a.bin").write_bytes(b"abc")
    ...     with open_source(folder) as source:
    ...         list(source.files), source.read("a.bin", limit=10)
    (['a.bin'], bytearray(b'abc'))
    """
    path = Path(path)
    if path.is_dir():
        files: dict[str, Any] = {}
        folders: set[str] = set()
        _list_folder(path, (), {_identity(path)}, files, folders)
        yield Source(path, files, folders, _open_file)
        return
    with open(path, "rb") as stream:
        start = stream.read(512)
    gzipped = start[:2] == b"\x1f\x8b"
    if start[:2] != b"PK" and not gzipped and start[257:262] != b"ustar":
        raise ValueError(f"{path}: not a folder, a zip file, or a tar file (plain or gzip)")
    with ExitStack() as archives:
        try:
            if start[:2] == b"PK":
                source = _zip_source(archives.enter_context(zipfile.ZipFile(path)), path)
            else:
                source = _tar_source(archives.enter_context(tarfile.open(path, "r:gz" if gzipped else "r:")), path)
        except DAMAGE as error:
            raise ValueError(f"{path}: damaged archive: {error}") from error
        yield source


def _zip_source(archive: zipfile.ZipFile, path: Path) -> Source:
    files: dict[str, Any] = {}
    folders: set[str] = set()
    for info in sorted(archive.infolist(), key=lambda info: info.header_offset):
        name = _relative_name(info.filename, path)
        if name is None:
            continue
        if info.is_dir():
            folders.add(name)
        elif (info.external_attr >> 16) & 0o170000 == 0o120000:
            raise ValueError(f"{path}: {info.filename}: is a link, expected files and folders only")
        else:
            files[name] = info
    return Source(path, files, folders, archive.open)


def _tar_source(archive: tarfile.TarFile, path: Path) -> Source:
    files: dict[str, Any] = {}
    folders: set[str] = set()
    for member in archive:
        name = _relative_name(member.name, path)
        if name is None:
            continue
        if member.isdir():
            folders.add(name)
        elif member.isreg():
            files[name] = member
        else:
            kind = "a link" if member.issym() or member.islnk() else "not a regular file"
            raise ValueError(f"{path}: {member.name}: is {kind}, expected files and folders only")
    _check_end(archive, path)

    def open_member(member: tarfile.TarInfo) -> IO[bytes]:
        stream = archive.extractfile(member)
        assert stream is not None  # None is for folders and the like, which are not in files
        return stream

    return Source(path, files, folders, open_member)


def _check_end(archive: tarfile.TarFile, path: Path) -> None:
    """Refuse a tar file that breaks off: tarfile takes a damaged header, or none, for the end of the archive."""
    stream = archive.fileobj
    assert stream is not None
    stream.seek(archive.offset)
    if stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise ValueError(f"{path}: damaged archive: no end mark after {len(archive.getmembers())} members")
    while stream.read(_CHUNK):  # to the end, where gzip keeps its checksum
        pass


def _list_folder(
    folder: Path,
    parts: tuple[str, ...],
    above: set[tuple[int, int]],
    files: dict[str, Any],
    folders: set[str],
) -> None:
    """Walk a folder, following links, which people do use here; ``above`` stops a link that leads back up."""
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        name = _relative_name("/".join((*parts, entry.name)), folder)
        if name is None:
            continue
        if entry.is_dir():
            folders.add(name)
            identity = _identity(entry.path)
            if identity not in above:
                _list_folder(
                    Path(entry.path),
                    (*parts, entry.name),
                    above | {identity},
                    files,
                    folders,
                )
        elif entry.is_file():
            files[name] = entry.path
        else:
            kind = "a link that leads nowhere" if entry.is_symlink() else "neither a file nor a folder"
            raise ValueError(f"{entry.path}: is {kind}")


def _open_file(path: str) -> IO[bytes]:
    return open(path, "rb")


def _identity(path: str | Path) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino


def _relative_name(name: str, path: Path) -> str | None:
    """Return a member's name in plain form, or None if it is hidden; refuse one that leads out of the archive."""
    plain = name.replace("\\", "/")
    if plain.startswith("/") or re.match(r"[A-Za-z]:/", plain) or ".." in plain.split("/"):
        raise ValueError(f"{path}: {name}: name leads out of the archive")
    parts = [part for part in plain.split("/") if part not in ("", ".")]
    if not parts or any(part.startswith(".") or part == "__MACOSX" for part in parts):
        return None
    return "/".join(parts)
