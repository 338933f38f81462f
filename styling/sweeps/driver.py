"""Has the runs of a sweep made, by a pool or a cluster, and writes what comes back as it comes."""

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

from styling import images, recipes, report, states
from styling.process import explain
from styling.sweeps import page, results, sheet
from styling.sweeps.results import Entry, Result
from styling.sweeps.specs import Cell, Spec
from styling.sweeps.work import Advanced, Done, Event, Failed, Kept, Lost, Task

MOST_LOSSES = 3  # of a run's workers, before it is given up
SECONDS_BETWEEN_PAGES = 5
PLOTS = "Plots of the losses need matplotlib: pip install matplotlib"


class Makers(Protocol):
    """What makes runs: pool.Pool, or cluster.Cluster."""

    def share(self, tasks: Sequence[Task]) -> list[Task]:
        """Compute what several of the runs share; they are told of it, and are to be submitted thereafter."""

    def submit(self, task: Task) -> None:
        """Have a run made as soon as there is room."""

    def events(self) -> Iterator[Event]:
        """What happens, until all that was submitted is at its end; more can be submitted meanwhile."""

    def stop(self) -> Iterator[Event]:
        """Have all runs stop where they are, and tell how far they are."""


@dataclass
class Sweep:
    """A sweep at work. results: what became of its runs so far, by stem."""

    folder: Path
    spec: Spec
    cells: Sequence[Cell]
    stems: Sequence[str]
    results: dict[str, Result]
    tasks: dict[str, Task]
    show: "Show"
    _losses: Counter = field(default_factory=Counter)
    _news: bool = False
    _next_pages: float = 0.0

    def make(self, makers: Makers) -> None:
        """Have all tasks made. KeyboardInterrupt stops them all, and is passed on."""
        try:
            if len(self.tasks) > 1:
                self.tasks = {task.stem: task for task in makers.share(list(self.tasks.values()))}
            for task in self.tasks.values():
                makers.submit(task)
            for event in makers.events():
                self.handle(event, makers)
                self._refresh()
        except KeyboardInterrupt:
            for event in makers.stop():
                self.handle(event, makers)
            raise

    def handle(self, event: Event, makers: Makers) -> None:
        """Write what an event brings, and show it; what cannot be written is said, and the others go on."""
        task = self.tasks[event.stem]
        match event:
            case Advanced(iteration=iteration):
                self.show.advance(task, iteration)
            case Kept(saved=saved):
                self.tasks[event.stem] = dataclasses.replace(task, saved=saved)
                with self._warning(f"{task.label} is not kept"):
                    states.write(results.state(self.folder, event.stem), saved)
            case Done():
                try:
                    self._write(event)
                    self._finish(task, event.result)
                except OSError as error:
                    self._finish(task, Result("failed", explain(error)))
            case Failed(error=error):
                self._finish(task, Result("failed", error))
            case Lost():
                self._again(task, makers)

    def _again(self, task: Task, makers: Makers) -> None:
        """Have a run made again, from where it was kept, unless it loses one worker after the other."""
        self._losses[task.stem] += 1
        if self._losses[task.stem] < MOST_LOSSES:
            self.show.warn(f"{task.label}: what worked on it has gone; it goes on elsewhere")
            makers.submit(task)
        else:
            problem = f"what worked on it has gone {MOST_LOSSES} times, for want of memory perhaps"
            self._finish(task, Result("failed", problem))

    def _write(self, event: Done) -> None:
        """Write all that a run has made, the record last, by which it counts as done."""
        folder, stem, result = self.folder / "runs", event.stem, event.result
        images.write(folder / f"{stem}.png", event.picture)
        if event.pictures:
            report.write_grid(folder / f"{stem}-grid.png", True, event.pictures)
        if importlib.util.find_spec("matplotlib"):
            report.plot_history(folder / f"{stem}-losses.svg", True, list(result.history), result.names)
        recipes.write(folder / f"{stem}.toml", self.tasks[stem].saved.settings)
        results.write(self.folder, stem, result)
        results.state(self.folder, stem).unlink(missing_ok=True)

    def _finish(self, task: Task, result: Result) -> None:
        self.results[task.stem] = result
        self.show.finish(task, result)
        self._news = True

    def _refresh(self) -> None:
        """Write the table and the page anew where they have news, but not all the time."""
        if self._news and time.monotonic() >= self._next_pages:
            with self._warning("the page is not written"):
                self.write_pages()
            self._news, self._next_pages = False, time.monotonic() + SECONDS_BETWEEN_PAGES

    @contextlib.contextmanager
    def _warning(self, what: str) -> Iterator[None]:
        """Say what cannot be done, instead of raising OSError."""
        try:
            yield
        except OSError as error:
            self.show.warn(f"{what}: {explain(error)}")

    @property
    def entries(self) -> list[Entry]:
        """The cells with what became of their runs."""
        return [
            Entry(cell, stem, self.results[stem]) for cell, stem in zip(self.cells, self.stems, strict=True)
        ]

    def write_pages(self, sheets: bool = False) -> list[Path]:
        """Write the table, the page and, if asked, the sheets; returns their names. Raises OSError."""
        entries = self.entries
        written = sheet.write(self.folder, self.spec, entries) if sheets else []
        table = results.write_table(self.folder, entries)
        return [*written, page.write(self.folder, self.spec, entries, PLOTS), table]


