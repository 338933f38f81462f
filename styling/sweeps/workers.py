"""Workers: processes of this machine, each of which computes one run of a sweep.

Loading TensorFlow takes seconds, so each is a fork of a process that has done only that. concurrent.futures
and joblib are not used: if one of their processes is killed, for example because memory ran out, all the
others end.
"""

import contextlib
import multiprocessing
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

import numpy as np

from styling.command import painting
from styling.run import states
from styling.run.recorder import Recorder
from styling.sweeps.results import Cell, Result
from styling.system.errors import StyleError
from styling.system.process import explain

if TYPE_CHECKING:
    from styling.run.progress import Progress
    from vgg import Network

HAS_FORKS = "forkserver" in multiprocessing.get_all_start_methods()  # otherwise each process loads TensorFlow
PROCESSES: Any = multiprocessing.get_context("forkserver" if HAS_FORKS else "spawn")
PROCESS_BYTES = 600 * 2**20  # of TensorFlow itself
PLOT_POINTS = 100  # of the losses over a run
SECONDS_BETWEEN_EVENTS = 0.5


@dataclass(frozen=True)
class Painted:
    """A run that is done. history: rows of (iteration, *losses). picture, and grid if it was wanted:
    [H, W, 3], RGB 0..255."""

    result: Result
    history: list[tuple[float, ...]]
    picture: np.ndarray
    grid: list[np.ndarray]


# What a worker says of its run: the updates made, a state to go on from, and last, the picture or a failure.
Event = int | states.Saved | Painted | Result
ENDS = Painted | Result


def compute(run: Cell, send: Callable[[Event], object], network: "Network | None" = None) -> None:
    """Compute a run, and send its events. network: of the job, if it is not to be read from its file."""
    next_event = 0.0

    def watch(progress: "Progress", recorder: Recorder) -> None:
        nonlocal next_event
        began = time.monotonic()
        if began >= next_event:
            send(progress.iteration)
            next_event = began + SECONDS_BETWEEN_EVENTS
        if recorder.is_save_due(progress.iteration):
            send(recorder.saved(progress))
            recorder.was_saved(time.monotonic() - began)

    try:
        job = run.job
        if network is None:
            job, network = painting.start(job)
        prepared = painting.prepare(job, run.named, network)
        outcome = painting.follow(prepared, [watch], max(job.settings.iterations // PLOT_POINTS, 1))
        recorder, progress = outcome.recorder, outcome.progress
        if outcome.early or outcome.picture is None:
            raise outcome.early or StyleError("there is no picture")
        losses = dict(progress.losses()) if recorder.history else {}
        result = Result("done", "", progress.iteration, recorder.seconds, losses)
        send(Painted(result, recorder.history, outcome.picture, recorder.grid_pictures()))
    except Exception as error:  # the other runs go on
        kind = "" if isinstance(error, StyleError | OSError) else f"{type(error).__name__}: "
        send(Result("failed", kind + explain(error)))


def share_cores(cores: Sequence[int], runs: int, workers: int | None, threads: int | None) -> tuple[int, int]:
    """How many runs at a time, and how many threads each.

    Many runs with one thread each are faster than few with many threads, so cores that are left over go to
    threads. cores: of each machine. runs: at most at a time. workers, threads: if they are given.
    """
    most = max(workers or runs, 1)
    if threads is None:
        fitting = (count for count in range(max(cores), 0, -1) if sum(one // count for one in cores) >= most)
        threads = next(fitting, 1)
    at_once = most if workers else max(min(most, sum(one // threads for one in cores)), 1)
    return min(at_once, max(runs, 1)), threads


def preload() -> None:
    """Start the process that is forked, without waiting until it has loaded TensorFlow."""
    if HAS_FORKS:
        PROCESSES.set_forkserver_preload(["styling.sweeps.workers", "stylize"])
        forkserver.ensure_running()


class LocalWorker:
    """A process of this machine that computes a run. connection: gives the events, and ends with it."""

    def __init__(self, run: Cell) -> None:
        self.connection, other_end = PROCESSES.Pipe(duplex=False)
        self._process = PROCESSES.Process(target=serve, args=(run, other_end), daemon=True)
        self._process.start()
        other_end.close()  # otherwise this end of the pipe would not notice when the process ends

    def kill(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.join()


def serve(run: Cell, connection: Connection) -> None:
    """Compute a run, and send its events through the pipe, unless the other end closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent process handles Ctrl-C
    with contextlib.suppress(OSError):
        compute(run, connection.send)
