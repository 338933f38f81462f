"""A style: a still life broken into shaded facets, in oil."""

import math
from typing import NamedTuple

import numpy as np
from canvas import Canvas, scattered
from PIL import Image, ImageDraw
from scipy import ndimage
from tools import Array, curve, distance_to_edge, gradient, look_up, mix, noise, smoothstep

INK = np.array([0.07, 0.055, 0.06])
TURN = np.linspace(0, 2 * np.pi, 60, endpoint=False)


class Material(NamedTuple):
    """What a thing is painted with: its colours in shadow, between and in light, and its decoration."""

    shadow: tuple[float, float, float]
    middle: tuple[float, float, float]
    light: tuple[float, float, float]
    pattern: str = "plain"

    def shade(self, light: Array) -> Array:
        """Return the colours of the material in more or less light, 0..1."""
        return gradient([(0.0, self.shadow), (0.5, self.middle), (1.0, self.light)], light)


WALL = Material((0.10, 0.18, 0.25), (0.40, 0.52, 0.56), (0.88, 0.88, 0.78), "dots")
CURTAIN = Material((0.04, 0.08, 0.20), (0.10, 0.29, 0.50), (0.56, 0.76, 0.80), "stripes")
OCHRE = Material((0.28, 0.14, 0.06), (0.76, 0.50, 0.18), (0.97, 0.83, 0.50), "grain")
SIENNA = Material((0.20, 0.08, 0.06), (0.60, 0.25, 0.11), (0.92, 0.56, 0.30), "grain")
UMBER = Material((0.08, 0.06, 0.06), (0.24, 0.15, 0.11), (0.52, 0.36, 0.23))
CREAM = Material((0.46, 0.40, 0.36), (0.85, 0.79, 0.66), (0.99, 0.95, 0.85))
PAPER = CREAM._replace(shadow=(0.20, 0.16, 0.18), pattern="staves")
OLIVE = Material((0.05, 0.12, 0.09), (0.20, 0.38, 0.20), (0.72, 0.76, 0.40))
CLOTH = Material((0.04, 0.13, 0.13), (0.12, 0.38, 0.32), (0.66, 0.78, 0.54), "checks")
BRICK = Material((0.34, 0.05, 0.08), (0.80, 0.20, 0.12), (0.98, 0.58, 0.34))
LEMON = Material((0.78, 0.44, 0.03), (0.96, 0.74, 0.10), (1.00, 0.94, 0.52))
ROSE = Material((0.40, 0.16, 0.18), (0.84, 0.50, 0.42), (0.99, 0.84, 0.70))

# Discs that cut the facets and lie over them like coloured air: centre, radius, tint.
DISCS = [
    (0.40, 0.58, 0.31, (0.98, 0.86, 0.58)),
    (0.74, 0.22, 0.25, (0.96, 0.70, 0.30)),
    (0.82, 0.86, 0.27, (0.30, 0.10, 0.20)),
    (0.12, 0.24, 0.23, (0.60, 0.82, 0.76)),
]


def ellipse(x: float, y: float, width: float, height: float) -> Array:
    """Return the outline of an ellipse."""
    return np.stack([x + width * np.cos(TURN), y + height * np.sin(TURN)], axis=1)


def symmetric(
    profile: list[tuple[float, float]], start: tuple[float, float], stop: tuple[float, float]
) -> Array:
    """Return the outline of a thing that is alike on both sides of its axis from start to stop.

    The profile's points say how far along the axis and how far to each side, in lengths of the axis.
    """
    half = curve(profile, count=80)
    return along(np.concatenate([half, half[::-1] * [1, -1]]), start, stop)


def along(places: Array | list, start: tuple[float, float], stop: tuple[float, float]) -> Array:
    """Return places of the picture that are given along and across an axis."""
    places, axis = np.array(places), np.subtract(stop, start)
    return np.array(start) + places[:, :1] * axis + places[:, 1:] * np.array([-axis[1], axis[0]])


