"""A style: a stained-glass window."""

import math
from itertools import pairwise

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage
from tools import Array, curve, distance_to_edge, gradient, look_up, mix, noise, smoothstep

SUN = (0.29, 0.27)
CIRCLE = np.stack([np.cos(np.linspace(0, 6.2, 40)), np.sin(np.linspace(0, 6.2, 40))], axis=1)

RUBY, ROSE, VIOLET = (0.74, 0.05, 0.10), (0.90, 0.24, 0.36), (0.30, 0.10, 0.48)
GOLD, AMBER, PEARL = (1.00, 0.80, 0.22), (0.98, 0.50, 0.08), (0.97, 0.93, 0.80)
EMERALD, LIME, FOREST = (0.06, 0.52, 0.26), (0.60, 0.78, 0.18), (0.03, 0.26, 0.20)
COBALT, SKY, TEAL = (0.06, 0.18, 0.66), (0.36, 0.70, 0.92), (0.05, 0.50, 0.58)


class Window:
    """The design of a window: which pane each place belongs to, and every pane's colour and figure.

    Figures are numbered, since the lead round one is broader than that within it.
    """

    def __init__(self, size: int, seed: int) -> None:
        """Begin a window with no pane in it."""
        self.size, self.rng = size, np.random.default_rng(seed)
        self.panes = Image.new("I", (size, size))
        self.colours, self.figures = [np.zeros(3)], [0]

    def add(self, colour: Array, figure: int) -> int:
        """Choose the glass of one more pane, near the colour, and return the pane's number."""
        self.colours.append(np.clip(colour * self.rng.normal(1.0, 0.07) + self.rng.normal(0, 0.03, 3), 0, 1))
        self.figures.append(figure)
        return len(self.colours) - 1

    def cover(self, inside: Array, cells: Array, colour: Array, figure: int) -> None:
        """Cut what is inside a shape into panes, one for each number in `cells`."""
        _, first, which = np.unique(cells[inside], return_index=True, return_inverse=True)
        names = np.array([self.add(one, figure) for one in colour[inside][first]])
        panes = np.array(self.panes)
        panes[inside] = names[which]
        self.panes = Image.fromarray(panes)

    def pane(self, outline: Array, colour: Array, figure: int) -> None:
        """Lay one pane over the others."""
        points = [tuple(point) for point in outline * self.size]
        ImageDraw.Draw(self.panes).polygon(points, fill=self.add(np.array(colour), figure))

    def blade(
        self, path: Array, width: float, colours: list, figure: int, cuts: int = 1, blunt: float = 0.5
    ) -> None:
        """Lay a leaf or a feather along a path: two halves, each cut into panes along slanting veins.

        The colours go from the stalk to the tip, and one half is darker than the other. The blunter the
        blade, the nearer to its tip it is widest.
        """
        place = np.linspace(0, 1, len(path))
        heading = np.gradient(path, axis=0)
        side = np.stack([-heading[:, 1], heading[:, 0]], axis=1)
        side /= np.linalg.norm(side, axis=1, keepdims=True)
        fullness = np.clip(np.sin(np.pi * place ** (0.5 + blunt)), 0, 1) ** 0.8
        stops = list(zip(np.linspace(0, 1, len(colours)), colours, strict=True))
        ends = np.linspace(0, 1, cuts + 1)
        for sign in (-1, 1):
            margin = path + sign * width / 2 * fullness[:, None] * side
            for start, stop in pairwise(ends):
                inner = (place >= start - 0.004) & (place <= stop + 0.004)
                lean = [0.0 if end in (0, 1) else 0.55 / cuts for end in (start, stop)]
                outer = (place >= start + lean[0] - 0.004) & (place <= stop + lean[1] + 0.004)
                colour = gradient(stops, np.float64((start + stop) / 2)) * (1.0 if sign > 0 else 0.72)
                self.pane(np.concatenate([path[inner], margin[outer][::-1]]), colour, figure)


