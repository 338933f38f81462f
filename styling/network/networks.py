"""Networks by name: find the published ones and the small one, and download the published VGG-19."""

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from styling.system.errors import DownloadError, SettingsError
from styling.system.files import cache_folder, data_folder

PUBLISHED = "imagenet-vgg-verydeep-19.mat"
SMALL = "vgg16-small.mat"
FILES = {"vgg19": PUBLISHED, "vgg16": "imagenet-vgg-verydeep-16.mat", "small": SMALL}
URL = f"https://www.vlfeat.org/matconvnet/models/{PUBLISHED}"
SHA256 = "abdb57167f82a2a1fbab1e1c16ad9373411883f262a1a37ee5db2e6fb0044695"
TRIES, SECONDS_OF_SILENCE = 4, 30


def find(network: str | None = None) -> Path:
    """The file of a network, from a path or a name: "vgg19", "vgg16" (the published files) or "small".

    Published files are searched in the working directory, in data/ and in the user's cache folder. None takes
    the first of vgg19, vgg16 and small that exists; small always does, as it ships. Raises SettingsError if
    the named file does not exist.
    """
    if network is None:
        return next(path for path in map(_present, FILES) if path)
    if network not in FILES or os.path.isfile(network):
        return Path(network)
    path = _present(network)
    if path is None:
        advice = "neural-style --download fetches it"
        if network == "vgg16":
            places = ["the working directory", *map(str, filter(None, [cache_folder()]))]
            advice = f"put {FILES[network]} into {' or '.join(places)}"
        raise SettingsError("network", f"the published {network} is not here; {advice}")
    return path


def is_present(network: str) -> bool:
    """Whether there is a file of this name or path."""
    return (network in FILES and _present(network) is not None) or os.path.isfile(network)


def name(path: Path) -> str:
    """The name or the full path by which find() finds this file from any working directory."""
    names = [name for name in FILES if path.is_absolute() and _present(name) == path]
    return names[0] if names else str(path.resolve())


def is_small(path: Path) -> bool:
    """Whether this is the small network that ships."""
    return path.name == SMALL


def describe(path: Path, instead_of: str | None = None, lacking: Sequence[str] = ()) -> str:
    """A line: which network paints, which one it replaces, which layers it lacks, and how to get a better."""
    line = f"painting with {path.name if is_small(path) else path}"
    if instead_of:
        line = f"the recipe is for {instead_of}, which is not here: {line}"
    if lacking:
        line += f" without {', '.join(lacking)}, which it lacks"
    if instead_of and is_small(path):
        line += "; it is small, and neural-style --download fetches the published VGG-19"
    return line


def download(url: str = URL, sha256: str = SHA256, folder: Path | None = None) -> Path:
    """Fetch the published network (550 MB) into a folder, the user's cache folder by default.

    A broken connection is tried again. The file gets its name only when it is complete and its SHA-256 is
    right. Raises DownloadError if that fails, or if the folder cannot be written.
    """
    folder = folder or cache_folder()
    by_hand = f"fetch {url} by hand into the working directory"
    if folder is None:
        raise DownloadError(f"there is no home folder to keep the network in; set HOME, or {by_hand}")
    import pooch  # imported only here, since it is slow, and usage errors should appear at once
    import requests

    pooch.get_logger().setLevel(logging.ERROR)
    bar = sys.stderr.isatty()
    fetcher = pooch.HTTPDownloader(progressbar=bar, chunk_size=2**20, timeout=SECONDS_OF_SILENCE)
    shelf = pooch.create(
        folder, base_url="", registry={PUBLISHED: sha256}, urls={PUBLISHED: url}, retry_if_failed=TRIES - 1
    )
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        return Path(shelf.fetch(PUBLISHED, downloader=fetcher))
    except requests.RequestException as error:
        reason = "no connection, or a broken one" if isinstance(error, requests.ConnectionError) else error
        problem = f"{url} could not be fetched ({reason})"
        raise DownloadError(f"{problem}; try again, or fetch it by hand into {folder}") from None
    except OSError as error:
        reason = error.strerror or "Permission denied"  # pooch's own text is longer than one line
        raise DownloadError(f"{folder} cannot be written ({reason}); mend that, or {by_hand}") from None
    except ValueError:  # pooch raises it for a wrong hash
        raise DownloadError(
            f"{url} gave a file that is not the published one (its SHA-256 differs)"
        ) from None


def _present(network: str) -> Path | None:
    if network == "small":
        return data_folder() / SMALL
    folders = filter(None, (Path(), data_folder(), cache_folder()))
    paths = (folder / FILES[network] for folder in folders)
    return next((path for path in paths if os.path.isfile(path)), None)  # False without permission
