"""Files that are written completely or not at all, the cache folder, and the folder of what ships."""

import contextlib
import importlib.resources
import itertools
import os
import secrets
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import BinaryIO

import platformdirs


def cache_folder() -> Path | None:
    """The program's folder in the user's cache folder, which need not exist yet; None for a user without a
    home."""
    try:
        folder = Path(platformdirs.user_cache_dir("neural-style"))
    except RuntimeError:  # in older versions of platformdirs, a folder that is named ~
        return None
    return folder if folder.is_absolute() else None


@cache
def data_folder() -> Path:
    """The folder of the files that ship with the program: in this checkout, or in the installed package."""
    checkout = Path(__file__).resolve().parents[2] / "data"
    if (checkout / "recipes").is_dir():
        return checkout
    return Path(str(importlib.resources.files("styling.data")))


def write_whole(path: str | os.PathLike, write: Callable[[BinaryIO], object], overwrite: bool = True) -> Path:
    """Write a file under a temporary name beside it, then rename it, so that nobody sees an incomplete file.

    write: called with the open binary file. Its exceptions are passed on, and no file is left behind.
    Without `overwrite` nothing is replaced: if the name is taken, even since a moment ago, the file gets the
    first free one such as path-1. Returns the final name. Raises OSError, which names `path`, if the file
    cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with temporary.open("xb") as file:
            write(file)
        name = path if overwrite else _take_name(path)
        os.replace(temporary, name)
        return name
    except OSError as error:
        # The temporary name says nothing to the user.
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        with contextlib.suppress(OSError):  # it was renamed, or never made
            temporary.unlink()


def _take_name(path: Path) -> Path:
    """Make an empty file of the first free name of path, path-1, path-2 and so on; returns the name."""
    for number in itertools.count():
        name = path.with_stem(f"{path.stem}-{number}") if number else path
        try:
            name.open("xb").close()
        except FileExistsError:
            continue
        return name
    raise AssertionError("there is always a free name")
