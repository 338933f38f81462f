"""Whether a run fits into memory: an estimate before it starts, and an explanation if memory runs out."""

import bisect
import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING

from tensorflow.python.framework import ops

from styling.objective.neighbor_term import CANDIDATES
from styling.objective.tiles import tiling
from styling.optimizers import KINDS
from styling.settings import Settings
from styling.system.errors import MemoryLimitError, StyleError
from styling.system.limits import free_memory
from styling.system.quiet import tf

if TYPE_CHECKING:
    from vgg import Layer

GIB = 2**30
# The peak memory of a step: 1.6 times the outputs of all convolutions, 240 bytes a pixel, and a fixed amount.
# Measured on the CPU with three widths of network at 0.2 to 0.5 megapixels; measurements vary by a quarter.
ACTIVATIONS_HELD, BYTES_PER_PIXEL, START_BYTES = 1.6, 240, 80 * 2**20
# A style's statistics need no gradient, so each layer's output is freed once the next one is made.
STYLE_PART = 0.6
# In addition to the tiles: for the picture, its optimiser state and temporary images; for a style.
PICTURE_BYTES, STYLE_BYTES = 13 * 3 * 4, 3 * 3 * 4
# For masks: a step holds one more copy of each layer's map for each region, multiplied by the mask. The run
# holds the masks at each layer, and those that they are made of.
MASKED_BYTES, MASK_BYTES = 4, 2 * 4
# For matches: copies of the features of each sampled position, and of whole maps.
POSITION_COPIES, WHOLE_MAPS = 8, 8
NO_MASKS: Mapping[str, int] = MappingProxyType({})
TILES = 512, 256, 128  # smaller ones overlap more, and larger ones are little faster
TILE = TILES[0]


def check_memory(
    layers: "Sequence[Layer]",
    size: tuple[int, int],
    style_sizes: Sequence[tuple[int, int]],
    optimizer: str = "adam",
    tile: int = 0,
    by_tiles: bool = True,
    masked: Mapping[str, int] = NO_MASKS,
    matched: float = 0,
) -> None:
    """Raise MemoryLimitError if images of these sizes, (height, width), will not fit into the memory at hand.

    layers: those that are built. tile: as in Settings. by_tiles: whether tiles can evaluate all terms.
    masked, matched: as for needed(), for the picture. The message says which width and which tiles would fit.
    """
    free = free_memory()
    of_picture = partial(needed, optimizer=optimizer, masked=masked, matched=matched)
    images = [("a result", size, "use --width {width} or less", of_picture)]
    style_advice = "make its --style-scales smaller, for a width of {width} or less"
    images += [(f"style {i}", style, style_advice, partial(needed)) for i, style in enumerate(style_sizes, 1)]
    for what, (height, width), advice, need_of in images:
        need = need_of(layers, (height, width), tile)
        if need <= free:
            continue
        fits = bisect.bisect_right(
            range(1, width),
            float(free),
            key=lambda wide: need_of(layers, (-(-height * wide // width), wide), tile),
        )
        advice = advice.format(width=max(fits, 1))
        smaller = (other for other in TILES if by_tiles and (other < tile or not tile))
        other = next((o for o in smaller if need_of(layers, (height, width), o) <= free), None)
        raise MemoryLimitError(
            f"{what} of {width} x {height} pixels needs about {need / GIB:.1f} GiB of memory, "
            f"and {free / GIB:.1f} GiB are free: {advice}{f', or --tile {other}' if other else ''}"
        )


def needed(
    layers: "Sequence[Layer]",
    size: tuple[int, int],
    tile: int = 0,
    optimizer: str | None = None,
    masked: Mapping[str, int] = NO_MASKS,
    matched: float = 0,
) -> float:
    """Bytes that an image of this size, (height, width), needs: a picture with this optimiser, or a style.

    masked: by layer, how often a step multiplies its map by a mask: once for each region and each term.
    matched: bytes for matches with the paintings, from matches().
    """
    at_once = math.prod(tiling(layers, size, tile).window)
    held: float = KINDS[optimizer].bytes_per_pixel if optimizer else 0
    if at_once < math.prod(size):
        held += PICTURE_BYTES if optimizer else STYLE_BYTES
    outputs, maps, masks = _values(layers, masked)
    step = (ACTIVATIONS_HELD * outputs + BYTES_PER_PIXEL) * (1 if optimizer else STYLE_PART)
    step, held = step + MASKED_BYTES * maps, held + MASK_BYTES * masks
    return START_BYTES + matched + step * at_once + held * math.prod(size)


def matches(settings: Settings, shapes: Mapping[str, tuple[int, int, int]]) -> float:
    """Bytes for what a picture is matched with. shapes: (h, w, C) of its maps at the style layers."""
    if settings.style_measure == "patches":
        return 4 * WHOLE_MAPS * sum(map(math.prod, shapes.values()))
    channels = sum(channels for *_, channels in shapes.values())
    copies: float = (POSITION_COPIES + CANDIDATES) * settings.match_positions
    if settings.hypercolumn_iterations:
        height, width, _ = max(shapes.values())
        copies += POSITION_COPIES * height * width / 16
    return 4 * channels * copies


def _values(layers: "Sequence[Layer]", masked: Mapping[str, int]) -> tuple[float, float, float]:
    """For each pixel of the image, the bytes of all convolutions' outputs, and the number of values in masked
    maps, and in their masks."""
    outputs, maps, masks, share, channels = 0.0, 0.0, 0.0, 1.0, 0
    for layer in layers:
        if layer.kind == "conv":
            channels = layer.bias.shape[0]
            outputs += share * channels * layer.dtype.size
        elif layer.kind == "pool":
            share /= 4
        maps += masked.get(layer.name, 0) * share * channels
        masks += masked.get(layer.name, 0) * share
    return outputs, maps, masks


@contextlib.contextmanager
def device_errors(height: int, width: int) -> Iterator[None]:
    """Turn TensorFlow's errors into one line: a MemoryLimitError with advice, or else a StyleError."""
    try:
        yield
    except (tf.errors.ResourceExhaustedError, MemoryError):
        raise MemoryLimitError(
            f"memory ran out at {width} x {height} pixels: use --tile {TILE} or less, or a smaller --width"
        ) from None
    except tf.errors.OpError as error:
        raise StyleError(f"TensorFlow failed: {error.message.splitlines()[0]}") from None


@contextlib.contextmanager
def gradients_forgotten() -> Iterator[None]:
    """Make TensorFlow forget the gradients of a run, so that a process can make many runs.

    TensorFlow keeps one for each tf.custom_gradient in a tf.function, with the whole function, until the
    process ends: 2.5 MiB a run.
    """
    registry = getattr(ops.gradient_registry, "_registry", {})  # there is no public interface
    before = set(registry)
    try:
        yield
    finally:
        for name in set(registry) - before:
            del registry[name]
