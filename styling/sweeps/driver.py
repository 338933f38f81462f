"""Computes the runs of a sweep, and writes the files of each run as soon as they are ready."""

import contextlib
import dataclasses
import importlib.util
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
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
from styling.sweeps.tasks import Advanced, Checkpoint, Event, Failed, Finished, Task, WorkerLost
from styling.system import terminal
from styling.system.process import explain

MOST_ATTEMPTS = 3  # at a run whose workers are lost
SECONDS_BETWEEN_PAGES = 5
PLOT_NOTE = "Plots of the losses need matplotlib: pip install matplotlib"


class Executor(Protocol):
    """Computes runs: pool.Pool or cluster.Cluster."""

    def submit(self, task: Task) -> None:
        """Compute a run as soon as a worker is free."""

    def events(self) -> Iterator[Event]:
        """The events of all runs that were submitted, until they have ended; more may be submitted then."""

    def stop(self) -> Iterator[Event]:
        """Stop all runs, and yield their last events."""


@dataclass
class Sweep:
    """A sweep that is being computed; the plan's results and tasks change as its runs go on."""

    folder: Path
    spec: Spec
    plan: Plan
    display: "Display"
    _lost: Counter = field(default_factory=Counter)
    _changed: bool = False
    _next_pages: float = 0.0

    def compute(self, executor: Executor) -> None:
        """Compute all tasks. KeyboardInterrupt stops them all, and is raised again."""
        try:
            for task in self.plan.tasks.values():
                executor.submit(task)
            for event in executor.events():
                self._handle(event, executor)
                self._update_pages()
        except KeyboardInterrupt:
            for event in executor.stop():
                self._handle(event, executor)
            raise

    def _handle(self, event: Event, executor: Executor) -> None:
        """Write and show what an event says. A file that cannot be written does not stop the other runs."""
        task = self.plan.tasks[event.stem]
        match event:
            case Advanced(iteration=iteration):
                self.display.advance(task, iteration)
            case Checkpoint(saved=saved):
                self.plan.tasks[event.stem] = dataclasses.replace(task, saved=saved)
                with self._warn_of_errors(f"the state of {task.label} is not saved"):
                    states.write(results.state(self.folder, event.stem), saved)
            case Finished():
                try:
                    record(self.folder, task, event)
                    self._end(task, event.result)
                except OSError as error:
                    self._end(task, Result("failed", explain(error)))
            case Failed(error=error):
                self._end(task, Result("failed", error))
            case WorkerLost():
                self._retry(task, executor)

    def _retry(self, task: Task, executor: Executor) -> None:
        """Compute a run again, from its last checkpoint, unless its workers are lost again and again."""
        self._lost[task.stem] += 1
        if self._lost[task.stem] < MOST_ATTEMPTS:
            self.display.warn(f"{task.label}: its process is gone; the run continues in another")
            executor.submit(task)
        else:
            problem = f"its process has ended {MOST_ATTEMPTS} times; perhaps there is too little memory"
            self._end(task, Result("failed", problem))

    def _end(self, task: Task, result: Result) -> None:
        self.plan.results[task.stem] = result
        self.display.end(task, result)
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


def record(folder: Path, task: Task, event: Finished) -> None:
    """Write all files of a finished run; the result comes last, since it marks the run as done."""
    stem, result = event.stem, event.result
    images.write(results.picture(folder, stem), event.picture)
    if event.grid:
        report.write_grid(folder / "runs" / f"{stem}-grid.png", True, event.grid)
    if result.history and importlib.util.find_spec("matplotlib"):
        report.plot_history(folder / "runs" / f"{stem}-losses.svg", True, list(result.history), result.names)
    recipes.write(folder / "runs" / f"{stem}.toml", task.saved.settings)
    results.write(folder, stem, result)
    results.state(folder, stem).unlink(missing_ok=True)


class Display:
    """Shows how far the runs are: a line on stdout for each, and a bar on stderr if that is a terminal."""

    def __init__(self, tasks: Sequence[Task], done: int, quiet: bool) -> None:
        self._count, self._ended, self._quiet = len(tasks) + done, done, quiet
        self._current: dict[str, str] = {}
        self._iterations = {task.stem: 0 for task in tasks}
        self._bar = None
        if not quiet and sys.stderr is not None and sys.stderr.isatty():
            self._bar = tqdm(
                total=sum(task.pixels for task in tasks),
                file=sys.stderr,
                bar_format="{percentage:3.0f}% {bar:12} [{elapsed}, {remaining} left] {desc}",
                dynamic_ncols=True,
                leave=False,
            )
        for task in tasks:
            self._move_bar(task, task.iterations_done)

    def advance(self, task: Task, iteration: int) -> None:
        """A run has made so many updates."""
        self._current[task.stem] = f"{task.label} {iteration}/{task.settings.iterations}"
        self._move_bar(task, iteration)

    def end(self, task: Task, result: Result) -> None:
        """A run has ended."""
        self._ended += 1
        self._current.pop(task.stem, None)
        self._move_bar(task, task.settings.iterations)
        start = f"{self._ended} of {self._count}: {task.label}"
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
        if self._bar is not None:
            self._bar.close()

    def _move_bar(self, task: Task, iteration: int) -> None:
        new = iteration - self._iterations[task.stem]
        self._iterations[task.stem] = iteration
        if self._bar is not None:
            runs = "; ".join(self._current.values())
            self._bar.set_description_str(f"{self._ended} of {self._count} runs; {runs}", refresh=False)
            self._bar.update(task.pixels * new / (task.settings.iterations or 1))
