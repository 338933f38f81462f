"""What was read from a network's file, kept in the user's cache folder.

Most of the published file's 550 MB are fully connected layers, which are not used here.
"""

import contextlib
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from styling.system.files import cache_folder, write_whole

FORMAT = 4  # of the arrays; a cache of another format is made again
Arrays = dict[str, np.ndarray]


def cached(path: Path, read: Callable[[Path], Arrays]) -> Arrays:
    """The arrays that read(path) returns, from the cache while the file's size and modification time stay.

    There is one cache, an .npz file, for each path. A damaged one is made again; one that cannot be written
    is done without.
    """
    status, folder = path.stat(), cache_folder()
    if folder is None:
        return read(path)
    key = f"{FORMAT} {status.st_size} {status.st_mtime_ns}"
    cache = folder / f"network-{hashlib.sha256(os.fsencode(path)).hexdigest()[:16]}.npz"
    # Whatever is wrong with a cache, the .mat file can still be read.
    with contextlib.suppress(Exception), np.load(cache, allow_pickle=False) as file:
        if str(file["key"]) == key:
            return {name: file[name] for name in file.files}
    arrays = read(path)
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(cache, lambda file: np.savez(file, allow_pickle=False, key=np.array(key), **arrays))
    return arrays
