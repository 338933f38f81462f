"""Saved runs: all that a run needs to go on, in one file.

numpy.savez writes the file: the arrays of a State, the images of a grid so far, and a `header`. The header is
UTF-8 JSON with the settings, the names and SHA-256 of the images, and the losses so far. Nothing in the file
is run or unpickled, and reading it takes no more memory than the file has bytes.
"""

import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from styling import __version__
from styling.system.errors import StateError
from styling.system.files import write_whole

FORMAT = 2


class State(NamedTuple):
    """A snapshot of a run, from which it can go on as if it had not stopped; tensors or arrays.

    iteration: the updates made. scale: the index of the current scale. began: the updates before this scale.
    x: the image, [1, h, w, 3] minus the mean pixel, of the scale's size. memory: the optimiser state. best:
    the lowest total loss among those compared at this scale, and its x. matched: the updates before the
    picture was last matched with the paintings, and its x then.
    """

    iteration: int
    scale: int
    began: int
    x: np.ndarray
    memory: tuple[np.ndarray, ...] = ()
    best: tuple[float, np.ndarray | None] = (math.inf, None)
    matched: tuple[int, np.ndarray | None] = (0, None)

    def arrays(self) -> dict[str, np.ndarray]:
        """The whole state as arrays by name, to be saved."""
        (total, best), (at, matched) = self.best, self.matched
        arrays = {name: getattr(self, name) for name in ("iteration", "scale", "began", "x")}
        arrays |= {f"memory/{i:02}": part for i, part in enumerate(self.memory)}
        arrays |= {"best/total": total, "best/x": best, "matched/x": matched}
        if matched is not None:
            arrays["matched/at"] = at
        return {name: np.asarray(value) for name, value in arrays.items() if value is not None}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "State":
        """The state from which arrays() made these. Raises StateError for other arrays."""
        try:
            counts = {name: int(arrays[name]) for name in ("iteration", "scale", "began")}
            best = float(arrays["best/total"]), arrays.get("best/x")
            memory = tuple(arrays[name] for name in sorted(arrays) if name.startswith("memory/"))
            matched = int(arrays.get("matched/at", 0)), arrays.get("matched/x")
            return cls(**counts, x=arrays["x"], memory=memory, best=best, matched=matched)
        except (KeyError, TypeError, ValueError) as error:
            raise StateError(f"holds no state of a run ({error!r})") from None


@dataclass(frozen=True)
class Saved:
    """A run up to its last update.

    settings: of Settings and Running by name, as in a recipe. images: (flag, path, SHA-256 of the pixels) of
    every image. history: the losses reported, rows of (iteration, content, ..., total). pictures: images
    [h, w, 3] for a grid by iteration. arrays: from State.arrays(). seconds: the time taken, if it is counted.
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


def write(path: str | os.PathLike, saved: Saved, overwrite: bool = True) -> Path:
    """Write a run whole or not at all. Raises OSError.

    Without `overwrite`, the file gets another name if the name is taken; returns the final name.
    """
    arrays: dict[str, Any] = {f"state/{name}": array for name, array in saved.arrays.items()}
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
    arrays["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    return write_whole(path, lambda file: np.savez(file, **arrays), overwrite)


def read(path: str | os.PathLike) -> Saved:
    """The run in a file. Raises StateError, which names the file, if it is damaged or holds no run."""
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
    parts: dict[str, dict[str, np.ndarray]] = {"state": {}, "picture": {}}
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
    """Raise ValueError or KeyError unless the names, the pictures and the iteration are valid."""
    if saved.arrays["iteration"].shape or saved.arrays["iteration"].dtype.kind != "i":
        raise ValueError("its iteration is no number")
    for _, name, _ in saved.images:
        if b"\0" in os.fsencode(name):
            raise ValueError("an image has no name")
    for picture in saved.pictures.values():
        if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype.kind != "f" or not picture.size:
            raise ValueError("a picture is none")


def _arrays(file: BinaryIO) -> dict[str, np.ndarray]:
    """The arrays in the file; what it claims to hold is checked against its size, the bytes by their CRC."""
    with np.load(file) as archive:
        if sum(member.file_size for member in archive.zip.infolist()) > os.fstat(file.fileno()).st_size:
            raise StateError("is damaged: it claims to hold more than it has bytes")
        return dict(archive)


def fingerprint(image: np.ndarray) -> str:
    """SHA-256 of an image's pixels."""
    return hashlib.sha256(f"{image.shape}".encode() + image.tobytes()).hexdigest()
