"""A file is the old one or the new one, whatever fails in between."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys

import pytest

from nnfast.io.atomic import write_atomically


@pytest.fixture
def target(tmp_path):
    path = tmp_path / "file.bin"
    path.write_bytes(b"old")
    return path


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_replaces_the_file_and_leaves_nothing_else(target):
    with write_atomically(target) as file:
        file.write(b"new")
        assert target.read_bytes() == b"old"
    assert target.read_bytes() == b"new"
    assert names(target.parent) == ["file.bin"]


def test_file_is_synced_before_it_is_renamed_and_the_folder_after(target, monkeypatch):
    events = []
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (events.append("sync"), sync(handle)))
    monkeypatch.setattr(os, "replace", lambda *paths: (events.append("rename"), replace(*paths)))
    with write_atomically(target) as file:
        file.write(b"new")
    assert events == ["sync", "rename", "sync"]


def test_what_was_written_is_flushed_before_the_sync(target, monkeypatch):
    sizes = []
    monkeypatch.setattr(os, "fsync", lambda handle: sizes.append(os.fstat(handle).st_size))
    with write_atomically(target) as file:
        file.write(b"new!")
    assert sizes[0] == 4


@pytest.mark.parametrize("error", [RuntimeError("broken"), KeyboardInterrupt()])
def test_an_exception_in_the_block_keeps_the_old_file(target, error):

    def write():
        with write_atomically(target) as file:
            file.write(b"half")
            raise error

    with pytest.raises(type(error)):
        write()
    assert target.read_bytes() == b"old"
    assert names(target.parent) == ["file.bin"]


@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_a_full_disk_keeps_the_old_file_and_the_error_names_it(target, monkeypatch, function):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, function, full)
    with pytest.raises(OSError, match="No space left") as caught, write_atomically(target) as file:
        file.write(b"new")
    monkeypatch.undo()
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(target))
    assert target.read_bytes() == b"old"
    assert names(target.parent) == ["file.bin"]


@pytest.mark.skipif(os.name != "posix", reason="limits are POSIX")
def test_a_write_that_the_system_refuses_keeps_the_old_file(target):
    """A real refusal, not a patched one: the process may not write files of more than 4096 bytes."""
    script = """if True:
        import resource, signal, sys
        from nnfast.io.atomic import write_atomically
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        try:
            with write_atomically(sys.argv[1]) as file:
                for _ in range(1000):
                    file.write(bytes(1000))
        except OSError as error:
            print(error.filename)
    """
    result = subprocess.run([sys.executable, "-c", script, str(target)], capture_output=True, text=True, timeout=60)
    assert result.stdout.strip() == str(target), result.stderr
    assert target.read_bytes() == b"old"
    assert names(target.parent) == ["file.bin"]


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX")
def test_a_killed_process_leaves_the_old_file(target):
    script = """if True:
        import os, signal, sys
        from nnfast.io.atomic import write_atomically
        with write_atomically(sys.argv[1]) as file:
            file.write(b"half")
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
    """
    result = subprocess.run([sys.executable, "-c", script, str(target)], timeout=60)
    assert result.returncode == -signal.SIGKILL
    assert target.read_bytes() == b"old"


def test_keep_receives_the_old_file(target):
    kept = target.with_name("kept.bin")
    for content in (b"new", b"newer"):
        with write_atomically(target, keep=kept) as file:
            file.write(content)
    assert (target.read_bytes(), kept.read_bytes()) == (b"newer", b"new")
    assert names(target.parent) == ["file.bin", "kept.bin"]


def test_keep_without_an_old_file(tmp_path):
    with write_atomically(tmp_path / "first", keep=tmp_path / "kept") as file:
        file.write(b"x")
    assert names(tmp_path) == ["first"]


def test_keep_puts_the_old_file_back_if_the_last_rename_fails(target, monkeypatch):
    replace = os.replace

    def fails_for_the_new_file(source, destination):
        if str(source).endswith(".writing"):
            raise OSError(errno.EIO, "broken")
        replace(source, destination)

    monkeypatch.setattr(os, "replace", fails_for_the_new_file)
    with pytest.raises(OSError, match="broken"), write_atomically(target, keep=target.with_name("kept")) as file:
        file.write(b"new")
    assert target.read_bytes() == b"old"
    assert names(target.parent) == ["file.bin"]


def test_the_error_for_a_path_below_a_file_names_the_path(target):
    below = target / "x.bin"
    with pytest.raises(NotADirectoryError) as caught, write_atomically(below):
        pass
    assert caught.value.filename == str(below)


def test_an_error_about_another_file_is_left_alone(target, tmp_path):
    with pytest.raises(FileNotFoundError) as caught, write_atomically(target):
        open(tmp_path / "missing")  # noqa: SIM115
    assert caught.value.filename == str(tmp_path / "missing")


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX")
def test_permissions_follow_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        with write_atomically(tmp_path / "file") as file:
            file.write(b"x")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


@pytest.mark.skipif(os.name != "posix", reason="links need rights elsewhere")
def test_a_link_stays_a_link(target, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(target)
    with write_atomically(link) as file:
        file.write(b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"


@pytest.mark.skipif(os.name != "posix", reason="folders are synced on POSIX only")
@pytest.mark.parametrize(("number", "raises"), [(errno.EINVAL, False), (errno.EIO, True)])
def test_a_folder_that_cannot_be_synced(target, monkeypatch, number, raises):
    sync = os.fsync

    def folders_fail(handle):
        if os.path.isdir(f"/proc/self/fd/{handle}") or os.fstat(handle).st_mode & 0o040000:
            raise OSError(number, os.strerror(number))
        sync(handle)

    monkeypatch.setattr(os, "fsync", folders_fail)
    if raises:
        with pytest.raises(OSError, match="Input/output") as caught, write_atomically(target) as file:
            file.write(b"new")
        assert caught.value.filename == str(target)
    else:
        with write_atomically(target) as file:
            file.write(b"new")
    assert target.read_bytes() == b"new"