def toward(start: tuple[float, float], degrees: float, length: float, bend: float = 0.0) -> Array:
    """Return a path that leaves a point in a direction (clockwise from the right) and bends away."""
    step = np.linspace(0, 1, 80)[:, None]
    angle = math.radians(degrees)
    ahead, aside = np.array([math.cos(angle), math.sin(angle)]), np.array([-math.sin(angle), math.cos(angle)])
    return np.array(start) + length * (step * ahead + bend * step**2 * aside)


def glaze_sky(window: Window, x: Array, y: Array) -> None:
    """Cut the sky into curved rays around a sun."""
    dx, dy = x - SUN[0], y - SUN[1]
    distance, turn = np.hypot(dx, dy), np.arctan2(dy, dx) / (2 * np.pi)
    swirl = turn + 0.16 * np.log(distance + 0.08)
    edges = np.array([0.0, 0.205, 0.29, 0.375, 0.46, 0.55, 0.645, 0.75, 0.87, 1.2])
    wavy = distance + (0.010 + 0.012 * distance) * np.sin(2 * np.pi * (swirl * 12))
    ring = np.searchsorted(edges, wavy) - 1
    number = np.array([36, 24, 24, 36, 36, 36, 48, 48, 48])[ring]
    sector = np.floor(np.mod(swirl, 1.0) * number + 0.5 * (ring % 2)) % number
    glow = [
        (0.00, GOLD),
        (0.22, AMBER),
        (0.34, (0.93, 0.26, 0.08)),
        (0.47, RUBY),
        (0.62, (0.60, 0.05, 0.26)),
        (0.80, VIOLET),
        (1.10, (0.12, 0.08, 0.36)),
    ]
    colour = gradient(glow, edges[ring] + 0.05 * (sector % 2))
    rose = (ring >= 2) & (np.mod(sector + 2 * ring, 5) == 0)
    colour = np.where(rose[..., None], mix(colour, np.array([1.0, 0.62, 0.42]), 0.5), colour)
    # The sun's own rays: every second one is lighter.
    colour = np.where(((ring == 0) & (sector % 2 == 0))[..., None], np.array(GOLD), colour)
    window.cover(np.ones_like(x, bool), ring * 64 + sector, colour, 1)
    petal = np.floor(np.mod(turn - 1.6 * distance, 1.0) * 9)
    bright = gradient([(0, PEARL), (0.055, (1.0, 0.90, 0.42)), (0.11, (0.98, 0.62, 0.10))], distance)
    window.cover(distance < 0.125, np.where(distance < 0.046, 9, petal), bright, 2)


def glaze_hills(window: Window, x: Array, y: Array) -> None:
    """Lay rolling fields and a stream across the foot of the window."""
    fields = [
        (0.685, 0.038, 1.1, 0.10, [VIOLET, (0.48, 0.26, 0.66)]),
        (0.745, 0.040, 0.9, 0.58, [(0.78, 0.30, 0.08), GOLD]),
        (0.800, 0.035, 1.2, 0.25, [FOREST, EMERALD]),
        (0.865, 0.030, 1.0, 0.75, [COBALT, SKY]),
        (0.930, 0.030, 0.8, 0.10, [FOREST, (0.05, 0.40, 0.30)]),
    ]
    for i, (level, swing, waves, shift, (far, near)) in enumerate(fields):
        crest = level - swing * np.sin(2 * np.pi * (waves * x + shift))
        depth = y - crest
        band = np.floor(depth / 0.042 + 0.35 * np.sin(2 * np.pi * (1.3 * x + 0.21 * i)))
        along = np.floor(x * 6.5 + 0.5 * (band % 2) + 1.6 * depth / 0.09 * (-1) ** i + 0.13 * i)
        colour = gradient([(0, near), (3, far)], band + 1.2 * (along % 2))
        window.cover(depth > 0, np.clip(band, 0, 7) * 32 + along, colour, 10 + i)


