"""What people see of a run: a progress bar or plain lines, and the losses as a table and as a plot."""

import io
import os
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from styling import images
from styling.files import write_whole

if TYPE_CHECKING:
    from stylize import Progress

SECONDS_BETWEEN_UPDATES = 0.5
LINES = 10
GRID_IMAGES, GRID_COLUMNS = 10, 5


class Reporter:
    """Shows each Progress it is called with: a bar on stderr where that is a terminal, else lines on stdout.

    iterations: of the whole run. every: print a line, and record the losses, every so many iterations; None
    for a line each tenth of a run without a bar, and for recording every iteration.
    recording: keep the losses in `history`, rows of (iteration, content, style, ..., total).
    """

    def __init__(self, iterations: int, every: int | None, recording: bool, quiet: bool) -> None:
        self.iterations = iterations
        self.history: list[tuple[float, ...]] = []
        self._recording = recording
        self._quiet = quiet
        self._bar = None if quiet or sys.stderr is None or not sys.stderr.isatty() else _bar(iterations)
        self._every_line = every or (None if self._bar else max(iterations // LINES, 1))
        self._every_record = every or 1
        self._next_update = 0.0
        self._started = time.monotonic()

    def __call__(self, progress: "Progress") -> None:
        """Show what is due; the losses are read from the device only if anything is."""
        iteration = progress.iteration
        record = self._recording and self._is_due(iteration, self._every_record)
        line = self._every_line is not None and self._is_due(iteration, self._every_line)
        update = self._bar is not None and time.monotonic() >= self._next_update
        if not (record or line or update):
            return
        losses = progress.losses()
        if record:
            self.history.append((iteration, *losses.values()))
        if update:
            parts = ", ".join(f"{name} {loss:.2g}" for name, loss in losses.items() if name != "total")
            self._bar.set_description_str(f"total {losses['total']:.3g} ({parts})", refresh=False)
            self._bar.update(iteration - self._bar.n)
            self._next_update = time.monotonic() + SECONDS_BETWEEN_UPDATES
        if line:
            seconds = time.monotonic() - self._started
            self.say(f"iteration {iteration} of {self.iterations}, {seconds:.1f} s: {describe(losses)}")

    def say(self, line: str) -> None:
        """Print a line on stdout, above the bar; nothing if quiet, or if nobody reads stdout any more."""
        if not self._quiet:
            print_line(line)

    def close(self) -> None:
        """Take the bar off the terminal."""
        if self._bar is not None:
            self._bar.close()

    def _is_due(self, iteration: int, every: int) -> bool:
        return iteration % every == 0 or iteration == self.iterations


def print_line(line: str) -> None:
    """Print a line on stdout, above a bar; nothing if nobody reads it any more."""
    if sys.stdout is None:
        return
    try:
        tqdm.write(line, file=sys.stdout)
        sys.stdout.flush()
    except OSError:
        # That nobody reads the lines, or that they cannot be kept, is no reason to give up the picture.
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115


def describe(losses: dict[str, float]) -> str:
    """The losses in a line."""
    return "  ".join(f"{name} {loss:.4g}" for name, loss in losses.items())


# What follows writes files: without `overwrite` under another name where one is there; each returns its name.


def write_history(
    path: Path, overwrite: bool, history: list[tuple[float, ...]], names: Sequence[str]
) -> Path:
    """Write the losses of these names as a text table, the number of updates made first."""

    def write(file: io.BufferedIOBase) -> None:
        header = " ".join(("updates", *names))
        np.savetxt(file, history, fmt=["%d", *len(names) * ["%.9g"]], header=header)

    return write_whole(path, write, overwrite)


def plot_history(path: Path, overwrite: bool, history: list[tuple[float, ...]], names: Sequence[str]) -> Path:
    """Draw the losses of these names over the number of updates made, on a log scale, as PNG or SVG.

    Needs matplotlib.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot(xlabel="updates", ylabel="weighted loss", yscale="log")
    updates, *losses = np.transpose(history)
    for name, values in zip(names, losses, strict=True):
        # A log scale has no place for 0, which the content loss is at a start from the content.
        style = {"color": "black", "linewidth": 2} if name == "total" else {}
        axes.plot(updates, np.where(values > 0, values, np.nan), label=name, **style)
    axes.grid(alpha=0.3)
    axes.legend()
    return write_whole(path, partial(figure.savefig, format=path.suffix[1:], dpi=120), overwrite)


def grid_iterations(iterations: int) -> set[int]:
    """After how many updates an image of the run goes into the grid: ten, evenly, the last at the end."""
    return {iterations * k // GRID_IMAGES for k in range(1, GRID_IMAGES + 1)} - {0}


def write_grid(path: Path, overwrite: bool, pictures: Sequence[np.ndarray]) -> Path:
    """Write images of a run, [H, W, 3] each, as one, in rows of five."""
    return images.write(path, images.grid(pictures, GRID_COLUMNS), overwrite)


def _bar(iterations: int) -> tqdm:
    layout = "{percentage:3.0f}% {bar:12} {n}/{total} [{elapsed}, {remaining} left] {desc}"
    return tqdm(
        total=iterations, file=sys.stderr, bar_format=layout, dynamic_ncols=True, leave=False, delay=0.1
    )
