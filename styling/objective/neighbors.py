"""Nearest neighbours: hypercolumn codes of images, and the search of a painting for the most similar ones.

Kolkin et al., "Neural Neighbor Style Transfer" (2022, arXiv 2203.13215), section 3: each position of an
image is compared by the features of many layers, by the cosine of their centred values. Neighbours prefer to
go on where the painting goes on (Ashikhmin, "Synthesizing Natural Textures", 2001), so that whole strokes are
found, and most positions need not search the whole painting.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import scipy.ndimage

from styling.network.decoder import CELL, Decoder, pixels, windows
from styling.system.quiet import tf
from vgg import Network

BLOCKS = (
    ("relu1_1", "relu1_2"),
    ("relu2_1", "relu2_2"),
    ("relu3_1", "relu3_2", "relu3_3"),
    ("relu4_1", "relu4_2"),
)
LAYERS = tuple(name for block in BLOCKS for name in block)
CODE_SCALE = 4.0  # brings a code's numbers near to 1, as the decoder was trained with
# Positions around a window that its codes depend on; even, since the deepest maps have half as many.
MARGIN = 12
# Of a painting's positions, for the search; coherence reaches the others. All of them paint no better.
MOST_CANDIDATES = 4096
EVERY = 2  # along each axis, one in so many positions searches; the others go on from it
MOST_SPREAD = 3  # by which a photograph's codes are spread to be as varied as the painting's
CHUNK = 2**21  # values of codes at a time
PRODUCTS = 2**23  # similarities at a time; fewer take a third longer
ROUNDS, COHERENCE = 8, 0.1  # what a neighbour's agreement is worth, as a cosine
STEPS = (0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)  # from a neighbour: itself, above, below, left and right


def codes(image: np.ndarray, network: Network, decoder: Decoder, tile: int = 0) -> np.ndarray:
    """Codes [H/4, W/4, D] of the hypercolumns of an image [H, W, 3], RGB 0..255, sides multiples of 8.

    tile: pixels a side of the windows looked at one by one, with the same result; 0 for all at once.
    """
    encode, cells = _encoder(network, decoder), tuple(side // CELL for side in image.shape[:2])
    found = np.empty((*cells, decoder.directions.shape[1]), np.float32)
    for window, core, inner in windows(cells, tile // (2 * CELL) * 2, MARGIN):
        found[core] = encode(network.preprocess(image[pixels(window)])).numpy()[inner]
    return found


@lru_cache(maxsize=1)
def _encoder(network: Network, decoder: Decoder) -> Callable[[tf.Tensor], tf.Tensor]:
    """A function, compiled once for all sizes, of a preprocessed image [1, h, w, 3]: its codes [h/4, w/4, D].

    A code is linear in the maps, so each map is multiplied by its own rows of the directions at whatever size
    is the cheapest.
    """
    offset = -CODE_SCALE * decoder.centre @ decoder.directions

    @tf.function(input_signature=[tf.TensorSpec([1, None, None, 3])], autograph=False)
    def encode(x: tf.Tensor) -> tf.Tensor:
        maps = network.features(x, LAYERS)
        total, row = offset, 0
        for level, names in enumerate(BLOCKS):
            for name in names:
                end = row + maps[name].shape[-1]
                kernel = CODE_SCALE * decoder.scales[LAYERS.index(name)] * decoder.directions[row:end]
                total, row = total + _at_a_quarter(maps[name], level, kernel), end
        return total[0]

    return encode


def _at_a_quarter(x: tf.Tensor, level: int, kernel: np.ndarray) -> tf.Tensor:
    """A map after `level` poolings, times the kernel, at a quarter of the picture's side."""
    if level < 3:
        side = CELL >> level
        return tf.nn.conv2d(tf.nn.avg_pool2d(x, side, side, "VALID"), kernel[None, None], 1, "VALID")
    return tf.image.resize(tf.nn.conv2d(x, kernel[None, None], 1, "VALID"), 2 * tf.shape(x)[1:3])


