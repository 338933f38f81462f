"""How many runs at a time, and with how many threads each: what this machine is fastest with.

It depends on the network and the size of the pictures, so that it is measured, with a run of the sweep.
"""

import multiprocessing
import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing.synchronize import Barrier

import stylize
import vgg
from styling.errors import StyleError
from styling.memory import free_memory
from styling.process import silent_stderr
from styling.sweeps.pool import SPAWN, Setup, configure
from styling.sweeps.work import Task, images_of

SECONDS, LEAST_ITERATIONS, MOST_ITERATIONS = 3.0, 2, 1_000_000
SMALL_RATE = 1e-3
SECONDS_A_RUN = 2  # that it takes to begin one
PROCESS_BYTES = 600 * 2**20  # TensorFlow itself


@dataclass(frozen=True)
class Layout:
    """So many processes of so many threads. rate: operations a second of all together; 0 if not measured."""

    workers: int
    threads: int
    rate: float = 0.0

    def __str__(self) -> str:
        runs, threads = (
            f"{n} {of}{'s' * (n > 1)}" for n, of in ((self.workers, "run"), (self.threads, "thread"))
        )
        return f"{runs} at a time with {threads}{' each' * (self.workers > 1)}"


def ways(cores: int, tasks: Sequence[Task]) -> list[Layout]:
    """The ways to share the cores out among these runs, as far as memory allows them."""
    needs = max((task.memory for task in tasks), default=0) + PROCESS_BYTES
    most = min(len(tasks), free_memory() // needs)
    return [Layout(n, cores // n) for n in range(1, cores + 1) if cores % n == 0 and (n <= most or n == 1)]


def seconds(tasks: Sequence[Task], layout: Layout) -> float:
    """The time that these runs take, by an estimate."""
    if not tasks:
        return 0.0
    left = sum(task.operations * (1 - task.made / task.settings.iterations) for task in tasks)
    return left / layout.rate + SECONDS_A_RUN * len(tasks) / layout.workers


def measure(layout: Layout, setup: Setup, task: Task, here: bool = True) -> Layout:
    """The layout with its rate; if it is not for here, that of machines as fast as this one."""
    setup = replace(setup, threads=layout.threads)
    count = layout.workers if here else 1
    barrier = SPAWN.Barrier(count)
    try:
        with (
            silent_stderr(),
            ProcessPoolExecutor(count, SPAWN, _begin, (setup, barrier)) as executor,
        ):
            rates = list(executor.map(_rate, [task] * count))
    except BrokenExecutor:
        problem = f"the runs cannot be timed, {layout}, for want of memory perhaps"
        raise StyleError(f"{problem}: name --workers and --threads") from None
    return replace(layout, rate=sum(rates) * layout.workers / count)


def _begin(setup: Setup, barrier: Barrier) -> None:
    global shared
    shared = setup, barrier
    threading.Thread(target=_end_with_parent, daemon=True).start()
    configure(setup)


def _end_with_parent() -> None:
    """End this process once the one that started it is gone, which it would wait for without end."""
    multiprocessing.parent_process().join()
    os._exit(1)


def _rate(task: Task) -> float:
    """Operations a second of a run in this process, while others are at it as well."""
    setup, barrier = shared
    # At its full size from the start, since that is where the time goes, and in steps that lead nowhere.
    settings = replace(
        task.settings,
        scales=(1.0,),
        scale_shares=None,
        iterations=MOST_ITERATIONS,
        learning_rate=SMALL_RATE,
    )
    content, styles, initial = images_of(task, setup.pixels)
    network = vgg.load(setup.networks[task.network])
    each = stylize.demand(content, styles, network, settings)[0] / settings.iterations
    run = stylize.stylize(content, styles, network, settings, initial)
    next(run), next(run)  # in which functions are made
    barrier.wait()
    began, count = time.monotonic(), 0
    for _ in run:
        count += 1
        if count >= LEAST_ITERATIONS and time.monotonic() >= began + SECONDS:
            break
    return each * count / (time.monotonic() - began)
