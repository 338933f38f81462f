"""Reports on a run for people: a progress bar or plain lines, and the losses as a table and as a plot."""

import os
import statistics
import sys
import time
from collections import deque
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from tqdm import tqdm

from styling.pictures import images
from styling.run.pace import SAMPLES, Pace
from styling.settings import Settings
from styling.system.files import write_whole
from styling.system.terminal import print_line

if TYPE_CHECKING:
    from styling.run.progress import Progress

SECONDS_BETWEEN_UPDATES = 0.5
LONG_SECONDS, SECONDS_TO_ESTIMATE = 180, 10
LEAST_WIDTH = 256  # the least width that is proposed for a shorter run
LINES = 10
GRID_COLUMNS = 5
BAR_COLUMNS = 20  # of the bar itself and the percentage


class Reporter:
    """Shows each Progress it is called with: a bar on stderr if that is a terminal, else lines on stdout.

    settings: of the run. every: print a line every so many iterations; None for ten lines a run, if there is
    no bar. resumed: the run was begun before, so its size cannot change any more.
    """

    def __init__(self, settings: Settings, every: int | None, quiet: bool, resumed: bool = False) -> None:
        self._settings = settings
        self._quiet = quiet
        self._resumed = resumed
        self._bar = None if quiet or sys.stderr is None or not sys.stderr.isatty() else _bar()
        self._every_line = every or (None if self._bar else max(settings.iterations // LINES, 1))
        self._next_update = 0.0
        self._started = time.monotonic()
        self._pace = Pace()
        self._scale: int | None = None
        self._is_estimated = False

    def __call__(self, progress: "Progress") -> None:
        """Show what is due; the losses are read from the device only if anything is."""
        iteration = progress.iteration
        begins = progress.state.scale != self._scale
        line = self._every_line is not None and self._is_due(iteration, self._every_line)
        update = not self._quiet and (begins or time.monotonic() >= self._next_update)
        if not (line or update):
            return
        losses = progress.losses()
        if not losses:
            return
        if update:
            self._next_update = time.monotonic() + SECONDS_BETWEEN_UPDATES
            if begins:
                self._begin(progress)
            left = self._pace(progress)
            if left and not self._is_estimated and time.monotonic() >= self._started + SECONDS_TO_ESTIMATE:
                self._estimate(progress, left)
            self._draw(progress, losses, left)
        if line:
            seconds = time.monotonic() - self._started
            iterations = self._settings.iterations
            self.say(f"iteration {iteration} of {iterations}, {seconds:.1f} s: {describe(losses)}")

    def _begin(self, progress: "Progress") -> None:
        """Start a scale, and print its size if there are several scales."""
        scales, self._scale = progress.scales, progress.state.scale
        if len(scales) > 1:
            height, width = scales[self._scale].size
            self.say(f"{width} x {height} pixels (scale {self._scale + 1} of {len(scales)})")

    def _estimate(self, progress: "Progress", left: float) -> None:
        """For a long run, print the time left, from `left` seconds, and a flag that would make it shorter."""
        self._is_estimated = True
        if left > LONG_SECONDS:
            size = progress.scales[-1].size
            advice = "" if self._resumed else f"; {shorter(left, self._settings, size)}"
            self.say(f"about {seconds(left)} to go{advice}")

    def _draw(self, progress: "Progress", losses: dict[str, float], left: float | None) -> None:
        """Draw the bar, if there is one; its length is the share of the pixels that are done."""
        if self._bar is None:
            return
        passed = tqdm.format_interval(time.monotonic() - self._started)
        to_go = "?" if left is None else tqdm.format_interval(left)
        text = f"{progress.iteration}/{self._settings.iterations} [{passed}, {to_go} left]"
        text += f" total {losses['total']:.3g}"
        parts = f" ({', '.join(f'{name} {loss:.2g}' for name, loss in losses.items() if name != 'total')})"
        room = os.get_terminal_size(sys.stderr.fileno()).columns - len(text) - BAR_COLUMNS
        self._bar.set_description_str(text + (parts if len(parts) < room else ""), refresh=False)
        self._bar.n = progress.share_done
        self._bar.refresh()

    def say(self, line: str) -> None:
        """Print a line on stdout, above the bar."""
        print_line(line, self._quiet)

    def close(self) -> None:
        """Take the bar off the terminal."""
        if self._bar is not None:
            self._bar.close()

    def _is_due(self, iteration: int, every: int) -> bool:
        return iteration % every == 0 or iteration == self._settings.iterations


class FilmReporter:
    """Shows the progress of a film: a bar on stderr if that is a terminal, else lines on stdout.

    total: its number of frames, if it is known. done: the number that were painted before.
    """

    def __init__(self, total: int | None, done: int, quiet: bool) -> None:
        self._total, self._done, self._quiet = total, done, quiet
        self._bar = None if quiet or sys.stderr is None or not sys.stderr.isatty() else _bar()
        self._seconds: deque[float] = deque(maxlen=SAMPLES)  # a frame
        self._started = self._began = time.monotonic()
        self._next_update = 0.0

    def __call__(self, progress: "Progress") -> None:
        """Show the progress of the current frame, if it is due."""
        if self._bar is None or time.monotonic() < self._next_update:
            return
        self._next_update = time.monotonic() + SECONDS_BETWEEN_UPDATES
        part = progress.share_done
        passed = tqdm.format_interval(time.monotonic() - self._started)
        left = self._left(part)
        to_go = "?" if left is None else tqdm.format_interval(left)
        text = f"frame {self._done + 1} of {self._total or '?'} [{passed}, {to_go} left]"
        self._bar.set_description_str(text, refresh=False)
        self._bar.n = (self._done + part) / max(self._total, self._done + 1) if self._total else 0
        self._bar.refresh()

    def is_done(self) -> None:
        """Note that the current frame is painted."""
        now = time.monotonic()
        self._seconds.append(now - self._began)
        self._began = now
        self._done += 1
        if self._bar is not None or self._done % max((self._total or 100) // LINES, 1):
            return
        left = self._left(0)
        to_go = "" if left is None else f", {seconds(left)} left"
        line = f"frame {self._done} of {self._total or '?'}, {seconds(now - self._started)}{to_go}"
        print_line(line, self._quiet)

    def _left(self, part: float) -> float | None:
        """The seconds left, with this part of the current frame painted; None if not known."""
        if not (self._seconds and self._total):
            return None
        # The median, since a frame that starts afresh takes several times as long.
        return max(self._total - self._done - part, 0) * statistics.median(self._seconds)

    def close(self) -> None:
        """Take the bar off the terminal."""
        if self._bar is not None:
            self._bar.close()


def shorter(left: float, settings: Settings, size: tuple[int, int]) -> str:
    """Advice that makes a run shorter. left: its seconds. size: (height, width) of the picture."""
    if settings.height or size[1] < 2 * LEAST_WIDTH:
        flag, share = f"--iterations {settings.iterations // 2}", 1 / 2
    else:
        flag = f"--max-size {max(size) // 2}" if settings.max_size else f"--width {size[1] // 2}"
        share = 1 / 4
    return f"{flag} would take about {seconds(share * left)}"


def seconds(count: float) -> str:
    """A time in words: 170 s, 32 minutes or 3 hours."""
    if count < 180:
        return f"{count:.0f} s"
    minutes = round(count / 60)
    return f"{minutes} minutes" if minutes < 180 else f"{round(minutes / 60)} hours"


def describe(losses: dict[str, float]) -> str:
    """The losses in a line."""
    return "  ".join(f"{name} {loss:.4g}" for name, loss in losses.items())


# Functions that write files. Without `overwrite`, a file gets another name if its own is taken; each returns
# the name.


def write_history(
    path: Path, overwrite: bool, history: list[tuple[float, ...]], names: Sequence[str]
) -> Path:
    """Write the losses with these names as a text table; the first column is the number of updates."""

    def write(file: BinaryIO) -> None:
        header = " ".join(("updates", *names))
        np.savetxt(file, history, fmt=["%d", *len(names) * ["%.9g"]], header=header)

    return write_whole(path, write, overwrite)


def plot_history(path: Path, overwrite: bool, history: list[tuple[float, ...]], names: Sequence[str]) -> Path:
    """Plot the losses with these names over the number of updates, on a log scale, as PNG or SVG.

    Needs matplotlib.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot(xlabel="updates", ylabel="weighted loss", yscale="log")
    updates, *losses = np.transpose(history)
    for name, values in zip(names, losses, strict=True):
        # A log scale cannot show 0, which is the content loss of a start from the content.
        style: dict[str, Any] = {"color": "black", "linewidth": 2} if name == "total" else {}
        axes.plot(updates, np.where(values > 0, values, np.nan), label=name, **style)
    axes.grid(alpha=0.3)
    axes.legend()
    return write_whole(path, partial(figure.savefig, format=path.suffix[1:], dpi=120), overwrite)


def write_grid(path: Path, overwrite: bool, pictures: Sequence[np.ndarray]) -> Path:
    """Write images of a run, [H, W, 3] each, as one, in rows of five."""
    return images.write(path, images.grid(pictures, GRID_COLUMNS), overwrite)


def _bar() -> tqdm:
    layout = "{percentage:3.0f}% {bar:12} {desc}"
    return tqdm(total=1, file=sys.stderr, bar_format=layout, dynamic_ncols=True, leave=False, delay=0.1)
