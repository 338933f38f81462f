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
# What TensorFlow takes to start, with 100 MiB for a network: of memory, and of address space, to which each
# processor adds the stacks of two threads. Measured with TensorFlow 2.21.
TENSORFLOW_MIB, ADDRESSES_MIB, STACKS_MIB = 320, 1550, 16


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
    rooms = [(TENSORFLOW_MIB, free_memory(), "free: raise the container's limit, or close other programs")]
    for limit, used in _address_space():  # first, since it counts as free memory too
        need = ADDRESSES_MIB + STACKS_MIB * (psutil.cpu_count() or 1)
        rooms.insert(0, (need, limit - used, "left by ulimit -v: raise that"))
    for need, free, where in rooms:
        if free < need * MIB:
            room = f"{max(free, 0) // MIB} are {where}"
            raise MemoryLimitError(f"TensorFlow needs about {need} MiB of memory to load, and {room}")


def _limits() -> Iterator[tuple[int, int]]:
    """Each limit on this process's memory, and the bytes that count against it already."""
    yield from _address_space()
    for group in _groups():
        for limit_file, used_file, prefix in GROUP_FILES:
            with contextlib.suppress(OSError, ValueError, KeyError):  # not there, or no limit ("max")
                limit, used = (int((group / name).read_text()) for name in (limit_file, used_file))
                kinds = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
                # The cache of files counts as used memory, but is freed when memory is needed.
                cached = sum(int(kinds[f"{prefix}{state}_file"]) for state in ("active", "inactive"))
                yield limit, used - cached


def _address_space() -> list[tuple[int, int]]:
    """The shell's limit on the process's address space (ulimit -v), if any, and the bytes in use."""
    try:
        import resource
    except ImportError:  # Windows
        return []
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return [] if limit == resource.RLIM_INFINITY else [(limit, psutil.Process().memory_info().vms)]


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
