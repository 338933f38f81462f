"""One run of a sweep, wherever that is: what it needs goes in, and what happens comes out as events.

The same function works in a process of this machine (pool.py) and on a cluster (cluster.py).
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

import stylize
from styling import images, report, states
from styling.errors import StyleError
from styling.process import explain
from styling.settings import Settings
from styling.sweeps.results import Result

if TYPE_CHECKING:
    from vgg import Network

POINTS = 100  # of a plot of the losses
SECONDS_BETWEEN_EVENTS = 0.5


@dataclass(frozen=True)
class Task:
    """A run that is to be made.

    stem: of its files, which is its name. label: what people call it. settings: settled ones. network: its
    SHA-256. content, styles, initial: the images' digests. gridded: whether ten images of it are wanted.
    operations, memory: what it will take, by stylize.demand(). saved: how far it has come, or how it begins.
    targets: the keys of those that it shares with other runs.
    """

    stem: str
    label: str
    settings: Settings
    network: str
    content: str | None
    styles: tuple[str, ...]
    initial: str | None
    gridded: bool
    operations: float
    memory: float
    saved: states.Saved
    targets: frozenset[str] = frozenset()

    @property
    def made(self) -> int:
        """The updates that it has made."""
        return self.saved.iteration if self.saved.arrays else 0


@dataclass(frozen=True)
class Event:
    """Something that happened in the run of this name."""

    stem: str


@dataclass(frozen=True)
class Advanced(Event):
    """It has made so many updates."""

    iteration: int


@dataclass(frozen=True)
class Kept(Event):
    """It can go on from here."""

    saved: states.Saved


@dataclass(frozen=True)
class Done(Event):
    """It is at its end. picture, pictures of its grid: [H, W, 3], RGB 0..255."""

    result: Result
    picture: np.ndarray
    pictures: tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Failed(Event):
    """It came to an error, which is one line."""

    error: str


@dataclass(frozen=True)
class Lost(Event):
    """Whatever worked on it has gone."""


def share_targets(
    tasks: Sequence[Task], pixels: Mapping[str, np.ndarray], load: Callable[[str], "Network"]
) -> tuple[dict[str, frozenset[str]], dict[str, Any]]:
    """The targets that several of the runs need, each computed once: their keys by the run's stem, and all by
    key, as arrays. load: what gives a network by its SHA-256."""
    made_of = {task.stem: (*images_of(task, pixels)[:2], load(task.network), task.settings) for task in tasks}
    keys = {stem: stylize.target_keys(*parts) for stem, parts in made_of.items()}
    counts = Counter(key for own in keys.values() for key in own)
    shared = {stem: frozenset(key for key in own if counts[key] > 1) for stem, own in keys.items()}
    kept = {}
    # Those that need most come first, since a pass through the network gives all layers that it reaches.
    for stem in sorted(shared, key=lambda stem: len(shared[stem]), reverse=True):
        if not shared[stem] <= kept.keys():
            stylize.keep_targets(*made_of[stem], kept)
            kept = {key: target for key, target in kept.items() if counts[key] > 1}
    return shared, tf.nest.map_structure(np.asarray, kept)


def images_of(
    task: Task, pixels: Mapping[str, np.ndarray]
) -> tuple[np.ndarray | None, list[np.ndarray], np.ndarray | None]:
    """The content, the styles and the initial image of a run."""
    content, initial = (None if name is None else pixels[name] for name in (task.content, task.initial))
    return content, [pixels[name] for name in task.styles], initial


def caught(stem: str, events: Iterator[Event]) -> Iterator[Event]:
    """The events of a run, an error among them, which is no reason for other runs to fail."""
    try:
        yield from events
    except Exception as error:
        expected = isinstance(error, StyleError | OSError)
        yield Failed(stem, explain(error) if expected else f"{type(error).__name__}: {explain(error)}")


def work(
    task: Task,
    pixels: Mapping[str, np.ndarray],
    network: "Network",
    kept: Mapping[str, Any],
    every: int | None,
    stopping: Callable[[], bool] = lambda: False,
) -> Iterator[Event]:
    """Make a run, and tell of it. Its last event is Done, or Kept once it is to stop.

    pixels: images by digest. kept: shared targets by key, as arrays. every: the iterations from one Kept to
    the next; None for a minute. Raises what stylize() raises, and any other error.
    """
    settings, saved = task.settings, task.saved
    content, styles, initial = images_of(task, pixels)
    state = stylize.State.from_arrays(saved.arrays) if saved.arrays else None
    own = {key: tf.nest.map_structure(tf.constant, kept[key]) for key in task.targets}
    run = stylize.stylize(content, styles, network, settings, initial, state, own)
    a_point = max(settings.iterations // POINTS, 1)
    gridded = report.grid_iterations(settings.iterations) if task.gridded else ()
    history, pictures = list(saved.history), dict(saved.pictures)
    began = told = time.monotonic()
    kept_last = began
    for progress in run:
        iteration, now = progress.iteration, time.monotonic()
        if iteration % a_point == 0 and not (history and history[-1][0] >= iteration):
            history.append((iteration, *progress.losses().values()))
        if iteration in gridded:
            pictures[iteration] = images.thumbnail(progress.image())
        if now >= told + SECONDS_BETWEEN_EVENTS:
            yield Advanced(task.stem, iteration)
            told = now
        stops = stopping()
        due = iteration % every == 0 if every else now >= kept_last + states.SECONDS_BETWEEN_SAVES
        if stops or due:
            state = progress.state.arrays()
            seconds = saved.seconds + now - began
            yield Kept(
                task.stem,
                replace(saved, history=history, pictures=pictures, arrays=state, seconds=seconds),
            )
            kept_last = time.monotonic()
        if stops:
            return
    losses = progress.losses()
    if history[-1][0] < progress.iteration:
        history.append((progress.iteration, *losses.values()))
    if gridded:  # the last one as well where the run has ended early
        pictures.setdefault(progress.iteration, images.thumbnail(progress.image()))
    picture = progress.result()
    seconds = saved.seconds + time.monotonic() - began
    result = Result("done", "", progress.iteration, seconds, tuple(losses), tuple(history))
    yield Done(task.stem, result, picture, tuple(pictures[at] for at in sorted(pictures)))