class Show:
    """Shows how far the runs are: a line on stdout for each, and a bar on stderr where that is a terminal."""

    def __init__(self, tasks: Sequence[Task], done: int, quiet: bool) -> None:
        self._count, self._done, self._quiet = len(tasks) + done, done, quiet
        self._at: dict[str, str] = {}
        self._made = {task.stem: task.made for task in tasks}
        bar = not quiet and sys.stderr is not None and sys.stderr.isatty()
        self._bar = _bar(sum(task.operations for task in tasks)) if bar else None
        for task in tasks:
            self._count_up(task, self._made[task.stem], 0)

    def advance(self, task: Task, iteration: int) -> None:
        """A run has made so many updates."""
        self._at[task.stem] = f"{task.label} {iteration}/{task.settings.iterations}"
        self._count_up(task, iteration, self._made[task.stem])
        self._made[task.stem] = iteration

    def finish(self, task: Task, result: Result) -> None:
        """A run is at its end."""
        self._done += 1
        self._at.pop(task.stem, None)
        self._count_up(task, task.settings.iterations, self._made[task.stem])
        which = f"{self._done} of {self._count}: {task.label}"
        if result.status == "failed":
            self.warn(f"{which} failed: {result.error}")
        else:
            self.say(f"{which}: total loss {result.losses['total']:.6g} in {result.seconds:.0f} s")

    def say(self, line: str) -> None:
        """Print a line on stdout, unless quiet."""
        if not self._quiet:
            report.print_line(line)

    def warn(self, line: str) -> None:
        """Print a line on stderr."""
        if sys.stderr is not None:
            tqdm.write(f"neural-style-sweep: {line}", file=sys.stderr)

    def close(self) -> None:
        """Take the bar off the terminal."""
        if self._bar is not None:
            self._bar.close()

    def _count_up(self, task: Task, iteration: int, before: int) -> None:
        if self._bar is not None:
            at = "; ".join(self._at.values())
            self._bar.set_description_str(f"{self._done} of {self._count} runs; {at}", refresh=False)
            self._bar.update(task.operations * (iteration - before) / task.settings.iterations)


def _bar(operations: float) -> tqdm:
    layout = "{percentage:3.0f}% {bar:12} [{elapsed}, {remaining} left] {desc}"
    return tqdm(total=operations, file=sys.stderr, bar_format=layout, dynamic_ncols=True, leave=False)