def things_on_the_table() -> list[tuple[Array, Material]]:
    """Return the outlines of the things, from the back to the front, and what each is painted with."""
    guitar = [
        (0.0, 0.0), (0.01, 0.16), (0.10, 0.29), (0.24, 0.335), (0.40, 0.29), (0.53, 0.205), (0.64, 0.20),
        (0.78, 0.245), (0.91, 0.215), (0.985, 0.11), (1.0, 0.0),
    ]  # fmt: skip
    neck = [(0.60, -0.048), (1.52, -0.032), (1.52, 0.032), (0.60, 0.048)]
    pegs = [(1.48, -0.05), (1.74, -0.075), (1.78, 0.02), (1.72, 0.085), (1.48, 0.05)]
    bridge = [(0.20, -0.14), (0.25, -0.14), (0.25, 0.14), (0.20, 0.14)]
    bottle = [
        (0.0, 0.0), (0.005, 0.12), (0.05, 0.145), (0.50, 0.145), (0.62, 0.125), (0.72, 0.055), (0.94, 0.045),
        (0.95, 0.062), (1.0, 0.06), (1.0, 0.0),
    ]  # fmt: skip
    goblet = [
        (0.0, 0.0), (0.0, 0.20), (0.05, 0.19), (0.09, 0.05), (0.40, 0.035), (0.50, 0.14), (0.72, 0.255),
        (1.0, 0.23), (1.0, 0.0),
    ]  # fmt: skip
    wine = [(0.0, 0.0), (0.02, 0.55), (0.5, 0.80), (1.0, 0.78), (1.0, 0.0)]
    pear = [(0.0, 0.0), (0.02, 0.20), (0.25, 0.40), (0.52, 0.31), (0.74, 0.17), (0.92, 0.14), (1.0, 0.0)]
    foot, head = (0.215, 0.85), (0.555, 0.345)
    return [
        (np.array([(-0.1, -0.1), (0.33, -0.1), (0.20, 0.70), (-0.1, 0.70)]), CURTAIN),
        (np.array([(0.80, -0.1), (1.1, -0.1), (1.1, 0.75), (0.90, 0.65)]), BRICK),
        (np.array([(-0.1, 0.60), (0.50, 0.52), (1.1, 0.62), (1.1, 1.1), (-0.1, 1.1)]), SIENNA),
        (ellipse(0.53, 0.82, 0.44, 0.20), CLOTH),
        (np.array([(0.02, 0.80), (0.40, 0.70), (0.50, 0.97), (0.10, 1.05)]), PAPER),
        (symmetric(bottle, (0.175, 0.70), (0.185, 0.13)), OLIVE),
        (np.array([(0.098, 0.48), (0.258, 0.48), (0.258, 0.60), (0.098, 0.60)]), CREAM),
        (symmetric(guitar, foot, head), OCHRE),
        (along(neck, foot, head), UMBER),
        (along(pegs, foot, head), SIENNA),
        (ellipse(0.419, 0.547, 0.080, 0.080), CREAM),
        (ellipse(0.419, 0.547, 0.062, 0.062), UMBER),
        (along(bridge, foot, head), UMBER),
        (symmetric(goblet, (0.80, 0.72), (0.815, 0.36)), CREAM),
        (symmetric(wine, (0.807, 0.57), (0.811, 0.47)), BRICK),
        (symmetric(pear, (0.70, 0.90), (0.87, 0.77)), OLIVE),
        (symmetric(pear, (0.585, 0.935), (0.64, 0.695)), LEMON),
        (ellipse(0.755, 0.895, 0.064, 0.060), BRICK),
    ]


