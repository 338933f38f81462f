"""The store of a film's painted frames: PNG files in a folder, with a record of their settings."""

import secrets
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w

from styling.films import numbered
from styling.settings import recipes
from styling.system.errors import RecipeError, SettingsError
from styling.system.files import write_whole

NAMES, RECORD = "%06d.png", "neural-style.toml"  # files in a folder: the frames, and their settings


@dataclass(frozen=True)
class Store:
    """Numbered files in a folder. pattern: their path, with %d for the number."""

    pattern: Path

    @property
    def folder(self) -> Path:
        """The folder of the frames."""
        return self.pattern.parent

    def path(self, number: int) -> Path:
        """The file of a frame."""
        return numbered.file(self.pattern, number)

    def files(self) -> list[Path]:
        """The frames that are there."""
        return list(numbered.files(self.pattern).values())

    def seed(self) -> int:
        """The seed of the stored frames, or a new seed."""
        return (self.recorded() or {}).get("seed", secrets.randbits(32))

    def recorded(self) -> dict[str, Any] | None:
        """The record of the stored frames; None if there is none. Raises RecipeError."""
        path = self.folder / RECORD
        try:
            return recipes.load(path) if path.exists() else None
        except RecipeError as error:
            raise RecipeError(f"{path}: {error}") from None

    def begin(self, record: dict[str, Any], overwrite: bool) -> None:
        """Prepare the folder for frames with this record. Frames with the same record stay.

        With `overwrite`, frames of another run are removed. Without it they raise SettingsError, as other
        pictures always do. Raises OSError too.
        """
        before = self.recorded()
        if before == tomllib.loads(tomli_w.dumps(record)):
            return
        self.folder.mkdir(exist_ok=True)
        old = self.files()
        if old and not (overwrite and before is not None):
            what = "the frames of another run" if before is not None else "other pictures"
            advice = "--overwrite to begin anew" if before is not None else "or move them"
            raise SettingsError("output", f"{self.folder} has {what}; give another name, {advice}")
        for path in old:
            path.unlink()
        write_whole(self.folder / RECORD, lambda file: tomli_w.dump(record, file))


def images(output: Path) -> Store:
    """The images that a film is written to: a pattern such as out/%04d.png, or a folder."""
    return Store(output if numbered.is_pattern(output) else output / NAMES)


def painted(output: Path, is_file: bool, apart: bool) -> Store:
    """The painted frames: the output itself if it is PNG files, else a folder beside it.

    is_file: whether the film becomes one file. apart: whether the images that are written differ from the
    painted ones, which then need a folder of their own.
    """
    if is_file:
        return Store(output.with_name(f"{output.stem}-frames") / NAMES)
    names = images(output)
    if names.pattern.suffix.lower() == ".png" and not apart:
        return names
    name = numbered.NUMBER.sub("", names.pattern.stem).strip("-_. ")
    beside = names.folder if names.folder.name and not name else names.folder / (name or "painted")
    return Store(beside.with_name(f"{beside.name}-frames") / NAMES)
