"""The folder of the page: what was sent to it and what it painted, to be found again after a restart.

Pictures, films and recipes lie in the folder itself; what was sent, small versions and facts, as JSON, in
its folder page/.
"""

import contextlib
import hashlib
import importlib.util
import io
import json
import re
import shutil
import zipfile
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from styling.films import clips, store
from styling.live.view import jpeg
from styling.pictures import images
from styling.system.errors import ImageError, StyleError
from styling.system.files import data_folder, write_whole
from styling.system.process import explain

MOST_PIXELS = 100 * 10**6  # of an image
PREVIEW_SIDE, THUMBNAIL_SIDE = 1024, 256
PHOTOGRAPHS = ("harbour", "still_life")  # of the images that ship; the others are paintings
SENT = ("content", "styles", "mask")


@dataclass(frozen=True)
class Picture:
    """An image or a film that the page can name.

    name: on the command line. kind: one of SENT, or `result`, or `frame` of a film. size: (width, height).
    frames: more than 1 for a film. own: not shipped.
    """

    path: Path
    name: str
    preview: Path
    kind: str
    size: tuple[int, int]
    frames: int = 1
    own: bool = True


@dataclass(frozen=True)
class Result:
    """A painted picture, or a film with its number of painted frames, which is written if `whole`.

    size: (width, height). form: what asked for it. note: the time that it took, and why it is not finished,
    if it is not. command: makes it again from the images with these keys.
    """

    name: str
    size: tuple[int, int]
    form: dict[str, object]
    note: str
    command: str
    keys: list[str]
    frames: int = 0
    whole: bool = True


