"""Reports on a run for people: a progress bar or plain lines, and the losses as a table and as a plot."""

import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from styling.run.pace import Pace
from styling.settings import Settings
from styling.system.files import write_whole
from styling.system.terminal import is_quiet, print_line

if TYPE_CHECKING:
    from styling.run.progress import Progress

SECONDS_BETWEEN_UPDATES = 0.5
LONG_SECONDS, SECONDS_TO_ESTIMATE = 180, 10
LEAST_WIDTH = 256  # the least width that is proposed for a shorter run
LINES = 10


class Reporter:
    """Shows each Progress that it is called with: a bar if stderr is a terminal, else lines on stdout.

    settings: of the run. every: print a line every so many iterations; None for ten lines a run, if there is
    no bar. resumed: the run was begun before, so its size cannot change any more.
    """

    def __init__(self, settings: Settings, every: int | None, resumed: bool = False) -> None:
        self._settings, self._resumed = settings, resumed
        self.bar = new_bar("{desc} [{elapsed}, {remaining} left]{postfix}", 1.0)
        self._every = every or (max(settings.iterations // LINES, 1) if self.bar.disable else None)
        self._started, self._next_look = time.monotonic(), 0.0
        self._pace, self._is_estimated = Pace(), False
        self._scale: int | None = None

    def __call__(self, progress: "Progress", recorder: object = None) -> None:
        """Show what is due; the losses are read from the device only if anything is."""
        iteration, iterations = progress.iteration, self._settings.iterations
        begins, now = progress.state.scale != self._scale, time.monotonic()
        is_line = self._every and (iteration % self._every == 0 or iteration == iterations)
        is_look = begins or now >= self._next_look
        losses = progress.losses() if (is_line or is_look) and not is_quiet() else {}
        if not losses:
            return
        told = "  ".join(f"{name} {loss:.4g}" for name, loss in losses.items())
        if is_look:
            self._next_look, self._scale = time.monotonic() + SECONDS_BETWEEN_UPDATES, progress.state.scale
            (height, width), count = progress.scales[self._scale].size, len(progress.scales)
            if begins and count > 1:
                print_line(f"{width} x {height} pixels (scale {self._scale + 1} of {count})")
            self._estimate(progress)
            self.bar.set_description_str(f"{iteration}/{iterations}", refresh=False)
            self.bar.set_postfix_str(told, refresh=False)
            self.bar.update(progress.share_done - self.bar.n)
        if is_line:
            print_line(f"iteration {iteration} of {iterations}, {now - self._started:.1f} s: {told}")

    def _estimate(self, progress: "Progress") -> None:
        """Print once, for a long run, the time that it takes."""
        left = self._pace(progress)
        if left and not self._is_estimated and time.monotonic() >= self._started + SECONDS_TO_ESTIMATE:
            self._is_estimated = True
            if left > LONG_SECONDS:
                advice = f"; {shorter(left, self._settings, progress.scales[-1].size)}"
                print_line(f"about {seconds(left)} to go{'' if self._resumed else advice}")


class FilmReporter:
    """Shows the progress of a film: a bar on stderr if that is a terminal, else lines on stdout.

    total: its number of frames. done: those that were painted before. share: the work of a frame that starts
    from the one before, as a share of that of one that does not, in which work is counted here.
    """

    def __init__(self, total: int, done: int, share: float) -> None:
        self._total, self._before, self._done = total, done, done
        self._share, self._work = share, 0.0
        whole = 1 + share * (total - 1)
        self.bar = new_bar("{desc} [{elapsed}, {remaining} left]", whole, share * done)
        self._started = time.monotonic()

    def __call__(self, progress: "Progress", work: float) -> None:
        """Show the progress of the current frame, of this work."""
        self.bar.set_description_str(f"frame {self._done + 1} of {self._total}", refresh=False)
        done = self._share * self._before + self._work + progress.share_done * work
        self.bar.update(done - self.bar.n)

    def is_done(self, work: float) -> None:
        """Note that the current frame, of this work, is painted; a line says what the first one and, without
        a bar, each tenth of them took."""
        self._work, self._done = self._work + work, self._done + 1
        is_tenth = self.bar.disable and self._done % max(self._total // LINES, 1) == 0
        if is_tenth or self._done == self._before + 1:
            passed = time.monotonic() - self._started
            left = passed / self._work * self._share * (self._total - self._done)
            print_line(f"frame {self._done} of {self._total}, {seconds(passed)}, {seconds(left)} left")


def new_bar(text: str, total: float, done: float = 0) -> tqdm:
    """A bar with this text beside it, on stderr if that is a terminal; it is disabled otherwise."""
    return tqdm(
        total=total,
        initial=done,
        bar_format=f"{{percentage:3.0f}}% {{bar:12}} {text}",
        disable=is_quiet() or sys.stderr is None or not sys.stderr.isatty(),
        mininterval=SECONDS_BETWEEN_UPDATES,
        dynamic_ncols=True,
        leave=False,
    )


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


def write_history(
    path: Path, overwrite: bool, history: list[tuple[float, ...]], names: Sequence[str]
) -> Path:
    """Write the losses with these names as a text table; the first column is the number of updates.

    This and the next return the name of the file, which is another if it is taken and `overwrite` false.
    """
    head, form = " ".join(("updates", *names)), ["%d", *len(names) * ["%.9g"]]
    return write_whole(path, lambda file: np.savetxt(file, history, fmt=form, header=head), overwrite)


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
        color, width = ("black", 2) if name == "total" else (None, 1.5)
        shown = np.where(values > 0, values, np.nan)
        axes.plot(updates, shown, label=name, color=color, linewidth=width)
    axes.grid(alpha=0.3)
    axes.legend()
    return write_whole(path, partial(figure.savefig, format=path.suffix[1:], dpi=120), overwrite)
