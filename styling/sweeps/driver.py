"""Computes the runs of a sweep, and writes the files of each run as soon as they are ready."""

import contextlib
import importlib.util
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import replace
from multiprocessing.connection import wait
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import msgspec
from tqdm import tqdm

from styling.command import report
from styling.pictures import images
from styling.run import states
from styling.settings import recipes
from styling.sweeps import page, results, sheet
from styling.sweeps.results import Cell, Result
from styling.sweeps.specs import Spec
from styling.sweeps.workers import ENDS, Event, LocalWorker, Painted
from styling.system import terminal
from styling.system.files import write_whole
from styling.system.process import uninterrupted

if TYPE_CHECKING:
    from styling.sweeps.cluster import ClusterWorker

MOST_ATTEMPTS = 3  # at a run whose workers are lost
GIVEN_UP = f"its process has ended {MOST_ATTEMPTS} times; perhaps there is too little memory"
SECONDS_BETWEEN_PAGES = 5

Worker: TypeAlias = "LocalWorker | ClusterWorker"


def follow(
    start: Callable[[Cell], Worker], runs: Iterable[Cell], count: int
) -> Generator[tuple[Cell, Event | None], None, None]:
    """Compute runs, at most `count` at a time, and yield what their workers say of them.

    start: makes the worker of a run. If it is lost, that is None, and another worker goes on from the run's
    last state; at the third loss, the run has failed.
    """
    waiting, losses = deque(runs), Counter[Path]()
    at_work: dict[Worker, Cell] = {}
    try:
        while waiting or at_work:
            while waiting and len(at_work) < count:
                run = waiting.popleft()
                at_work[start(run)] = run
            ready = wait([worker.connection for worker in at_work])
            for worker, run in [pair for pair in at_work.items() if pair[0].connection in ready]:
                try:
                    event = worker.connection.recv()
                except (EOFError, OSError):
                    losses[run.path] += 1
                    event = None if losses[run.path] < MOST_ATTEMPTS else Result("failed", GIVEN_UP)
                if event is None or isinstance(event, ENDS):
                    worker.kill()
                    del at_work[worker]
                if event is None:
                    waiting.appendleft(run)
                elif isinstance(event, states.Saved):
                    run.job = replace(run.job, saved=event)
                yield run, event
    finally:
        for worker in at_work:
            worker.kill()


class Sweep:
    """A sweep that is being computed. runs: each once, though several cells may have it.

    It says how far the runs are: a line on stdout for each, and a bar on stderr if that is a terminal.
    """

    def __init__(self, folder: Path, spec: Spec, cells: Sequence[Cell]) -> None:
        self._folder, self._spec, self._cells, self._next_page = folder, spec, cells, 0.0
        self.runs = list({cell.path: cell for cell in cells}.values())

    def having(self, status: str) -> list[Cell]:
        """The runs whose results have this status."""
        return [run for run in self.runs if run.result.status == status]

    def compute(self, start: Callable[[Cell], Worker], count: int) -> int:
        """Compute the runs that are waiting, so many at a time, write all files, and return the exit status.

        start: makes the worker of a run. Raises OSError.
        """
        (self._folder / "runs").mkdir(parents=True, exist_ok=True)
        for run in self.having("failed"):
            warn(f"{run.label} failed: {run.result.error}")
        waiting = self.having("waiting")
        work, done = sum(map(updates, waiting)), sum(run.iteration for run in waiting)
        self._bar = report.new_bar("[{elapsed}, {remaining} left] {desc}", work, done)
        try:
            with contextlib.closing(self._bar), contextlib.closing(follow(start, waiting, count)) as events:
                for run, event in events:
                    self._take(run, event)
        finally:
            with uninterrupted():
                written = [*sheet.write(self._folder, self._spec, self._cells), *self._write_pages()]
        terminal.print_line(f"wrote {', '.join(map(str, written))}")
        failed = [run.stem for run in self.having("failed")]
        if failed:
            warn(f"{len(failed)} of {len(self.runs)} runs failed: {', '.join(failed)}")
        return 1 if failed else 0

    def _take(self, run: Cell, event: Event | None) -> None:
        match event:
            case int():
                self._advance(run, event)
            case states.Saved():
                states.write(run.file(".state"), event)
            case Painted():
                write_files(run, event)
                self._end(run, event.result)
            case Result():
                self._end(run, event)
            case None:
                warn(f"{run.label}: its process is gone; the run continues in another")

    def _ended(self) -> str:
        return f"{len(self.runs) - len(self.having('waiting'))} of {len(self.runs)}"

    def _advance(self, run: Cell, iteration: int) -> None:
        text = f"{self._ended()} runs; {run.label} {iteration}/{updates(run)}"
        self._bar.set_description_str(text, refresh=False)
        self._bar.update(iteration - run.iteration)
        run.iteration = iteration

    def _end(self, run: Cell, result: Result) -> None:
        for cell in self._cells:
            if cell.path == run.path:
                cell.result = result
        self._advance(run, updates(run))
        start = f"{self._ended()}: {run.label}"
        if result.status == "failed":
            warn(f"{start} failed: {result.error}")
        else:
            loss = f"total loss {result.losses['total']:.6g}" if result.losses else "painted in one pass"
            terminal.print_line(f"{start}: {loss} in {result.seconds:.0f} s")
        if time.monotonic() >= self._next_page:
            self._write_pages()
            self._next_page = time.monotonic() + SECONDS_BETWEEN_PAGES

    def _write_pages(self) -> list[Path]:
        table = results.write_table(self._folder, self._cells)
        return [page.write(self._folder, self._spec, self._cells), table]


def warn(line: str) -> None:
    """Print a line on stderr, above the bar."""
    if sys.stderr is not None:
        tqdm.write(f"neural-style-sweep: {line}", file=sys.stderr)


def updates(run: Cell) -> int:
    """The updates that a run makes; one pass counts as one."""
    return run.job.settings.iterations or 1


def write_files(run: Cell, painted: Painted) -> None:
    """Write all files of a finished run; the result comes last, since it marks the run as done."""
    result = painted.result
    images.write(run.file(".png"), painted.picture)
    if painted.grid:
        images.write(run.file("-grid.png"), images.grid(painted.grid))
    if painted.history and importlib.util.find_spec("matplotlib"):
        report.plot_history(run.file("-losses.svg"), True, painted.history, list(result.losses))
    running = replace(run.job.running, progress_grid=False)
    recipes.write(run.file(".toml"), recipes.to_table(run.job.settings, running))
    write_whole(run.file(".json"), lambda file: file.write(msgspec.json.encode(result)))
    run.file(".state").unlink(missing_ok=True)
