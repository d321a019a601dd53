"""Writing a file so that it is, at every moment, the old one or the new one, whole."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def write_atomically(path: str | os.PathLike[str], keep: str | os.PathLike[str] | None = None) -> Iterator[BinaryIO]:
    """Open a new file that takes the place of ``path`` when the ``with`` block ends without an error.

    It is written under a temporary name in the same folder, synced to the disk, and renamed; then the folder is
    synced. If anything fails (a full disk, an exception in the block, Ctrl-C), ``path`` is what it was before and the
    temporary file is gone.

    Parameters
    ----------
    path : path
        If it is a symbolic link, the file that it points to is replaced.
    keep : path, optional
        In the same file system: where the file that is replaced goes. Between the two renames ``path`` is missing for
        an instant, and what was there is at ``keep``.

    Yields
    ------
    BinaryIO
        The file to write to.

    Raises
    ------
    OSError
        If the file cannot be written; it names ``path``, not the temporary file.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     target = Path(folder, "note.txt")
    ...     with write_atomically(target) as file:
    ...         _ = file.write(b"whole")
    ...     target.read_bytes()
    b'whole'
    """
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}.writing")
    try:
        try:
            # "x" rather than mkstemp: the file gets the permissions that the user's umask gives any other file.
            with open(temporary, "xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            if keep is not None and target.exists():
                _replace_and_keep(temporary, target, keep)
            else:
                os.replace(temporary, target)
            _sync_folder(target.parent)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise
    except OSError as error:
        if error.errno is None or error.filename not in (None, str(temporary)):
            raise
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error


def _replace_and_keep(temporary: Path, target: Path, keep: str | os.PathLike[str]) -> None:
    os.replace(target, keep)
    try:
        os.replace(temporary, target)
    except BaseException:
        os.replace(keep, target)
        raise


def _sync_folder(folder: Path) -> None:
    """Make a rename durable, where the system can: Windows opens no folders, some network file systems sync none."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(handle)
