"""Runs that can be gone on with: all that one needs, in one file.

The file is what numpy.savez writes: the arrays of a stylize.State, the images so far of a grid, and a
`header`, UTF-8 JSON, with the settings, the names and SHA-256 of the images, and the losses so far. Nothing
in it is run or unpickled, and no more memory is taken than the file has bytes.
"""

import hashlib
import json
import os
import time
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np

from styling import __version__
from styling.errors import StateError
from styling.files import write_whole

FORMAT = 1
SECONDS_BETWEEN_SAVES, MOST_TIME = 60, 0.05


@dataclass(frozen=True)
class Saved:
    """A run, as far as it came.

    settings: of Settings and Running by name, as a recipe has them. images: (flag, path, SHA-256 of the
    pixels) of every image. history: the losses reported, rows of (iteration, content, ..., total). pictures:
    images [h, w, 3] for a grid by iteration. arrays: what stylize.State.arrays() gave. seconds: that it took,
    where somebody counts them.
    """

    settings: dict[str, object]
    images: list[tuple[str, str, str]]
    history: list[tuple[float, ...]] = field(default_factory=list)
    pictures: dict[int, np.ndarray] = field(default_factory=dict)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def iteration(self) -> int:
        """The updates made."""
        return int(self.arrays["iteration"])


class Keeper:
    """Keeps a run in a file: every so many iterations, or, without a number, each minute.

    Where that takes long, it is done less often, for a twentieth of the time at most. A file that has come to
    be there meanwhile is not replaced, unless `overwrite`: another run may keep itself there.
    """

    def __init__(self, path: Path, every: int | None, overwrite: bool) -> None:
        self.path = path
        self.kept: int | None = None  # the iteration that is in the file
        self._every = every
        self._owned = overwrite
        self._next = time.monotonic() + SECONDS_BETWEEN_SAVES

    def is_due(self, iteration: int) -> bool:
        """Whether it is time, after so many updates."""
        return iteration % self._every == 0 if self._every else time.monotonic() >= self._next

    def keep(self, saved: Saved) -> None:
        """Write the run. Raises OSError; what was kept before stays then."""
        began = time.monotonic()
        try:
            self.path = write(self.path, saved, self._owned)
            self._owned, self.kept = True, saved.iteration
        finally:
            now = time.monotonic()
            self._next = now + max(SECONDS_BETWEEN_SAVES, (now - began) / MOST_TIME)


def write(path: str | os.PathLike, saved: Saved, overwrite: bool = True) -> Path:
    """Write a run whole or not at all. Raises OSError.

    Without `overwrite`, it gets another name where a file is there; returns the name that it has.
    """
    arrays = {f"state/{name}": array for name, array in saved.arrays.items()}
    arrays |= {f"picture/{iteration}": picture for iteration, picture in saved.pictures.items()}
    header = {
        "format": FORMAT,
        "program": __version__,
        "settings": saved.settings,
        "images": saved.images,
        "history": saved.history,
        "seconds": saved.seconds,
        "arrays": sorted(arrays),
    }
    header_bytes = np.frombuffer(json.dumps(header).encode(), np.uint8)
    return write_whole(path, lambda file: np.savez(file, header=header_bytes, **arrays), overwrite)


def read(path: str | os.PathLike) -> Saved:
    """The run in a file. Raises StateError, which names the file, for what is none, or damaged."""
    with open(path, "rb") as file:
        try:
            return _saved(_arrays(file))
        except StateError as error:
            raise StateError(f"{path}: {error}") from None
        except Exception as error:  # zipfile and NumPy raise nearly anything for a damaged file
            reason = f"is damaged, or no saved run ({error or type(error).__name__})"
            raise StateError(f"{path}: {reason}") from None


def _saved(arrays: dict[str, np.ndarray]) -> Saved:
    header = json.loads(arrays.pop("header").tobytes())
    if header["format"] != FORMAT:
        raise StateError(f"was written by another version of the program, {header['program']}")
    if sorted(arrays) != header["arrays"]:
        raise StateError("is damaged: some of it is missing")
    parts = {"state": {}, "picture": {}}
    for name, array in arrays.items():
        part, _, rest = name.partition("/")
        parts[part][rest] = array
    saved = Saved(
        settings=dict(header["settings"]),
        images=[(str(flag), str(name), str(digest)) for flag, name, digest in header["images"]],
        history=[tuple(map(float, row)) for row in header["history"]],
        pictures={int(iteration): picture for iteration, picture in parts["picture"].items()},
        arrays=parts["state"],
        seconds=float(header.get("seconds", 0)),
    )
    _check(saved)
    return saved


def _check(saved: Saved) -> None:
    """Raise ValueError or KeyError unless names, pictures and the iteration are that."""
    if saved.arrays["iteration"].shape or saved.arrays["iteration"].dtype.kind != "i":
        raise ValueError("its iteration is no number")
    for _, name, _ in saved.images:
        if b"\0" in os.fsencode(name):
            raise ValueError("an image has no name")
    for picture in saved.pictures.values():
        if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype.kind != "f" or not picture.size:
            raise ValueError("a picture is none")


def _arrays(file: BinaryIO) -> dict[str, np.ndarray]:
    """The arrays in the file, each as large as its part of the file says, and checked by its CRC."""
    arrays, size = {}, os.fstat(file.fileno()).st_size
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        if sum(member.file_size for member in members) > size:
            raise StateError("is damaged: it claims to hold more than it has bytes")
        for member in members:
            with archive.open(member) as part:
                np.lib.format.read_magic(part)
                shape, _, dtype = np.lib.format.read_array_header_1_0(part)
                data = part.read()
            arrays[member.filename.removesuffix(".npy")] = np.frombuffer(data, dtype).reshape(shape)
    return arrays


def fingerprint(image: np.ndarray) -> str:
    """SHA-256 of an image's pixels."""
    return hashlib.sha256(f"{image.shape}".encode() + image.tobytes()).hexdigest()
