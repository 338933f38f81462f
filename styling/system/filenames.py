"""Names on the command line: whether files can be read and written as asked, before any work is done.

Each check raises SettingsError with the name of the flag that named the file.
"""

import os
import re
from collections.abc import Collection, Iterable
from pathlib import Path
from urllib.parse import unquote

from styling.system.errors import SettingsError, flag_of
from styling.system.files import check_writable

IMAGE_FLAGS = ("output", "checkpoint_output")


def check_names(
    inputs: Iterable[tuple[str, Path]],
    outputs: Iterable[tuple[str, Path]],
    overwrite: bool,
    resumed: Path | None = None,
    endings: Collection[str] = (),
    makes_folders: bool = False,
) -> None:
    """Raise unless all inputs can be read and all outputs written; both are pairs of a flag and a path.

    resumed: an output that may exist. endings: the allowed endings of images.
    makes_folders: whether folders that outputs lack are made.
    """
    taken: dict[str, str] = {}
    folders: dict[Path, tuple[str, Path]] = {}
    for flag, path in inputs:
        check_input(flag, path)
        taken[os.path.realpath(path)] = f"is read by {flag_of(flag)}, and would be lost"
    for flag, path in outputs:
        real = os.path.realpath(path)
        if real in taken:
            raise SettingsError(flag, f"{path} {taken[real]}; give another name")
        taken[real] = f"is written by {flag_of(flag)} too"
        check_output(flag, path, overwrite or path == resumed, endings, not makes_folders)
        while not path.parent.exists():
            path = path.parent
        folders[path.parent] = flag, path
    for flag, path in folders.values():
        try:
            check_writable(path)
        except OSError as error:
            raise SettingsError(flag, f"{path} cannot be written: {error.strerror}") from None


def check_folder(flag: str, path: Path) -> None:
    """Raise unless `path` is a folder, or can become one."""
    if path.exists() and not path.is_dir():
        raise SettingsError(flag, f"{path} is a file, where a folder is wanted")
    if not path.parent.is_dir():
        raise SettingsError(flag, f"there is no folder {path.parent}; make it first")


def check_no_url(flag: str, path: Path) -> None:
    """Raise for a URL, of which `path` has only one slash after the colon; a folder may be named like one."""
    url = re.match(r"(https?|ftp|file):/+(?:(?<=file:/)localhost/)?(.*)", str(path))
    if url and not path.parent.exists():
        scheme, rest = url.groups()
        if scheme == "file":
            advice = f"file:///{rest} is a URL; name the file itself, /{unquote(rest)}"
        else:
            advice = f"{scheme}://{rest} is a URL; download it first, and name the file"
        raise SettingsError(flag, advice)


def check_input(flag: str, path: Path) -> None:
    """Raise unless `path` is a file that can be read."""
    check_no_url(flag, path)
    if "," in str(path) and not path.exists() and all(map(os.path.exists, str(path).split(","))):
        raise SettingsError(flag, f"there is no file {path}; put spaces, not commas, between names")
    if "\0" in str(path):  # a name that was read from a file can have it
        raise SettingsError(flag, f"{str(path)!r} is no name of a file")
    try:
        if path.is_dir():
            raise SettingsError(flag, f"{path} is a folder, where a file is wanted")
        if path.exists() and not path.is_file():
            raise SettingsError(flag, f"{path} is not a regular file; copy what it gives to a file first")
        path.open("rb").close()
    except OSError as error:
        raise SettingsError(flag, f"{path}: {error.strerror}") from None


def check_output(
    flag: str, path: Path, overwrite: bool, endings: Collection[str] = (), needs_folder: bool = True
) -> None:
    """Raise unless `path` may be written: it is new or may be replaced; an image has a known format."""
    try:
        if path.is_dir():
            raise SettingsError(flag, f"{path} is a folder; give the name of a file in it")
        if needs_folder and not path.parent.is_dir():
            raise SettingsError(flag, f"there is no folder {path.parent}; make it first")
        if os.path.lexists(path) and not overwrite:
            raise SettingsError(flag, f"{path} exists; give another name, or --overwrite to replace it")
        if len(os.fsencode(path.name)) > 255:
            raise SettingsError(flag, f"{path.name[:20]}... is too long for the name of a file")
    except OSError as error:
        raise SettingsError(flag, f"{path} cannot be written: {error.strerror}") from None
    if flag == "save_recipe" and path.suffix != ".toml":
        raise SettingsError(flag, f"{path} must end in .toml, as recipes do")
    if flag in IMAGE_FLAGS and path.suffix.lower() not in endings:
        ending = f"the ending {path.suffix}" if path.suffix else "no ending"
        raise SettingsError(flag, f"{path} has {ending}; use one of {' '.join(endings)}")
