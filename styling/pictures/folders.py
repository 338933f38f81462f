"""Folders of photographs: the images in them."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from styling.pictures.images import FORMATS
from styling.system.errors import SettingsError

READABLE = {*FORMATS, ".gif", ".heic", ".heif", ".avif"}  # files of a folder with these endings are images


def expand(flag: str, named: Iterable[Path]) -> Iterator[Path]:
    """The files, with the images of a folder in place of it, by name; raises for a folder without images."""
    for path in named:
        if not path.is_dir():
            yield path
            continue
        found = sorted(file for file in path.iterdir() if file.suffix.lower() in READABLE)
        if not found:
            raise SettingsError(flag, f"{path} is a folder without images")
        yield from found
