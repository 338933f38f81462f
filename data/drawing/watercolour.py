"""A style: a landscape in pen and watercolour."""

import math

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage
from tools import Array, curve, look_up, mix, noise, smoothstep

# What a full wash of each pigment lets through.
ULTRAMARINE, COBALT, TURQUOISE = (0.16, 0.26, 0.70), (0.30, 0.56, 0.86), (0.28, 0.72, 0.74)
VIOLET, ROSE, CRIMSON = (0.46, 0.34, 0.66), (0.94, 0.50, 0.54), (0.80, 0.16, 0.22)
GAMBOGE, ORANGE, SIENNA = (1.00, 0.80, 0.20), (0.97, 0.52, 0.14), (0.70, 0.32, 0.16)
SAP, VIRIDIAN, UMBER = (0.46, 0.62, 0.16), (0.14, 0.50, 0.42), (0.36, 0.26, 0.24)


class Sheet:
    """A sheet of rough paper: the light that its washes let through, and the ink on it."""

    def __init__(self, size: int, seed: int) -> None:
        """Begin with white paper."""
        self.size, self.scale, self.rng = size, size / 1440, np.random.default_rng(seed)
        y, x = np.mgrid[0:size, 0:size] / self.scale
        tiles = [(0.9, 24), (1.9, 3), (1.5, 8)]
        self.grain, self.flow, self.wander = (
            look_up(noise(1024, roughness, seed + i, coarsest), x * 0.71, y * 0.71)
            for i, (roughness, coarsest) in enumerate(tiles, 1)
        )
        self.light = np.ones((size, size, 3), np.float32)
        self.ink = Image.new("L", (size, size))

    def wash(
        self, inside: Array, pigment: Array | tuple, strength: Array | float = 1.0, soft: float = 5.0
    ) -> None:
        """Wash over a shape: paint pools in the hollows of the paper and dries darkest at the edge.

        A large `soft` is paint on wet paper, which spreads that far and leaves no edge.
        """
        wet = ndimage.gaussian_filter(inside.astype(np.float32), soft * self.scale)
        wet += 0.09 * self.wander * min(1.0, soft / 12 + 0.4) - (0.10 if soft < 12 else 0.0)
        sharp = 0.10 if soft < 12 else 0.42
        body = smoothstep(0.5 - sharp, 0.5 + sharp, wet)
        rim = body * smoothstep(0.95, 0.5, wet) * (soft < 12)
        # Where a second drop ran into the drying paint, it pushed the pigment to a ragged line.
        tide = smoothstep(0.10, 0.0, np.abs(self.flow + 0.25 * self.wander - 0.7))
        density = body * (0.66 + 0.17 * self.flow + 0.11 * self.grain + 0.18 * tide) + 0.50 * rim
        density = np.clip(density, 0, None) * strength
        self.light *= np.clip(np.array(pigment), 0.02, 1) ** density[..., None]

    def reserve(self, inside: Array) -> None:
        """Leave the paper white inside a shape that stands in front of what is already there."""
        self.light[inside] = 1.0
        self.ink.paste(0, mask=Image.fromarray(inside))

    def outline(self, points: Array) -> Array:
        """Return which pixels are in an outline."""
        shape = Image.new("1", (self.size, self.size))
        ImageDraw.Draw(shape).polygon([tuple(point) for point in np.array(points) * self.size], fill=1)
        return np.array(shape)

    def pen(self, path: Array, width: float = 4.0, shake: float = 1.0) -> None:
        """Draw a line with a pen that presses more or less, and that a hand holds."""
        count = len(path)
        wave = self.rng.standard_normal((3, count + 24))
        wave = ndimage.gaussian_filter1d(wave, 5, axis=1)[:, 12:-12] * 3
        path = np.array(path) * self.size + shake * self.scale * 1.3 * wave[:2].T
        heading = np.gradient(path, axis=0)
        side = np.stack([-heading[:, 1], heading[:, 0]], axis=1)
        side /= np.maximum(np.linalg.norm(side, axis=1, keepdims=True), 1e-6)
        place = np.linspace(0, 1, count)
        press = np.clip(np.minimum(place * 6 + 0.35, (1 - place) * 3 + 0.2), 0, 1) * (1 + 0.3 * wave[2])
        half = (width / 2 * self.scale * np.clip(press, 0.25, 1.6))[:, None] * side
        points = np.concatenate([path + half, (path - half)[::-1]])
        ImageDraw.Draw(self.ink).polygon([tuple(point) for point in points], fill=255)

    def hatch(
        self, tone: Array, degrees: float, spacing: float = 11.0, width: float = 2.8, bow: float = 0.0
    ) -> None:
        """Hatch where the tone, 0..1, is high: the higher, the more of the lines are drawn."""
        angle = math.radians(degrees)
        ahead = np.array([math.cos(angle), math.sin(angle)])
        aside = np.array([-math.sin(angle), math.cos(angle)])
        steps = np.arange(-0.75, 0.75, 0.005)
        for offset in np.arange(-0.75, 0.75, spacing / 1440):
            offset += self.rng.normal(0, 0.12) * spacing / 1440
            path = 0.5 + steps[:, None] * ahead + (offset + bow * np.sin(9 * steps))[:, None] * aside
            column, row = np.rint(path * self.size).astype(int).T
            drawn = (column >= 0) & (column < self.size) & (row >= 0) & (row < self.size)
            drawn[drawn] = tone[row[drawn], column[drawn]] > self.rng.uniform(0.1, 0.9)
            # The hand lifts now and then.
            drawn &= self.rng.random(len(steps)) > 0.04
            ends = np.flatnonzero(np.diff(np.concatenate([[0], drawn, [0]])))
            for start, stop in zip(ends[::2], ends[1::2], strict=True):
                if stop - start > 2:
                    self.pen(path[start:stop], width, shake=0.6)


