"""Tiles: cut an image into windows, so that losses and gradient are the same as for the whole image.

A Gram matrix is a sum over positions, so it can be summed over tiles, like every loss that counts each
position once. A position's features depend only on pixels within half the network's receptive field. So a
window is a tile, called its core, with a margin (halo) of that width around it. Deeper layers need a smaller
margin, so windows are trimmed after each pooling. At the image's border, a window ends with the image, has
the network's zero padding there, and extends further on the other side. So all windows have the same size,
and one compiled function works for all of them.

Cores begin on the grid of the last pooling, so that no position of a map belongs to two cores.
"""

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from styling.objective.losses import Part
from styling.system.errors import StyleError
from styling.system.quiet import tf

if TYPE_CHECKING:
    from vgg import Layer, Network

Features = dict[str, tf.Tensor]  # maps [1, h, w, C] by layer
# Along a side: the window's start in the map, the core's start and end in the window.
Place = tuple[int, int, int]
WINDOW, CORE, CORE_END = range(3)  # of a Place


class View(NamedTuple):
    """What the terms of the loss see of a picture: all of it, or the window of a tile.

    x: [1, h, w, 3], minus the mean pixel. features: [1, h, w, C] by layer. part, parts: what counts in x and
    in each layer's map, if it is a window.
    """

    x: tf.Tensor
    features: Features
    part: Part | None = None
    parts: Mapping[str, Part] = MappingProxyType({})


@dataclass(frozen=True)
class Axis:
    """How one side of an image, and of its maps after each pooling, is cut.

    sides: the lengths of the image and of the maps. lengths: of the windows in them. places: for each tile,
    its Place in the image and in each map.
    """

    sides: tuple[int, ...]
    lengths: tuple[int, ...]
    places: tuple[tuple[Place, ...], ...]


