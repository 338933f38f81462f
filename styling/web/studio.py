"""The folder of the page: what was sent to it and what it painted, to be found again after a restart.

Pictures, films and recipes lie in the folder itself; what was sent, small versions and facts, as JSON, in
its folder page/.
"""

import contextlib
import filecmp
import importlib.util
import itertools
import os
import re
import shutil
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from styling.films import clips, store
from styling.live.view import SIDE, jpeg
from styling.pictures import images
from styling.system.errors import ImageError, StyleError
from styling.system.files import data_folder, write_whole

PHOTOGRAPHS = ("harbour", "still_life")  # of the images that ship; the others are paintings
SENT = ("content", "styles", "mask")


class Form(msgspec.Struct, frozen=True):
    """What the page asks for. Pictures are named by their keys.

    start: the picture to paint on from. values: settings as typed, by their names. film: whether a whole film
    is asked for, else `frame` of it. page: what the page needs to fill its form in again. number: by which it
    knows its first look.
    """

    content: str | None = None
    styles: list[str] = []
    recipe: str = "best"
    values: dict[str, str] = {}
    start: str | None = None
    content_mask: str | None = None
    style_masks: list[str] = []
    film: bool = False
    frame: int = 1
    page: dict[str, Any] = {}
    number: float = 0


class Picture(msgspec.Struct, frozen=True):
    """An image or a film, sent, shipped or painted.

    key: the name of its file. kind: one of SENT, `frame` of a film, or `result`. size: (width, height).
    frames: more than 1 for a film; of a result, those painted so far. own: not shipped. Of a result, form is
    what asked for it, note says what time it took and why it is not whole, if it is not, and command makes it
    again.
    """

    key: str
    kind: str
    size: tuple[int, int]
    frames: int = 1
    own: bool = True
    form: Form = Form()
    note: str = ""
    command: str = ""
    whole: bool = True


