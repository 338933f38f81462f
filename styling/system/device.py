"""The device that TensorFlow computes on: set it up, and ask what it can do."""

import contextlib
import ctypes
from pathlib import Path

from styling.system.errors import SettingsError
from styling.system.process import silent_stderr
from styling.system.quiet import tf

# glibc's M_TRIM_THRESHOLD, M_MMAP_MAX and M_ARENA_MAX (mallopt(3)), and what they are set to.
GLIBC_OPTIONS = {-1: 512 * 2**20, -4: 0, -8: 1}


@silent_stderr()
def configure(device: str | None = None, threads: int | None = None, deterministic: bool = False) -> str:
    """Set TensorFlow up, before anything has been computed, and return the device that it will use.

    device: "cpu", "gpu" or "gpu:N"; None for the first GPU where there is one, else the CPU. A GPU's memory
        is taken as it is needed.
    threads: CPU threads; None for one a core.
    deterministic: only operations that give the same bytes each time, which on a GPU are slower.
    Raises SettingsError for a device that this machine lacks, or if TensorFlow already runs with another
    number of threads.
    """
    share_one_heap()
    try:
        if threads:
            tf.config.threading.set_intra_op_parallelism_threads(threads)
        # A step is one long chain of operations. Running one at a time is as fast and needs less memory.
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:
        raise SettingsError("threads", "cannot change once TensorFlow has computed something") from None
    tf.get_logger().setLevel("ERROR")  # it would warn of many runs in a process, each with its own function
    gpus = tf.config.list_physical_devices("GPU")
    kind, _, number = (device or ("gpu" if gpus else "cpu")).partition(":")
    index = int(number or 0)
    if kind == "gpu" and index >= len(gpus):
        problem = f"{device} is not here; TensorFlow finds {len(gpus)} GPUs on this machine"
        raise SettingsError("device", problem)
    used = [gpus[index]] if kind == "gpu" else []
    tf.config.set_visible_devices(used, "GPU")
    for gpu in used:
        tf.config.experimental.set_memory_growth(gpu, True)
    if deterministic:
        tf.config.experimental.enable_op_determinism()
    tf.config.list_logical_devices()  # sets the devices up while stderr is silent
    return f"gpu:{index}" if used else "cpu"


def is_cpu() -> bool:
    """Whether TensorFlow computes on the CPU. Only a CPU's free memory is known, not a GPU's."""
    return not tf.config.list_logical_devices("GPU")


def has_bfloat16() -> bool:
    """Whether the processor in use has instructions for products of bfloat16; False on a GPU.

    A GPU with such instructions already multiplies float32 with only 11 bits of precision (TF32).
    """
    try:
        told = Path("/proc/cpuinfo").read_text().split()
    except OSError:  # only Linux tells in this way
        return False
    return is_cpu() and ("avx512_bf16" in told or "amx_bf16" in told)


def share_one_heap() -> None:
    """Have glibc keep one heap for all threads, with large feature maps inside of it, from now on.

    A step then needs a fifth less memory: less of what it frees stays unused in the heaps of other threads.
    And less time, in one pass by a tenth: the system clears each page that it gives anew. Without glibc
    nothing changes.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):  # not glibc
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in GLIBC_OPTIONS.items():
            mallopt(option, value)
