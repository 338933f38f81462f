"""Runs in processes of this machine, several at a time.

TensorFlow's number of threads is fixed when it starts, and starting takes seconds. So each process keeps its
threads, and computes one run after the other. concurrent.futures is not used: if one of its processes is
killed, for example because memory ran out, all the others end.
"""

import contextlib
import signal
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

import numpy as np

import vgg
from styling.run.memory import free_memory
from styling.sweeps.forks import PROCESSES
from styling.sweeps.tasks import Event, Failed, Finished, Task, WorkerLost, events_of
from styling.system.device import configure
from styling.system.process import silent_stderr

SECONDS_TO_STOP = 60
PROCESS_BYTES = 600 * 2**20  # of TensorFlow itself


@dataclass(frozen=True)
class Setup:
    """What every worker needs.

    device, threads: of each process. pixels: images by SHA-256. networks: their files by SHA-256.
    save_iterations: the updates between two checkpoints of a run; None for one a minute.
    """

    device: str | None
    threads: int
    pixels: Mapping[str, np.ndarray]
    networks: Mapping[str, str]
    save_iterations: int | None = None


@dataclass
class Worker:
    """A process, the pipe to it, and the run that it computes."""

    process: BaseProcess
    connection: Connection
    task: Task | None = None


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


class Pool:
    """Processes that compute runs."""

    def __init__(self, setup: Setup, workers: int) -> None:
        self._setup = setup
        self._waiting: deque[Task] = deque()
        self._workers = [self._start() for _ in range(workers)]

    def submit(self, task: Task) -> None:
        """Compute a run as soon as a process is free."""
        self._waiting.append(task)

    def events(self) -> Iterator[Event]:
        """The events of all runs that were submitted, until they have ended; more may be submitted then."""
        while busy := self._assign():
            for connection in wait([worker.connection for worker in busy]):
                worker = next(worker for worker in busy if worker.connection is connection)
                try:
                    event = connection.recv()
                except (EOFError, OSError):
                    event = WorkerLost(worker.task.stem)
                    self._replace(worker)
                if isinstance(event, Finished | Failed | WorkerLost):
                    worker.task = None
                yield event

    def stop(self) -> Iterator[Event]:
        """Stop all runs, and yield their last events, with their checkpoints."""
        self._waiting.clear()
        connections = [worker.connection for worker in self._workers if worker.task]
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.send(None)
        deadline = time.monotonic() + SECONDS_TO_STOP
        while connections and time.monotonic() < deadline:
            for connection in wait(connections, timeout=1):
                try:
                    yield connection.recv()
                except (EOFError, OSError):
                    connections.remove(connection)

    def close(self) -> None:
        """End all processes."""
        for worker in self._workers:
            self._end(worker)

    def _start(self) -> Worker:
        here, there = PROCESSES.Pipe()
        process = PROCESSES.Process(target=_serve, args=(there, self._setup), daemon=True)
        with silent_stderr():  # the process inherits stderr, and TensorFlow writes there while it loads
            process.start()
        there.close()  # otherwise this end of the pipe would not notice when the process ends
        return Worker(process, here)

    def _assign(self) -> list[Worker]:
        """Give waiting tasks to free workers, and return the workers that are busy."""
        for worker in self._workers:
            if worker.task is None and self._waiting:
                worker.task = self._waiting.popleft()
                with contextlib.suppress(OSError):  # events() notices that the process has ended
                    worker.connection.send(worker.task)
        return [worker for worker in self._workers if worker.task]

    def _replace(self, worker: Worker) -> None:
        self._end(worker)
        self._workers[self._workers.index(worker)] = self._start()

    def _end(self, worker: Worker) -> None:
        worker.process.kill()
        worker.process.join()
        worker.connection.close()


def _serve(connection: Connection, setup: Setup) -> None:
    """Compute the runs that come through the pipe, until None comes or the other end closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent process handles Ctrl-C
    configure(setup.device, setup.threads, deterministic=True)
    load = cache(lambda sha256: vgg.load(setup.networks[sha256]))
    with contextlib.suppress(EOFError, OSError):
        while task := connection.recv():
            network = load(task.network)
            for event in events_of(task, setup.pixels, network, setup.save_iterations, connection.poll):
                connection.send(event)
