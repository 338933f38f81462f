"""Errors that the user can correct; the text of each is one line that says how."""

import contextlib
import os
from collections.abc import Iterator


def flag_of(name: str) -> str:
    """The flag for the Python name of a setting, or of a file that the command line names."""
    return f"--{name.replace('_', '-')}"


class StyleError(Exception):
    """The base of every error that this project raises on purpose."""


class SettingsError(StyleError, ValueError):
    """A setting out of range, or at odds with another.

    `name` is the setting's name (`learning_rate`), so that the command line can name its flag instead.
    """

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"{name}: {problem}")
        self.name = name
        self.problem = problem


class ImageError(StyleError):
    """A file that holds no usable image, or an image that cannot be resized or written."""


class NetworkError(StyleError):
    """A file that holds no usable network, or a network that lacks a layer asked for."""


@contextlib.contextmanager
def of_network(path: str | os.PathLike) -> Iterator[None]:
    """Have the text of a NetworkError begin with the network's file."""
    try:
        yield
    except NetworkError as error:
        raise NetworkError(f"{path}: {error}") from None


class RecipeError(StyleError):
    """A file that holds no usable recipe."""


class SpecError(StyleError):
    """A file that holds no usable spec of a sweep."""


class StateError(StyleError):
    """A file that holds no usable state of a run, or the state of another run."""


class DownloadError(StyleError):
    """A network that could not be fetched, or was not the published one."""


class MemoryLimitError(StyleError):
    """An image that does not fit into the memory at hand."""


class DivergedError(StyleError):
    """A loss that became NaN or infinite."""

    def __init__(self, iteration: int) -> None:
        super().__init__(
            f"the loss became NaN or infinite by iteration {iteration}: lower --learning-rate, or the weights"
        )
        self.iteration = iteration