@dataclass(frozen=True)
class Tiling:
    """How images of one size are cut for a network: rows, columns, and each layer's number of poolings."""

    rows: Axis
    columns: Axis
    levels: dict[str, int] = field(hash=False)

    @property
    def is_whole(self) -> bool:
        """Whether there is only one tile, the image."""
        return len(self.places) == 1

    @cached_property
    def places(self) -> np.ndarray:
        """Each tile's place, int32 [tiles, 2, maps, 3], rows first."""
        down, sideways = self.rows.places, self.columns.places
        return np.array([(row, column) for row in down for column in sideways], np.int32)

    def size(self, layer: str | None = None) -> tuple[int, int]:
        """The (height, width) of the images, or of a layer's map."""
        level = self._level(layer)
        return self.rows.sides[level], self.columns.sides[level]

    @property
    def window(self) -> tuple[int, int]:
        """A window's (height, width) in pixels; the image's size if there is only one tile."""
        return self.rows.lengths[0], self.columns.lengths[0]

    def cut(self, x: tf.Tensor, place: tf.Tensor, layer: str | None = None) -> tf.Tensor:
        """A tile's window [1, h, w, C] of an image, or of a layer's map, [1, H, W, C]."""
        level = self._level(layer)
        return self._slice(x, place[:, level, WINDOW], level)

    def add(self, image: tf.Variable, window: tf.Tensor, place: tf.Tensor) -> None:
        """Add a tile's window to an image in place."""
        (top, left), (height, width) = place[:, 0, WINDOW], self.window
        area = image[:, top : top + height, left : left + width]
        area.assign(area + window)

    def part(self, place: tf.Tensor, layer: str | None = None) -> Part:
        """The part that counts in a tile's window of the image, or of a layer's map."""
        rows, columns = place[0, self._level(layer)], place[1, self._level(layer)]
        starts = rows[WINDOW], columns[WINDOW]
        return Part(rows[CORE], rows[CORE_END], columns[CORE], columns[CORE_END], *self.size(layer), *starts)

    def positions(self, tile: int, layer: str) -> np.ndarray:
        """What counts of a layer's map in a tile, as indices [n] into the whole map's h * w positions."""
        part = self.part(self.places[tile], layer)
        rows = np.arange(part.row + part.top, part.row + part.bottom)
        columns = np.arange(part.column + part.left, part.column + part.right)
        return (rows[:, None] * part.width + columns).ravel()

    def view(
        self, network: "Network", window: tf.Tensor, names: Iterable[str], pooling: str, place: tf.Tensor
    ) -> View:
        """What the terms see of a tile's window, which was cut at this place."""

        def trim(x: tf.Tensor, level: int) -> tf.Tensor:
            return self._slice(x, place[:, level, WINDOW] - place[:, level - 1, WINDOW] // 2, level)

        features = network.features(window, names, pooling, trim)
        parts = {name: self.part(place, name) for name in features}
        return View(window, features, self.part(place), parts)

    def views(self, network: "Network", x: tf.Tensor, names: Iterable[str], pooling: str) -> Iterator[View]:
        """What the terms see of an image [1, H, W, 3], whole or tile by tile."""
        if self.is_whole:
            yield View(x, network.features(x, names, pooling))
        else:
            for place in map(tf.constant, self.places):
                yield self.view(network, self.cut(x, place), names, pooling, place)

    def _level(self, layer: str | None) -> int:
        return self.levels[layer] if layer else 0

    def _slice(self, x: tf.Tensor, start: tf.Tensor, level: int) -> tf.Tensor:
        size = [1, self.rows.lengths[level], self.columns.lengths[level], x.shape[-1]]
        return tf.slice(x, [0, start[0], start[1], 0], size)


def tiling(
    layers: "Sequence[Layer]", size: tuple[int, int], tile: int, reaches: Mapping[str, int] | None = None
) -> Tiling:
    """The tiling of images of a size, (height, width), into tiles of `tile` pixels a side, or a little more.

    layers: those that are built, in order. tile: 0 for the image as one tile. reaches: by layer, how many
    positions beyond the core a loss uses.
    """
    levels, level = {}, 0
    for layer in layers:
        level += layer.kind == "pool"
        levels[layer.name] = level
    margins = _margins(layers, reaches or {})
    rows, columns = (_axis(side, tile or side, margins) for side in size)
    return Tiling(rows, columns, levels)


def _margins(layers: "Sequence[Layer]", reaches: Mapping[str, int]) -> list[int]:
    """The margin that a window needs, in the image and after each pooling."""
    margins: list[int] = []
    need = 0
    for layer in reversed(layers):
        need = max(need, reaches.get(layer.name, 0))
        if layer.kind == "conv":
            need += layer.kernel.shape[0] // 2
        elif layer.kind == "pool":
            margins.append(_even(need, bool(margins)))
            need = 2 * margins[-1]
    margins.append(_even(max(need, 1), bool(margins)))  # total variation uses the next pixel
    return margins[::-1]


def _even(margin: int, pooled: bool) -> int:
    """The margin, rounded up to an even number if the map is pooled again, which halves it."""
    return margin + margin % 2 if pooled else margin


def _axis(side: int, tile: int, margins: Sequence[int]) -> Axis:
    last = len(margins) - 1
    grid = 2**last
    core = -(-side // -(-side // tile) // grid) * grid  # similar tiles, rounded up to the grid
    starts = np.arange(0, side, core)
    ends = np.minimum(starts + core, side)
    sides, lengths, places = [], [], []
    for level, margin in enumerate(margins):
        length = -(-core // 2**level) + 2 * margin
        if level < last:
            length += (side - length) % 2  # the last window ends with the map, and must start evenly
        length = min(length, side)
        first = np.clip(starts // 2**level - margin, 0, side - length)
        places.append(np.stack([first, starts // 2**level - first, -(-ends // 2**level) - first], axis=-1))
        sides.append(side)
        lengths.append(length)
        side = -(-side // 2)
    by_tile = np.stack(places, axis=1).tolist()
    return Axis(tuple(sides), tuple(lengths), tuple(tuple(map(tuple, tile)) for tile in by_tile))


class Stored:
    """Feature maps by layer, for each tile in turn, in a temporary file, since they would fill the memory.

    Raises StyleError if the folder for temporary files is full.
    """

    def __init__(self, maps: Iterator[dict[str, tf.Tensor]]) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115, since it is read as long as this object exists
        self._shapes: dict[str, tuple[int, ...]] = {}
        try:
            for tile in maps:
                self._shapes = {name: features.shape for name, features in tile.items()}
                for features in tile.values():
                    self._file.write(features.numpy())
            self._file.flush()
        except OSError as error:
            folder = tempfile.gettempdir()
            raise StyleError(f"{folder}: {error.strerror}; set TMPDIR to a folder with more room") from None

    def __getitem__(self, i: int) -> dict[str, np.ndarray]:
        maps = {name: np.empty(shape, np.float32) for name, shape in self._shapes.items()}
        self._file.seek(i * sum(features.nbytes for features in maps.values()))
        for features in maps.values():
            self._file.readinto(features.data)
        return maps
