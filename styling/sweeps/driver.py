"""Computes the runs of a sweep, and writes the files of each run as soon as they are ready."""

import contextlib
import importlib.util
import queue
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from tqdm import tqdm

from styling.command import report
from styling.pictures import images
from styling.run import states
from styling.settings import recipes
from styling.sweeps import page, results, sheet
from styling.sweeps.planning import Plan
from styling.sweeps.results import Entry, Result
from styling.sweeps.specs import Spec
from styling.sweeps.workers import (
    Advanced,
    Checkpoint,
    Event,
    Failed,
    Finished,
    Planned,
    Stopped,
    WorkerLostError,
)
from styling.system import terminal
from styling.system.process import explain

MOST_ATTEMPTS = 3  # at a run whose workers are lost
SECONDS_BETWEEN_PAGES = 5
SECONDS_TO_STOP = 60
PLOT_NOTE = "The sheet and plots of the losses need matplotlib: pip install matplotlib"


class Worker(Protocol):
    """What computes one run at a time: workers.LocalWorker or cluster.ClusterWorker."""

    def compute(self, planned: Planned) -> Iterator[Event]:
        """Compute a run, and yield its events; the last is one of workers.ENDS. Raises WorkerLostError."""

    def stop(self) -> None:
        """Have the run stop; its last events still come."""

    def close(self) -> None:
        """End the worker."""


class Crew:
    """So many workers that compute runs, each in the charge of a thread; iterated, it gives their events.

    start: makes a worker.
    """

    def __init__(self, start: Callable[[], Worker], runs: Sequence[Planned], count: int) -> None:
        self._start, self._lock = start, threading.Lock()
        self._waiting = deque(runs)
        self._workers: list[Worker] = []
        self._events: queue.SimpleQueue[tuple[Planned, Event | WorkerLostError] | None] = queue.SimpleQueue()
        self._threads, self._serving, self._is_stopped = ThreadPoolExecutor(count), count, False
        self._served = [self._threads.submit(self._serve) for _ in range(count)]

    def __iter__(self) -> Iterator[tuple[Planned, Event | WorkerLostError]]:
        return self

    def __next__(self) -> tuple[Planned, Event | WorkerLostError]:
        # Not a generator, since one ends with the KeyboardInterrupt after which the last events still come.
        while self._serving:
            if event := self._events.get():
                return event
            self._serving -= 1
        for one in self._served:
            one.result()  # raises what went wrong there
        raise StopIteration

    def stop(self) -> None:
        """Stop all runs after their current updates; after a minute, end them."""
        self._is_stopped = True
        self._waiting.clear()
        for worker in self._workers:
            worker.stop()
        timer = threading.Timer(SECONDS_TO_STOP, self.close)
        timer.daemon = True
        timer.start()

    def close(self) -> None:
        """End all workers."""
        self._is_stopped = True
        self._waiting.clear()
        for worker in self._workers:
            worker.close()

    def _hired(self) -> Worker:
        with self._lock:  # processes are started one at a time
            self._workers.append(self._start())
            return self._workers[-1]

    def _serve(self) -> None:
        """Compute runs until none waits."""
        try:
            worker = self._hired()
            while planned := self._next():
                worker = self._computed(planned, worker)
        finally:
            self._events.put(None)

    def _next(self) -> Planned | None:
        try:
            return self._waiting.popleft()
        except IndexError:
            return None

    def _computed(self, planned: Planned, worker: Worker) -> Worker:
        """Compute a run, from its last checkpoint if its worker is lost, and return the worker that did."""
        for _ in range(MOST_ATTEMPTS):
            try:
                for event in worker.compute(planned):
                    if isinstance(event, Checkpoint):
                        planned = replace(planned, job=replace(planned.job, saved=event.saved))
                    self._events.put((planned, event))
                return worker
            except WorkerLostError as lost:
                worker.close()
                if self._is_stopped:
                    return worker
                self._events.put((planned, lost))
                worker = self._hired()
        problem = f"its process has ended {MOST_ATTEMPTS} times; perhaps there is too little memory"
        self._events.put((planned, Failed(problem)))
        return worker