def split(corners: Array, rng: np.random.Generator) -> list[Array]:
    """Cut a polygon by lines in a few directions until its parts are small, smallest near the middle."""
    after = np.roll(corners, -1, axis=0)
    area = abs(np.sum(corners[:, 0] * after[:, 1] - corners[:, 1] * after[:, 0])) / 2
    middle = corners.mean(axis=0)
    if area < (0.010 + 0.055 * np.hypot(*(middle - 0.5)) ** 1.5) * rng.uniform(0.6, 1.6):
        return [corners]
    angle = math.radians(rng.choice([12.0, 58.0, 84.0, 122.0, 150.0]) + rng.normal(0, 5))
    height = (corners - middle) @ np.array([-math.sin(angle), math.cos(angle)])
    height = height - rng.normal(0, 0.15) * np.ptp(height)
    parts = ([], [])
    for i in range(len(corners)):
        here, there = height[i], height[(i + 1) % len(corners)]
        parts[int(here > 0)].append(corners[i])
        if (here > 0) != (there > 0):
            crossing = corners[i] + (after[i] - corners[i]) * here / (here - there)
            for part in parts:
                part.append(crossing)
    if min(map(len, parts)) < 3:
        return split(corners, rng)
    return [piece for part in parts for piece in split(np.array(part), rng)]


def draw_map(size: int, outlines: list[Array]) -> Array:
    """Return for each pixel the number of the last outline that it is in, from 1; 0 where there is none."""
    numbers = Image.new("I", (size, size))
    for i, outline in enumerate(outlines):
        ImageDraw.Draw(numbers).polygon([tuple(point) for point in outline * size], fill=i + 1)
    return np.array(numbers)


def decorations(u: Array, v: Array, wander: Array) -> dict[str, Array]:
    """Return each pattern, 0..1, at places along and across a facet."""
    row = np.floor(v / 0.024 + 0.05 * wander)
    dots = np.hypot(
        np.mod(u / 0.027 + 0.5 * (row % 2) + 0.08 * wander, 1) - 0.5,
        np.mod(v / 0.024 + 0.05 * wander, 1) - 0.5,
    )
    grain = np.abs(np.mod((v + 0.010 * wander + 0.012 * np.sin(9 * u)) / 0.017, 1) - 0.5)
    line = np.abs(np.mod(v / 0.013, 1) - 0.5)
    note = np.hypot(np.mod(u / 0.034, 1) - 0.5, (np.mod(v / 0.091, 1) - 0.36 - 0.08 * np.sin(70 * u)) * 2.6)
    return {
        "plain": np.zeros_like(u),
        "dots": smoothstep(0.36, 0.28, dots + 0.02 * wander),
        "stripes": smoothstep(0.22, 0.14, np.abs(np.mod(v / 0.030 + 0.04 * wander, 1) - 0.5)),
        "grain": smoothstep(0.18, 0.08, grain),
        "checks": np.mod(np.floor(u / 0.034) + np.floor(v / 0.034), 2),
        "staves": np.maximum(
            smoothstep(0.18, 0.10, line) * (np.mod(v / 0.013, 7) < 5), smoothstep(0.24, 0.19, note)
        ),
    }


