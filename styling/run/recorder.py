"""The record of a run while it works: its losses, pictures for a grid, and snapshots to go on from.

A run by itself and a run of a sweep are recorded by the same code.
"""

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from styling.pictures import images
from styling.run import states

if TYPE_CHECKING:
    from styling.run.progress import Progress

SECONDS_BETWEEN_SAVES, MOST_TIME = 60, 0.05
GRID_IMAGES = 10


class Recorder:
    """Records each Progress that it is called with.

    saved: the record of a new run, or of one that goes on. iterations: of the whole run. losses_every: record
    the losses every so many iterations, and at the end; 0 for never. grid: whether ten pictures are wanted.
    save_every: iterations from one save to the next, or None for each minute; if saving is slow, the time
    between saves grows, so that saving takes at most a twentieth of the time.
    """

    def __init__(
        self,
        saved: states.Saved,
        iterations: int,
        losses_every: int = 1,
        grid: bool = False,
        save_every: int | None = None,
    ) -> None:
        done = saved.iteration if saved.arrays else 0
        self.history = [row for row in saved.history if row[0] < done]
        self._grid = grid_iterations(iterations) if grid else set()
        self.pictures = {at: picture for at, picture in saved.pictures.items() if at in self._grid}
        self._saved = saved
        self._iterations = iterations
        self._losses_every = losses_every
        self._save_every = save_every
        self._began = time.monotonic()
        self._next_save = self._began + SECONDS_BETWEEN_SAVES

    def __call__(self, progress: "Progress") -> None:
        """Record what is due; the losses are read from the device only then."""
        iteration = progress.iteration
        if self._losses_every and (iteration % self._losses_every == 0 or iteration == self._iterations):
            self._add_losses(progress)
        if iteration in self._grid:
            self.pictures[iteration] = images.thumbnail(progress.image())

    def finish(self, progress: "Progress") -> None:
        """Record the last Progress as well, if the run has ended before its last iteration."""
        if self._losses_every:
            self._add_losses(progress)
        if self._grid:
            self.pictures.setdefault(progress.iteration, images.thumbnail(progress.image()))

    @property
    def seconds(self) -> float:
        """The time that the run has taken, from its beginning."""
        return self._saved.seconds + time.monotonic() - self._began

    def is_save_due(self, iteration: int) -> bool:
        """Whether the run should be saved after so many updates."""
        if self._save_every:
            return iteration % self._save_every == 0
        return time.monotonic() >= self._next_save

    def saved(self, progress: "Progress") -> states.Saved:
        """The run as far as it has come."""
        return replace(
            self._saved,
            history=list(self.history),
            pictures=dict(self.pictures),
            arrays=progress.state.arrays(),
            seconds=self.seconds,
        )

    def was_saved(self, seconds: float) -> None:
        """Note how long saving took; the next save waits accordingly."""
        self._next_save = time.monotonic() + max(SECONDS_BETWEEN_SAVES, seconds / MOST_TIME)

    def grid_pictures(self) -> list[np.ndarray]:
        """The pictures of the grid so far, in their order."""
        return [self.pictures[iteration] for iteration in sorted(self.pictures)]

    def _add_losses(self, progress: "Progress") -> None:
        losses = progress.losses().values()
        if losses and (not self.history or self.history[-1][0] < progress.iteration):
            self.history.append((progress.iteration, *losses))


def grid_iterations(iterations: int) -> set[int]:
    """The iterations whose images go into the grid: ten at even distances, the last at the end."""
    return {iterations * k // GRID_IMAGES for k in range(1, GRID_IMAGES + 1)} - {0}