@dataclass
class Sweep:
    """A sweep that is being computed; the plan's results change as its runs go on."""

    folder: Path
    spec: Spec
    plan: Plan
    display: "Display"
    _changed: bool = field(default=False, init=False)
    _next_pages: float = field(default=0.0, init=False)

    def compute(self, start: Callable[[], Worker], count: int) -> None:
        """Compute all runs with so many workers. KeyboardInterrupt stops them, and is raised again."""
        with contextlib.closing(Crew(start, list(self.plan.runs.values()), count)) as crew:
            try:
                for planned, event in crew:
                    self._handle(planned, event)
                    self._update_pages()
            except KeyboardInterrupt:
                crew.stop()
                for planned, event in crew:
                    self._handle(planned, event)
                raise

    def _handle(self, planned: Planned, event: Event | WorkerLostError) -> None:
        """Write and show what an event says. A file that cannot be written does not stop the other runs."""
        match event:
            case Advanced(iteration=iteration):
                self.display.advance(planned, iteration)
            case Checkpoint(saved=saved):
                with self._warn_of_errors(f"the state of {planned.label} is not saved"):
                    states.write(results.state(self.folder, planned.stem), saved)
            case Finished():
                try:
                    write_files(self.folder, planned.stem, event)
                    self._end(planned, event.result)
                except OSError as error:
                    self._end(planned, Result("failed", explain(error)))
            case Failed(error=problem):
                self._end(planned, Result("failed", problem))
            case WorkerLostError():
                self.display.warn(f"{planned.label}: its process is gone; the run continues in another")
            case Stopped():
                pass

    def _end(self, planned: Planned, result: Result) -> None:
        self.plan.results[planned.stem] = result
        self.display.end(planned, result)
        self._changed = True

    def _update_pages(self) -> None:
        """Write the table and the page again after a run has ended, but not too often."""
        if self._changed and time.monotonic() >= self._next_pages:
            with self._warn_of_errors("the page is not written"):
                self.write_pages()
            self._changed, self._next_pages = False, time.monotonic() + SECONDS_BETWEEN_PAGES

    @contextlib.contextmanager
    def _warn_of_errors(self, problem: str) -> Iterator[None]:
        """Print a warning instead of raising OSError."""
        try:
            yield
        except OSError as error:
            self.display.warn(f"{problem}: {explain(error)}")

    def write_pages(self, sheets: bool = False) -> list[Path]:
        """Write the table, the page and, if asked for, the sheets; returns their names. Raises OSError."""
        entries = [
            Entry(cell, stem, self.plan.results[stem])
            for cell, stem in zip(self.plan.cells, self.plan.stems, strict=True)
        ]
        written = sheet.write(self.folder, self.spec, entries) if sheets else []
        table = results.write_table(self.folder, entries)
        return [*written, page.write(self.folder, self.spec, entries, PLOT_NOTE), table]


def write_files(folder: Path, stem: str, event: Finished) -> None:
    """Write all files of a finished run; the result comes last, since it marks the run as done."""
    result = event.result
    images.write(results.picture(folder, stem), event.picture)
    if event.grid:
        report.write_grid(folder / "runs" / f"{stem}-grid.png", True, event.grid)
    if result.history and importlib.util.find_spec("matplotlib"):
        report.plot_history(folder / "runs" / f"{stem}-losses.svg", True, list(result.history), result.names)
    recipes.write(folder / "runs" / f"{stem}.toml", event.settings)
    results.write(folder, stem, result)
    results.state(folder, stem).unlink(missing_ok=True)


class Display:
    """Shows how far the runs are: a line on stdout for each, and a bar on stderr if that is a terminal."""

    def __init__(self, runs: Sequence[Planned], done: int, quiet: bool) -> None:
        self._count, self._ended, self._quiet = len(runs) + done, done, quiet
        self._done = {planned.stem: self._pixels(planned, planned.iterations_done) for planned in runs}
        total, done_before = sum(planned.pixels for planned in runs), sum(self._done.values())
        self._bar = report.new_bar("[{elapsed}, {remaining} left] {desc}", total, quiet, done_before)

    def advance(self, planned: Planned, iteration: int) -> None:
        """A run has made so many updates."""
        text = f"{planned.label} {iteration}/{planned.job.settings.iterations}"
        self._bar.set_description_str(f"{self._ended} of {self._count} runs; {text}", refresh=False)
        done = self._pixels(planned, iteration)
        self._bar.update(done - self._done[planned.stem])
        self._done[planned.stem] = done

    def end(self, planned: Planned, result: Result) -> None:
        """A run has ended."""
        self._ended += 1
        self.advance(planned, planned.job.settings.iterations)
        start = f"{self._ended} of {self._count}: {planned.label}"
        if result.status == "failed":
            self.warn(f"{start} failed: {result.error}")
        else:
            loss = f"total loss {result.losses['total']:.6g}" if result.losses else "painted in one pass"
            self.print(f"{start}: {loss} in {result.seconds:.0f} s")

    def print(self, line: str) -> None:
        """Print a line on stdout, unless quiet."""
        terminal.print_line(line, self._quiet)

    def warn(self, line: str) -> None:
        """Print a line on stderr."""
        if sys.stderr is not None:
            tqdm.write(f"neural-style-sweep: {line}", file=sys.stderr)

    def close(self) -> None:
        """Remove the bar from the terminal."""
        self._bar.close()

    def _pixels(self, planned: Planned, iteration: int) -> float:
        return planned.pixels * iteration / (planned.job.settings.iterations or 1)
