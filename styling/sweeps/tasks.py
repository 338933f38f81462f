"""One run of a sweep: a task goes in, and events come out while it is computed.

The same code runs in a process of this machine (pool.py) and on a cluster (cluster.py).
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

import stylize
from styling.pictures.images import Images
from styling.run import states
from styling.run.memory import gradients_forgotten
from styling.run.recorder import Recorder
from styling.run.runs import resolve
from styling.settings import Settings
from styling.sweeps.results import Result
from styling.system.errors import StyleError
from styling.system.process import explain

if TYPE_CHECKING:
    from vgg import Network

PLOT_POINTS = 100  # of the losses over a run
SECONDS_BETWEEN_EVENTS = 0.5


@dataclass(frozen=True)
class Task:
    """A run that is to be computed.

    stem: the name of its files, without the ending. label: its name for people. settings: complete, with
    nothing left open. network: SHA-256 of its file. images: pairs of a flag and an image's SHA-256. grid:
    whether a grid of ten images is wanted. pixels: the sum over all updates; the run's time is proportional
    to it. memory: bytes that the run needs. saved: the run so far.
    """

    stem: str
    label: str
    settings: Settings
    network: str
    images: tuple[tuple[str, str], ...]
    grid: bool
    pixels: int
    memory: float
    saved: states.Saved

    @property
    def iterations_done(self) -> int:
        """The updates made so far."""
        return self.saved.iteration if self.saved.arrays else 0


@dataclass(frozen=True)
class Event:
    """Something that happened in the run with this stem."""

    stem: str


@dataclass(frozen=True)
class Advanced(Event):
    """So many updates are made."""

    iteration: int


@dataclass(frozen=True)
class Checkpoint(Event):
    """A state from which the run can continue."""

    saved: states.Saved


@dataclass(frozen=True)
class Finished(Event):
    """The run has ended. picture, and grid if it was wanted: [H, W, 3], RGB 0..255."""

    result: Result
    picture: np.ndarray
    grid: tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Failed(Event):
    """The run ended with an error, given in one line."""

    error: str


@dataclass(frozen=True)
class WorkerLost(Event):
    """The process or the node that computed the run is gone."""


def events_of(
    task: Task,
    pixels: Mapping[str, np.ndarray],
    network: "Network",
    save_iterations: int | None,
    stop_requested: Callable[[], bool] = lambda: False,
) -> Iterator[Event]:
    """Compute a run, and yield its events. The last is Finished or Failed, or Checkpoint if it was stopped.

    pixels: images by SHA-256. save_iterations: the updates between two checkpoints; None for one a minute.
    """
    try:
        with gradients_forgotten():
            yield from _compute(task, pixels, network, save_iterations, stop_requested)
    except Exception as error:  # the other runs go on
        expected = isinstance(error, StyleError | OSError)
        yield Failed(task.stem, explain(error) if expected else f"{type(error).__name__}: {explain(error)}")


def _compute(
    task: Task,
    pixels: Mapping[str, np.ndarray],
    network: "Network",
    save_iterations: int | None,
    stop_requested: Callable[[], bool],
) -> Iterator[Event]:
    settings = task.settings
    run = resolve(Images.named((flag, pixels[key]) for flag, key in task.images), network, settings)
    state = states.State.from_arrays(task.saved.arrays) if task.saved.arrays else None
    losses_every = max(settings.iterations // PLOT_POINTS, 1)
    recorder = Recorder(task.saved, settings.iterations, losses_every, task.grid, save_iterations)
    last_event = time.monotonic()
    for progress in stylize.follow(run, state):
        recorder(progress)
        if time.monotonic() >= last_event + SECONDS_BETWEEN_EVENTS:
            yield Advanced(task.stem, progress.iteration)
            last_event = time.monotonic()
        stop = stop_requested()
        if stop or recorder.is_save_due(progress.iteration):
            began = time.monotonic()
            yield Checkpoint(task.stem, recorder.saved(progress))
            recorder.was_saved(time.monotonic() - began)
        if stop:
            return
    recorder.finish(progress)
    names, history = tuple(progress.losses()), tuple(recorder.history)
    result = Result("done", "", progress.iteration, recorder.seconds, names, history)
    yield Finished(task.stem, result, progress.result(), tuple(recorder.grid_pictures()))
