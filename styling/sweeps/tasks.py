"""One run of a sweep: a task goes in, and events come out while it is computed.

The same code runs in a process of this machine (pool.py) and on a cluster (cluster.py).
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

import stylize
from styling import images, report, states
from styling.errors import StyleError
from styling.process import explain
from styling.settings import Settings
from styling.sweeps.results import Result

if TYPE_CHECKING:
    from vgg import Network

PLOT_POINTS = 100  # of the losses over a run
SECONDS_BETWEEN_EVENTS = 0.5


@dataclass(frozen=True)
class Task:
    """A run that is to be computed.

    stem: the name of its files, without the ending. label: its name for people. settings: complete ones, with
    nothing left open. network: SHA-256 of its file. content, styles, initial: SHA-256 of the images. grid:
    whether a grid of ten images is wanted. pixels, memory: what stylize.estimate() gives. saved: where the
    run stands.
    """

    stem: str
    label: str
    settings: Settings
    network: str
    content: str | None
    styles: tuple[str, ...]
    initial: str | None
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
    run, saved = prepare(task, pixels, network)
    started = last_event = last_save = time.monotonic()
    for progress in run:
        record(saved, progress, task)
        iteration, now = progress.iteration, time.monotonic()
        if now >= last_event + SECONDS_BETWEEN_EVENTS:
            yield Advanced(task.stem, iteration)
            last_event = now
        stop = stop_requested()
        if save_iterations:
            due = iteration % save_iterations == 0
        else:
            due = now >= last_save + states.SECONDS_BETWEEN_SAVES
        if stop or due:
            seconds = saved.seconds + now - started
            yield Checkpoint(task.stem, replace(saved, arrays=progress.state.arrays(), seconds=seconds))
            last_save = time.monotonic()
        if stop:
            return
    record(saved, progress, task, ended=True)
    picture = progress.result()
    seconds = saved.seconds + time.monotonic() - started
    names, history = tuple(progress.losses()), tuple(saved.history)
    result = Result("done", "", progress.iteration, seconds, names, history)
    yield Finished(task.stem, result, picture, tuple(image for _, image in sorted(saved.pictures.items())))


def prepare(
    task: Task, pixels: Mapping[str, np.ndarray], network: "Network"
) -> tuple[Iterator[stylize.Progress], states.Saved]:
    """The run, from where it stands, and a copy of its record so far."""
    saved = replace(task.saved, history=list(task.saved.history), pictures=dict(task.saved.pictures))
    content, initial = (None if key is None else pixels[key] for key in (task.content, task.initial))
    styles = [pixels[key] for key in task.styles]
    state = stylize.State.from_arrays(saved.arrays) if saved.arrays else None
    return stylize.stylize(content, styles, network, task.settings, initial, state), saved


def record(saved: states.Saved, progress: stylize.Progress, task: Task, ended: bool = False) -> None:
    """Add the losses and the grid's image to a run's record, if they are due after this update."""
    iteration, iterations = progress.iteration, task.settings.iterations
    is_new = not saved.history or saved.history[-1][0] < iteration
    if is_new and (ended or iteration % max(iterations // PLOT_POINTS, 1) == 0):
        saved.history.append((iteration, *progress.losses().values()))
    if task.grid and (ended or iteration in report.grid_iterations(iterations)):
        saved.pictures.setdefault(iteration, images.thumbnail(progress.image()))
