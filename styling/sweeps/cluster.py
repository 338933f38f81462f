"""Workers on a Ray cluster: each run is a Ray task that declares the CPUs, the GPU and the memory it needs.

The program must be installed on every node. Images and networks go into the cluster's object store once, and
from there to each node that needs them. Each run sends a checkpoint every minute, so that the runs of a lost
node continue on others.
"""

import queue
import signal
import socket
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import ray
from ray.exceptions import RayError, RayTaskError

import vgg
from styling.run.memory import GIB
from styling.sweeps.workers import (
    ENDS,
    PROCESS_BYTES,
    Event,
    Failed,
    Planned,
    WorkerLostError,
    compute,
    configured,
)
from styling.system.errors import SettingsError
from styling.system.process import explain, silent_stderr

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


class Store:
    """The images by SHA-256 and the networks by file, in the object store of the cluster that was joined."""

    def __init__(self, pixels: Mapping[str, np.ndarray], networks: Mapping[str, Path]) -> None:
        self.pixels = {sha256: ray.put(image) for sha256, image in pixels.items()}
        self.networks = {path: ray.put(vgg.load(path)) for path in networks.values()}


class ClusterWorker:
    """A share of the cluster that was joined, which computes one run at a time."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._generator: ray.ObjectRefGenerator | None = None

    def compute(self, planned: Planned) -> Iterator[Event]:
        """Compute a run, and yield its events; the last is one of ENDS. Raises WorkerLostError."""
        running = planned.job.running
        uses_gpu = running.device != "cpu" and bool(ray.cluster_resources().get("GPU"))
        needs: dict[str, float] = {
            "CPU": running.threads or 1,
            "GPU": int(uses_gpu),
            "memory": planned.memory + PROCESS_BYTES,
        }
        if problem := lacking(needs):
            yield Failed(problem)
            return
        options: dict[str, Any] = {"num_cpus": needs["CPU"], "num_gpus": needs["GPU"]}
        options |= {"memory": needs["memory"], "num_returns": "streaming"}
        options["max_retries"] = 0  # the sweep itself goes on from a checkpoint
        images = [self._store.pixels[sha256] for sha256 in planned.images]
        network = self._store.networks[planned.job.network]
        try:
            self._generator = ray.remote(serve).options(**options).remote(planned, [network], *images)
            for reference in self._generator:
                event = ray.get(reference)
                yield event
                if isinstance(event, ENDS):
                    return
        except RayTaskError as error:  # from before the run started
            yield Failed(explain(error.cause or error))
            return
        except RayError:
            pass
        raise WorkerLostError

    def stop(self) -> None:
        """Stop the run; it continues from its last checkpoint."""
        if self._generator is not None:
            ray.cancel(self._generator)

    def close(self) -> None:
        """Stop the run, if one is left."""
        self.stop()


def lacking(needs: Mapping[str, float]) -> str | None:
    """Why no node can compute a run, or None; Ray would wait for a suitable node forever."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if any(all(node.get(name, 0) >= amount for name, amount in needs.items()) for node in nodes):
        return None
    amounts = f"{needs['CPU']} CPUs, {needs['GPU']} GPUs and {needs['memory'] / GIB:.1f} GiB of memory"
    return f"no node of the cluster has {amounts}"


def serve(planned: Planned, network: list[ray.ObjectRef], *images: np.ndarray) -> Iterator[Event]:
    """Compute a run on the node where this is called, in a thread, and yield its events."""
    running = planned.job.running
    configured(running.device, running.threads)  # first, since a network that arrives starts TensorFlow
    events: queue.SimpleQueue[Event] = queue.SimpleQueue()
    stop = threading.Event()
    named = planned.named(dict(zip(planned.images, images, strict=True)))
    arguments = planned, named, ray.get(network[0]), events.put, stop.is_set
    threading.Thread(target=compute, args=arguments, daemon=True).start()
    try:
        while True:
            event = events.get()
            yield event
            if isinstance(event, ENDS):
                return
    finally:
        stop.set()