class Studio:
    """The images to choose from and the results, by their keys. folder: is made if it is not there."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._page = folder, folder / "page"
        self._page.mkdir(parents=True, exist_ok=True)
        self.pictures: dict[str, Picture] = {}
        self.results: dict[str, Result] = {}
        for path in sorted(data_folder().glob("*.jpg")):
            kind, size = "content" if path.stem in PHOTOGRAPHS else "styles", images.read(path).shape[1::-1]
            self.pictures[path.stem] = Picture(path, path.name, path, kind, size, own=False)
        for path in sorted(self._page.glob("*.json"), key=lambda path: path.stat().st_mtime):
            with contextlib.suppress(OSError, ValueError, TypeError, KeyError):  # a damaged file
                self._load(path.stem, json.loads(path.read_text()))

    @property
    def state(self) -> Path:
        """The file of the run that was stopped last."""
        return self._page / "state"

    @property
    def resumable(self) -> str | None:
        """The result that goes on from a saved run, or from the painted frames: the last one, if stopped."""
        *_, last = [None, *list(self.results.values())]
        return last.name if last and not last.whole and (last.frames or self.state.exists()) else None

    def file(self, name: str, ending: str) -> Path:
        """A result's file: png, mp4, toml for its recipe; small.jpg for the small picture."""
        return (self._page if ending == "small.jpg" else self.folder) / f"{name}.{ending}"

    def film(self, name: str) -> store.Store:
        """The painted frames of a film."""
        return store.painted(self.file(name, "mp4"), is_file=True, apart=False)

    def free_name(self, stem: str) -> str:
        """A name that no result and no file in the folder has."""
        return free(stem, {*self.results, *(path.stem for path in self.folder.iterdir())})

    def in_words(self, line: str) -> str:
        """A line with the files' names for people in place of their paths."""
        for picture in list(self.pictures.values()):
            line = line.replace(str(picture.path), picture.name)
        return line

    def key(self, path: Path) -> str:
        """The key of the image with this path."""
        return next(key for key, picture in list(self.pictures.items()) if picture.path == path)

    def upload(self, sent: Path, name: str, kind: str) -> str:
        """Move a file that was sent into the folder, unless it is there already; returns its key. Raises
        ImageError."""
        with open(sent, "rb") as file:
            key = f"{kind}-{hashlib.file_digest(file, 'sha256').hexdigest()[:16]}"
        if key in self.pictures:
            return key
        name = free(cleaned(name), [picture.name for picture in self.pictures.values()])
        path = self._page / f"{key}{Path(name).suffix}"
        shutil.move(sent, path)
        try:
            size, frames = self._look(path, kind)
        except (StyleError, OSError) as error:
            path.unlink()
            raise ImageError(explain(error).replace(str(path), name)) from None
        self._add(key, {"file": path.name, "name": name, "kind": kind, "size": size, "frames": frames})
        return key

    def frame(self, key: str, number: int) -> str:
        """The key of a frame of a film, as an image; counted from 1. Raises ImageError."""
        film, frame_key = self.pictures[key], f"{key}-{number}"
        if frame_key not in self.pictures:
            path, span = self._page / f"{frame_key}.png", clips.Span(number, number)
            images.write(path, next(clips.find("content", film.path, span).frames()).pixels())
            name = f"{Path(film.name).stem}-{number}.png"
            self.pictures[frame_key] = Picture(path, name, path, "frame", film.size)
        return frame_key

    def add(self, result: Result) -> None:
        """Add a result whose files are written, or replace it."""
        painted = (
            self.film(result.name).path(result.frames) if result.frames else self.file(result.name, "png")
        )
        small = jpeg(images.read(painted), THUMBNAIL_SIDE)
        self.file(result.name, "small.jpg").write_bytes(small)
        self.results.pop(result.name, None)
        self._add(result.name, asdict(result))

    def remove(self, key: str) -> None:
        """Remove an image that was sent, or a result, with its files. Raises StyleError."""
        if key not in self.results and not (key in self.pictures and self.pictures[key].own):
            raise StyleError("It is gone already.")
        if key == self.resumable:
            self.state.unlink(missing_ok=True)
        if self.results.pop(key, None):
            for ending in ("png", "mp4", "toml"):
                self.file(key, ending).unlink(missing_ok=True)
            shutil.rmtree(self.film(key).folder, ignore_errors=True)
        for name in [name for name in self.pictures if name == key or name.startswith(f"{key}-")]:
            if name == key or self.pictures[name].kind == "frame":
                del self.pictures[name]
        for path in [*self._page.glob(f"{key}.*"), *self._page.glob(f"{key}-*.png")]:
            path.unlink()

    def packed(self, name: str) -> bytes:
        """All that the command line needs to paint a result again, and the result, as ZIP."""
        result, packed = self.results[name], io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            for path in (self.file(name, ending) for ending in ("png", "mp4", "toml")):
                if path.exists():
                    archive.write(path, path.name)
            for picture in (self.pictures[key] for key in dict.fromkeys(result.keys) if key in self.pictures):
                archive.write(picture.path, picture.name)
            archive.writestr("command.txt", result.command + "\n")
        return packed.getvalue()

    def _add(self, key: str, facts: dict[str, Any]) -> None:
        write_whole(self._page / f"{key}.json", lambda file: file.write(json.dumps(facts).encode()))
        self._load(key, facts)

    def _load(self, key: str, facts: dict[str, Any]) -> None:
        """Take an image or a result up from its facts."""
        facts["size"], preview = tuple(facts["size"]), self.file(key, "small.jpg")
        if "form" in facts:
            self.results[key] = Result(**facts)
            path, name, kind, frames = self.file(key, "png"), f"{key}.png", "result", 1
        else:
            path, name, kind, frames = (
                self._page / facts["file"],
                facts["name"],
                facts["kind"],
                facts["frames"],
            )
        preview = path if kind == "mask" else preview
        self.pictures[key] = Picture(path, name, preview, kind, facts["size"], frames)

    def _look(self, path: Path, kind: str) -> tuple[tuple[int, int], int]:
        """The (width, height) and the frames of a file that was sent; makes its small version. Raises
        ImageError."""
        size, frames = None, 1

        def wanted(height: int, width: int) -> list[tuple[int, int]]:
            nonlocal size
            size = size or (width, height)
            if height * width > MOST_PIXELS:
                problem = (
                    f"has {width} x {height} pixels; make it smaller first, {MOST_PIXELS // 10**6} million"
                )
                raise ImageError(f"{problem} are the most here")
            return [(PREVIEW_SIDE, PREVIEW_SIDE)]

        if not clips.moves(path):
            pixels = images.read(path, wanted)
        elif kind != "content":
            raise ImageError(f"{path}: moves; only the photograph may be a film")
        elif not all(map(importlib.util.find_spec, ("cv2", "av"))):
            raise ImageError(f"{path}: is a film, which needs: pip install av opencv-python-headless")
        else:
            clip = clips.find("content", path, clips.Span())
            pixels, frames = next(clip.frames()).pixels(), len(clip.numbers())
        if kind != "mask":
            path.with_name(f"{path.stem}.small.jpg").write_bytes(jpeg(pixels, PREVIEW_SIDE))
        return size or pixels.shape[1::-1], frames


def free(name: str, taken: Collection[str]) -> str:
    """The name, or a similar one that is not taken."""
    path, found, number = Path(name), name, 1
    while found in taken:
        number += 1
        found = f"{path.stem}-{number}{path.suffix}"
    return found


def cleaned(name: str) -> str:
    """The name of a file that was sent, without folders and without characters that do not print."""
    name = re.split(r"[/\\]", name)[-1].lstrip("-.")
    return "".join(letter for letter in name if letter.isprintable())[-80:] or "image"