def ridge(x: Array, level: float, height: float, waves: float, seed: int) -> Array:
    """Return the height in the picture of a range of mountains at each x."""
    rng = np.random.default_rng(seed)
    crest = np.zeros_like(x)
    for i in range(1, 6):
        place = waves * i * x + rng.random()
        crest += np.abs(2 * np.mod(place, 1) - 1) / i**1.15 * rng.uniform(0.7, 1.2)
    return level - height * (crest - 1.0)


def paint_sky(sheet: Sheet, x: Array, y: Array) -> None:
    """Wash a sky on wet paper and leave the clouds white."""
    cloud = sheet.flow + 0.5 * sheet.wander + 0.7 * np.sin(5 * x + 9 * y)
    sheet.wash((y < 0.47) & (cloud < 0.5), COBALT, 1.25 * smoothstep(0.42, 0.0, y), soft=16)
    sheet.wash((y < 0.22) & (cloud < 0.1), ULTRAMARINE, 0.75 * smoothstep(0.25, 0.0, y), soft=9)
    evening = 0.45 * smoothstep(0.15, 0.38, y) * smoothstep(0.9, 0.2, x)
    sheet.wash((y > 0.16) & (y < 0.5), ROSE, evening, soft=50)
    sheet.wash((y > 0.25) & (y < 0.5), GAMBOGE, 0.6 * smoothstep(0.22, 0.42, y), soft=50)
    wing = np.linspace(-1, 1, 30)
    flight = np.stack([wing, -0.5 * np.abs(np.sin(2.6 * wing))], axis=1)
    birds = [(0.36, 0.27, 0.030), (0.41, 0.245, 0.024), (0.33, 0.235, 0.020), (0.44, 0.285, 0.018)]
    for bird_x, bird_y, span in birds:
        sheet.pen((bird_x, bird_y) + span * flight, 5)
    sheet.wash((cloud > 0.75) & (cloud < 1.05) & (y < 0.33), VIOLET, 0.32, soft=10)


