"""Files that are written whole or not at all, and the folder for those that can be made again."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import platformdirs


def cache_folder() -> Path:
    """The program's folder in the user's cache folder; it need not exist yet."""
    return Path(platformdirs.user_cache_dir("neural-style"))


def write_whole(path: str | os.PathLike, write: Callable[[BinaryIO], object]) -> None:
    """Write a file under a temporary name beside it, then rename it, so that no half file is ever seen.

    write: called with the open binary file. What it raises is passed on, and nothing is left behind.
    Raises OSError where the folder cannot be written.
    """
    path = Path(path)
    descriptor, temporary = tempfile.mkstemp(
        prefix=f".{path.stem[:40]}-", suffix=path.suffix, dir=path.parent
    )
    try:
        with os.fdopen(descriptor, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def check_writable(path: str | os.PathLike) -> None:
    """Raise OSError unless a file can be made in the folder of `path`."""
    with tempfile.TemporaryFile(dir=Path(path).parent):
        pass


def _umask() -> int:
    # The umask can only be read by setting it; mkstemp's own mode would keep the picture from others.
    mask = os.umask(0)
    os.umask(mask)
    return mask
