"""Files that are written completely or not at all, the cache folder, and the folder of what ships."""

import contextlib
import importlib.resources
import itertools
import os
import stat
import tempfile
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
    A link is kept, and the file that it points to is replaced. The new file has the same permissions and, if
    this user may set them, the same owner and group. Without `overwrite` nothing is replaced: if the name is
    taken, even since a moment ago, the file gets a similar one. Returns the final name. Raises OSError, which
    names `path`, if the file cannot be written.
    """
    target = Path(os.path.realpath(path))
    try:
        descriptor, temporary = tempfile.mkstemp(
            prefix=f".{target.stem[:40]}-", suffix=target.suffix, dir=target.parent
        )
        try:
            with os.fdopen(descriptor, "wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            if not overwrite:
                os.chmod(temporary, 0o666 & ~_umask())
                return _rename_to_new(temporary, Path(path))
            _take_permissions(temporary, target)
            os.replace(temporary, target)
            return Path(path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):  # Ctrl-C may come after the file was renamed
                os.unlink(temporary)
            raise
    except OSError as error:
        error.filename, error.filename2 = str(path), None  # the temporary name says nothing to the user
        raise


def _rename_to_new(temporary: str, path: Path) -> Path:
    """Give the file the name `path`, or the first free name such as path-1, and return that name."""
    for name in itertools.chain([path], (path.with_stem(f"{path.stem}-{i}") for i in itertools.count(1))):
        try:
            os.link(temporary, name)  # it fails if the name is taken, unlike renaming
        except FileExistsError:
            continue
        except OSError:  # a file system without links
            if name.exists():
                continue
            os.replace(temporary, name)
            return name
        os.unlink(temporary)
        return name
    raise AssertionError("there is always a free name")


def _take_permissions(temporary: str, target: Path) -> None:
    """Give the file the permissions, owner and group of the file that it replaces, or those of a new file."""
    try:
        old = os.stat(target)
    except FileNotFoundError:
        os.chmod(temporary, 0o666 & ~_umask())
        return
    with contextlib.suppress(OSError, AttributeError):  # it may not be allowed, and Windows has no owners
        os.chown(temporary, old.st_uid, old.st_gid)
    os.chmod(temporary, stat.S_IMODE(old.st_mode))


def check_writable(path: str | os.PathLike) -> None:
    """Raise OSError unless a file can be made in the folder of `path`, or of the file that it links to."""
    with tempfile.TemporaryFile(dir=os.path.dirname(os.path.realpath(path))):
        pass


def _umask() -> int:
    # mkstemp's own mode would hide the picture from other users. The umask can only be read by setting it.
    mask = os.umask(0)
    os.umask(mask)
    return mask