def paint_mountains(sheet: Sheet, x: Array, y: Array) -> None:
    """Wash three ranges, each nearer and stronger, and hatch the flanks that turn from the light."""
    ranges = [
        (0.385, 0.115, 1.3, 71, VIOLET, COBALT, 0.62),
        (0.455, 0.085, 1.9, 75, ULTRAMARINE, VIOLET, 0.85),
        (0.520, 0.045, 2.3, 73, VIRIDIAN, SAP, 0.95),
    ]
    places = np.linspace(0, 1, 400)
    for level, height, waves, seed, shadow, bright, strength in ranges:
        crest = ridge(x, level, height, waves, seed)
        depth = y - crest
        # A flank goes on below its crest, aslant.
        below = x + 0.35 * depth
        left, right = (ridge(below + step, level, height, waves, seed) for step in (-0.004, 0.004))
        flank = right - left
        fade = smoothstep(0.16, 0.0, depth)
        sheet.reserve(depth > 0)
        sheet.wash((depth > 0) & (depth < 0.2), bright, strength * (0.25 + 0.75 * fade), soft=4)
        dark = (depth > 0) & (flank > 0) & (depth < 0.16)
        sheet.wash(dark, shadow, 0.9 * strength * fade, soft=4)
        sheet.hatch(dark * fade * 0.9, 62, spacing=9, width=2.4, bow=0.004)
        line = np.stack([places, ridge(places, level, height, waves, seed)], axis=1)
        for start in range(0, 400, 50):
            sheet.pen(line[start : start + 52], 3.6)


def river(y: Array) -> tuple[Array, Array]:
    """Return where the middle of the river is, and half its width, at each height of the picture."""
    near = np.clip((y - 0.555) / 0.445, 0, 1)
    return 0.50 - 0.20 * np.sin(5.2 * near**0.75) * (0.35 + 0.65 * near), 0.006 + 0.135 * near**1.6


def paint_valley(sheet: Sheet, x: Array, y: Array) -> None:
    """Wash fields on both sides of a river, with furrows, and reflections in the water."""
    middle, half = river(y)
    ground = y > 0.555 + 0.012 * np.sin(9 * x)
    water = ground & (np.abs(x - middle) < half)
    sheet.reserve(ground)
    sheet.wash(ground & ~water, GAMBOGE, 0.40, soft=5)
    strips = [
        (0.555, 0.62, SAP, VIRIDIAN), (0.62, 0.70, ORANGE, SAP), (0.70, 0.81, SAP, GAMBOGE),
        (0.81, 1.1, VIRIDIAN, SIENNA),
    ]  # fmt: skip
    stubble = ground & ~water
    for i, (top, bottom, left, right) in enumerate(strips):
        for side, pigment in ((x < middle, left), (x > middle, right)):
            tilt = 0.10 * (x - middle) * (1 if i % 2 else -1)
            field = ground & ~water & side & (y + tilt > top + 0.006) & (y + tilt < bottom)
            fade = 0.35 + 0.62 * smoothstep(bottom + 0.04, top - 0.04, y + tilt)
            sheet.wash(field, pigment, fade, soft=4)
            stubble &= ~field
            degrees = float(sheet.rng.choice([12, -14, 24, -28, 62]))
            sheet.hatch(field * 0.62, degrees, spacing=10 + 2 * i, width=2.2 + 0.4 * i, bow=0.03)
    rows = np.mod(26 * np.sqrt(np.maximum(y - 0.5, 0)) + 2 * x, 1) < 0.6
    sheet.hatch((stubble & rows) * 0.75, 100, spacing=12, width=3)
    sheet.wash(water, TURQUOISE, 0.75, soft=4)
    nearness = 11 * np.log(np.maximum(y - 0.42, 0.01))
    ripple = np.sin(2 * np.pi * (nearness + 0.5 * np.sin(7 * x) + 0.22 * sheet.wander))
    sheet.wash(water & (ripple > 0.3), COBALT, 0.8, soft=3)
    sheet.hatch((water & (ripple > 0.2)) * 0.55, 0, spacing=9, width=2.6)
    for sign in (-1, 1):
        places = np.linspace(0.56, 1.0, 220)
        middle, half = river(places)
        bank = np.stack([middle + sign * half, places], axis=1)
        for start in range(0, 220, 44):
            sheet.pen(bank[start : start + 45], 5)
    # Grass in tufts along the foot of the picture and the banks.
    tufts = [(place, 1.02, 0.085) for place in np.arange(0.0, 0.50, 0.034)]
    tufts += [(place, 1.02, 0.075) for place in np.arange(0.66, 1.0, 0.036)]
    tufts += [(0.10, 0.90, 0.05), (0.22, 0.93, 0.055), (0.05, 0.80, 0.04)]
    tufts += [(0.33, 0.86, 0.05), (0.93, 0.88, 0.05), (0.70, 0.80, 0.04)]
    for root_x, root_y, high in tufts:
        for lean in sheet.rng.normal(0, 0.5, 7):
            length = high * sheet.rng.uniform(0.6, 1.2)
            step = np.linspace(0, 1, 30)
            aside, up = lean * step**1.8, step * (1 - 0.25 * abs(lean) * step)
            sheet.pen(np.stack([root_x + length * aside, root_y - length * up], axis=1), 4.2)


