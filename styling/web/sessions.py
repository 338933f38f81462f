"""Sessions: each visitor's images and results, in a folder that is deleted when the session ends."""

import hashlib
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from styling.live.view import jpeg
from styling.pictures import images
from styling.system.errors import ImageError, StyleError
from styling.system.files import data_folder
from styling.system.process import explain

if TYPE_CHECKING:
    from styling.web.painter import Task

MOST_SESSIONS, MOST_IMAGES, MOST_RESULTS = 100, 100, 50
MOST_BYTES, MOST_PIXELS = 50 * 2**20, 100 * 10**6  # of an image
MOST_BYTES_OF_ALL = 200 * 2**20  # of a session's images
# A run stops, and a session ends, so many seconds after its page has been left.
STOP_SECONDS, END_SECONDS = 60, 30 * 60
PREVIEW_SIDE = 1024
PHOTOGRAPHS = ("harbour", "still_life")  # of the images that ship; the others are paintings
SENT = ("own", "mask")


@dataclass(frozen=True)
class Picture:
    """An image that the page can name. name: on the command line. preview: its small version. kind: content
    or styles for images that ship, own or mask for images of the visitor, or result."""

    path: Path
    name: str
    preview: Path
    kind: str


@dataclass(frozen=True)
class Result:
    """A painted picture, for the page.

    size: (width, height). command: the command line that makes it again. form: the form that asked for it.
    note: the time that it took, and why it is not finished, if it is not.
    """

    name: str
    size: tuple[int, int]
    command: str
    form: dict[str, object]
    note: str


@dataclass(eq=False)
class Session:
    """A visitor. task: the latest. resumable: the result that the saved run in `state` goes on from.

    open: the pages that are open. left: when the last was closed. count: of the results so far.
    """

    folder: Path
    pictures: dict[str, Picture]
    results: dict[str, Result] = field(default_factory=dict)
    task: "Task | None" = None
    resumable: str | None = None
    open: int = 0
    left: float = field(default_factory=time.monotonic)
    count: int = 0

    @property
    def state(self) -> Path:
        """The file of the run that was stopped last."""
        return self.folder / "state"

    @property
    def is_busy(self) -> bool:
        """Whether a run works or waits."""
        return self.task is not None and self.task.status != "done"

    @property
    def sent(self) -> list[Picture]:
        """The images that the visitor has sent."""
        return [picture for picture in list(self.pictures.values()) if picture.kind in SENT]

    @property
    def names(self) -> dict[str, str]:
        """The name for people of each file."""
        return {str(picture.path): picture.name for picture in list(self.pictures.values())}

    def file(self, name: str, ending: str) -> Path:
        """A result's file: png for the picture, toml for its recipe, jpg for the small picture."""
        return self.folder / f"{name}.{ending}"

    def in_words(self, line: str) -> str:
        """A line with the files' names for people in place of their paths."""
        for path, name in self.names.items():
            line = line.replace(path, name)
        return line

    def add(self, result: Result) -> None:
        """Add a result; if there are too many, remove the oldest."""
        png, jpg = (self.file(result.name, ending) for ending in ("png", "jpg"))
        self.pictures[result.name] = Picture(png, png.name, jpg, "result")
        self.results[result.name] = result
        if len(self.results) > MOST_RESULTS:
            oldest = next(iter(self.results))
            del self.results[oldest], self.pictures[oldest]
            for ending in ("png", "toml", "jpg"):
                self.file(oldest, ending).unlink()

    def check_room(self) -> None:
        """Raise ImageError if there are too many images already."""
        sizes = [picture.path.stat().st_size for picture in self.sent]
        if len(sizes) >= MOST_IMAGES or sum(sizes) >= MOST_BYTES_OF_ALL:
            raise ImageError("there are as many images here as a visitor may have; choose among them")

    def upload(self, data: bytes, name: str, kind: str) -> str:
        """Add an image, of a kind in SENT, unless it exists; returns its key. Raises ImageError."""
        key = f"{kind}-{hashlib.sha256(data).hexdigest()[:16]}"
        if key not in self.pictures:
            self.check_room()
            name, path = self._free(cleaned(name)), self.folder / f"{key}.png"
            path.write_bytes(data)
            try:
                self.pictures[key] = _picture(path, name, self.folder, kind)
            except ImageError as error:
                path.unlink()
                raise ImageError(explain(error).replace(str(path), name)) from None
        return key

    def _free(self, name: str) -> str:
        """The name, or a similar one if another image has it."""
        taken, path, number = set(self.names.values()), Path(name), 1
        while name in taken:
            number += 1
            name = f"{path.stem}-{number}{path.suffix}"
        return name


class Sessions:
    """All visitors by their keys, in a folder of the server's own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._all: dict[str, Session] = {}
        own = folder / "shipped"
        own.mkdir()
        self.shipped = {
            path.stem: _picture(path, str(path), own, "content" if path.stem in PHOTOGRAPHS else "styles")
            for path in sorted(data_folder().glob("*.jpg"))
            if not path.is_symlink()
        }

    def __iter__(self) -> Iterator[Session]:
        return iter(list(self._all.values()))

    def find(self, key: str | None) -> Session | None:
        """The session with this key, or None."""
        return self._all.get(key or "")

    def begin(self) -> str:
        """Begin a session and return its key. Raises StyleError if there are too many."""
        if len(self._all) >= MOST_SESSIONS:
            raise StyleError("too many people are painting here; try again later")
        key, folder = secrets.token_urlsafe(24), self._folder / secrets.token_hex(8)
        folder.mkdir()
        self._all[key] = Session(folder, dict(self.shipped))
        return key

    def tidy(self) -> None:
        """Stop the runs and end the sessions whose page was left long ago; sessions that were never used end
        sooner."""
        now = time.monotonic()
        for key, session in list(self._all.items()):
            away = 0 if session.open else now - session.left
            if away >= STOP_SECONDS and session.is_busy:
                session.task.stop.set()
            unused = not session.results and not session.sent
            if away >= (STOP_SECONDS if unused else END_SECONDS) and not session.is_busy:
                shutil.rmtree(session.folder, ignore_errors=True)
                del self._all[key]


def cleaned(name: str) -> str:
    """The name of a file from a visitor, without folders and without characters that do not print."""
    name = re.split(r"[/\\]", name)[-1].lstrip("-.")
    return "".join(letter for letter in name if letter.isprintable())[:80] or "image"


def _picture(path: Path, name: str, folder: Path, kind: str) -> Picture:
    """An image with its preview in a folder; a mask is its own preview. Raises ImageError."""

    def sizes(height: int, width: int) -> list[tuple[int, int]]:
        if height * width > MOST_PIXELS:
            problem = f"has {width} x {height} pixels; make it smaller first, {MOST_PIXELS // 10**6} million"
            raise ImageError(f"{problem} are the most here")
        return [(PREVIEW_SIDE, PREVIEW_SIDE)]

    pixels = images.read(path, sizes)
    preview = path if kind == "mask" else folder / f"{path.name}.preview.jpg"
    if preview != path:
        preview.write_bytes(jpeg(pixels, PREVIEW_SIDE))
    return Picture(path, name, preview, kind)
