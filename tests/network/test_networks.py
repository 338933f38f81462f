"""Which network is found, and the download from a server that does what servers do."""

import hashlib
import http.server
import threading

import pytest

from styling.network import networks
from styling.system.errors import DownloadError, SettingsError
from styling.system.files import data_folder

CONTENT = bytes(range(256)) * 20000  # 5 MB, so that a stop in the middle is one
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server:
    """An HTTP server that answers each request with the next of `answers`, and with the last from then on."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.requests = 0
        self.stalled = threading.Event()
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):  # the name is http.server's
                server.requests += 1
                answer = server.answers.pop(0) if len(server.answers) > 1 else server.answers[0]
                answer(self, server)

            def log_message(self, *arguments):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/network.mat"

    def __enter__(self):
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *error):
        self.stalled.set()
        self.http.shutdown()
        self.http.server_close()


def send(handler, content, claimed):
    handler.send_response(200)
    handler.send_header("Content-Length", str(claimed))
    handler.end_headers()
    handler.wfile.write(content)


def whole(handler, server):
    send(handler, CONTENT, len(CONTENT))


def breaks_off(handler, server):
    send(handler, CONTENT[: len(CONTENT) // 2], len(CONTENT))


def stalls(handler, server):
    send(handler, CONTENT[:1000], len(CONTENT))
    server.stalled.wait(30)


def wrong_bytes(handler, server):
    send(handler, CONTENT[::-1], len(CONTENT))


def is_missing(handler, server):
    handler.send_error(404)


@pytest.mark.parametrize("first", [whole, breaks_off, stalls])
def test_a_download_is_whole_after_whatever_came_first(tmp_path, monkeypatch, first):
    monkeypatch.setattr(networks, "SECONDS_OF_SILENCE", 1)
    with Server(first, whole) as server:
        path = networks.download(server.url, SHA256, tmp_path / "networks")
        assert path.read_bytes() == CONTENT
        assert server.requests == (1 if first is whole else 2)
        assert list(path.parent.iterdir()) == [path]
        networks.download(server.url, SHA256, path.parent)
        assert server.requests == (1 if first is whole else 2), "what is there is not fetched again"


@pytest.mark.parametrize(
    ("answer", "problem"),
    [(breaks_off, "could not be fetched"), (wrong_bytes, "SHA-256"), (is_missing, "404")],
)
def test_a_failed_download_is_told_with_its_address_and_leaves_nothing(
    tmp_path, monkeypatch, answer, problem
):
    monkeypatch.setattr(networks, "TRIES", 2)
    with Server(answer) as server, pytest.raises(DownloadError, match=f"{server.url}.*{problem}"):
        networks.download(server.url, SHA256, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_named_with_the_way_out(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DownloadError, match=r"file/networks cannot be written .*by hand into the working"):
        networks.download(folder=tmp_path / "file" / "networks")


def test_where_a_network_is_found(tmp_path, monkeypatch, cache_folder):
    monkeypatch.chdir(tmp_path)
    assert networks.find() == networks.find("small") == data_folder() / networks.SMALL
    with pytest.raises(SettingsError, match="--download"):
        networks.find("vgg19")
    with pytest.raises(SettingsError, match=rf"put {networks.FILES['vgg16']} into .*{cache_folder}"):
        networks.find("vgg16")
    cache_folder.mkdir(parents=True)
    for name in ("vgg16", "vgg19"):
        for folder in (cache_folder, tmp_path):
            file = folder / networks.FILES[name]
            file.touch()
            assert networks.find().resolve() == networks.find(name).resolve() == file
            assert networks.is_present(name)
    assert networks.find("small").name == networks.SMALL
    (tmp_path / "other.mat").touch()
    assert networks.find("other.mat").resolve() == tmp_path / "other.mat"


def test_a_network_is_named_so_that_it_is_found_from_anywhere(tmp_path, monkeypatch, cache_folder):
    cache_folder.mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    paths = [tmp_path / "own.mat", cache_folder / networks.PUBLISHED, cache_folder / networks.FILES["vgg16"]]
    for path in paths:
        path.touch()
    monkeypatch.chdir(tmp_path)
    found = [networks.find(name).resolve() for name in ("own.mat", "vgg19", "vgg16", "small")]
    names = [networks.name(networks.find(name)) for name in ("own.mat", "vgg19", "vgg16", "small")]
    assert names[1:] == ["vgg19", "vgg16", "small"]
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert [networks.find(name).resolve() for name in names] == found


def test_the_line_on_the_network_names_what_is_missing(tmp_path):
    own = tmp_path / "own.mat"
    assert networks.describe(own) == f"painting with {own}"
    line = networks.describe(networks.find("small"), "vgg16", ["relu5_3", "relu5_4"])
    for part in ("vgg16, which is not here", networks.SMALL, "without relu5_3, relu5_4", "--download"):
        assert part in line
    assert "\n" not in line
