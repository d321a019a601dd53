import gzip
import io
import os
import struct
import tarfile
import tracemalloc
import zipfile

import pytest

from nnfast.data.archive import open_source, read_at_most

FILES = {"b/2.bin": b"two", "b/1.bin": b"one", "a.bin": b"", "c/d/e.bin": b"deep"}
JUNK = {".hidden": b"", "b/.DS_Store": b"", "__MACOSX/b/1.bin": b"", ".git/config": b""}


@pytest.fixture(params=["folder", "zip", "tar", "tar.gz"])
def write(request, folder_of, zip_of, tar_of):
    return {
        "folder": folder_of,
        "zip": zip_of,
        "tar": lambda files: tar_of(files, "data.tar"),
        "tar.gz": tar_of,
    }[request.param]


def test_names_and_contents(write):
    path = write(FILES | JUNK)
    with open_source(path) as source:
        assert set(source.files) == set(FILES)
        assert {name: bytes(source.read(name, 10)) for name in FILES} == FILES
        assert source.path == path
        with source.open("b/1.bin") as stream:
            assert stream.read(2) == b"on"


def test_archives_keep_the_order_of_storage(zip_of, tar_of):
    for path in (zip_of(FILES), tar_of(FILES)):
        with open_source(path) as source:
            assert list(source.files) == list(FILES)
            assert source.in_storage_order(sorted(FILES)) == list(FILES)


def test_reading_stops_at_the_limit(write):
    with open_source(write({"file": bytes(1000)})) as source:
        assert len(source.read("file", 1000)) == 1000
        with pytest.raises(ValueError, match=r"data.*file: more than 999 bytes"):
            source.read("file", 999)


def test_read_at_most_reads_in_pieces():
    asked = []

    class Stream(io.BytesIO):
        def read(self, n=-1):
            asked.append(n)
            return super().read(min(n, 400_000))  # streams may give less than was asked for

    assert len(read_at_most(Stream(bytes(3 << 20)), 1 << 40)) == 3 << 20
    assert max(asked) <= 1 << 20
    assert read_at_most(Stream(b"abcdef"), 4) == b"abcd"
    assert read_at_most(Stream(b"abc"), 0) == b""


def test_other_files(tmp_path):
    with pytest.raises(FileNotFoundError), open_source(tmp_path / "none"):
        pass
    for content in (b"", b"text" * 200, b"Rar!"):
        (tmp_path / "file").write_bytes(content)
        with (
            pytest.raises(ValueError, match=r"file: not a folder, a zip file, or a tar file \(plain or gzip\)"),
            open_source(tmp_path / "file"),
        ):
            pass


@pytest.mark.parametrize("name", ["../up.png", "a/../../up.png", "/etc/passwd", "C:/up.png", "..\\up.png", "\\up.png"])
def test_names_that_lead_out_are_refused(zip_of, tar_of, name):
    for path in (zip_of({name: b"x"}), tar_of({name: b"x"})):
        with pytest.raises(ValueError, match="name leads out of the archive"), open_source(path):
            pass


def test_windows_separators_and_dots_are_read(zip_of):
    with open_source(zip_of({"cat\\1.png": b"x", "./dog//2.png": b"y"})) as source:
        assert set(source.files) == {"cat/1.png", "dog/2.png"}
        assert source.read("cat/1.png", 9) == b"x"


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (tarfile.SYMTYPE, "is a link"),
        (tarfile.LNKTYPE, "is a link"),
        (tarfile.FIFOTYPE, "is not a regular file"),
        (tarfile.CHRTYPE, "is not a regular file"),
    ],
)
def test_special_members_of_a_tar_are_refused(tar_of, kind, message):
    info = tarfile.TarInfo("cat/1.png")
    info.type, info.linkname = kind, "/etc/passwd"
    path = tar_of({"cat/0.png": b"x", "special": info})
    with pytest.raises(ValueError, match=f"data.tar.gz: cat/1.png: {message}, expected files and"), open_source(path):
        pass


def test_links_in_a_zip_are_refused(zip_of):
    path = zip_of({})
    info = zipfile.ZipInfo("cat/1.png")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(ValueError, match=r"data.zip: cat/1.png: is a link"), open_source(path):
        pass


