"""Tools shared by all pictures: noise, gradients, blends."""

from collections.abc import Callable

import numpy as np
from scipy import ndimage
from scipy.interpolate import CubicSpline

Array = np.ndarray
Paint = Callable[[Array, Array], Array]


def noise(size: int, roughness: float, seed: int, coarsest: float = 1.0) -> Array:
    """Return a square tile of fractal noise, mean 0 and deviation 1, that repeats without a seam.

    The spectrum falls as frequency**-roughness and is empty below `coarsest` waves per tile.
    """
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None]) * size
    gain = np.where(frequency >= coarsest, np.maximum(frequency, 1e-6) ** -roughness, 0.0)
    tile = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((size, size))) * gain, s=(size, size))
    return ((tile - tile.mean()) / tile.std()).astype(np.float32)


def look_up(tile: Array, x: Array, y: Array) -> Array:
    """Sample a repeating tile at real-valued pixel positions."""
    return ndimage.map_coordinates(tile, [y, x], order=1, mode="grid-wrap", prefilter=False)


def smoothstep(low: float, high: float, x: Array) -> Array:
    """Rise smoothly from 0 at `low` to 1 at `high`."""
    t = np.clip((x - low) / (high - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def mix(a: Array, b: Array, weight: Array) -> Array:
    """Blend colours a and b by a weight that has no colour axis."""
    weight = np.asarray(weight)[..., None]
    return np.asarray(a) * (1.0 - weight) + np.asarray(b) * weight


def gradient(stops: list[tuple[float, tuple[float, float, float]]], x: Array) -> Array:
    """Return the colours at x of a gradient given as (position, colour) stops."""
    positions = [position for position, _ in stops]
    colours = np.array([colour for _, colour in stops])
    return np.stack([np.interp(x, positions, colours[:, c]) for c in range(3)], axis=-1)


def curve(points: list[tuple[float, float]] | Array, closed: bool = False, count: int = 200) -> Array:
    """Return `count` points of a smooth curve through the given ones."""
    points = np.array([*points, points[0]] if closed else points, float)
    reach = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    spline = CubicSpline(reach / reach[-1], points, bc_type="periodic" if closed else "natural")
    return spline(np.linspace(0.0, 1.0, count))


def distance_to_edge(numbers: Array) -> Array:
    """Return for each pixel how far the next change of number is."""
    same = np.ones(numbers.shape, bool)
    same[:-1] &= numbers[:-1] == numbers[1:]
    same[:, :-1] &= numbers[:, :-1] == numbers[:, 1:]
    return ndimage.distance_transform_edt(same)
