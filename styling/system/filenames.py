"""Names on the command line: whether files can be read and written as asked, before any work is done.

Each check raises SettingsError with the name of the flag that named the file.
"""

import os
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from styling.system.errors import SettingsError, flag_of


def check_names(
    inputs: Iterable[tuple[str, Path]],
    outputs: Iterable[tuple[str, Path]],
    endings: Mapping[str, Collection[str]],
    overwrite: bool = False,
    resumed: Path | None = None,
    makes_folders: bool = False,
) -> None:
    """Raise unless all inputs can be read and all outputs written; both are pairs of a flag and a path.

    endings: those that a flag's outputs may have, if not all. resumed: an output that may exist.
    makes_folders: whether folders that outputs lack are made.
    """
    uses: dict[str, str] = {}
    for flag, path in inputs:
        check_input(flag, path)
        uses[os.path.realpath(path)] = f"is read by {flag_of(flag)}, and would be lost"
    for flag, path in outputs:
        real = os.path.realpath(path)
        if real in uses:
            raise SettingsError(flag, f"{path} {uses[real]}; give another name")
        uses[real] = f"is written by {flag_of(flag)} too"
        check_output(flag, path, overwrite or path == resumed, makes_folders)
        if flag in endings and path.suffix.lower() not in endings[flag]:
            ending = f"the ending {path.suffix}" if path.suffix else "no ending"
            raise SettingsError(flag, f"{path} has {ending}; use one of {' '.join(endings[flag])}")


def check_folder(flag: str, path: Path) -> None:
    """Raise unless `path` is a folder, or can become one, in which files can be made."""
    if path.exists() and not path.is_dir():
        raise SettingsError(flag, f"{path} is a file, where a folder is wanted")
    if not path.parent.is_dir():
        raise SettingsError(flag, f"there is no folder {path.parent}; make it first")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise SettingsError(flag, f"{path} cannot be written: Permission denied")


def check_input(flag: str, path: Path) -> None:
    """Raise unless `path` is a file that can be read."""
    url = re.match(r"(https?|ftp|file):/+(.*)", str(path))  # a Path has one slash after the colon
    try:
        if url and not path.parent.exists():
            raise SettingsError(flag, f"{url[1]}://{url[2]} is a URL; download it first, and name the file")
        if "," in str(path) and not path.exists() and all(map(os.path.exists, str(path).split(","))):
            raise SettingsError(flag, f"there is no file {path}; put spaces, not commas, between names")
        if path.exists() and not path.is_file():
            what = "a folder" if path.is_dir() else "no regular file"
            raise SettingsError(flag, f"{path} is {what}, where a file is wanted")
        path.open("rb").close()
    except OSError as error:
        raise SettingsError(flag, f"{path}: {error.strerror}") from None


def check_output(flag: str, path: Path, overwrite: bool, makes_folders: bool = False) -> None:
    """Raise unless `path` may be written: it is new or may be replaced, and so may files in its folder.

    makes_folders: whether folders that it lacks are made.
    """
    folder = path.parent
    while makes_folders and not folder.exists():
        folder = folder.parent
    if os.path.isdir(path):
        raise SettingsError(flag, f"{path} is a folder; give the name of a file in it")
    if not os.path.isdir(folder):
        raise SettingsError(flag, f"there is no folder {folder}; make it first")
    if os.path.lexists(path) and not overwrite:
        raise SettingsError(flag, f"{path} exists; give another name, or --overwrite to replace it")
    if len(os.fsencode(path.name)) > 255:
        raise SettingsError(flag, f"{path.name[:20]}... is too long for the name of a file")
    if not os.access(folder, os.W_OK):
        raise SettingsError(flag, f"{path} cannot be written: Permission denied")
