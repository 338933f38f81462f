"""Runs in processes of this machine, some at a time, each with some threads.

TensorFlow's threads are settled when it starts, so that a process keeps its number of them; it makes one run
after the other.
"""

import contextlib
import multiprocessing
import signal
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

import numpy as np

import stylize
import vgg
from styling.process import silent_stderr
from styling.sweeps.work import Done, Event, Failed, Lost, Task, caught, share_targets, work

SPAWN = multiprocessing.get_context("spawn")  # TensorFlow does not survive a fork
SECONDS_TO_STOP = 60


@dataclass(frozen=True)
class Setup:
    """What all runs work with.

    device, threads: of each process. pixels: images by digest. networks: their files by SHA-256.
    every: how many iterations there are from one time that a run tells all that it needs to go on to the
    next; None for a minute.
    """

    device: str | None
    threads: int
    pixels: Mapping[str, np.ndarray]
    networks: Mapping[str, str]
    every: int | None = None


@dataclass
class Worker:
    """A process, this end of its pipe, and what it is at."""

    process: BaseProcess
    connection: Connection
    task: Task | None = None


class Pool:
    """Processes that make runs, so many at a time."""

    def __init__(self, setup: Setup, count: int) -> None:
        self._setup = setup
        self._waiting: deque[Task] = deque()
        self._kept: dict[str, Any] = {}
        self._workers = [self._start() for _ in range(count)]

    def share(self, tasks: Sequence[Task]) -> list[Task]:
        """Compute what several of the runs share; they are told of it, and are to be submitted thereafter."""
        worker = self._workers[0]
        try:
            worker.connection.send(list(tasks))
            keys, self._kept = worker.connection.recv()
        except (EOFError, OSError):  # they do without, since each can compute all that it needs
            self._replace(worker)
            return list(tasks)
        return [replace(task, targets=keys[task.stem]) for task in tasks]

    def submit(self, task: Task) -> None:
        """Have a run made as soon as there is room."""
        self._waiting.append(task)

    def events(self) -> Iterator[Event]:
        """What happens, until all that was submitted is at its end; more can be submitted meanwhile."""
        while busy := self._assign():
            for connection in wait([worker.connection for worker in busy]):
                worker = next(worker for worker in busy if worker.connection is connection)
                event = self._receive(worker)
                if isinstance(event, Done | Failed | Lost):
                    worker.task = None
                yield event

    def stop(self) -> Iterator[Event]:
        """Have all runs stop where they are, and tell how far they are."""
        self._waiting.clear()
        open_ends = [worker.connection for worker in self._workers if worker.task]
        for connection in open_ends:
            with contextlib.suppress(OSError):
                connection.send(None)
        until = time.monotonic() + SECONDS_TO_STOP
        while open_ends and time.monotonic() < until:
            for connection in wait(open_ends, timeout=1):
                try:
                    yield connection.recv()
                except (EOFError, OSError):
                    open_ends.remove(connection)

    def close(self) -> None:
        """End all processes."""
        for worker in self._workers:
            worker.process.kill()
            worker.process.join()
            worker.connection.close()

    def _start(self) -> Worker:
        here, there = SPAWN.Pipe()
        process = SPAWN.Process(target=_serve, args=(there, self._setup), daemon=True)
        with silent_stderr():  # for good, since TensorFlow writes there as soon as it is loaded
            process.start()
        there.close()  # else nobody would notice that the process has gone
        return Worker(process, here)

    def _assign(self) -> list[Worker]:
        """Give what waits to those that are free, and return those that are at work."""
        for worker in self._workers:
            if worker.task is None and self._waiting:
                worker.task = self._waiting.popleft()
                with contextlib.suppress(OSError):  # it has gone, as will show
                    kept = {key: self._kept[key] for key in worker.task.targets}
                    worker.connection.send((worker.task, kept))
        return [worker for worker in self._workers if worker.task]

    def _receive(self, worker: Worker) -> Event:
        try:
            return worker.connection.recv()
        except (EOFError, OSError):
            self._replace(worker)
            return Lost(worker.task.stem)

    def _replace(self, worker: Worker) -> None:
        worker.process.kill()
        worker.process.join()
        worker.connection.close()
        self._workers[self._workers.index(worker)] = self._start()


def _serve(connection: Connection, setup: Setup) -> None:
    """Do what comes down the pipe; the other end's going ends it, too."""
    configure(setup)
    load = cache(lambda digest: vgg.load(setup.networks[digest]))
    with contextlib.suppress(EOFError, OSError):
        while (job := connection.recv()) is not None:
            if isinstance(job, list):
                connection.send(share_targets(job, setup.pixels, load))
                continue
            task, kept = job
            network = load(task.network)
            events = work(task, setup.pixels, network, kept, setup.every, connection.poll)
            for event in caught(task.stem, events):
                connection.send(event)


def configure(setup: Setup) -> None:
    """Set a new process up. Ctrl-C reaches it too, but is for the one that started it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    stylize.configure(setup.device, setup.threads, deterministic=True)