class Studio:
    """The pictures by their keys. folder: is made if it is not there."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.sent = folder, folder / "page"
        self.state = self.sent / ".state"  # the run that was stopped last
        self.sent.mkdir(parents=True, exist_ok=True)
        self.pictures: dict[str, Picture] = {}
        for path in sorted(data_folder().glob("*.jpg")):
            kind, size = "content" if path.stem in PHOTOGRAPHS else "styles", images.read(path).shape[1::-1]
            self.pictures[path.name] = Picture(path.name, kind, size, own=False)
        for path in sorted(self.sent.glob("*.json"), key=os.path.getmtime):
            with contextlib.suppress(OSError, msgspec.MsgspecError):  # a damaged file
                picture = msgspec.json.decode(path.read_bytes(), type=Picture)
                self.pictures[picture.key] = picture

    @property
    def results(self) -> list[Picture]:
        """What was painted, the latest last."""
        return [picture for picture in self.pictures.copy().values() if picture.kind == "result"]

    @property
    def resumable(self) -> str | None:
        """The result that goes on from a saved run, or from its painted frames: the last one, if stopped."""
        last = next(reversed(self.results), None)
        return last.key if last and not last.whole and (last.form.film or self.state.exists()) else None

    def path(self, key: str) -> Path:
        """The file of a picture."""
        if not self.pictures[key].own:
            return data_folder() / key
        return (self.folder if self.pictures[key].kind == "result" else self.sent) / key

    def small(self, key: str) -> Path:
        """The file that shows a picture; of a film, its first frame."""
        is_shown = not self.pictures[key].own or self.pictures[key].kind in ("mask", "frame")
        return self.path(key) if is_shown else self.sent / f"{key}.jpg"

    def recipe(self, key: str) -> Path:
        """The recipe of a result."""
        return (self.folder / key).with_suffix(".toml")

    def film(self, key: str) -> store.Store:
        """The painted frames of a film."""
        return store.painted(self.folder / key, is_file=True, apart=False)

    def free_key(self, name: str) -> str:
        """The name, or a similar one that no picture and no file in the folder has."""
        taken = {Path(key).stem for key in self.pictures} | {path.stem for path in self.folder.iterdir()}
        stem, ending = os.path.splitext(name)
        names = itertools.chain([stem], (f"{stem}-{number}" for number in itertools.count(2)))
        return next(name for name in names if name not in taken) + ending

    def without_folders(self, line: str) -> str:
        """A line for people, with the names of files in place of their paths."""
        folders = "|".join(re.escape(str(folder)) for folder in (self.folder, data_folder()))
        return re.sub(rf"({folders})[/\\](page[/\\])?(tmp\w+[/\\])?", "", line)

    def upload(self, file: Path, kind: str) -> Picture:
        """Move a file that was sent into the folder, unless it is there already. Raises ImageError."""
        for picture in self.pictures.copy().values():
            if picture.kind == kind and filecmp.cmp(self.path(picture.key), file, shallow=False):
                return picture
        pixels, size, frames = look(file, kind)
        picture = Picture(self.free_key(file.name), kind, size, frames)
        shutil.move(file, self.sent / picture.key)
        self.add(picture, pixels)
        return picture

    def frame(self, key: str, number: int) -> str:
        """The key of a frame of a film, counted from 1; a still image is its own. Raises ImageError."""
        film, frame = self.pictures[key], f"{key}-{number}.png"
        if film.frames == 1:
            return key
        if frame not in self.pictures:
            if not 1 <= number <= film.frames:
                raise ImageError(f"{key}: has no frame {number}")
            clip = clips.find("content", self.path(key), clips.Span(number, number))
            images.write(self.sent / frame, next(clip.frames()).pixels())
            self.pictures[frame] = Picture(frame, "frame", film.size)
        return frame

    def add(self, picture: Picture, pixels: np.ndarray) -> None:
        """Add a picture whose file is written, or replace it. pixels: float32 [H, W, 3], to show it."""
        facts, small = msgspec.json.encode(picture), jpeg(pixels, SIDE)
        write_whole(self.sent / f"{picture.key}.jpg", lambda file: file.write(small))
        write_whole(self.sent / f"{picture.key}.json", lambda file: file.write(facts))
        self.pictures.pop(picture.key, None)
        self.pictures[picture.key] = picture

    def remove(self, key: str) -> None:
        """Remove a picture that is not shipped, with its files and those of its frames. Raises StyleError."""
        if key not in self.pictures or not self.pictures[key].own:
            raise StyleError("It is gone already.")
        if key == self.resumable:
            self.state.unlink(missing_ok=True)
        if self.pictures[key].kind == "result":
            self.recipe(key).unlink(missing_ok=True)
            shutil.rmtree(self.film(key).folder, ignore_errors=True)
        for path in (self.path(key), *self.sent.glob(f"{key}*")):
            path.unlink(missing_ok=True)
        for each in [each for each in self.pictures if each.startswith(key)]:
            del self.pictures[each]


def look(path: Path, kind: str) -> tuple[np.ndarray, tuple[int, int], int]:
    """The pixels of a file that was sent, reduced if it is large, its (width, height) and its frames. Raises
    ImageError."""
    sizes: list[tuple[int, int]] = []

    def in_use(height: int, width: int) -> list[tuple[int, int]]:
        sizes.append((width, height))
        return [(SIDE, SIDE)]

    if not clips.moves(path):
        pixels = images.read(path, in_use)
        return pixels, (*sizes, pixels.shape[1::-1])[0], 1
    if kind != "content":
        raise ImageError(f"{path}: moves; only the photograph may be a film")
    if not all(map(importlib.util.find_spec, ("cv2", "av"))):
        raise ImageError(f"{path}: is a film, which needs: pip install av opencv-python-headless")
    clip = clips.find("content", path, clips.Span())
    pixels = next(clip.frames()).pixels()
    return pixels, pixels.shape[1::-1], len(clip.numbers())


def cleaned(name: str) -> str:
    """The name of a file that was sent, of letters, digits, hyphens and its ending."""
    stem, ending = os.path.splitext(re.split(r"[/\\]", name)[-1])
    return (re.sub(r"\W+", "-", stem).strip("-")[-80:] or "image") + re.sub(r"[^.\w]", "", ending)
