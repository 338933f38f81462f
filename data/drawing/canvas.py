"""Brush strokes, shared by the styles."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from tools import Array


@dataclass
class Canvas:
    """A painted surface: its colours and how thickly the paint stands on it."""

    colour: Array
    relief: Array

    @classmethod
    def blank(cls, size: int, colour: tuple[float, float, float]) -> "Canvas":
        """Return a square canvas primed in one colour."""
        return cls(np.full((size, size, 3), colour, np.float32), np.zeros((size, size), np.float32))

    def stroke(
        self, path: Array, width: float, colour: Array, rng: np.random.Generator, dry: float = 0.0
    ) -> None:
        """Drag a bristle brush along a path of (x, y) points a pixel or so apart.

        Each bristle has its own load of paint, so colour and thickness run in streaks along the
        stroke; a dry brush leaves gaps towards the end.
        """
        size = len(self.relief)
        heading = np.gradient(path, axis=0)
        side = np.stack([-heading[:, 1], heading[:, 0]], axis=1)
        side /= np.maximum(np.linalg.norm(side, axis=1, keepdims=True), 1e-6)
        bristles = max(int(width * 1.6), 3)
        across = np.linspace(-1, 1, bristles)
        progress = np.linspace(0, 1, len(path))
        taper = np.clip(np.minimum(progress * 9, (1 - progress) * 5), 0, 1) ** 0.5
        load = ndimage.gaussian_filter1d(rng.standard_normal(bristles), 0.9, mode="reflect")
        load /= load.std() + 1e-6
        ragged = rng.uniform(0.0, 0.12, bristles)
        places = path[:, None] + side[:, None] * (across * width / 2)[None, :, None] * taper[:, None, None]
        x, y = np.rint(places).astype(int).transpose(2, 0, 1)
        wet = (progress[:, None] > ragged * 0.5) & (progress[:, None] < 1 - ragged)
        wet &= load[None] > -2.5 + dry * 2.6 * progress[:, None]
        wet &= (x >= 0) & (x < size) & (y >= 0) & (y < size)
        body = (1 - across**2) ** 0.4 + 0.30 * np.exp(-(((np.abs(across) - 0.85) / 0.12) ** 2)) + 0.22 * load
        thick = body[None] * (1.1 - 0.5 * progress[:, None])
        paint = colour * (1.0 + 0.07 * load[None, :, None]) * np.ones((len(path), 1, 1))
        x, y = x[wet], y[wet]
        self.colour[y, x] = paint[wet]
        self.relief[y, x] = 0.35 * self.relief[y, x] + (thick * np.sqrt(width))[wet]

    def light(self, strength: float, shine: float) -> Array:
        """Return the painting lit from the upper left, with shine on the ridges of the paint."""
        relief = ndimage.gaussian_filter(self.relief, 0.9)
        slope_y, slope_x = np.gradient(relief)
        normal = np.stack([-slope_x * strength, -slope_y * strength, np.ones_like(relief)], axis=-1)
        normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
        lamp = np.array([-0.50, -0.62, 0.62])
        diffuse = np.clip(normal @ (lamp / np.linalg.norm(lamp)), 0, None) / 0.62
        half = lamp / np.linalg.norm(lamp) + np.array([0, 0, 1.0])
        gloss = np.clip(normal @ (half / np.linalg.norm(half)), 0, None) ** 40
        smooth = ndimage.gaussian_filter(self.colour, (0.6, 0.6, 0))
        return smooth * (0.42 + 0.58 * diffuse)[..., None] + shine * gloss[..., None] * [1.0, 0.96, 0.88]


def follow(flow: Callable[[Array, Array], Array], start: Array, length: float) -> Array:
    """Trace a path of unit steps, `length` long and centred on a point, along a field of angles."""
    steps = max(int(length / 2), 3)
    halves = []
    for direction in (1.0, -1.0):
        point, half = start.copy(), []
        for _ in range(steps):
            angle = flow(point[0], point[1])
            point = point + direction * np.array([math.cos(angle), math.sin(angle)])
            half.append(point)
        halves.append(half)
    return np.array(halves[1][::-1] + [start] + halves[0])


def scattered(rng: np.random.Generator, size: int, spacing: float) -> Array:
    """Return points over the picture (and a margin), about `spacing` apart, in random order."""
    lattice = np.arange(-spacing, size + spacing, spacing)
    points = np.stack(np.meshgrid(lattice, lattice), axis=-1).reshape(-1, 2)
    return rng.permutation(points + rng.uniform(-0.6, 0.6, points.shape) * spacing)
