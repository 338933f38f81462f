"""Workers on a Ray cluster: each run is a Ray task that declares the CPUs, the GPU and the memory it needs.

The program must be installed on every node. A network goes into the cluster's object store once, and from
there to each node that needs it. Each run sends a state every minute, so that the runs of a lost node
continue on others.
"""

import queue
import signal
import socket
import threading
from collections.abc import Iterable, Iterator
from functools import cache
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

import vgg
from styling.run.memory import GIB
from styling.sweeps.results import Cell, Result
from styling.sweeps.workers import ENDS, PROCESS_BYTES, Event, compute
from styling.system.device import configure
from styling.system.errors import SettingsError
from styling.system.process import explain, handled, silent_stderr

SECONDS_TO_CONNECT = 10


def join(address: str) -> list[int]:
    """Join the cluster at an address such as auto or HOST:6379; returns the CPUs of each node.

    Raises SettingsError if that fails.
    """
    host, colon, port = address.rpartition(":")
    try:
        if colon:  # Ray itself would try for minutes
            socket.create_connection((host, int(port)), SECONDS_TO_CONNECT).close()
        # Ray's own handler of SIGTERM, which would end this process silently, is gone after this.
        with silent_stderr(), handled([signal.SIGTERM], signal.getsignal(signal.SIGTERM)):
            ray.init(address, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise SettingsError("cluster", f"{address} cannot be joined: {explain(error)}") from None
    return [int(resources.get("CPU", 0)) for resources in nodes()]


def nodes() -> list[dict[str, float]]:
    """The resources of each node."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


@cache
def stored(network: Path) -> ray.ObjectRef:
    """A reference to a network in the cluster's object store."""
    return ray.put(vgg.load(network))


class ClusterWorker:
    """A share of the cluster that was joined, which computes a run. connection: gives the events of the run,
    and ends if its node is lost."""

    def __init__(self, run: Cell) -> None:
        self.connection, self._events = Pipe(duplex=False)
        self._task: Any = None
        running = run.job.running
        has_gpu = running.device != "cpu" and bool(ray.cluster_resources().get("GPU"))
        needs = {"CPU": running.threads or 1, "GPU": int(has_gpu), "memory": run.memory + PROCESS_BYTES}
        if not any(all(node.get(name, 0) >= amount for name, amount in needs.items()) for node in nodes()):
            # Ray would wait for such a node forever.
            wanted = f"{needs['CPU']} CPUs, {needs['GPU']} GPUs and {needs['memory'] / GIB:.1f} GiB of memory"
            self._events.send(Result("failed", f"no node of the cluster has {wanted}"))
            return
        options = {"num_cpus": needs["CPU"], "num_gpus": needs["GPU"], "memory": needs["memory"]}
        # No retries, since the sweep itself goes on from the last state.
        task = ray.remote(serve).options(num_returns="streaming", max_retries=0, **options)
        self._task = task.remote(run, [stored(run.job.network)])
        threading.Thread(target=self._pass_on, args=(self._task,), daemon=True).start()

    def kill(self) -> None:
        """End the run, if one is left."""
        if self._task is not None:
            ray.cancel(self._task)

    def _pass_on(self, events: Iterable[ray.ObjectRef]) -> None:
        """Send the events of a run through the pipe."""
        try:
            for reference in events:
                self._events.send(ray.get(reference))
        except RayTaskError as error:  # from before the run started
            self._events.send(Result("failed", explain(error.cause or error)))
        except (RayError, OSError):
            self._events.close()


def serve(run: Cell, network: list[ray.ObjectRef]) -> Iterator[Event]:
    """Compute a run on the node where this is called, in a thread, and yield its events.

    network: a reference to it, which is followed only here.
    """
    configure(run.job.running.device, run.job.running.threads, deterministic=True)
    loaded = ray.get(network[0])  # only now, since this starts TensorFlow
    events: queue.SimpleQueue[Event] = queue.SimpleQueue()
    threading.Thread(target=compute, args=(run, events.put, loaded), daemon=True).start()
    event: Event = 0
    while not isinstance(event, ENDS):
        event = events.get()
        yield event
