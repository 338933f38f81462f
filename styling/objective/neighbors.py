"""Nearest neighbours: hypercolumn codes of images, and the search of a painting for the most similar ones.

Kolkin et al., "Neural Neighbor Style Transfer" (2022, arXiv 2203.13215), section 3: each position of an
image is compared by the features of many layers, by the cosine of their centred values. Neighbours prefer to
go on where the painting goes on (Ashikhmin, "Synthesizing Natural Textures", 2001), so that whole strokes are
found.
"""

import numpy as np

from styling.network.decoder import CELL, Decoder
from styling.objective.tiles import tiling
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
# Of a painting's positions, for the search; coherence reaches the others. All of them paint no better.
MOST_CANDIDATES = 4096
CHUNK = 2**23  # similarities, or values of codes, at a time
ROUNDS, COHERENCE = 8, 0.1  # what a neighbour's agreement is worth, as a cosine
STEPS = (0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)  # from a neighbour: itself, above, below, left and right


def codes(image: np.ndarray, network: Network, decoder: Decoder, tile: int = 0) -> np.ndarray:
    """Codes [H/4, W/4, D] of the hypercolumns of an image [H, W, 3], RGB 0..255, sides multiples of 8.

    A code is linear in the maps, so each map is multiplied by its own rows of the directions at whatever size
    is the cheapest. tile: pixels a side of the windows looked at one by one, with the same result; 0 for all
    at once.
    """
    x, size = network.preprocess(image), image.shape[:2]
    shapes = network.shapes(size[0], size[1], LAYERS)
    channels = [shapes[name][-1] for name in LAYERS]
    kernels = CODE_SCALE * np.repeat(decoder.scales, channels)[:, None] * decoder.directions
    ends = dict(zip(LAYERS, np.cumsum(channels), strict=True))
    tiles = tiling(network.built(LAYERS), size, tile, dict.fromkeys(BLOCKS[3], 1))
    found = np.empty((size[0] // CELL, size[1] // CELL, decoder.directions.shape[1]), np.float32)
    for place in tiles.places:
        maps = tiles.view(network, tiles.cut(x, place), LAYERS, "avg", place).features
        rows, columns = (slice(start + core, start + end) for start, core, end in place[:, 2])
        first, total = 0, found[rows, columns]
        total[:] = -CODE_SCALE * decoder.centre @ decoder.directions
        for level, names in enumerate(BLOCKS):
            end = ends[names[-1]]
            total += _at_a_quarter([maps[name] for name in names], place, level, kernels[first:end])
            first = end
    return found


def _at_a_quarter(maps: list[tf.Tensor], place: np.ndarray, level: int, kernel: np.ndarray) -> np.ndarray:
    """The core of a window's maps after `level` poolings, times the kernel, at a quarter of the side."""
    if level < 3:
        (top, bottom), (left, right) = place[:, level, 1:]
        side = CELL >> level
        means = [tf.nn.avg_pool2d(x[:, top:bottom, left:right], side, side, "VALID") for x in maps]
        return tf.tensordot(tf.concat(means, -1), kernel, 1)[0].numpy()
    x = tf.concat(maps, -1)
    _, height, width, _ = x.shape
    doubled = tf.image.resize(tf.tensordot(x, kernel, 1), [2 * height, 2 * width])
    (top, left), (core, end) = place[:, 2, 0] - 2 * place[:, 3, 0], place[:, 2, 1:].T
    return doubled[0, top + core[0] : top + end[0], left + core[1] : left + end[1]].numpy()


def directions(codes: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Codes [..., D] as rows of length 1, minus their mean over all positions, weighted by [...]."""
    rows = codes.reshape(-1, codes.shape[-1])
    rows = rows - np.average(rows, 0, None if weights is None else weights.ravel()).astype(np.float32)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return rows


def nearest(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each row of a [n, D] the index of b's row [m, D] with the largest product, and that product."""
    places, likeness = np.empty(len(a), np.int64), np.empty(len(a), np.float32)
    b, step = tf.constant(b), max(CHUNK // len(b), 1)
    for first in range(0, len(a), step):
        products = tf.matmul(a[first : first + step], b, transpose_b=True).numpy()
        best = products.argmax(1)
        places[first : first + step] = best
        likeness[first : first + step] = products[np.arange(len(best)), best]
    return places, likeness


def match(
    search: np.ndarray,
    painting: np.ndarray,
    weights: np.ndarray | None = None,
    within: np.ndarray | None = None,
    coherence: float = COHERENCE,
) -> np.ndarray:
    """For each position of search [h, w, D], the index of one of the painting's [rows, columns, D].

    weights: [h, w], how much each position counts in the mean of the search. within: [rows, columns], the
    positions of the painting that may be taken; None for all. coherence: of neighbours; 0 for none.
    """
    within = np.ones(painting.shape[:2], bool) if within is None else within
    candidates = np.flatnonzero(within)
    a = directions(search, weights)
    b = painting.reshape(-1, painting.shape[-1])
    b = b - b[candidates].mean(0)
    b /= np.maximum(np.linalg.norm(b, axis=1, keepdims=True), 1e-12)
    if len(candidates) > MOST_CANDIDATES:
        rng = np.random.default_rng(0)
        candidates = np.sort(rng.choice(candidates, MOST_CANDIDATES, replace=False))
    places, likeness = nearest(a, b[candidates])
    places = candidates[places].reshape(search.shape[:2])
    for i in range(ROUNDS if coherence else 0):  # the black and the white fields of a chessboard in turn
        black = np.add.outer(*map(np.arange, places.shape)) % 2 == i % 2
        offers = _offers(places, within)[:, black]
        positions = np.flatnonzero(black)
        score = _likeness(offers, positions, likeness, a, b)
        agreement = (offers[:, None] == offers[None, 1:]).sum(1)
        best = np.where(offers < 0, -np.inf, score + coherence * agreement).argmax(0)[None]
        places[black] = np.take_along_axis(offers, best, 0)[0]
        likeness[positions] = np.take_along_axis(score, best, 0)[0]
    return places


def _offers(places: np.ndarray, within: np.ndarray) -> np.ndarray:
    """For each position its place, and where its four neighbours' would go on, or -1: [5, h, w]."""
    height, width = within.shape
    rows, columns = (np.pad(v, 1, constant_values=-9) for v in np.divmod(places, width))
    offers = np.empty((len(STEPS), *places.shape), np.int64)
    for offer, (down, right) in zip(offers, STEPS, strict=True):
        here = tuple(
            slice(1 - step, 1 - step + side) for step, side in zip((down, right), places.shape, strict=True)
        )
        row, column = rows[here] + down, columns[here] + right
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        place = np.where(inside, row * width + column, 0)
        offer[:] = np.where(inside & within.ravel()[place], place, -1)
    return offers


def _likeness(
    offers: np.ndarray, positions: np.ndarray, likeness: np.ndarray, a: np.ndarray, b: np.ndarray
) -> np.ndarray:
    """The cosine of each position's direction with each of its offers [5, n]; what is known is not computed.

    likeness: of all positions with their places, which are the first offers.
    """
    found = np.tile(likeness[positions], (len(offers), 1))
    kinds, which = np.nonzero((offers >= 0) & (offers != offers[0]))
    step = CHUNK // a.shape[1]
    for first in range(0, len(kinds), step):
        kind, at = kinds[first : first + step], which[first : first + step]
        found[kind, at] = np.einsum("nd,nd->n", a[positions[at]], b[offers[kind, at]])
    return found
