"""The page, served in this process with the tiny network, and asked by HTTP; and a clip to paint."""

import contextlib
import http.client
import io
import json
import shlex
import shutil
import time
import zipfile
from urllib.parse import quote, urlsplit

import numpy as np
from conftest import run_in_process

SECONDS = 120  # until a test gives up


def ask(url, method, path, body=None, **headers):
    """The status, the headers and the body of an answer; headers have _ for -."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=SECONDS)
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    if method == "POST":
        headers = {"Origin": url.rstrip("/")} | headers
    connection.request(method, path, body, {name: value for name, value in headers.items() if value})
    with contextlib.closing(connection):
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()


class Server:
    """The page with its studio in `folder`."""

    def __init__(self, folder, network_file, host="127.0.0.1", password="", public_name=""):
        from styling.live import address, http
        from styling.settings import Running
        from styling.web.page import Page
        from styling.web.painter import Painter

        listening = address.bind("port", "127.0.0.1", 0)
        self.url = address.url("127.0.0.1", listening)
        self.port = listening.getsockname()[1]
        self.painter = Painter(folder, network_file, Running())
        self.studio = self.painter.studio
        app = http.Guard(Page(self.painter).app(), host, password, public_name)
        self._serving = http.serving(app, listening)

    def __enter__(self):
        self._serving.__enter__()
        return self

    def __exit__(self, *error):
        self._serving.__exit__(*error)
        self.painter.close()

    def ask(self, method, path, body=None, **headers):
        return ask(self.url, method, path, body, **headers)

    def get(self, path):
        return self.ask("GET", path)

    def post(self, path, body=None):
        """What is answered, as JSON."""
        body = json.dumps(body) if isinstance(body, dict) else body
        return json.loads(self.ask("POST", path, body)[2])

    def upload(self, file, kind="content", name=None):
        return self.post(f"/images?name={quote(name or file.name)}&kind={kind}", file.read_bytes())

    def wait(self, ready):
        """Wait until this is true."""
        end = time.monotonic() + SECONDS
        while not ready():
            assert time.monotonic() < end, self.painter.task and self.painter.task.facts
            time.sleep(0.02)

    def paint(self, **form):
        """Paint to the end; the key of the new result."""
        assert self.post("/paint", {"recipe": "gatys2015"} | form) == {}
        return self.finished()

    def finished(self):
        """The key of the latest result, once nothing is painted any more."""
        self.wait(lambda: self.painter.task and self.painter.task.is_done)
        assert "error" not in self.painter.task.facts
        return self.studio.results[-1].key

    def again(self, key, folder):
        """The picture that the command line makes of what is in the result's ZIP."""
        import neural_style

        shutil.rmtree(folder, ignore_errors=True)
        zipfile.ZipFile(io.BytesIO(self.get(f"/results/{key}?as=zip")[2])).extractall(folder)
        program, *arguments = shlex.split(self.studio.pictures[key].command.replace("\\\n", ""))
        assert program == "neural-style"
        done = run_in_process(neural_style.main, folder, [*arguments, "--quiet"])
        assert done.returncode == 0, done.stderr
        return (folder / arguments[-1]).read_bytes()

    def clear(self):
        """Stop what is painted, and remove what was sent and painted."""
        self.painter.stop()
        self.wait(lambda: not self.painter.task or self.painter.task.is_done)
        for picture in [*self.studio.pictures.values()]:
            if picture.own and picture.key in self.studio.pictures:  # else it went with its film
                self.studio.remove(picture.key)
        self.painter.task = None


def write_clip(av, path, frames):
    """A film of a square that moves to the right, 64 x 48 pixels."""
    with av.open(str(path), "w") as film:
        stream = film.add_stream("libx264", rate=8)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(frames):
            pixels = np.full((48, 64, 3), 90, np.uint8)
            pixels[10:30, 4 * number : 4 * number + 20] = 220, 60, 30
            film.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        film.mux(stream.encode())
    return path
