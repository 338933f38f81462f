"""Networks by name: where the published one and the compact one are found, and how to get the former."""

import importlib.resources
import logging
import os
import sys
from pathlib import Path

from styling.errors import DownloadError, SettingsError
from styling.files import cache_folder

PUBLISHED = "imagenet-vgg-verydeep-19.mat"
COMPACT = "vgg19-compact.mat"
URL = f"https://www.vlfeat.org/matconvnet/models/{PUBLISHED}"
SHA256 = "abdb57167f82a2a1fbab1e1c16ad9373411883f262a1a37ee5db2e6fb0044695"
TRIES, SECONDS_OF_SILENCE = 4, 30


def find(network: str | None = None) -> Path:
    """The file of a network: a path, "vgg19" (the published file) or "compact" (the one that ships).

    None for the published file if it is in the working directory, in data/ or in the user's cache folder,
    else the compact one. Raises SettingsError where vgg19 is asked for and not there.
    """
    if network not in (None, "vgg19", "compact") or os.path.isfile(network or ""):
        return Path(network)
    published = [folder / PUBLISHED for folder in (Path(), data_folder(), cache_folder())]
    present = [path for path in published if path.is_file()]
    if network != "compact" and present:
        return present[0]
    if network == "vgg19":
        raise SettingsError("network", "the published vgg19 is not here; neural-style --download fetches it")
    return data_folder() / COMPACT


def describe(path: Path) -> str:
    """A line on which network paints and, if it is the compact one, how to have the published one."""
    if path.name == COMPACT:
        return (
            f"painting with {path.name}, which is small; neural-style --download fetches the published VGG-19"
        )
    return f"painting with {path}"


def download(url: str = URL, sha256: str = SHA256, folder: Path | None = None) -> Path:
    """Fetch the published network (550 MB) into a folder, the user's cache folder by default.

    A broken connection is tried again; the file is in place only once it is whole and its SHA-256 is right.
    Raises DownloadError if that fails, OSError if the folder cannot be written.
    """
    import pooch  # only here, since it takes longer to import than a usage error may take to answer
    import requests

    pooch.get_logger().setLevel(logging.ERROR)
    bar = sys.stderr.isatty()
    fetcher = pooch.HTTPDownloader(progressbar=bar, chunk_size=2**20, timeout=SECONDS_OF_SILENCE)
    folder = folder or cache_folder()
    shelf = pooch.create(
        folder, base_url="", registry={PUBLISHED: sha256}, urls={PUBLISHED: url}, retry_if_failed=TRIES - 1
    )
    try:
        return Path(shelf.fetch(PUBLISHED, downloader=fetcher))
    except requests.RequestException as error:
        reason = "no connection, or a broken one" if isinstance(error, requests.ConnectionError) else error
        problem = f"{url} could not be fetched ({reason})"
        raise DownloadError(f"{problem}; try again, or fetch it by hand into {folder}") from None
    except ValueError:  # pooch's word for a wrong hash
        raise DownloadError(
            f"{url} gave a file that is not the published one (its SHA-256 differs)"
        ) from None


def data_folder() -> Path:
    """The folder of what ships with the program, installed or in a checkout."""
    try:
        return Path(str(importlib.resources.files("styling.data")))
    except ModuleNotFoundError:
        return Path(__file__).parent.parent / "data"
