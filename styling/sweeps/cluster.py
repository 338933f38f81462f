"""Runs on a Ray cluster, each a task with the CPUs, GPUs and memory that it declares.

The program must be installed on every node. Images, networks and shared targets go into the cluster's object
store once, and from there to each node that needs them. A run tells each minute all that it needs to go on,
so that what a lost node was at goes on elsewhere.
"""

import signal
import socket
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

import stylize
import vgg
from styling.errors import SettingsError
from styling.memory import GIB
from styling.process import explain, silent_stderr
from styling.sweeps.layout import PROCESS_BYTES, Layout
from styling.sweeps.pool import Setup
from styling.sweeps.work import Done, Event, Failed, Lost, Task, caught, share_targets, work

Refs = dict[str, ray.ObjectRef]
SECONDS_TO_CONNECT = 10


def join(address: str) -> None:
    """Join the cluster at an address, as auto or HOST:6379. Raises SettingsError where that fails."""
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
        signal.signal(signal.SIGTERM, handler)  # Ray's own would end the driver without a word


def layout(runs: int, workers: int | None, threads: int | None) -> Layout:
    """How many runs at a time with how many threads: all CPUs, unless something else is asked for."""
    cpus = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
    threads = threads or max(min(sum(cpus) // max(runs, 1), max(cpus)), 1)
    return Layout(workers or max(sum(cpu // threads for cpu in cpus), 1), threads)


class Cluster:
    """The cluster that this process has joined, as what makes runs: at most so many at a time."""

    def __init__(self, setup: Setup, count: int) -> None:
        self._count = count
        self._waiting: deque[Task] = deque()
        self._running: dict[ray.ObjectRefGenerator, Task] = {}
        self._pixels: Refs = {digest: ray.put(pixels) for digest, pixels in setup.pixels.items()}
        self._networks: Refs = {digest: ray.put(vgg.load(path)) for digest, path in setup.networks.items()}
        self._kept: Refs = {}
        self._setup = replace(setup, pixels={}, networks={})
        self._gpus = 1 if setup.device != "cpu" and ray.cluster_resources().get("GPU") else 0

    def share(self, tasks: Sequence[Task]) -> list[Task]:
        """Compute what several of the runs share; they are told of it, and are to be submitted thereafter."""
        able = [task for task in tasks if self._problem(task) is None]
        if not able:
            return list(tasks)
        shared = ray.remote(_shared).options(**self._declared(max(task.memory for task in able)))
        try:
            keys, kept = ray.get(shared.remote(self._setup, able, self._pixels, self._networks))
        except RayError:  # they do without, since each can compute all that it needs
            return list(tasks)
        self._kept = {key: ray.put(target) for key, target in kept.items()}
        return [replace(task, targets=keys.get(task.stem, frozenset())) for task in tasks]

    def submit(self, task: Task) -> None:
        """Have a run made as soon as there is room."""
        self._waiting.append(task)

    def events(self) -> Iterator[Event]:
        """What happens, until all that was submitted is at its end; more can be submitted meanwhile."""
        while self._waiting or self._running:
            while self._waiting and len(self._running) < self._count:
                task = self._waiting.popleft()
                if problem := self._problem(task):
                    yield Failed(task.stem, problem)
                else:
                    self._running[self._begin(task)] = task
            for generator in ray.wait(list(self._running), timeout=1)[0] if self._running else ():
                event = self._next(generator)
                if isinstance(event, Done | Failed | Lost):
                    del self._running[generator]
                yield event

    def stop(self) -> Iterator[Event]:
        """Have all runs stop where they are; what they told last is where they can go on."""
        self._waiting.clear()
        for generator in self._running:
            ray.cancel(generator)
        yield from ()

    def close(self) -> None:
        """Leave the cluster."""
        ray.shutdown()

    def _declared(self, memory: float) -> dict[str, float]:
        """What a task needs of a node, as Ray wants it declared."""
        needs = {"num_cpus": self._setup.threads, "num_gpus": self._gpus, "memory": memory + PROCESS_BYTES}
        return needs | {"max_retries": 0}  # the driver sees to what is to be done again, and from where

    def _problem(self, task: Task) -> str | None:
        """What keeps every node from making the run, which would wait for another in vain."""
        wants = {"CPU": self._setup.threads, "GPU": self._gpus, "memory": task.memory + PROCESS_BYTES}
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        if any(all(node.get(name, 0) >= amount for name, amount in wants.items()) for node in nodes):
            return None
        amounts = f"{wants['CPU']} CPUs, {wants['GPU']} GPUs and {wants['memory'] / GIB:.1f} GiB of memory"
        return f"no node of the cluster has {amounts}"

    def _begin(self, task: Task) -> ray.ObjectRefGenerator:
        made = ray.remote(_made).options(**self._declared(task.memory), num_returns="streaming")
        names = {task.content, *task.styles, task.initial} - {None}
        return made.remote(
            self._setup,
            task,
            {name: self._pixels[name] for name in names},
            {task.network: self._networks[task.network]},
            {key: self._kept[key] for key in task.targets},
        )

    def _next(self, generator: ray.ObjectRefGenerator) -> Event:
        stem = self._running[generator].stem
        try:
            return ray.get(next(generator))
        except RayTaskError as error:  # of what goes on before a run begins
            return Failed(stem, explain(error.cause or error))
        except (RayError, StopIteration):
            return Lost(stem)


def _made(setup: Setup, task: Task, pixels: Refs, networks: Refs, kept: Refs) -> Iterator[Event]:
    """Make a run on a node, where this is called."""
    configure(setup.device, setup.threads)  # first, since a network that arrives wakes TensorFlow up
    network = fetched(networks)[task.network]
    events = work(task, fetched(pixels), network, fetched(kept), setup.every)
    yield from caught(task.stem, events)


def _shared(
    setup: Setup, tasks: Sequence[Task], pixels: Refs, networks: Refs
) -> tuple[dict[str, frozenset[str]], dict[str, Any]]:
    """Compute shared targets on a node, where this is called."""
    configure(setup.device, setup.threads)
    return share_targets(tasks, fetched(pixels), fetched(networks).__getitem__)


def fetched(references: Refs) -> dict[str, Any]:
    """What the object store has for these."""
    return dict(zip(references, ray.get(list(references.values())), strict=True))


@cache
def configure(device: str | None, threads: int) -> None:
    """Set the process of a node up, which may make one run after the other."""
    stylize.configure(device, threads, deterministic=True)
