"""The decoder that paints in one pass, for any painting: a collage of the painting in, a picture out.

training/decoder.py trained it for the small network; data/README.md tells how and on what.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from styling.system.files import data_folder
from styling.system.quiet import tf

FILE = "decoder.npz"
CELL = 4  # pixels a side that a position stands for
SEARCH_CHANNELS = 64  # of a code, which tell the decoder the forms of the image that searched
MARGIN = 9  # positions around a window that its picture depends on: the reach of all convolutions
BLOCKS = 1, 2, 3
Area = tuple[slice, ...]  # rows and columns


@dataclass(frozen=True, eq=False)
class Decoder:
    """What data/decoder.npz holds.

    scales: [maps], the factor of each feature map. centre: [C], the mean hypercolumn. directions: [C, D], the
    main directions of hypercolumns, in columns. convolutions: kernel [3, 3, in, out] and bias [out] by name.
    """

    scales: np.ndarray
    centre: np.ndarray
    directions: np.ndarray
    convolutions: Mapping[str, tuple[tf.Tensor, tf.Tensor]]

    def decode(
        self, codes: np.ndarray, collage: np.ndarray, search: np.ndarray, keep: float, tile: int = 0
    ) -> np.ndarray:
        """The picture [4h, 4w, 3], RGB 0..1, from the painting's codes that were found, [h, w, D].

        collage: [4h, 4w, 3], 0..1, the painting's pixels that were found. search: [h, w, D], the codes of the
        image that searched. keep: 0..1, how much its forms count. tile: pixels a side of the windows that are
        decoded one by one, with the same result; 0 for all at once.
        """
        picture = np.empty_like(collage)
        for window, core, inner in windows(codes.shape[:2], tile // CELL, MARGIN):
            x = codes[window], search[window][..., :SEARCH_CHANNELS], collage[pixels(window)]
            picture[pixels(core)] = self._compiled(*x, keep).numpy()[pixels(inner)]
        return picture

    @cached_property
    def _compiled(self) -> Callable[..., tf.Tensor]:
        """_decode, compiled once for all sizes."""
        channels = self.directions.shape[1], SEARCH_CHANNELS, 3
        signature = [tf.TensorSpec([None, None, count]) for count in channels]
        return tf.function(self._decode, [*signature, tf.TensorSpec([])], autograph=False)

    def _decode(self, codes: tf.Tensor, search: tf.Tensor, collage: tf.Tensor, keep: tf.Tensor) -> tf.Tensor:
        centred = collage[None] - 0.5
        cells, strength = tf.nn.space_to_depth(centred, CELL), keep * tf.ones_like(search[None, ..., :1])
        x = tf.concat([codes[None], cells, keep * search[None], strength], -1)
        x = tf.nn.relu(self._convolve("first", x))
        for i in BLOCKS:
            x += self._convolve(f"block{i}b", tf.nn.relu(self._convolve(f"block{i}a", x)))
        x = tf.concat([_doubled(x), tf.nn.space_to_depth(centred, 2)], -1)
        x = tf.nn.relu(self._convolve("second_b", tf.nn.relu(self._convolve("second_a", x))))
        x = tf.concat([_doubled(x), centred], -1)
        x = tf.nn.relu(self._convolve("third_b", tf.nn.relu(self._convolve("third_a", x))))
        return tf.clip_by_value(collage + self._convolve("last", x)[0], 0, 1)

    def _convolve(self, name: str, x: tf.Tensor) -> tf.Tensor:
        kernel, bias = self.convolutions[name]
        x = tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]], "REFLECT")
        return tf.nn.bias_add(tf.nn.conv2d(x, kernel, 1, "VALID"), bias)


@lru_cache(maxsize=1)
def load() -> Decoder:
    """The decoder that ships."""
    with np.load(data_folder() / FILE) as file:
        arrays = {name: file[name].astype(np.float32) for name in file.files}
    return from_arrays(arrays)


def from_arrays(arrays: Mapping[str, np.ndarray]) -> Decoder:
    """The decoder with these arrays, by their names in the file."""
    names = [name.removesuffix("/kernel") for name in arrays if name.endswith("/kernel")]
    convolutions = {
        name: (tf.constant(arrays[f"{name}/kernel"]), tf.constant(arrays[f"{name}/bias"])) for name in names
    }
    return Decoder(arrays["scales"], arrays["centre"], arrays["directions"], convolutions)


def windows(size: tuple[int, ...], step: int, margin: int) -> Iterator[tuple[Area, Area, Area]]:
    """Windows of a map with a margin, each with the area that it counts for, in the map and in the window.

    step: positions a side of these areas; 0 for a single one.
    """
    for start in itertools.product(*(range(0, side, step or side) for side in size)):
        core = tuple(
            slice(a, min(a + step, side) if step else side) for a, side in zip(start, size, strict=True)
        )
        first = [max(along.start - margin, 0) for along in core]
        window = tuple(
            slice(a, min(along.stop + margin, side)) for a, along, side in zip(first, core, size, strict=True)
        )
        yield window, core, tuple(slice(c.start - a, c.stop - a) for a, c in zip(first, core, strict=True))


def pixels(positions: Area) -> Area:
    """The pixels that an area of positions stands for."""
    return tuple(slice(CELL * along.start, CELL * along.stop) for along in positions)


def _doubled(x: tf.Tensor) -> tf.Tensor:
    """Each value repeated to 2 x 2."""
    (_, height, width, _), channels = tf.unstack(tf.shape(x)), x.shape[-1]
    x = tf.broadcast_to(x[:, :, None, :, None], [1, height, 2, width, 2, channels])
    return tf.reshape(x, [1, 2 * height, 2 * width, channels])
