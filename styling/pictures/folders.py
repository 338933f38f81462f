"""Folders of photographs: the images in them."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from styling.pictures import kinds
from styling.system.errors import SettingsError
from styling.system.terminal import remark


def expand(flag: str, named: Iterable[Path]) -> Iterator[Path]:
    """The files, with the images of a folder in place of it, by name; raises for a folder without images."""
    for path in named:
        if not path.is_dir():
            yield path
            continue
        entries = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
        images = [entry for entry in entries if kinds.is_image(entry)]
        others = [entry for entry in entries if entry not in images]
        if not images:
            raise SettingsError(flag, f"{path} is a folder without images")
        if others:
            names = ", ".join([other.name for other in others[:3]] + ["..."] * (len(others) > 3))
            remark(f"{path}: {len(images)} images; {len(others)} others are left out: {names}")
        yield from images
