"""The memory that this process may use, by the machine, the control groups and the process's own limits."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import psutil

from styling.system.errors import MemoryLimitError

# Linux's control groups: those of this process, and the folder of all.
OWN_GROUPS, GROUPS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")
# For each version of control groups: the files of a limit and of the memory in use, and the prefix of the
# names in memory.stat. Above memory.high a process is not killed but becomes very slow.
GROUP_FILES = (
    ("memory.max", "memory.current", ""),
    ("memory.high", "memory.current", ""),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),
)
MIB = 2**20
# The memory that TensorFlow takes to start, and 100 MiB for a network, by the limit that it counts against:
# address space and data (ulimit -v and -d), and memory itself. Measured with TensorFlow 2.21; each processor
# adds the stacks of two threads to address space and data.
TENSORFLOW_MIB = {"v": 1550, "d": 380, "": 320}
STACKS_MIB = 16


def total_memory() -> int:
    """The machine's memory in bytes, or the process's limit if that is less."""
    return min([psutil.virtual_memory().total, *(limit for limit, _ in _limits())])


def free_memory() -> int:
    """Bytes that this process can still use: the machine's free memory, or what its limits leave if less."""
    free = [limit - used for limit, used in _limits()]
    return max(min([psutil.virtual_memory().available, *free]), 0)


def check_tensorflow() -> None:
    """Raise MemoryLimitError if there is no room to load TensorFlow.

    Otherwise loading it would fail with various errors, or crash without one.
    """
    left = {letter: limit - used for letter, (limit, used) in _ulimits().items()} | {"": free_memory()}
    for letter, free in left.items():
        need = TENSORFLOW_MIB[letter] + (STACKS_MIB * (psutil.cpu_count() or 1) if letter else 0)
        if free < need * MIB:
            where = "free: raise the container's limit, or close other programs"
            if letter:
                where = f"left by ulimit -{letter}: raise that"
            room = f"{max(free, 0) // MIB} are {where}"
            raise MemoryLimitError(f"TensorFlow needs about {need} MiB of memory to load, and {room}")


def _limits() -> Iterator[tuple[int, int]]:
    """Each limit on this process's memory, and the bytes that count against it already."""
    yield from _ulimits().values()
    for group in _groups():
        for limit_file, used_file, prefix in GROUP_FILES:
            with contextlib.suppress(OSError, ValueError, KeyError):  # not there, or no limit ("max")
                limit, used = (int((group / name).read_text()) for name in (limit_file, used_file))
                kinds = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
                # The cache of files counts as used memory, but is freed when memory is needed.
                cached = sum(int(kinds[f"{prefix}{state}_file"]) for state in ("active", "inactive"))
                yield limit, used - cached


def _ulimits() -> dict[str, tuple[int, int]]:
    """The process's limits from its shell, by their letters in ulimit, and the memory in use for each."""
    try:
        import resource
    except ImportError:  # Windows
        return {}
    used = psutil.Process().memory_info()
    limits = {"v": (resource.getrlimit(resource.RLIMIT_AS)[0], used.vms)}
    if hasattr(used, "data"):  # Linux
        limits["d"] = resource.getrlimit(resource.RLIMIT_DATA)[0], used.data
    return {letter: limit for letter, limit in limits.items() if limit[0] != resource.RLIM_INFINITY}


def _groups() -> Iterator[Path]:
    """Where the control groups that limit this process's memory may be: its own and those around it.

    A container sees its own group as the outermost, but may be told its path from outside.
    """
    with contextlib.suppress(OSError):  # only Linux has them
        for line in OWN_GROUPS.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers in ("", "memory"):  # version 2, which names none, or version 1
                group = GROUPS / controllers / path.lstrip("/")
                yield from (group, *group.parents)
