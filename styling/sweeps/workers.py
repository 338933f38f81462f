"""Workers: processes of this machine, each of which computes one run of a sweep after the other.

TensorFlow's number of threads is fixed when it starts, and starting takes seconds, so a worker is kept. It is
a fork of a process that has only loaded TensorFlow. concurrent.futures and joblib are not used: if one of
their processes is killed, for example because memory ran out, all the others end.
"""

import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from multiprocessing import forkserver
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from styling.command import painting
from styling.command.jobs import Job
from styling.run import states
from styling.run.recorder import Recorder
from styling.sweeps.results import Result
from styling.system.errors import StyleError
from styling.system.limits import free_memory
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
class Planned:
    """A run that is to be computed.

    stem: the name of its files, without the ending. label: its name for people. job: with settings that leave
    nothing open, the network's SHA-256 and, of a run that was stopped, the run so far. images: the SHA-256 of
    each image's pixels. pixels: the sum over all updates; the run's time is proportional to it. memory: bytes
    that the run needs.
    """

    stem: str
    label: str
    job: Job
    images: tuple[str, ...]
    pixels: int
    memory: float

    @property
    def iterations_done(self) -> int:
        """The updates made so far."""
        return self.job.saved.iteration if self.job.saved else 0

    def named(self, pixels: Mapping[str, np.ndarray]) -> painting.Named:
        """The images with their flags and names. pixels: by SHA-256."""
        named = zip(self.job.files.images, self.images, strict=True)
        return [(flag, path, pixels[sha256]) for (flag, path), sha256 in named]


@dataclass(frozen=True)
class Advanced:
    """So many updates are made."""

    iteration: int


@dataclass(frozen=True)
class Checkpoint:
    """A state from which the run can continue."""

    saved: states.Saved


@dataclass(frozen=True)
class Finished:
    """The run has ended. settings: as in a recipe. picture, and grid if it was wanted: [H, W, 3], 0..255."""

    result: Result
    settings: dict[str, Any]
    picture: np.ndarray
    grid: list[np.ndarray]


@dataclass(frozen=True)
class Failed:
    """The run ended with an error, given in one line."""

    error: str


@dataclass(frozen=True)
class Stopped:
    """The run was stopped, after its last checkpoint."""


Event = Advanced | Checkpoint | Finished | Failed | Stopped
ENDS = Finished | Failed | Stopped


class WorkerLostError(Exception):
    """The process or the node that computed a run is gone."""


def compute(
    planned: Planned,
    named: painting.Named,
    network: "Network",
    send: Callable[[Event], object],
    is_stopped: Callable[[], bool],
) -> None:
    """Compute a run, and send its events; the last is one of ENDS. named: the run's images."""
    from styling.run.memory import gradients_forgotten

    next_event = time.monotonic() + SECONDS_BETWEEN_EVENTS

    def watch(progress: "Progress", recorder: Recorder) -> None:
        nonlocal next_event
        if time.monotonic() >= next_event:
            send(Advanced(progress.iteration))
            next_event = time.monotonic() + SECONDS_BETWEEN_EVENTS
        if recorder.is_save_due(progress.iteration):
            began = time.monotonic()
            send(Checkpoint(recorder.saved(progress)))
            recorder.was_saved(time.monotonic() - began)
        if is_stopped():
            raise KeyboardInterrupt

    try:
        with gradients_forgotten():
            prepared = painting.prepare(planned.job, named, planned.job.running, network)
            every = max(planned.job.settings.iterations // PLOT_POINTS, 1)
            outcome = painting.follow(prepared, [watch], every)
        send_end(outcome, send)
    except KeyboardInterrupt:  # before the first update
        send(Stopped())
    except (StyleError, OSError) as error:
        send(Failed(explain(error)))
    except Exception as error:  # the other runs go on
        send(Failed(f"{type(error).__name__}: {explain(error)}"))


def send_end(outcome: painting.Outcome, send: Callable[[Event], object]) -> None:
    """Send the events at the end of a run."""
    recorder, progress = outcome.recorder, outcome.progress
    if isinstance(outcome.early, KeyboardInterrupt):
        send(Checkpoint(recorder.saved(progress)))
        send(Stopped())
    elif outcome.early or outcome.picture is None:
        raise outcome.early or StyleError("there is no picture")
    else:
        names, history = tuple(progress.losses()), tuple(recorder.history)
        result = Result("done", "", progress.iteration, recorder.seconds, names, history)
        settings = recorder.saved(progress).settings
        send(Finished(result, settings, outcome.picture, recorder.grid_pictures()))


def share_cores(
    cores: int, runs: int, run_bytes: float, workers: int | None = None, threads: int | None = None
) -> tuple[int, int]:
    """How many runs at a time, and how many threads each, unless they are given.

    Many runs with one thread each are faster than few with many threads. So there are as many runs as cores
    and memory allow, and the cores that are left over go to their threads. run_bytes: memory of one run.
    """
    if workers is None:
        fit = int(free_memory() // (run_bytes + PROCESS_BYTES))
        workers = min(cores // (threads or 1), fit, runs)
    workers = max(min(workers, runs), 1)
    return workers, threads or max(cores // workers, 1)


def preload() -> None:
    """Start the process that is forked, without waiting until it has loaded TensorFlow."""
    if HAS_FORKS:
        PROCESSES.set_forkserver_preload(["styling.sweeps.workers", "stylize"])
        forkserver.ensure_running()


class LocalWorker:
    """A process of this machine. pixels: images by SHA-256."""

    def __init__(self, pixels: Mapping[str, np.ndarray]) -> None:
        self._pixels = pixels
        self._connection, other_end = PROCESSES.Pipe()
        self._process = PROCESSES.Process(target=serve, args=(other_end,), daemon=True)
        self._process.start()
        other_end.close()  # otherwise this end of the pipe would not notice when the process ends

    def compute(self, planned: Planned) -> Iterator[Event]:
        """Compute a run, and yield its events; the last is one of ENDS. Raises WorkerLostError."""
        try:
            self._connection.send((planned, planned.named(self._pixels)))
            while True:
                event = self._connection.recv()
                yield event
                if isinstance(event, ENDS):
                    return
        except (EOFError, OSError):
            raise WorkerLostError from None

    def stop(self) -> None:
        """Have the run stop after the current update."""
        try:
            self._connection.send(None)
        except OSError:
            self.close()

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.join()


def serve(connection: multiprocessing.connection.Connection) -> None:
    """Compute the runs that come through the pipe, until None comes or the other end closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent process handles Ctrl-C
    try:
        while request := connection.recv():
            planned, named = request
            compute(planned, named, network_of(planned.job), connection.send, connection.poll)
    except (EOFError, OSError):
        return


@cache
def configured(device: str | None, threads: int | None) -> None:
    """Set TensorFlow up, once in each process."""
    from styling.system.device import configure

    configure(device, threads, deterministic=True)


def network_of(job: Job) -> "Network":
    """The network of a job, on the device of the job."""
    configured(job.running.device, job.running.threads)
    return load(job.network)


@cache
def load(path: Path) -> "Network":
    """The network in a file, read once in each process."""
    import vgg

    return vgg.load(path)