def glaze_bird(window: Window, x: Array, y: Array) -> None:
    """Lay a bird in flight: far wing, tail, body, near wing."""
    for i in range(8):
        path = toward((0.50, 0.53), 186 - 14.0 * i, 0.20 + 0.13 * math.sin(0.5 + 0.32 * i), -0.22)
        window.blade(path, 0.058, [COBALT, VIOLET, ROSE], 30, cuts=2, blunt=0.9)
    tail = [
        (-2, 0.34, 0.30),
        (90, 0.33, -0.16),
        (16, 0.40, 0.24),
        (68, 0.36, 0.02),
        (32, 0.42, 0.18),
        (50, 0.40, 0.10),
    ]
    for degrees, length, bend in tail:
        path = toward((0.64, 0.57), degrees, length, bend)
        window.blade(path, 0.078, [COBALT, TEAL, EMERALD, LIME, LIME], 31, cuts=5, blunt=1.1)
        for size, colour in ((0.027, GOLD), (0.015, COBALT)):
            window.pane(path[62] + size * CIRCLE, colour, 32)
    body = [
        (0.376, 0.418), (0.402, 0.392), (0.437, 0.395), (0.470, 0.425), (0.530, 0.445), (0.610, 0.480),
        (0.690, 0.570), (0.720, 0.625), (0.650, 0.622), (0.570, 0.610), (0.495, 0.570), (0.440, 0.510),
        (0.410, 0.465), (0.388, 0.445),
    ]  # fmt: skip
    shape = Image.new("1", window.panes.size)
    ImageDraw.Draw(shape).polygon([tuple(p) for p in curve(body, closed=True) * window.size], fill=1)
    along, across = 0.80 * (x - 0.40) + 0.60 * (y - 0.41), 0.80 * (y - 0.41) - 0.60 * (x - 0.40)
    # Scales lie in rows, every second one half a scale aside; those nearer to the head lie above.
    row, column = np.full_like(x, np.inf), np.zeros_like(x)
    for odd in (0, 1):
        place = across / 0.046 + 0.5 * odd
        edge = 0.9 * (2 * np.mod(place, 1) - 1) ** 2 - 1
        this = 2 * np.ceil((along / 0.030 + edge - odd) / 2) + odd
        row, column = np.minimum(row, this), np.where(this < row, place, column)
    scales = gradient([(-2, COBALT), (0, TEAL), (1, SKY), (3, PEARL)], column + 0.8 * np.mod(row, 2))
    scales = np.where((along < 0.058)[..., None], np.array(COBALT), scales)
    cells = np.where(along < 0.058, 0, 100 + row * 16 + np.floor(column))
    window.cover(np.array(shape), cells, scales, 33)
    window.pane(np.array([(0.392, 0.402), (0.325, 0.436), (0.390, 0.446)]), AMBER, 34)
    window.pane((0.413, 0.419) + 0.011 * CIRCLE, PEARL, 35)
    # Each row of the near wing covers the quills of the row before.
    rows = [
        (9, -98, 11.0, 0.46, 0.066, [COBALT, COBALT, SKY, PEARL], 3),
        (8, -92, 11.5, 0.29, 0.062, [VIOLET, TEAL, SKY], 2),
        (7, -86, 12.0, 0.165, 0.052, [EMERALD, LIME], 1),
        (5, -78, 15.0, 0.085, 0.044, [AMBER, GOLD], 1),
    ]
    for number, first, apart, length, width, colours, cuts in rows:
        for i in range(number):
            reach = length * (1.0 - 0.055 * i)
            path = toward((0.545, 0.515), first + apart * i, reach, 0.16)
            window.blade(path, width, colours, 36, cuts=cuts, blunt=0.95)
    window.pane((0.545, 0.515) + 0.026 * CIRCLE, RUBY, 37)