def paint_hamlet(sheet: Sheet) -> None:
    """Draw houses with red roofs round a tower, and cypresses beside them."""
    houses = [
        (0.10, 0.560, 0.075, 0.050), (0.345, 0.548, 0.070, 0.045), (0.20, 0.572, 0.085, 0.058),
        (0.285, 0.588, 0.075, 0.050), (0.06, 0.600, 0.080, 0.052), (0.155, 0.625, 0.090, 0.060),
    ]  # fmt: skip
    tower = [(0.245, 0.58), (0.245, 0.405), (0.285, 0.405), (0.285, 0.58)]
    spire = [(0.237, 0.408), (0.265, 0.315), (0.293, 0.408)]
    blocks = [(tower, SIENNA, 0.25), (spire, VIOLET, 1.1)]
    for left, base, wide, high in houses:
        right, eaves, top = left + wide, base - high, base - 1.75 * high
        gable, peak = left + 0.36 * wide, left + 0.18 * wide
        front = [(left, base), (left, eaves), (peak, top), (gable, eaves), (gable, base)]
        side = [(gable, base), (gable, eaves), (right, eaves), (right, base)]
        roof = [(gable, eaves), (peak, top), (right - 0.17 * wide, top), (right + 0.01, eaves)]
        blocks += [(front, GAMBOGE, 0.35), (side, VIOLET, 0.45), (roof, CRIMSON, 0.95)]
    for corners, pigment, strength in blocks:
        corners = np.array(corners)
        shape = sheet.outline(corners)
        sheet.reserve(shape)
        sheet.wash(shape, pigment, strength, soft=2.5)
        if pigment in (VIOLET, CRIMSON):
            sheet.hatch(shape * 0.75, 80 if pigment == VIOLET else 58, spacing=8, width=2.2)
        for start, stop in zip(corners, np.roll(corners, -1, axis=0), strict=True):
            sheet.pen(np.linspace(start, stop, 16), 4.2)
    windows = [(0.265, 0.440, 0.030, 12)]
    for left, base, wide, high in houses:
        windows += [(left + part * wide, base - 0.68 * high, 0.28 * high, 9) for part in (0.50, 0.72)]
    for window_x, window_y, high, width in windows:
        sheet.pen(np.linspace((window_x, window_y), (window_x, window_y + high), 10), width, shake=0.4)
    turn = np.linspace(0, 2 * np.pi, 40)
    cypress = np.stack([0.012 * np.sin(turn) * (1.15 + np.cos(turn)), (np.cos(turn) - 1) / 2], axis=1)
    roots = [(0.02, 0.60, 0.15), (0.425, 0.585, 0.17), (0.455, 0.592, 0.13), (0.385, 0.60, 0.10)]
    for root_x, root_y, high in roots:
        shape = (root_x, root_y) + cypress * (1, high)
        inside = sheet.outline(shape)
        sheet.wash(inside, VIRIDIAN, 1.3, soft=3)
        sheet.hatch(inside * 0.8, 84, spacing=6, width=2.6)
        sheet.pen(shape, 3.6, shake=2)


