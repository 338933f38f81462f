"""The processes that compute runs: forks of one that has only loaded TensorFlow.

Loading TensorFlow takes seconds, which are spent once, and while this process loads it too.
"""

import multiprocessing
from multiprocessing import forkserver

HAS_FORKS = "forkserver" in multiprocessing.get_all_start_methods()  # otherwise each process loads TensorFlow
PROCESSES = multiprocessing.get_context("forkserver" if HAS_FORKS else "spawn")


def load() -> None:
    """Start the process that is forked, without waiting until it has loaded TensorFlow."""
    if HAS_FORKS:
        PROCESSES.set_forkserver_preload(["styling.sweeps.pool"])
        forkserver.ensure_running()