def glaze_flowers(window: Window) -> None:
    """Lay a spray of leaves and blossoms into the lower left corner."""
    stalk = curve([(-0.02, 0.99), (0.10, 0.90), (0.20, 0.86), (0.33, 0.87), (0.44, 0.93)])
    window.blade(stalk, 0.020, [FOREST, EMERALD], 40, cuts=4, blunt=0.2)
    leaves = [
        (20, -118, 0.20),
        (70, -82, 0.19),
        (118, -50, 0.18),
        (155, -32, 0.17),
        (45, 48, 0.15),
        (95, 62, 0.14),
        (135, 70, 0.13),
    ]
    for place, degrees, length in leaves:
        path = toward(stalk[place], degrees, length, 0.3)
        window.blade(path, 0.078, [EMERALD, LIME, LIME], 41, cuts=4, blunt=0.35)
    blossoms = [
        ((0.13, 0.845), 0.075, [ROSE, PEARL]),
        ((0.30, 0.93), 0.066, [VIOLET, (0.80, 0.66, 0.95)]),
        ((0.43, 0.875), 0.05, [RUBY, (1.0, 0.62, 0.42)]),
    ]
    for centre, radius, colours in blossoms:
        for i in range(6):
            path = toward(centre, 60 * i + 20, radius, 0.25)
            window.blade(path, 0.8 * radius, colours, 42, blunt=0.9)
        window.pane(centre + 0.24 * radius * CIRCLE, GOLD, 43)


def glass(size: int = 1440) -> Array:
    """Lead a bird, a sun and rolling fields from panes of coloured glass, and let the light through."""
    window = Window(size, seed=51)
    y, x = np.mgrid[0:size, 0:size] / size
    glaze_sky(window, x, y)
    glaze_hills(window, x, y)
    glaze_flowers(window)
    glaze_bird(window, x, y)
    return shine(window)


def shine(window: Window) -> Array:
    """Return the window with lead between its panes and daylight behind it."""
    panes = np.array(window.panes)
    size, rng = window.size, window.rng
    scale = size / 1440
    y, x = np.mgrid[0:size, 0:size].astype(float)
    count = np.maximum(np.bincount(panes.ravel(), minlength=len(window.colours)), 1)
    turn = rng.uniform(0, 2 * np.pi, len(count))
    cos, sin = np.cos(turn)[panes], np.sin(turn)[panes]
    middle_x, middle_y = (np.bincount(panes.ravel(), place.ravel(), len(count)) / count for place in (x, y))
    u, v = x * cos + y * sin, y * cos - x * sin
    lean = ((x - middle_x[panes]) * cos + (y - middle_y[panes]) * sin) / np.sqrt(count)[panes]
    figure = np.array(window.figures)[panes]
    to_lead, to_outline = (distance_to_edge(numbers) / scale for numbers in (panes, figure))
    grain = noise(1024, 1.3, seed=52, coarsest=4)
    streak = look_up(grain, u / scale * 0.10, v / scale * 0.9)
    bubbles = look_up(noise(1024, 0.9, seed=53, coarsest=30), x / scale, y / scale)
    # Light falls off in the glass with its thickness: thin glass is pale, thick glass is deep.
    thickness = 1.0 + 0.45 * lean + 0.16 * streak + 0.07 * bubbles + 0.9 * np.exp(-to_lead / 9)
    light = np.clip(np.array(window.colours), 0.015, 0.985)[panes] ** np.clip(thickness, 0.35, 3)[..., None]
    light = 1.08 * light * np.clip(1 + 0.05 * bubbles, 0, 2)[..., None]
    hand = 0.8 * look_up(noise(1024, 1.8, seed=54, coarsest=6), x / scale, y / scale)
    # Small panes are held by narrow lead, figures by broad.
    width = np.clip(0.075 * np.sqrt(count)[panes] / scale, 3.2, 6.0)
    lead = np.maximum(
        smoothstep(0.9, -0.9, to_lead + hand - width), smoothstep(0.9, -0.9, to_outline + hand - 1.45 * width)
    )
    came = 0.055 + 0.10 * np.exp(-((np.minimum(to_lead, 9) / 2.4) ** 2)) * np.clip(1 + 0.4 * bubbles, 0, 2)
    picture = mix(light, came[..., None] * np.array([0.92, 0.95, 1.05]), lead)
    # Bright glass glares over the lead beside it.
    for reach, strength in ((5, 0.16), (26, 0.16)):
        glare = ndimage.gaussian_filter(picture**1.5, (reach * scale, reach * scale, 0))
        picture = picture + strength * glare * (1 - 0.5 * picture)
    return picture
