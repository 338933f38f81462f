"""Whether a run fits into memory: estimated before it starts, explained where memory runs out after all."""

import contextlib
import ctypes
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import tensorflow as tf

from styling.errors import MemoryLimitError, StyleError

if TYPE_CHECKING:
    from vgg import Layer

CGROUP = Path("/sys/fs/cgroup")
GIB = 2**30
# Measured on the CPU with three widths of network at 0.2 to 0.5 megapixels, where it varies by a quarter: a
# step holds at its peak 1.6 times the outputs of all convolutions, 60 values a pixel, and a fixed amount.
ACTIVATIONS_HELD, VALUES_PER_PIXEL, START_BYTES = 1.6, 60, 80 * 2**20
# glibc's M_TRIM_THRESHOLD, M_MMAP_THRESHOLD and M_ARENA_MAX (mallopt(3)), and what they are set to.
GLIBC_OPTIONS = {-1: 256 * 2**20, -3: 24 * 2**20, -8: 1}
# 10 pairs of corrections and a few vectors, for 3 values a pixel of 4 bytes each; 20 pairs of 8 by scipy.
CORRECTIONS_BYTES = {"lbfgs": (2 * 10 + 8) * 3 * 4, "lbfgs-b": (2 * 20 + 10) * 3 * 8}
# Statistics of a style need no gradient, and each layer's output only until the next is made.
STYLE_PART = 0.6


def share_one_heap() -> None:
    """Have glibc keep one heap for all threads, and large feature maps outside of it, from now on.

    A step then needs a fifth less memory at the same speed, since less of what it frees stays unused in heaps
    that other threads do not look at. Elsewhere nothing changes.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):  # no C library like that
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in GLIBC_OPTIONS.items():
            mallopt(option, value)


def check_memory(
    layers: "Sequence[Layer]",
    content_size: tuple[int, int],
    style_sizes: Sequence[tuple[int, int]],
    optimizer: str = "adam",
) -> None:
    """Raise MemoryLimitError if images of these sizes, (height, width), will not fit into the memory at hand.

    layers: those that are built. The message says which width would fit.
    """
    free = free_memory()
    per_pixel = bytes_per_pixel(layers) + CORRECTIONS_BYTES.get(optimizer, 0)
    pixels = max((free - START_BYTES) / per_pixel, 1)
    if math.prod(content_size) > pixels:
        raise _too_large("a result", content_size, pixels, per_pixel, free, "use --width {width} or less")
    for i, size in enumerate(style_sizes, 1):
        if math.prod(size) * STYLE_PART > pixels:
            advice = "make its --style-scales smaller, for a width of {width} or less"
            raise _too_large(f"style {i}", size, pixels / STYLE_PART, per_pixel * STYLE_PART, free, advice)


def bytes_per_pixel(layers: "Sequence[Layer]") -> float:
    """Memory that a step needs for each pixel of the image, an estimate for the CPU."""
    activations, share = 0.0, 1.0
    for layer in layers:
        if layer.kind == "conv":
            activations += share * layer.bias.shape[0]
        elif layer.kind == "pool":
            share /= 4
    return 4 * (ACTIVATIONS_HELD * activations + VALUES_PER_PIXEL)


def free_memory() -> float:
    """Bytes that this process can still have: what is free here, or in its container where that is less."""
    free = psutil.virtual_memory().available
    with contextlib.suppress(OSError, ValueError):  # no cgroup v2, or no limit ("max")
        limit, used = (int((CGROUP / name).read_text()) for name in ("memory.max", "memory.current"))
        kinds = dict(line.split() for line in (CGROUP / "memory.stat").read_text().splitlines())
        # What was read from files lately counts as used, but makes room when it is wanted.
        free = min(free, limit - used + int(kinds["inactive_file"]) + int(kinds["active_file"]))
    return free


@contextlib.contextmanager
def device_errors(height: int, width: int) -> Iterator[None]:
    """Turn what TensorFlow raises into one line: a MemoryLimitError with advice, else a StyleError."""
    try:
        yield
    except (tf.errors.ResourceExhaustedError, MemoryError):
        raise MemoryLimitError(
            f"memory ran out at {width} x {height} pixels: use a smaller --width, or --device cpu"
        ) from None
    except tf.errors.OpError as error:
        raise StyleError(f"TensorFlow failed: {error.message.splitlines()[0]}") from None


def _too_large(
    what: str, size: tuple[int, int], pixels: float, per_pixel: float, free: float, advice: str
) -> MemoryLimitError:
    height, width = size
    need = math.prod(size) * per_pixel + START_BYTES
    fits = max(int(width * math.sqrt(pixels / math.prod(size))), 1)
    return MemoryLimitError(
        f"{what} of {width} x {height} pixels needs about {need / GIB:.1f} GiB of memory, "
        f"and {free / GIB:.1f} GiB are free: {advice.format(width=fits)}"
    )
