"""A brick wall in running bond: a texture whose order reaches further than a Gram matrix sees."""

import numpy as np
from scipy.ndimage import gaussian_filter
from tools import Array

SIZE, BRICK, COURSE, JOINT = 1024, 160, 64, 10
CLAY = np.array([[0.66, 0.27, 0.17], [0.58, 0.22, 0.15], [0.74, 0.36, 0.22], [0.50, 0.20, 0.18]])
MORTAR = np.array([0.82, 0.79, 0.72])


def bricks() -> Array:
    """The wall, [1024, 1024, 3], values 0..1."""
    rng = np.random.default_rng(7)
    y, x = np.mgrid[:SIZE, :SIZE].astype(float)
    # Hand-made bricks: nothing is quite straight.
    x += 2.5 * gaussian_filter(rng.standard_normal((SIZE, SIZE)), 12) * 24
    y += 2.5 * gaussian_filter(rng.standard_normal((SIZE, SIZE)), 12) * 24
    course = np.floor(y / COURSE).astype(int)
    along = x + (course % 2) * BRICK / 2
    number = np.floor(along / BRICK).astype(int)
    kinds = rng.integers(0, len(CLAY), (64, 64))
    shades = rng.uniform(0.85, 1.12, (64, 64))
    wall = CLAY[kinds[course % 64, number % 64]] * shades[course % 64, number % 64][..., None]
    grain = gaussian_filter(rng.standard_normal((SIZE, SIZE)), 2) * 0.5
    wall *= 1 + 0.5 * grain[..., None]
    depth = np.minimum.reduce([along % BRICK, BRICK - along % BRICK, y % COURSE, COURSE - y % COURSE])
    mortar = np.clip(1.5 - depth / (JOINT / 2), 0, 1)[..., None]
    wall = wall * (1 - mortar) + MORTAR * (1 + 0.3 * grain[..., None]) * mortar
    # A low sun from the upper left: an edge that faces it is light, one that turns away dark.
    relief = gaussian_filter(np.clip(depth, 0, JOINT), 1.5)
    slope = np.roll(relief, -2, (0, 1)) - np.roll(relief, 2, (0, 1))
    return np.clip(wall * (1 + 0.06 * slope[..., None]), 0, 1)