def facets(size: int = 1440) -> Array:
    """Paint a guitar, a bottle and fruit, each facet seen from a little elsewhere and shaded on its own."""
    rng = np.random.default_rng(61)
    y, x = np.mgrid[0:size, 0:size] / size
    facet = draw_map(size, split(np.array([(-0.02, -0.02), (1.02, -0.02), (1.02, 1.02), (-0.02, 1.02)]), rng))
    for centre_x, centre_y, radius, _ in DISCS:
        facet = 2 * facet + (np.hypot(x - centre_x, y - centre_y) < radius)
    facet = np.unique(facet, return_inverse=True)[1].reshape(size, size)
    count = facet.max() + 1
    outlines, materials = zip(*things_on_the_table(), strict=True)
    thing = draw_map(size, outlines)
    shift = np.rint(rng.normal(0, 0.010, (2, count)) * size).astype(int)
    row, column = np.clip(np.mgrid[0:size, 0:size] + shift[:, facet], 0, size - 1)
    thing = thing[row, column]
    # Light rises from one edge of a facet to the other, and along the contours of things.
    angle = rng.choice([0.3, 1.2, 2.0, 2.8, 4.2, 5.4], count) + rng.normal(0, 0.15, count)
    cos, sin = np.cos(angle)[facet], np.sin(angle)[facet]
    u, v = x * cos + y * sin, y * cos - x * sin
    low, high = (f(u, facet, np.arange(count)) for f in (ndimage.minimum, ndimage.maximum))
    rise = (u - low[facet]) / np.maximum(high - low, 1e-6)[facet]
    rim = np.exp(-distance_to_edge(thing) / (0.025 * size)) * rng.choice([-0.28, 0.15], count)[facet]
    light = np.clip(-0.04 + 1.06 * rise + rng.uniform(-0.22, 0.22, count)[facet] + rim, 0, 1)
    wander = look_up(noise(1024, 2.0, seed=62, coarsest=5), x * 1440, y * 1440)
    patterns = decorations(u, v, wander)
    plain, strange = (rng.random(count) < 0.5)[facet], rng.integers(0, 14, count)[facet]
    colour, mark_colour, marks = np.zeros((size, size, 3)), np.zeros((size, size, 3)), np.zeros((size, size))
    for i, usual in enumerate([WALL, *materials]):
        # The odd facet of the room behind is of another colour.
        others = [ROSE, OCHRE, CREAM] if usual in (WALL, CURTAIN, SIENNA, BRICK) and i < 4 else []
        for j, material in enumerate([*others, usual]):
            here = (thing == i) & ((strange == j) if material is not usual else (strange >= len(others)))
            colour[here] = material.shade(light[here])
            mark_colour[here] = material.shade(light[here] + np.where(light[here] > 0.45, -0.5, 0.45))
            marks[here] = patterns[material.pattern][here]
    for centre_x, centre_y, radius, tint in DISCS:
        distance = np.hypot(x - centre_x, y - centre_y) / radius
        colour = mix(colour, np.array(tint), 0.42 * np.where(distance < 1, smoothstep(0.2, 1.0, distance), 0))
    canvas = brush(colour, facet * 64 + thing, angle[facet] + np.pi / 2, rng)
    to_thing, to_facet = (distance_to_edge(numbers) * 1440 / size for numbers in (thing, facet))
    rough = look_up(noise(1024, 1.5, seed=63, coarsest=20), x * 1440, y * 1440)
    marks = (
        marks * ~plain * smoothstep(3, 6, np.minimum(to_thing, to_facet)) * np.clip(0.9 + 0.2 * rough, 0, 1)
    )
    lines = np.maximum(
        smoothstep(1.2, -1.2, to_thing - 4.6 - 1.8 * wander + 0.7 * rough),
        0.9 * smoothstep(1.2, -1.2, to_facet - 1.8 - 2.0 * wander + 0.7 * rough),
    )
    canvas.colour = mix(mix(canvas.colour, mark_colour, marks), INK, lines)
    canvas.relief += 0.8 * marks + 1.5 * lines
    return 1.12 * canvas.light(strength=0.26, shine=0.05)


def brush(colour: Array, region: Array, heading: Array, rng: np.random.Generator) -> Canvas:
    """Brush a picture with strokes that keep to their region."""
    size = len(colour)
    canvas = Canvas.blank(size, (0.3, 0.25, 0.2))
    canvas.colour[:] = colour
    # In parts of the size: spacing, width, length; and how often the brush skips a place.
    for spacing, width, length, skip in [(0.012, 0.018, 0.056, 0.0), (0.010, 0.012, 0.035, 0.4)]:
        for start in scattered(rng, size, spacing * size):
            column, row = np.clip(start.astype(int), 0, size - 1)
            angle = heading[row, column] + rng.normal(0, 0.12)
            steps = np.arange(-length * size / 2, length * size / 2)[:, None]
            path = start + steps * np.array([math.cos(angle), math.sin(angle)])
            x, y = np.clip(path.astype(int), 0, size - 1).T
            path = path[region[y, x] == region[row, column]]
            if len(path) > 6 and rng.random() >= skip:
                paint = np.clip(colour[row, column] * rng.normal(1.0, 0.06) + rng.normal(0, 0.02, 3), 0.01, 1)
                canvas.stroke(path, width * size * rng.uniform(0.7, 1.2), paint, rng, dry=0.3)
    return canvas
