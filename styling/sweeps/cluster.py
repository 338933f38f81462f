"""Runs on a Ray cluster, each a Ray task that declares the CPUs, the GPU and the memory that it needs.

The program must be installed on every node. Images and networks go into the cluster's object store once, and
from there to each node that needs them. Each run sends a checkpoint every minute, so that the runs of a lost
node continue on others.
"""

import signal
import socket
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

import vgg
from styling.run.memory import GIB
from styling.sweeps.pool import PROCESS_BYTES, Setup
from styling.sweeps.tasks import Event, Failed, Finished, Task, WorkerLost, events_of
from styling.system.device import configure
from styling.system.errors import SettingsError
from styling.system.process import explain, silent_stderr

Refs = dict[str, ray.ObjectRef]
SECONDS_TO_CONNECT = 10


def join(address: str) -> None:
    """Join the cluster at an address such as auto or HOST:6379. Raises SettingsError if that fails."""
    host, colon, port = address.rpartition(":")
    handler = signal.getsignal(signal.SIGTERM)
    try:
        if colon:  # Ray itself would try for minutes
            socket.create_connection((host, int(port)), SECONDS_TO_CONNECT).close()
        with silent_stderr():
            ray.init(address, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise SettingsError("cluster", f"{address} cannot be joined: {explain(error)}") from None
    finally:
        signal.signal(signal.SIGTERM, handler)  # Ray's own handler would end this process silently


def share_cpus(runs: int, workers: int | None, threads: int | None) -> tuple[int, int]:
    """How many runs at a time, and how many threads each, to use all CPUs, unless they are given."""
    cpus = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
    threads = threads or max(min(sum(cpus) // max(runs, 1), max(cpus)), 1)
    workers = workers or sum(cpu // threads for cpu in cpus)
    return max(min(workers, runs), 1), threads


class Cluster:
    """The cluster that this process has joined; it computes so many runs at a time at most."""

    def __init__(self, setup: Setup, workers: int) -> None:
        self._workers = workers
        self._waiting: deque[Task] = deque()
        self._running: dict[ray.ObjectRefGenerator, Task] = {}
        self._pixels: Refs = {sha256: ray.put(pixels) for sha256, pixels in setup.pixels.items()}
        self._networks: Refs = {sha256: ray.put(vgg.load(path)) for sha256, path in setup.networks.items()}
        self._setup = replace(setup, pixels={}, networks={})
        self._gpus = 1 if setup.device != "cpu" and ray.cluster_resources().get("GPU") else 0

    def submit(self, task: Task) -> None:
        """Compute a run as soon as a worker is free."""
        self._waiting.append(task)

    def events(self) -> Iterator[Event]:
        """The events of all runs that were submitted, until they have ended; more may be submitted then."""
        while self._waiting or self._running:
            while self._waiting and len(self._running) < self._workers:
                task = self._waiting.popleft()
                if problem := self._problem(task):
                    yield Failed(task.stem, problem)
                else:
                    self._running[self._start(task)] = task
            for generator in ray.wait(list(self._running), timeout=1)[0] if self._running else ():
                event = self._next_event(generator)
                if isinstance(event, Finished | Failed | WorkerLost):
                    del self._running[generator]
                yield event

    def stop(self) -> Iterator[Event]:
        """Stop all runs; they continue from their last checkpoints."""
        self._waiting.clear()
        for generator in self._running:
            ray.cancel(generator)
        yield from ()

    def close(self) -> None:
        """Leave the cluster."""
        ray.shutdown()

    def _problem(self, task: Task) -> str | None:
        """Why no node can compute the run, or None; Ray would wait for a suitable node forever."""
        needs = {"CPU": self._setup.threads, "GPU": self._gpus, "memory": task.memory + PROCESS_BYTES}
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        if any(all(node.get(name, 0) >= amount for name, amount in needs.items()) for node in nodes):
            return None
        amounts = f"{needs['CPU']} CPUs, {needs['GPU']} GPUs and {needs['memory'] / GIB:.1f} GiB of memory"
        return f"no node of the cluster has {amounts}"

    def _start(self, task: Task) -> ray.ObjectRefGenerator:
        options = {
            "num_cpus": self._setup.threads,
            "num_gpus": self._gpus,
            "memory": task.memory + PROCESS_BYTES,
            "max_retries": 0,  # the sweep itself starts a lost run again, from its checkpoint
            "num_returns": "streaming",
        }
        pixels = {sha256: self._pixels[sha256] for _, sha256 in task.images}
        network = {task.network: self._networks[task.network]}
        return ray.remote(_compute).options(**options).remote(self._setup, task, pixels, network)

    def _next_event(self, generator: ray.ObjectRefGenerator) -> Event:
        stem = self._running[generator].stem
        try:
            return ray.get(next(generator))
        except RayTaskError as error:  # from before the run started
            return Failed(stem, explain(error.cause or error))
        except (RayError, StopIteration):
            return WorkerLost(stem)


def _compute(setup: Setup, task: Task, pixels: Refs, network: Refs) -> Iterator[Event]:
    """Compute a run on the node where this is called."""
    _configure(setup.device, setup.threads)  # first, since a network that arrives starts TensorFlow
    yield from events_of(task, _fetch(pixels), _fetch(network)[task.network], setup.save_iterations)


def _fetch(references: Refs) -> dict[str, Any]:
    """The objects that the object store has for these references."""
    return dict(zip(references, ray.get(list(references.values())), strict=True))


@cache
def _configure(device: str | None, threads: int) -> None:
    """Set TensorFlow up once in each process, since a process may compute several runs."""
    configure(device, threads, deterministic=True)