def paint_tree(sheet: Sheet, x: Array, y: Array) -> None:
    """Draw an old tree in autumn over the right side of the picture."""
    clumps = [
        (0.62, 0.27, 0.095), (0.73, 0.13, 0.105), (0.88, 0.12, 0.110), (0.95, 0.27, 0.100),
        (0.80, 0.27, 0.100), (0.69, 0.40, 0.065), (0.91, 0.41, 0.060),
    ]  # fmt: skip
    crown, shade = np.zeros_like(x, bool), np.zeros_like(x)
    for centre_x, centre_y, radius in clumps:
        across, down = (x - centre_x) / radius, (y - centre_y) / radius
        turn = np.arctan2(down, across)
        inside = np.hypot(across, down) < 1 + 0.07 * np.sin(11 * turn) + 0.05 * np.sin(17 * turn + 1)
        crown |= inside
        shade = np.where(inside, 0.6 * across + 0.8 * down, shade)
    sheet.reserve(crown)
    sheet.wash(crown & (sheet.wander < 1.3), GAMBOGE, 1.0, soft=4)
    # Leaves: how many touches of the brush, of what, where it is at least how dark, how large.
    leaves = [
        (900, ORANGE, -0.5, 0.011),
        (600, ROSE, -0.2, 0.011),
        (690, CRIMSON, 0.15, 0.010),
        (450, VIOLET, 0.5, 0.009),
    ]
    for count, pigment, least, reach in leaves:
        touches = Image.new("1", sheet.ink.size)
        for place in sheet.rng.uniform((0.5, 0.0), (1.0, 0.5), (count, 2)):
            column, row = (place * sheet.size).astype(int)
            if crown[row, column] and shade[row, column] > least + sheet.rng.normal(0, 0.25):
                half = reach * sheet.rng.uniform((0.7, 0.5), (1.6, 1.0))
                box = np.concatenate([place - half, place + half]) * sheet.size
                ImageDraw.Draw(touches).ellipse(tuple(box), fill=1)
        sheet.wash(np.array(touches), pigment, 0.85, soft=2.5)
    # Limbs: points on the way, width, how much broader at the foot. The trunk comes last, in front.
    limbs = [
        ([(0.805, 0.62), (0.73, 0.51), (0.66, 0.44), (0.60, 0.33)], 0.026, 0.2),
        ([(0.775, 0.53), (0.85, 0.42), (0.91, 0.37), (0.97, 0.24)], 0.026, 0.2),
        ([(0.778, 0.42), (0.73, 0.30), (0.72, 0.16)], 0.018, 0.0),
        ([(0.81, 1.03), (0.785, 0.80), (0.80, 0.64), (0.77, 0.48), (0.79, 0.30)], 0.046, 0.9),
    ]
    for points, width, foot in limbs:
        middle = curve(points, count=120)
        heading = np.gradient(middle, axis=0)
        side = np.stack([-heading[:, 1], heading[:, 0]], axis=1)
        side /= np.linalg.norm(side, axis=1, keepdims=True)
        along = np.linspace(0, 1, 120)[:, None]
        side *= width / 2 * (1 - 0.75 * along + foot * np.exp(-14 * along))
        bark, dark, hatched = (
            sheet.outline(np.concatenate([middle + left * side, (middle + side)[::-1]]))
            for left in (-1, 0, -0.3)
        )
        sheet.reserve(bark)
        sheet.wash(bark, SIENNA, 0.9, soft=2.5)
        sheet.wash(dark, UMBER, 0.9, soft=3)
        sheet.hatch(hatched * 0.85, 20, spacing=8, width=2.6)
        for sign in (-1, 1):
            sheet.pen(middle + sign * side, 5)
    # The pen runs round each clump of leaves, and in its shade, in small loops.
    turn = np.linspace(0.2, 2 * np.pi + 0.2, 420)
    for centre_x, centre_y, radius in clumps:
        for part, first, last in ((1.0, 0, 420), (0.68, 30, 190), (0.38, 60, 150)):
            reach = radius * part + 0.011 * np.abs(np.sin(17 * part * turn))
            loops = np.stack([centre_x + reach * np.cos(turn), centre_y + reach * np.sin(turn)], axis=1)
            for start in range(first, last, 60):
                sheet.pen(loops[start : min(start + 58, last)], 3.8, shake=1.5)
        inside = crown & (np.hypot(x - centre_x, y - centre_y) < radius)
        sheet.hatch(inside * np.clip(shade, 0, 1) * 0.8, -38, spacing=11, width=2.6)


def watercolour(size: int = 1440) -> Array:
    """Paint a valley with a hamlet, a river and an old tree."""
    sheet = Sheet(size, seed=70)
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size
    paint_sky(sheet, x, y)
    paint_mountains(sheet, x, y)
    paint_valley(sheet, x, y)
    paint_hamlet(sheet)
    paint_tree(sheet, x, y)
    ink = np.array(sheet.ink) / 255 * np.clip(0.93 - 0.10 * sheet.grain, 0, 1)
    paper = np.array([0.985, 0.965, 0.915]) * (1 + 0.018 * sheet.grain)[..., None]
    return mix(paper * sheet.light, np.array([0.10, 0.085, 0.10]), ink)
