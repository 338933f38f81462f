"""Scenes in perspective, shared by the contents: the camera, and shapes drawn through it."""

from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage
from tools import Array, Paint, look_up, mix, noise

EYE_HEIGHT = 7.0
GROUND_NOISE = noise(1024, 2.0, seed=1, coarsest=3)
FINE_NOISE = noise(1024, 1.2, seed=2, coarsest=12)


@dataclass
class View:
    """A camera looking along +y, and what it has seen so far at each pixel.

    The mirrored view stands as far under the water as the camera stands above it, which makes it
    see exactly what a calm surface reflects.
    """

    width: int
    height: int
    mirrored: bool = False
    eye_height: float = EYE_HEIGHT
    spread: float = 1.08
    level: float = 0.57
    u: Array = field(init=False)
    v: Array = field(init=False)
    depth: Array = field(init=False)
    normal: Array = field(init=False)
    colour: Array = field(init=False)
    shine: Array = field(init=False)

    def __post_init__(self) -> None:
        """Set up the ray of every pixel, direction (u, 1, v), and empty buffers."""
        self.focal = self.width / self.spread
        self.horizon = self.level * self.height
        self.flip = -1.0 if self.mirrored else 1.0
        self.eye = self.eye_height * self.flip
        self.u = ((np.arange(self.width) + 0.5 - self.width / 2) / self.focal).astype(np.float32)
        self.v = (self.flip * (self.horizon - np.arange(self.height) - 0.5) / self.focal).astype(np.float32)
        self.depth = np.full((self.height, self.width), np.inf, np.float32)
        self.normal = np.zeros((self.height, self.width, 3), np.float32)
        self.colour = np.zeros((self.height, self.width, 3), np.float32)
        self.shine = np.zeros((self.height, self.width), np.float32)

    def project(self, points: Array) -> tuple[Array, Array]:
        """Return the columns and rows where points of the world appear."""
        columns = points[:, 0] / points[:, 1] * self.focal + self.width / 2
        rows = self.horizon - self.flip * (points[:, 2] - self.eye) / points[:, 1] * self.focal
        return columns, rows

    def window(self, columns: Array, rows: Array) -> tuple[slice, slice] | None:
        """Return the part of the picture that covers the given places, or None if it is outside."""
        left, right = max(int(columns.min()), 0), min(int(columns.max()) + 2, self.width)
        top, bottom = max(int(rows.min()), 0), min(int(rows.max()) + 2, self.height)
        return (slice(top, bottom), slice(left, right)) if left < right and top < bottom else None

    def put(
        self,
        window: tuple[slice, slice],
        seen: Array,
        depth: Array,
        normal: Array,
        colour: Array,
        shine: float = 0.0,
    ) -> None:
        """Store a surface where it is seen and nearer than what is there."""
        seen = seen & (depth < self.depth[window]) & (depth > 1.0)
        self.depth[window][seen] = depth[seen]
        self.normal[window][seen] = np.broadcast_to(normal, (*seen.shape, 3))[seen]
        self.colour[window][seen] = np.broadcast_to(colour, (*seen.shape, 3))[seen]
        self.shine[window][seen] = shine


def draw_polygon(view: View, corners: Array | list[Array], paint: Paint | Array) -> None:
    """Draw a flat convex polygon; paint is a colour or a function of metres along and across it.

    The first edge is the "along" axis and the first corner is the origin of these metres.
    """
    corners = np.asarray(corners, float)
    columns, rows = view.project(corners)
    window = view.window(columns, rows)
    if window is None or corners[:, 1].min() < 2.0:
        return
    x = np.arange(window[1].start, window[1].stop)[None] + 0.5
    y = np.arange(window[0].start, window[0].stop)[:, None] + 0.5
    sides = [
        (columns[i] - columns[i - 1]) * (y - rows[i - 1]) - (rows[i] - rows[i - 1]) * (x - columns[i - 1])
        for i in range(len(corners))
    ]
    inside = np.all([side >= 0 for side in sides], axis=0) | np.all([side <= 0 for side in sides], axis=0)
    if not inside.any():
        return
    along = corners[1] - corners[0]
    normal = np.cross(along, corners[2] - corners[0])
    if np.linalg.norm(normal) < 1e-9:
        return
    normal /= np.linalg.norm(normal)
    along /= np.linalg.norm(along)
    u, v = view.u[None, window[1]], view.v[window[0], None]
    offset = corners[0] - np.array([0.0, 0.0, view.eye])
    facing = normal[0] * u + normal[1] + normal[2] * v
    depth = normal @ offset / np.where(np.abs(facing) < 1e-6, 1e-6, facing)
    local = np.stack([u * depth, depth, v * depth], axis=-1) - offset
    colour = paint(local @ along, local @ np.cross(normal, along)) if callable(paint) else paint
    view.put(window, inside, depth, np.where(facing[..., None] > 0, -normal, normal), colour)


def draw_blob(view: View, centre: Array, radii: Array, colour: Array, leafy: float = 0.0) -> None:
    """Draw an upright ellipsoid; a leafy one gets a ragged outline and a crumpled surface."""
    corners = centre + radii * np.array([[i, j, k] for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)])
    window = view.window(*view.project(corners))
    if window is None or corners[:, 1].min() < 2.0:
        return
    u, v = np.meshgrid(view.u[window[1]], view.v[window[0]])
    ray = np.stack([u, np.ones_like(u), v], axis=-1) / radii
    start = (np.array([0.0, 0.0, view.eye]) - centre) / radii
    a, b = (ray * ray).sum(-1), ray @ start
    room = b * b - a * (start @ start - 1.0)
    depth = (-b - np.sqrt(np.maximum(room, 0.0))) / a
    normal = (start + ray * depth[..., None]) / radii
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    seen = room > 0
    if leafy:
        world = np.stack([u * depth, depth, view.eye + v * depth], axis=-1)
        across, up = (world[..., 0] * 0.8 + world[..., 1] * 0.6) * 26.0, world[..., 2] * 26.0
        grain = [look_up(FINE_NOISE, across + 311 * i, up + 97 * i) for i in range(3)]
        normal = normal + leafy * np.stack(grain, axis=-1)
        normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
        seen = room > a * 0.35 * np.maximum(grain[1] + 0.2, 0.0)
        colour = colour * (1.0 + 0.22 * grain[2][..., None])
    view.put(window, seen, depth, normal, colour)


def draw_line(view: View, start: Array, end: Array, thickness: float) -> None:
    """Draw a rope or stay as a thin strip that faces the camera."""
    direction = end - start
    side = np.cross(direction, (start + end) / 2 - np.array([0, 0, view.eye]))
    side *= thickness / np.linalg.norm(side)
    draw_polygon(view, [start - side, end - side, end + side, start + side], np.array([0.30, 0.24, 0.20]))


def develop(light: Array) -> Array:
    """Turn light into a printable picture: soft highlights, a little contrast and a dark edge."""
    height, width = light.shape[:2]
    glow = ndimage.gaussian_filter(np.clip(light - 0.8, 0, 2), (width / 90, width / 90, 0))
    tone = 1.0 - np.exp(-1.25 * (light + 0.5 * glow))
    tone = np.clip(tone, 0, 1) ** (1 / 1.45)
    tone = mix(tone, tone * tone * (3 - 2 * tone), np.float64(0.45))
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    return tone * (1.0 - 0.16 * (x * x + y * y) ** 1.5 / 2.0)[..., None]
