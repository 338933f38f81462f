"""A picture in one pass: each position of the photograph becomes the painting's most similar one.

A decoder, trained once for all paintings, makes a picture of what was found. Coarse to fine: the picture of
half the size, mixed with the photograph, searches at the next size, so that strokes grow from it (Kolkin et
al. 2022, arXiv 2203.13215, whose fast variant this follows).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

import vgg
from styling.network import decoder as decoders
from styling.network import networks
from styling.network.decoder import CELL, Decoder
from styling.objective import neighbors
from styling.pictures import images, masks
from styling.pictures.images import Images, Warped
from styling.pictures.masks import Layout
from styling.settings import Settings
from styling.system.errors import MemoryLimitError, NetworkError
from styling.system.limits import free_memory
from styling.system.quiet import tf
from vgg import Network

SIZES = 0.25, 0.5, 1.0  # relative to the picture
LEAST_SIDE = 32  # pixels of a coarse size's shorter side
GRID = 8  # sides of what the network looks at are multiples of this
BORDER = 8  # pixels by which the photograph is continued, since the zero padding marks what is near a border
OUTERMOST = 8  # pixels of the painting that are not used, for the same reason
TILE = 1024  # pixels a side of windows, where the settings name no smaller ones
MOST_REMEMBERED = 3 * 2**20  # numbers of a painting whose codes are remembered
FADE = np.array([1, 3, 5, 7, 7, 5, 3, 1], np.float32) / 8  # of a patch of 8 pixels
# Of a full-size pass, measured: for a pixel of a window, of the picture, of the largest painting, and of all.
WINDOW_BYTES, PICTURE_BYTES, PAINTING_BYTES, CODES_BYTES, FIXED_BYTES = 750, 240, 180, 80, 150 * 2**20


@dataclass(frozen=True)
class Strength:
    """How much style: mixture, the share of the last picture in the next search; keep, how much the forms of
    the photograph count; painted, the share of the picture in the result. All 0..1."""

    mixture: float = 0.34
    keep: float = 0.9
    painted: float = 1.0

    @classmethod
    def of_weight(cls, style_weight: float) -> "Strength":
        """From 0.1, which gives the photograph back, over 1, the middle, to 10."""
        level = math.log10(min(max(style_weight, 0.1), 10.0))
        return cls(cls.mixture * (1 + level), min(cls.keep - 0.6 * level, 1.0), min(2 * (1 + level), 1.0))


def start(
    pictures: Images, size: tuple[int, int], layout: Layout, network: Network, settings: Settings
) -> np.ndarray:
    """The picture from which a run starts, [H, W, 3], RGB 0..255, of this size; pictures have theirs for it.

    It goes on from the initial image, if there is one, or from what is known of a film's frame. Any network
    may make the updates that follow; the small one always makes the pass.
    """
    before = pictures.warped
    if pictures.initial is not None:
        before = Warped(images.resize(pictures.initial, *size), np.ones(size, np.float32))
    # The weight of other losses has another measure.
    measured = not settings.iterations or settings.style_measure == "neighbors"
    strength = Strength.of_weight(settings.style_weight) if measured else Strength()
    network = network if is_known(network) else small_network()
    decoder = decoders.load()
    return paint(
        *(pictures.photo, pictures.styles, layout, network, decoder, strength), settings.tile or 0, before
    )


def paint(
    photo: np.ndarray,
    styles: Sequence[np.ndarray],
    layout: Layout,
    network: Network,
    decoder: Decoder,
    strength: Strength = Strength(),
    tile: int = 0,
    before: Warped | None = None,
) -> np.ndarray:
    """The picture [H, W, 3], RGB 0..255, of a photograph of this size; styles have the sizes for it.

    layout: which style paints where. tile: pixels a side of windows that are computed one by one, with the
    same result. before: a picture of this size to go on from, where it is trusted, which makes the coarsest
    size needless, and the next as well if all of it is trusted.
    """
    tile, picture = tile or TILE, None
    sizes: tuple[float, ...] = SIZES
    if before is not None:
        sizes = SIZES[1:] if before.trust.min() < 1 else SIZES[-1:]
    for size in sizes:
        height, width = (round(size * side) for side in photo.shape[:2])
        if size < 1 and min(height, width) < LEAST_SIDE:
            continue
        seen = images.resize(photo, height, width)
        last = seen if picture is None else enlarged(picture, height, width)
        if before is not None:
            trust = masks.resize(before.trust, height, width)[..., None]
            last = last + trust * (images.resize(before.pixels, height, width) - last)
        seen = seen + np.float32(strength.mixture) * (last - seen)
        pixels = [images.resize(style, *on_grid(style, size)) for style in styles]
        picture = _pass(seen, pixels, layout, network, decoder, strength.keep, tile)
    return photo + np.float32(strength.painted) * (picture - photo)


def check_network(network: Network) -> None:
    """Raise NetworkError unless this is the network that the decoder was trained for."""
    if not is_known(network):
        problem = "has other features than the decoder of --start one-pass was trained with"
        raise NetworkError(f"{problem}; use --network small, or --iterations 1 or more")


def is_known(network: Network) -> bool:
    """Whether the decoder was trained for this network."""
    shapes = network.shapes(GRID, GRID, neighbors.LAYERS).values()
    return sum(channels for *_, channels in shapes) == len(decoders.load().centre)


@lru_cache(maxsize=1)
def small_network() -> Network:
    """The network that the decoder was trained for, which ships."""
    return vgg.load(networks.find("small"))


def check_memory(size: tuple[int, int], styles: Sequence[tuple[int, int]], tile: int) -> None:
    """Raise MemoryLimitError if a pass will not fit into the memory at hand; sizes are (height, width)."""
    need, free = memory_needed(size, styles, tile), free_memory()
    if need > free:
        height, width = size
        needed = f"a pass of {width} x {height} pixels needs about {need / 2**30:.1f} GiB of memory"
        raise MemoryLimitError(
            f"{needed}, and {free / 2**30:.1f} GiB are free: use a smaller --width or --max-size"
        )


def memory_needed(size: tuple[int, int], styles: Sequence[tuple[int, int]], tile: int) -> float:
    """An estimate of the bytes of memory that a pass needs for images of these sizes, (height, width)."""
    pixels, *paintings = (math.prod(each) for each in (size, *styles))
    window = min(pixels, (tile or TILE) ** 2)
    searched = PAINTING_BYTES * max(paintings, default=0) + CODES_BYTES * sum(
        paintings
    )  # one after the other
    return FIXED_BYTES + WINDOW_BYTES * window + PICTURE_BYTES * pixels + searched


def enlarged(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """The image at another size, bilinearly, as the decoder was trained with."""
    return tf.image.resize(image, [height, width]).numpy()


def on_grid(style: np.ndarray, size: float) -> tuple[int, int]:
    """The sides of a painting at a size, rounded to multiples of 8; some of it is left without its border."""
    height, width = (max(round(size * side / GRID) * GRID, 3 * GRID) for side in style.shape[:2])
    return height, width


def _pass(
    seen: np.ndarray,
    paintings: Sequence[np.ndarray],
    layout: Layout,
    network: Network,
    decoder: Decoder,
    keep: float,
    tile: int,
) -> np.ndarray:
    """The picture, RGB 0..255, of one size from the image that searches and the paintings for it."""
    size = seen.shape[:2]
    around = [(BORDER, BORDER + -side % GRID) for side in size]
    search = neighbors.codes(np.pad(seen, [*around, (0, 0)], "reflect"), network, decoder, tile)
    around = [(CELL, CELL + -side % CELL) for side in size]  # which is enough for what follows
    cells = [(side + sum(more)) // CELL for side, more in zip(size, around, strict=True)]
    rows, columns = (slice(BORDER // CELL - 1, BORDER // CELL - 1 + side) for side in cells)
    search = np.ascontiguousarray(search[rows, columns])
    codes = np.zeros_like(search)
    collage = np.zeros((*(CELL * side for side in cells), 3), np.float32)
    shares = shares_at(layout, size, around, len(paintings))
    for painting, share, guide in zip(paintings, shares, layout.guides, strict=True):
        if not share.any():
            continue
        inner = slice(OUTERMOST // CELL, -OUTERMOST // CELL)
        looked = painting_codes(painting, network, decoder, tile)
        looked = np.ascontiguousarray(looked[inner, inner])
        pixels = painting[OUTERMOST:-OUTERMOST, OUTERMOST:-OUTERMOST] / 255
        within = None if guide is None else guided(guide, painting.shape[:2], inner)
        places = neighbors.match(search, looked, share, within)
        codes += share[..., None] * looked.reshape(-1, looked.shape[-1])[places]
        collage += share.repeat(CELL, 0).repeat(CELL, 1)[..., None] * collage_of(pixels, places)
    picture = decoder.decode(codes, collage, search, keep, tile)
    return 255 * picture[tuple(slice(CELL, CELL + side) for side in size)]


def painting_codes(painting: np.ndarray, network: Network, decoder: Decoder, tile: int) -> np.ndarray:
    """neighbors.codes() of a painting, remembered for the next frame or first look, unless it is large."""
    if painting.size > MOST_REMEMBERED:
        return neighbors.codes(painting, network, decoder, tile)
    return _remembered(painting.tobytes(), painting.shape, network, decoder, tile)


@lru_cache(maxsize=6)
def _remembered(
    pixels: bytes, shape: tuple[int, ...], network: Network, decoder: Decoder, tile: int
) -> np.ndarray:
    return neighbors.codes(np.frombuffer(pixels, np.float32).reshape(shape), network, decoder, tile)


def shares_at(
    layout: Layout, size: tuple[int, int], around: Sequence[tuple[int, int]], count: int
) -> list[np.ndarray]:
    """Each style's share at each position, [h, w], with sum 1; size and around: in pixels."""
    cells = [(side + sum(more)) // CELL for side, more in zip(size, around, strict=True)]
    shares = [np.zeros(cells, np.float32) for _ in range(count)]
    for region in layout.regions:
        mask, mean = np.ones(cells, np.float32), 1.0
        if region.mask is not None:
            mean = region.mask.mean()
            mask = masks.resize(np.pad(masks.resize(region.mask, *size), around, "reflect"), *cells)
        for i, share in region.shares.items():
            shares[i] += np.float32(share / mean) * mask
    total = sum(shares)
    anywhere = np.float32(1 / max(count, 1))  # where nothing is painted, which stays the photograph later
    return [np.where(total > 0, share / np.where(total > 0, total, 1), anywhere) for share in shares]


def guided(guide: np.ndarray, size: tuple[int, int], inner: slice) -> np.ndarray:
    """The inner positions that are mostly within a guide, or those most within it, bool [h, w]."""
    at_cells = masks.resize(guide, size[0] // CELL, size[1] // CELL)[inner, inner]
    return masks.mostly(at_cells)


def collage_of(pixels: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Patches of 8 x 8 pixels of a painting [4 rows, 4 columns, 3] around places [h, w]: [4h, 4w, 3].

    They overlap by half, and each fades out. A patch is four quadrants, each a cell of the painting's pixels
    that begins 2 pixels before a position.
    """
    half = CELL // 2
    cells = _to_cells(np.pad(pixels, [(half, half), (half, half), (0, 0)], "reflect"))
    down, right = np.divmod(places, cells.shape[1] - 1)
    height, width = places.shape
    canvas = np.zeros((height + 1, width + 1, CELL, CELL, 3), np.float32)
    weight = np.zeros((height + 1, width + 1, CELL, CELL, 1), np.float32)
    for i in (0, 1):
        for j in (0, 1):
            fade = np.multiply.outer(*(FADE[CELL * k : CELL * (k + 1)] for k in (i, j)))[..., None]
            canvas[i : i + height, j : j + width] += fade * cells[down + i, right + j]
            weight[i : i + height, j : j + width] += fade
    canvas /= weight
    picture = canvas.transpose(0, 2, 1, 3, 4).reshape(CELL * (height + 1), CELL * (width + 1), 3)
    return picture[half:-half, half:-half]


def _to_cells(pixels: np.ndarray) -> np.ndarray:
    """[4r, 4c, 3] as cells [r, c, 4, 4, 3]."""
    rows, columns = (side // CELL for side in pixels.shape[:2])
    return pixels.reshape(rows, CELL, columns, CELL, 3).swapaxes(1, 2)
