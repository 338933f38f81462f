"""Names on the command line: whether files can be read and written as asked, before any work is done.

Each check raises SettingsError with the name of the flag that named the file.
"""

import os
from pathlib import Path

from styling.errors import SettingsError
from styling.files import check_writable
from styling.images import FORMATS


def check_input(flag: str, path: Path) -> None:
    """Raise unless `path` is a file that can be read."""
    try:
        if path.is_dir():
            raise SettingsError(flag, f"{path} is a folder, where a file is wanted")
        if path.exists() and not path.is_file():
            raise SettingsError(flag, f"{path} is not a regular file; copy what it gives to a file first")
        path.open("rb").close()
    except OSError as error:
        raise SettingsError(flag, f"{path}: {error.strerror}") from None


def check_output(flag: str, path: Path, overwrite: bool) -> None:
    """Raise unless `path` can be written, and is new or may be replaced."""
    try:
        if path.is_dir():
            raise SettingsError(flag, f"{path} is a folder; give the name of a file in it")
        if not path.parent.is_dir():
            raise SettingsError(flag, f"there is no folder {path.parent}; make it first")
        if path.exists() and not overwrite:
            raise SettingsError(flag, f"{path} exists; give another name, or --overwrite to replace it")
        if len(os.fsencode(path.name)) > 255:
            raise SettingsError(flag, f"{path.name[:20]}... is too long for the name of a file")
        check_writable(path)
    except OSError as error:
        raise SettingsError(flag, f"{path} cannot be written: {error.strerror}") from None


def check_image_ending(flag: str, path: Path) -> None:
    """Raise unless the ending of `path` is that of a format that can be written."""
    if path.suffix.lower() not in FORMATS:
        ending = f"the ending {path.suffix}" if path.suffix else "no ending"
        raise SettingsError(flag, f"{path} has {ending}; use one of {' '.join(FORMATS)}")


def checkpoint_path(pattern: str, iteration: int) -> Path:
    """The name of a checkpoint: `pattern` with its {} or %d replaced by the iteration."""
    return Path(pattern.format(iteration) if "{" in pattern else pattern % iteration)


def check_pattern(flag: str, pattern: str) -> None:
    """Raise unless `pattern` makes a different name for each iteration."""
    try:
        if checkpoint_path(pattern, 1) != checkpoint_path(pattern, 2):
            return
        problem = "makes the same name each time"
    except (ArithmeticError, AttributeError, LookupError, MemoryError, TypeError, ValueError) as error:
        problem = f"cannot be filled in ({error})"
    raise SettingsError(flag, f"{pattern} {problem}; use {{}} or %d, as in out_{{:05}}.png")
