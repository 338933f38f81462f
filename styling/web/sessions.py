"""Who is there: each visitor's images and results, in a folder that goes when the session ends."""

import re
import secrets
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from styling import images
from styling.errors import ImageError, StyleError
from styling.networks import data_folder
from styling.process import explain
from styling.web.view import jpeg

if TYPE_CHECKING:
    from styling.web.painter import Task

MOST_SESSIONS, MOST_IMAGES, MOST_RESULTS = 100, 30, 50
MOST_BYTES, MOST_PIXELS = 50 * 2**20, 100 * 10**6  # of an image
MOST_BYTES_OF_ALL = 200 * 2**20  # of a session's images
# A run stops, and a session ends, so many seconds after its page has been left.
STOP_SECONDS, END_SECONDS = 60, 30 * 60
PREVIEW_SIDE, THUMBNAIL_SIDE = 1024, 256
PHOTOGRAPHS = ("harbour", "still_life")  # of the images that ship; the others are paintings


@dataclass(frozen=True)
class Picture:
    """An image that can be painted or painted by. name: on the command line. preview: as JPEG."""

    path: Path
    name: str
    preview: Path


@dataclass(frozen=True)
class Result:
    """A picture that was painted: `NAME.png`, `NAME.toml` and `NAME.jpg` are in the session's folder.

    command: what makes it again. form: what it was asked for by. note: why it is not finished, if it is not.
    """

    name: str
    png: Path
    recipe: Path
    thumbnail: Path
    size: tuple[int, int]
    command: str
    form: dict[str, object]
    note: str

    def facts(self) -> dict[str, object]:
        """What the page is told."""
        return {name: getattr(self, name) for name in ("name", "size", "command", "form", "note")}


@dataclass(eq=False)
class Session:
    """A visitor. task: the latest. resumable: the result that the saved run in `state` goes on from.

    open: the pages that are open. left: when the last was closed.
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
    def files(self) -> dict[str, Path]:
        """All that the page can name, by its key."""
        pictures = {key: picture.path for key, picture in self.pictures.items()}
        return pictures | {name: result.png for name, result in self.results.items()}

    @property
    def names(self) -> dict[str, str]:
        """What people call each of the files."""
        pictures = {str(picture.path): picture.name for picture in self.pictures.values()}
        return pictures | {str(result.png): result.png.name for result in self.results.values()}

    def in_words(self, line: str) -> str:
        """A line with the names of files as people know them."""
        for path, name in self.names.items():
            line = line.replace(path, name)
        return line

    def next_name(self) -> str:
        """The name of the next result."""
        self.count += 1
        return f"picture-{self.count}"

    def add(self, result: Result) -> None:
        """Add a result; the oldest goes where there are too many."""
        self.results[result.name] = result
        if len(self.results) > MOST_RESULTS:
            oldest = self.results.pop(next(iter(self.results)))
            for path in (oldest.png, oldest.recipe, oldest.thumbnail):
                path.unlink()

    def room(self) -> None:
        """Raise ImageError if there are too many images already."""
        own = [picture.path for picture in self.pictures.values() if picture.path.parent == self.folder]
        if len(own) >= MOST_IMAGES or sum(path.stat().st_size for path in own) >= MOST_BYTES_OF_ALL:
            raise ImageError("there are as many images here as a visitor may have; choose among them")

    def upload(self, data: bytes, name: str) -> str:
        """Add an image, and return its key. Raises ImageError for what is none, or too large."""
        self.room()
        key = secrets.token_urlsafe(9)
        name = self._free(cleaned(name))
        path = self.folder / f"image-{key}"
        path.write_bytes(data)
        try:
            self.pictures[key] = _picture(path, name, self.folder)
        except ImageError as error:
            path.unlink()
            raise ImageError(explain(error).replace(str(path), name)) from None
        return key

    def _free(self, name: str) -> str:
        """The name, or one like it where another image has it."""
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
            path.stem: _picture(path, str(path), own)
            for path in sorted(data_folder().glob("*.jpg"))
            if not path.is_symlink()
        }

    def __iter__(self) -> Iterator[Session]:
        return iter(list(self._all.values()))

    def find(self, key: str | None) -> Session | None:
        """The session of a key, if there is one."""
        return self._all.get(key or "")

    def begin(self) -> str:
        """A new session's key. Raises StyleError if there are too many."""
        if len(self._all) >= MOST_SESSIONS:
            raise StyleError("too many people are painting here; try again later")
        key = secrets.token_urlsafe(24)
        folder = self._folder / secrets.token_hex(8)
        folder.mkdir()
        self._all[key] = Session(folder, dict(self.shipped))
        return key

    def tidy(self) -> None:
        """Stop the runs, and end the sessions, whose page was left long ago; one that was never opened goes
        first."""
        now = time.monotonic()
        for key, session in list(self._all.items()):
            away = 0 if session.open else now - session.left
            if away >= STOP_SECONDS and session.is_busy:
                session.task.stop.set()
            unused = not session.results and len(session.pictures) == len(self.shipped)
            if away >= (STOP_SECONDS if unused else END_SECONDS) and not session.is_busy:
                del self._all[key]
                shutil.rmtree(session.folder, ignore_errors=True)


def cleaned(name: str) -> str:
    """The name of a file as a visitor gives it, without folders, and without what does not print."""
    name = re.split(r"[/\\]", name)[-1].lstrip("-.")
    return "".join(letter for letter in name if letter.isprintable())[:80] or "image"


def _picture(path: Path, name: str, folder: Path) -> Picture:
    """An image with its preview in a folder. Raises ImageError."""

    def sizes(height: int, width: int) -> list[tuple[int, int]]:
        if height * width > MOST_PIXELS:
            problem = f"has {width} x {height} pixels; make it smaller first, {MOST_PIXELS // 10**6} million"
            raise ImageError(f"{problem} are the most here")
        return [(PREVIEW_SIDE, PREVIEW_SIDE)]

    preview = folder / f"{path.name}.preview.jpg"
    preview.write_bytes(jpeg(images.read(path, sizes), PREVIEW_SIDE))
    return Picture(path, name, preview)