def test_links_in_a_folder_are_followed_but_not_round_in_circles(folder_of, tmp_path):
    folder = folder_of({"a/1.bin": b"one"})
    other = folder_of({"2.bin": b"two"}, "other")
    (folder / "linked").symlink_to(other)
    (folder / "a" / "up").symlink_to(folder)
    with open_source(folder) as source:
        assert set(source.files) == {"a/1.bin", "linked/2.bin"}
    (folder / "lost").symlink_to(tmp_path / "none")
    with pytest.raises(ValueError, match="lost: is a link that leads nowhere"), open_source(folder):
        pass


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_a_pipe_in_a_folder_is_refused(folder_of):
    folder = folder_of({"a.bin": b""})
    os.mkfifo(folder / "pipe")
    with pytest.raises(ValueError, match="pipe: is neither a file nor a folder"), open_source(folder):
        pass


def test_listed_folders(folder_of, zip_of):
    folder = folder_of({"a/1.bin": b""})
    (folder / "empty").mkdir()
    with open_source(folder) as source:
        assert source.folders == {"a", "empty"}
    with open_source(zip_of({"a/1.bin": b"", "empty/": b""})) as source:
        assert source.folders == {"empty"}


def test_a_wrong_checksum_in_a_zip(zip_of):
    path = zip_of({"1.bin": b"some content"})
    path.write_bytes(path.read_bytes().replace(b"some content", b"same content"))
    with open_source(path) as source, pytest.raises(ValueError, match=r"data.zip: 1.bin: damaged or not .* CRC"):
        source.read("1.bin", 100)


def test_an_encrypted_zip(zip_of):
    path = zip_of({"1.bin": b"some content"})
    content = bytearray(path.read_bytes())
    for signature, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        content[content.index(signature) + flags] |= 1
    path.write_bytes(content)
    with open_source(path) as source, pytest.raises(ValueError, match=r"1.bin: damaged or not readable: .*encrypted"):
        source.read("1.bin", 100)


def test_a_zip_that_lies_about_sizes(zip_of):
    path = zip_of({"1.bin": b"some content"})
    content = bytearray(path.read_bytes())
    struct.pack_into("<II", content, content.index(b"PK\1\2") + 20, 1 << 30, 1 << 30)
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"data.zip"), open_source(path) as source:
            source.read("1.bin", 1 << 31)
        assert tracemalloc.get_traced_memory()[1] < 5 << 20
    finally:
        tracemalloc.stop()


def test_a_damaged_zip(zip_of):
    path = zip_of(FILES)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ValueError, match=r"data.zip: damaged archive: File is not a zip file"), open_source(path):
        pass


@pytest.mark.parametrize("name", ["data.tar", "data.tar.gz"])
def test_a_cut_tar_is_never_a_shorter_one(tar_of, name):
    path = tar_of({f"{number}.bin": bytes([number]) * 700 for number in range(6)}, name)
    content = path.read_bytes()
    # tarfile itself takes a tar file that breaks off between or inside headers for a complete one.
    for length in range(len(content) // 8, (512 + 1024) * 6 if name == "data.tar" else len(content) - 1, 37):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=name + ": (damaged archive|not a folder)"), open_source(path):
            pass


def test_a_damaged_header_is_not_the_end_of_a_tar(tar_of):
    path = tar_of({"1.bin": b"x", "2.bin": b"y", "3.bin": b"z"}, "data.tar")
    content = bytearray(path.read_bytes())
    content[1024 + 148] ^= 0xFF  # the second header's checksum
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"data.tar: damaged archive: no end mark after 1 members"), open_source(path):
        pass


def test_a_wrong_checksum_of_a_gzip_stream(tar_of):
    path = tar_of({"1.bin": bytes(5000)})
    content = bytearray(path.read_bytes())
    content[-8] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"data.tar.gz: damaged archive: CRC check failed"), open_source(path):
        pass


def test_a_gzip_file_that_is_no_tar(tmp_path):
    (tmp_path / "x.gz").write_bytes(gzip.compress(b"text" * 500))
    with pytest.raises(ValueError, match=r"x.gz: damaged archive"), open_source(tmp_path / "x.gz"):
        pass


def test_errors_of_the_reader_are_not_taken_for_damage(zip_of):
    with pytest.raises(RuntimeError, match="mine"), open_source(zip_of(FILES)):
        raise RuntimeError("mine")


def test_fingerprints_change_with_the_content(write, tmp_path):
    path = write(FILES)
    with open_source(path) as source:
        before = source.fingerprint()
    with open_source(path) as source:
        assert source.fingerprint() == before
    changed = path / "b" / "1.bin" if path.is_dir() else path
    status = changed.stat()
    os.utime(changed, ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000_000))
    with open_source(path) as source:
        assert source.fingerprint() != before
