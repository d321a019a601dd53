import builtins
import hashlib
import logging
import socket
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from nnfast.data import download as package_download
from nnfast.data.download import REMOTES, Remote, download

pytest.importorskip("pooch")
FILES = {"one.gz": b"first", "two.gz": b"second"}


def md5(content):
    return hashlib.md5(content).hexdigest()


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A web server on this machine, with FILES; gives its address and the paths asked for."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    folder = tmp_path / "served"
    folder.mkdir()
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    asked = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            asked.append(self.path)

    served = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=folder))
    thread = threading.Thread(target=served.serve_forever)
    thread.start()
    logging.getLogger("pooch").setLevel(logging.WARNING)
    yield f"http://127.0.0.1:{served.server_port}/", asked
    served.shutdown()
    thread.join()
    served.server_close()


def serve(monkeypatch, url, files):
    monkeypatch.setitem(REMOTES, "mnist", Remote(url, files))


def test_files_are_fetched_once(server, monkeypatch, tmp_path):
    url, asked = server
    serve(monkeypatch, url, {name: md5(content) for name, content in FILES.items()})
    for _ in range(2):
        assert download("mnist", tmp_path / "target") == tmp_path / "target"
        assert {path.name: path.read_bytes() for path in (tmp_path / "target").iterdir()} == FILES
    assert asked == ["/one.gz", "/two.gz"]


def test_one_file_is_returned_itself_and_the_cache_is_the_default(server, monkeypatch, cache_home):
    url, _ = server
    serve(monkeypatch, url, {"one.gz": md5(b"first")})
    assert package_download("mnist") == cache_home / "nnfast" / "downloads" / "mnist" / "one.gz"


def test_a_damaged_file_is_fetched_again(server, monkeypatch, tmp_path):
    url, _ = server
    serve(monkeypatch, url, {"one.gz": md5(b"first")})
    (tmp_path / "one.gz").write_bytes(b"fir")
    assert download("mnist", tmp_path).read_bytes() == b"first"


def test_a_wrong_sum_is_refused_and_nothing_is_kept(server, monkeypatch, tmp_path):
    url, _ = server
    serve(monkeypatch, url, {"one.gz": md5(b"other")})
    message = rf"download: mnist: {url}one.gz did not give the expected file \(MD5 {md5(b'other')}\)"
    with pytest.raises(ValueError, match=message):
        download("mnist", tmp_path / "target")
    assert list((tmp_path / "target").iterdir()) == []


def test_a_file_that_is_not_served(server, monkeypatch, tmp_path):
    url, _ = server
    serve(monkeypatch, url, {"three.gz": md5(b"")})
    with pytest.raises(ConnectionError, match=rf"mnist: cannot fetch {url}three.gz \(HTTPError\)"):
        download("mnist", tmp_path)


def test_no_network_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/"  # bound, but nobody listens
        serve(monkeypatch, url, {"one.gz": md5(b"first")})
        logging.getLogger("pooch").setLevel(logging.WARNING)
        with pytest.raises(ConnectionError) as raised:
            download("mnist", tmp_path / "target")
    message = str(raised.value)
    assert f"cannot fetch {url}one.gz (ConnectionError)" in message
    assert f"put it at {tmp_path / 'target' / 'one.gz'}" in message


def test_an_unknown_name():
    message = "download: name is 'imagenet', expected one of cifar10, cifar100, fashion-mnist, mnist"
    with pytest.raises(ValueError, match=message):
        download("imagenet")


def test_without_pooch(monkeypatch, tmp_path):
    original = builtins.__import__

    def without(name, *arguments, **named):
        if name == "pooch":
            raise ImportError(name)
        return original(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"downloading data sets needs pooch: pip install nnfast\[data\]"):
        download("mnist", tmp_path)


def test_what_is_known():
    assert sorted(REMOTES) == ["cifar10", "cifar100", "fashion-mnist", "mnist"]
    sums = [sum_ for remote in REMOTES.values() for sum_ in remote.files.values()]
    assert len(set(sums)) == len(sums) == 10
    assert all(len(sum_) == 32 and int(sum_, 16) for sum_ in sums)
    assert all(remote.base_url.endswith("/") for remote in REMOTES.values())
    for name in ("mnist", "fashion-mnist"):
        assert sorted(REMOTES[name].files) == [
            "t10k-images-idx3-ubyte.gz",
            "t10k-labels-idx1-ubyte.gz",
            "train-images-idx3-ubyte.gz",
            "train-labels-idx1-ubyte.gz",
        ]
