"""A style: a mosaic of glass and stone."""

import numpy as np
from canvas import scattered
from scipy import ndimage
from scipy.spatial import KDTree
from tools import Array, gradient, look_up, mix, noise, smoothstep

# The flowers of the mosaic: centre, radius (in parts of the size), number of petals and two colours.
FLOWERS = [
    (0.30, 0.34, 0.270, 9, (0.80, 0.24, 0.14), (0.95, 0.66, 0.20)),
    (0.78, 0.22, 0.190, 8, (0.92, 0.86, 0.72), (0.84, 0.40, 0.20)),
    (0.72, 0.70, 0.250, 10, (0.93, 0.62, 0.16), (0.70, 0.14, 0.16)),
    (0.20, 0.82, 0.180, 7, (0.90, 0.80, 0.62), (0.90, 0.52, 0.18)),
    (0.46, 0.95, 0.110, 6, (0.62, 0.16, 0.22), (0.95, 0.72, 0.30)),
    (0.98, 0.46, 0.120, 6, (0.72, 0.20, 0.20), (0.94, 0.80, 0.50)),
    (0.52, 0.04, 0.110, 6, (0.94, 0.70, 0.24), (0.76, 0.22, 0.14)),
]


def mosaic_design(x: Array, y: Array) -> tuple[Array, Array]:
    """Return the colour of the design and the angle its rows of stones follow, at places in 0..1."""
    wave = y + 0.045 * np.sin(2 * np.pi * (1.4 * x + 0.35 * y)) + 0.02 * np.sin(2 * np.pi * (3.1 * x - y))
    angle = np.arctan2(0.045 * 2.8 * np.pi * np.cos(2 * np.pi * (1.4 * x + 0.35 * y)), -1.0) + np.pi / 2
    sea = [
        (0.0, (0.04, 0.14, 0.32)),
        (0.3, (0.06, 0.34, 0.48)),
        (0.55, (0.16, 0.58, 0.58)),
        (0.8, (0.52, 0.78, 0.68)),
        (1.0, (0.05, 0.18, 0.38)),
    ]
    colour = gradient(sea, np.mod(wave * 7.0, 1.0))
    for centre_x, centre_y, radius, petals, inner, outer in FLOWERS:
        dx, dy = x - centre_x, y - centre_y
        distance, turn = np.hypot(dx, dy) / radius, np.arctan2(dy, dx)
        lobe = np.abs(np.cos(turn * petals / 2))
        edge = 0.66 + 0.34 * lobe**0.7
        inside = distance < edge
        rings = mix(np.array(outer), np.array(inner), smoothstep(0.95, 0.35, distance / edge))
        rings = np.where(
            (np.abs(distance / edge - 0.90) < 0.10)[..., None], np.array([0.96, 0.88, 0.70]), rings
        )
        rings = np.where((lobe < 0.26)[..., None], np.array(inner) * 0.45, rings)
        heart = gradient(
            [(0, (0.98, 0.90, 0.55)), (0.5, (0.95, 0.66, 0.12)), (1, (0.25, 0.10, 0.10))], distance / 0.3
        )
        rings = np.where((distance < 0.3)[..., None], heart, rings)
        colour = np.where(inside[..., None], rings, colour)
        halo = (distance >= edge) & (distance < edge + 0.10)
        colour = np.where(halo[..., None], np.array([0.05, 0.10, 0.24]), colour)
        angle = np.where(distance < 1.15, turn, angle)
    return colour, angle


def mosaic(size: int = 1152, stone: float = 21.0) -> Array:
    """Lay stones that are roughly square and turned along the design, each with its own tint and tilt."""
    rng = np.random.default_rng(31)
    points = scattered(rng, size, stone)
    y, x = np.mgrid[0:size, 0:size].astype(float)
    pixels = np.stack([x, y], axis=-1)
    # Each pixel belongs to the stone that is nearest when "near" is measured in squares turned with
    # the design; moving the stones to the middle of their pixels evens them out.
    for _ in range(5):
        owner, _, _ = nearest_stones(points, pixels, size)
        count = np.bincount(owner.ravel(), minlength=len(points))
        middle = np.stack(
            [np.bincount(owner.ravel(), pixels[..., k].ravel(), len(points)) for k in range(2)], axis=1
        )
        points = np.where(count[:, None] > 0, middle / np.maximum(count, 1)[:, None], points)
    owner, first, second = nearest_stones(points, pixels, size)
    colour, _ = mosaic_design(points[:, 0] / size, points[:, 1] / size)
    colour = colour * rng.normal(1.0, 0.11, (len(points), 1)) + rng.normal(0, 0.028, colour.shape)
    gold = rng.random(len(points)) < 0.035
    colour[gold] = np.array([0.96, 0.78, 0.36]) * rng.uniform(0.8, 1.1, (gold.sum(), 1))
    tilt = rng.normal(0, 0.10, (len(points), 2))
    grain = noise(1024, 1.0, seed=32, coarsest=8)
    gap = second - first + 0.35 * look_up(grain, x, y)
    rise = smoothstep(1.4, 6.5, gap)
    relief = 3.2 * rise + 0.12 * look_up(grain, x * 1.7, y * 1.7)
    slope_y, slope_x = np.gradient(ndimage.gaussian_filter(relief, 0.8))
    slope_x, slope_y = slope_x + tilt[owner, 0] * rise, slope_y + tilt[owner, 1] * rise
    normal = np.stack([-slope_x, -slope_y, np.ones_like(slope_x)], axis=-1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    lamp = np.array([-0.55, -0.60, 0.58])
    diffuse = np.clip(normal @ lamp, 0, None) / 0.58
    half = lamp + np.array([0.0, 0.0, 1.0])
    gloss = np.clip(normal @ half / np.linalg.norm(half), 0, None) ** 30
    vein = 1.0 + 0.05 * look_up(grain, x * 0.8 + 17 * owner, y * 0.8)
    grout = np.array([0.15, 0.13, 0.13]) * (1.0 + 0.12 * look_up(grain, x * 2, y * 2))[..., None]
    surface = mix(grout, np.clip(colour, 0.02, 1)[owner] * vein[..., None], smoothstep(1.0, 2.6, gap))
    return surface * (0.40 + 0.60 * diffuse)[..., None] + (0.16 * gloss * rise)[..., None]


def nearest_stones(points: Array, pixels: Array, size: int) -> tuple[Array, Array, Array]:
    """Return for each pixel its nearest stone and the distances to the nearest two, in turned squares."""
    _, angle = mosaic_design(points[:, 0] / size, points[:, 1] / size)
    _, candidates = KDTree(points).query(pixels, k=6)
    offset = pixels[..., None, :] - points[candidates]
    cos, sin = np.cos(angle)[candidates], np.sin(angle)[candidates]
    a = np.abs(offset[..., 0] * cos + offset[..., 1] * sin)
    b = np.abs(offset[..., 1] * cos - offset[..., 0] * sin)
    # A high power of the two sides is close to the distance in squares but keeps the corners soft.
    distance = (a**6 + b**6) ** (1 / 6)
    order = np.argsort(distance, axis=-1)[..., :2]
    nearest = np.take_along_axis(distance, order, -1)
    owner = np.take_along_axis(candidates, order[..., :1], -1)[..., 0]
    return owner, nearest[..., 0], nearest[..., 1]