def _moments(codes: np.ndarray, weights: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """The mean and the standard deviation, [D] each, of codes [..., D] with weights [...]."""
    rows = codes.reshape(-1, codes.shape[-1])
    shares = np.ones(len(rows), np.float32) if weights is None else weights.ravel().astype(np.float32)
    shares /= shares.sum()
    mean = np.einsum("n,nd->d", shares, rows)
    return mean, np.sqrt(np.maximum(np.einsum("n,nd,nd->d", shares, rows, rows) - mean**2, 1e-12))


def _directions(codes: np.ndarray, mean: np.ndarray, factor: np.ndarray | float = 1.0) -> np.ndarray:
    """Codes [..., D] minus a mean, times a factor, as rows of length 1."""
    rows = codes.reshape(-1, codes.shape[-1]) - mean
    rows *= factor
    rows /= np.maximum(np.sqrt(np.einsum("nd,nd->n", rows, rows)), 1e-12)[:, None]
    return rows


def nearest(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """For each row of a [n, D] the index, int64 [n], of b's row [m, D] with the largest product.

    The products are made in blocks of rows, so that memory is bounded.
    """
    b, step = tf.convert_to_tensor(b), max(PRODUCTS // b.shape[0], 1)
    rows = (a[first : first + step] for first in range(0, a.shape[0], step))
    return tf.concat([tf.argmax(tf.matmul(some, b, transpose_b=True), 1) for some in rows], 0)


def match(
    search: np.ndarray,
    painting: np.ndarray,
    weights: np.ndarray | None = None,
    within: np.ndarray | None = None,
) -> np.ndarray:
    """For each position of search [h, w, D], the index of one of the painting's [rows, columns, D].

    weights: [h, w], how much each position counts in the mean of the search. within: [rows, columns], the
    positions of the painting that may be taken; None for all.
    """
    within = np.ones(painting.shape[:2], bool) if within is None else within
    candidates = np.flatnonzero(within)
    (mean, spread), (painted_mean, painted_spread) = _moments(search, weights), _moments(painting, within)
    # With its own spread, a dull photograph would find only the dull parts of a painting.
    a = _directions(search, mean, np.clip(painted_spread / spread, 1 / MOST_SPREAD, MOST_SPREAD))
    b = _directions(painting, painted_mean)
    if len(candidates) > MOST_CANDIDATES:
        rng = np.random.default_rng(0)
        candidates = np.sort(rng.choice(candidates, MOST_CANDIDATES, replace=False))
    some = a.reshape(search.shape)[::EVERY, ::EVERY]
    found = nearest(some.reshape(-1, some.shape[-1]), b[candidates]).numpy()
    places = _continued(candidates[found].reshape(some.shape[:2]), search.shape[:2], within)
    likeness = _cosines(a, b, np.arange(places.size), places.ravel())
    black, changed = np.add.outer(*map(np.arange, places.shape)) % 2 == 0, np.ones(places.shape, bool)
    for _ in range(ROUNDS):  # the black and the white fields of a chessboard in turn
        at = np.nonzero(black & scipy.ndimage.binary_dilation(changed))  # whose neighbours are new
        offers = _offers(places, at, within)
        score = _likeness(offers, np.ravel_multi_index(at, places.shape), likeness, a, b)
        agreement = (offers[:, None] == offers[None, 1:]).sum(1)
        best = np.where(offers < 0, -np.inf, score + COHERENCE * agreement).argmax(0)[None]
        changed[black] = False
        changed[at], black = best[0] > 0, ~black
        places[at] = np.take_along_axis(offers, best, 0)[0]
        likeness.reshape(places.shape)[at] = np.take_along_axis(score, best, 0)[0]
    return places


def _continued(places: np.ndarray, size: tuple[int, int], within: np.ndarray) -> np.ndarray:
    """Places of one in EVERY positions along each axis, for all; the others go on from it where they can."""
    rows, columns = (
        each.repeat(EVERY, 0).repeat(EVERY, 1)[: size[0], : size[1]]
        for each in (divmod(places, within.shape[1]))
    )
    down, right = np.ogrid[: size[0], : size[1]]
    further = _index(rows + down % EVERY, columns + right % EVERY, within)
    return np.where(further < 0, rows * within.shape[1] + columns, further)


def _offers(places: np.ndarray, at: tuple[np.ndarray, ...], within: np.ndarray) -> np.ndarray:
    """For each of n positions (y, x) its place, and where its four neighbours' would go on, or -1: [5, n]."""
    rows, columns = (np.pad(each, 1, constant_values=-9) for each in np.divmod(places, within.shape[1]))
    offers = []
    for down, right in STEPS:
        neighbor = at[0] + 1 - down, at[1] + 1 - right
        offers.append(_index(rows[neighbor] + down, columns[neighbor] + right, within))
    return np.stack(offers)


def _index(rows: np.ndarray, columns: np.ndarray, within: np.ndarray) -> np.ndarray:
    """The indices of a painting's positions, or -1 where one is outside of it or not within."""
    height, width = within.shape
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    index = np.where(inside, rows * width + columns, 0)
    return np.where(inside & within.ravel()[index], index, -1)


def _likeness(
    offers: np.ndarray, positions: np.ndarray, likeness: np.ndarray, a: np.ndarray, b: np.ndarray
) -> np.ndarray:
    """The cosine of each position's direction with each of its offers [5, n]; what is known is not computed.

    likeness: of all positions with their places, which are the first offers.
    """
    found = np.tile(likeness[positions], (len(offers), 1))
    kinds, which = np.nonzero((offers >= 0) & (offers != offers[0]))
    found[kinds, which] = _cosines(a, b, positions[which], offers[kinds, which])
    return found


def _cosines(a: np.ndarray, b: np.ndarray, rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The products of these rows of a [n, D] with these of b [m, D], some at a time."""
    products, step = np.empty(len(rows), np.float32), CHUNK // a.shape[1]
    for some in (slice(first, first + step) for first in range(0, len(rows), step)):
        products[some] = np.einsum("nd,nd->n", a[rows[some]], b[others[some]])
    return products
