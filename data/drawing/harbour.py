"""A content: a harbour town in low evening light."""

import math
from dataclasses import dataclass

import numpy as np
from scene import EYE_HEIGHT, FINE_NOISE, GROUND_NOISE, View, develop, draw_blob, draw_line, draw_polygon
from scipy import ndimage
from tools import Array, Paint, gradient, look_up, mix, noise, smoothstep

TO_SUN = np.array([0.80, -0.46, 0.36]) / np.linalg.norm([0.80, -0.46, 0.36])
SUN_LIGHT = np.array([1.00, 0.70, 0.40]) * 1.9
SKY_LIGHT = np.array([0.36, 0.46, 0.68]) * 0.62
HAZE = np.array([0.86, 0.66, 0.56])
WOOD = np.array([0.50, 0.34, 0.20])

# The quay is a straight line; "along" runs with it into the distance and "inland" up the hill.
QUAY_START = np.array([-62.0, 62.0])
ALONG = np.array([0.58, 0.8146])
INLAND = np.array([-ALONG[1], ALONG[0]])
QUAY_LENGTH = 185.0


def draw_box(view: View, centre: Array, along: Array, size: Array, paint: Paint | Array) -> None:
    """Draw a box that stands on `centre`, its first side turned along a horizontal direction."""
    a = np.array([along[0], along[1], 0.0]) * size[0] / 2
    b = np.array([-along[1], along[0], 0.0]) * size[1] / 2
    up = np.array([0.0, 0.0, size[2]])
    base = [centre - a - b, centre + a - b, centre + a + b, centre - a + b]
    for i in range(4):
        draw_polygon(view, [base[i], base[(i + 1) % 4], base[(i + 1) % 4] + up, base[i] + up], paint)
    draw_polygon(view, [corner + up for corner in base], paint)


def quay_place(along: float, inland: float) -> Array:
    """Return the ground position of a place given in metres along the quay and inland from it."""
    return QUAY_START + ALONG * along + INLAND * inland


def land_height(x: Array, y: Array) -> Array:
    """Return the height of the land over the sea (negative under water) at places of the world."""
    along = (x - QUAY_START[0]) * ALONG[0] + (y - QUAY_START[1]) * ALONG[1]
    inland = (x - QUAY_START[0]) * INLAND[0] + (y - QUAY_START[1]) * INLAND[1]
    bumps = look_up(GROUND_NOISE, x * 1.2, y * 1.2)
    rocks = look_up(FINE_NOISE, x * 9.0, y * 9.0)
    top = 64.0 * smoothstep(14.0, 150.0, inland) + 4.0 * bumps * smoothstep(25.0, 70.0, inland)
    ending = smoothstep(QUAY_LENGTH + 45.0, QUAY_LENGTH - 35.0, along + 6.0 * bumps + 0.25 * inland)
    town = np.where(inland > 0.0, (2.2 + top) * ending - 6.0 * (1.0 - ending), -6.0)
    town = np.where((inland > 0.0) & (ending < 0.9), town + 0.7 * rocks, town)
    # A breakwater of boulders enters from the right and carries the lighthouse at its head.
    gap = np.abs(y - 205.0 - 0.12 * (x - 84.0)) + np.maximum(84.0 - x, 0.0)
    mole = 3.4 - 0.45 * gap + 0.7 * rocks
    ranges = [
        (1500.0, 420.0, 150.0, 0.030, 40.0),
        (2900.0, 700.0, 480.0, 0.024, 430.0),
        (5600.0, 1100.0, 1250.0, 0.0125, 300.0),
    ]
    mountains = np.full_like(town, -6.0)
    for distance, spread, height, scale, shift in ranges:
        ridge = look_up(GROUND_NOISE, x * scale * 4 + shift, y * scale * 2 + shift)
        detail = look_up(FINE_NOISE, x * scale * 10, y * scale * 10)
        shape = np.exp(-(((y - distance) / spread) ** 2)) * (0.62 + 0.26 * ridge + 0.012 * detail)
        mountains = np.maximum(mountains, height * (shape - 0.12))
    return np.maximum(np.maximum(town, mole), mountains)


def draw_land(view: View) -> None:
    """Draw the land by walking each column of the picture outwards until the ground covers each pixel."""
    distance = np.geomspace(18.0, 9000.0, 1500).astype(np.float32)[:, None]
    height = land_height(view.u[None] * distance, np.broadcast_to(distance, (1500, view.width)))
    surface = np.where(height > 0, height, -1e4) if view.mirrored else np.maximum(height, 0.0)
    reach = np.maximum.accumulate((surface - view.eye) / distance, axis=0)
    step = np.stack([np.searchsorted(reach[:, i], view.v) for i in range(view.width)], axis=1)
    hit = step < len(distance)
    step = np.clip(step, 1, len(distance) - 1)
    below, above = np.take_along_axis(reach, step - 1, 0), np.take_along_axis(reach, step, 0)
    part = np.clip((view.v[:, None] - below) / np.maximum(above - below, 1e-6), 0.0, 1.0)
    depth = distance[step - 1, 0] * (1 - part) + distance[step, 0] * part
    x, y = view.u[None] * depth, depth
    z = land_height(x, y)
    nearby = np.maximum(0.35, depth * 0.005)
    slope_x = (land_height(x + nearby, y) - z) / nearby
    slope_y = (land_height(x, y + nearby) - z) / nearby
    normal = np.stack([-slope_x, -slope_y, np.ones_like(z)], axis=-1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    hit &= np.take_along_axis(height, step, 0) > 0
    view.put(
        (slice(None), slice(None)), hit, np.where(hit, depth, np.inf), normal, land_colour(x, y, z, normal)
    )


def land_colour(x: Array, y: Array, z: Array, normal: Array) -> Array:
    """Return the colour of the ground: paving by the quay, grass and scrub, rock where it is steep."""
    inland = (x - QUAY_START[0]) * INLAND[0] + (y - QUAY_START[1]) * INLAND[1]
    speckle = look_up(FINE_NOISE, x * 14.0, y * 14.0)
    patches = look_up(GROUND_NOISE, x * 5.0, y * 5.0) + 0.6 * speckle
    grass = gradient([(-2, (0.10, 0.15, 0.06)), (0, (0.22, 0.25, 0.10)), (2, (0.42, 0.37, 0.17))], patches)
    woods = gradient(
        [(-1.5, (0.09, 0.10, 0.10)), (1.5, (0.27, 0.23, 0.16))], look_up(FINE_NOISE, x * 0.5, y * 0.5)
    )
    rock = gradient([(-2, (0.20, 0.18, 0.17)), (2, (0.52, 0.46, 0.40))], speckle)
    paving = gradient([(-2, (0.40, 0.36, 0.32)), (2, (0.60, 0.54, 0.46))], speckle)
    colour = mix(grass, woods, y > 600.0)
    steep = smoothstep(0.82, 0.62, normal[..., 2])
    colour = mix(colour, rock, np.maximum(steep, (y < 600.0) & (z < 5.0)))
    return mix(colour, paving, (inland > 0.0) & (inland < 17.0) & (z < 4.5) & (normal[..., 2] > 0.9))


@dataclass
class House:
    """A house of the town: where it stands, how large it is and how it is painted."""

    place: Array
    base: float
    width: float
    length: float
    height: float
    roof: float
    ridge_along: bool
    wall: Array
    shutter: Array
    tile: Array
    seed: int

    def facade(self, a: Array, b: Array) -> Array:
        """Return the colours of a wall with windows, shutters and a door or two."""
        stain = look_up(GROUND_NOISE, a * 40 + 57 * self.seed, b * 14) * 0.05
        stain = stain + look_up(FINE_NOISE, a * 60, b * 60 + 31 * self.seed) * 0.03
        colour = self.wall * (1.0 + stain[..., None])
        b = b - 3.0
        pitch = self.width / max(round(self.width / 2.6), 2)
        column, floor = np.floor(a / pitch), np.floor(b / 3.0)
        x, y = np.abs(a - (column + 0.5) * pitch), b - floor * 3.0
        ground = floor == 0
        low, high = np.where(ground, 0.0, 0.8), np.where(ground, 2.3, 2.4)
        usable = (b > 0) & (b < self.height - 0.5) & (a > 0) & (a < self.width)
        tall = usable & (y > low) & (y < high)
        colour = mix(
            colour, np.array([0.86, 0.80, 0.70]), usable & (x < 0.62) & (y > low - 0.15) & (y < high + 0.15)
        )
        slats = 0.8 + 0.2 * np.sign(np.sin(y * 40.0))
        colour = np.where(
            (tall & ~ground & (x > 0.46) & (x < 0.98))[..., None], self.shutter * slats[..., None], colour
        )
        chance = np.sin(column * 12.99 + floor * 78.23 + self.seed * 3.7) * 43758.5
        chance = chance - np.floor(chance)
        glass = mix(
            np.array([0.06, 0.08, 0.12]), np.array([0.30, 0.36, 0.46]), np.clip(y / 2.4 - 0.3 * x, 0, 1)
        )
        glass = np.where((chance > 0.80)[..., None], np.array([1.9, 1.25, 0.50]), glass)
        glass = np.where((ground & (chance < 0.6))[..., None], self.shutter * 0.6, glass)
        colour = np.where((tall & (x < 0.46))[..., None], glass, colour)
        bars = tall & ~ground & (x < 0.46) & ((x < 0.05) | (np.abs(y - 1.7) < 0.05))
        colour = mix(colour, np.array([0.80, 0.76, 0.70]), bars)
        # The eaves throw a band of shade on the wall and damp darkens its foot.
        shade = 1.0 - 0.45 * smoothstep(self.height - 0.9, self.height - 0.1, b) * (b < self.height + 0.1)
        return colour * (shade * (0.75 + 0.25 * smoothstep(-0.5, 1.6, b)))[..., None]

    def tiles(self, a: Array, b: Array) -> Array:
        """Return the colours of a tiled roof."""
        rows = 0.86 + 0.14 * np.cos(b * 2 * np.pi / 0.55)
        channels = 0.90 + 0.10 * np.cos(a * 2 * np.pi / 0.42)
        worn = 1.0 + 0.16 * look_up(FINE_NOISE, a * 30 + 71 * self.seed, b * 30)
        moss = 1.0 + 0.14 * look_up(GROUND_NOISE, a * 25 + 13 * self.seed, b * 25)
        return self.tile * (rows * channels * worn * moss)[..., None]

    def draw(self, view: View) -> None:
        """Draw the walls, which reach 3 m into the slope, the gable roof and a chimney."""
        along = np.array([*ALONG, 0.0])
        deep = np.array([*INLAND, 0.0])
        up = np.array([0.0, 0.0, 1.0])
        foot = np.array([*self.place, self.base - 3.0])
        a, b = along * self.width / 2, deep * self.length / 2
        wall = up * (self.height + 3.0)
        corners = [foot - a - b, foot + a - b, foot + a + b, foot - a + b]
        for i in range(4):
            p, q = corners[i], corners[(i + 1) % 4]
            draw_polygon(view, [p, q, q + wall, p + wall], self.facade)
        if not self.ridge_along:
            a, b = b, a
        top = np.array([*self.place, self.base + self.height])
        ridge = up * self.roof
        for end in (-1, 1):
            gable = [top + end * a - b, top + end * a + b, top + end * a + ridge]
            draw_polygon(view, gable, self.wall * 0.95)
        a, eave, drop = a * 1.05, b * 1.12, up * 0.12 * self.roof
        for side in (-1, 1):
            edge = top + side * eave - drop
            roof = [edge - a, edge + a, top + a + ridge, top - a + ridge]
            draw_polygon(view, roof, self.tiles)
        chimney = top + 0.45 * a + 0.3 * b + 0.4 * ridge
        draw_box(
            view, chimney, ALONG, np.array([0.8, 0.7, self.roof * 0.6 + 0.9]), np.array([0.62, 0.46, 0.38])
        )


def build_town(rng: np.random.Generator) -> list[House]:
    """Place rows of houses along the quay and up the hill behind it."""
    walls = [
        (0.88, 0.62, 0.28),
        (0.84, 0.42, 0.28),
        (0.92, 0.84, 0.68),
        (0.86, 0.56, 0.48),
        (0.72, 0.30, 0.22),
    ]
    walls += [(0.94, 0.76, 0.46), (0.62, 0.68, 0.70), (0.92, 0.90, 0.86), (0.78, 0.70, 0.44)]
    shutters = [(0.10, 0.26, 0.20), (0.16, 0.24, 0.36), (0.34, 0.16, 0.10), (0.22, 0.36, 0.40)]
    tiles = [(0.44, 0.17, 0.10), (0.52, 0.22, 0.12), (0.38, 0.16, 0.12), (0.48, 0.26, 0.17)]
    town: list[House] = []
    for row, inland in enumerate((19.0, 38.0, 56.0, 74.0, 92.0, 111.0)):
        along = -6.0 + rng.uniform(0, 6)
        while along < QUAY_LENGTH - 12.0 - row * 13.0:
            width = rng.uniform(6.5, 11.0)
            place = quay_place(along + width / 2, inland + rng.normal(0, 1.2))
            along += width + (rng.uniform(0.0, 0.8) if row == 0 else rng.choice([0.3, 2.5, 7.0, 13.0]))
            house = House(
                place=place,
                base=float(land_height(*place[:, None])[0]) - 0.3,
                width=width,
                length=rng.uniform(8.5, 11.0),
                height=3.0 * rng.integers(3, 5 if row else 6) + 0.4
                if row < 2
                else 3.0 * rng.integers(2, 4) + 0.4,
                roof=rng.uniform(2.2, 3.4),
                ridge_along=bool(rng.random() < 0.68),
                wall=np.array(walls[rng.integers(len(walls))]) * rng.uniform(0.62, 1.02),
                shutter=np.array(shutters[rng.integers(len(shutters))]),
                tile=np.array(tiles[rng.integers(len(tiles))]),
                seed=len(town),
            )
            town.append(house)
    return town


def draw_church(view: View) -> None:
    """Draw the bell tower that rises over the roofs."""
    place = quay_place(98.0, 66.0)
    base = float(land_height(*place[:, None])[0])
    stone = np.array([0.86, 0.76, 0.60])
    foot = np.array([*place, base - 3.0])

    def masonry(a: Array, b: Array) -> Array:
        """Return pale stone with string courses and an arched opening for the bells."""
        colour = stone * (1.0 + 0.06 * look_up(FINE_NOISE, a * 50, b * 50))[..., None]
        colour = colour * np.where(np.mod(b, 7.0) < 0.5, 0.72, 1.0)[..., None]
        arch = (np.hypot(a - 3.0, np.maximum(b - 25.0, 0.0)) < 1.2) & (b > 22.0)
        slit = (np.abs(a - 3.0) < 0.35) & (np.mod(b, 7.0) > 2.5) & (np.mod(b, 7.0) < 5.0) & (b < 20.0)
        return np.where((arch | slit)[..., None], np.array([0.08, 0.08, 0.10]), colour)

    draw_box(view, foot, ALONG, np.array([6.0, 6.0, 28.0]), masonry)
    draw_box(view, foot + np.array([0.0, 0.0, 28.0]), ALONG, np.array([6.8, 6.8, 0.8]), stone * 0.9)
    top = foot + np.array([0.0, 0.0, 28.8])
    a, b = np.array([*ALONG, 0.0]) * 3.2, np.array([*INLAND, 0.0]) * 3.2
    ring = [top - a - b, top + a - b, top + a + b, top - a + b]
    for i in range(4):
        draw_polygon(
            view, [ring[i], ring[(i + 1) % 4], top + np.array([0, 0, 8.0])], np.array([0.30, 0.42, 0.40])
        )


def draw_lighthouse(view: View) -> None:
    """Draw a banded lighthouse with a lantern on the head of the breakwater."""
    foot = np.array([87.0, 205.0, 2.0])
    turns = np.linspace(0, 2 * np.pi, 29)
    ring = np.stack([np.cos(turns), np.sin(turns), np.zeros(29)], axis=1)
    red, white = np.array([0.72, 0.16, 0.11]), np.array([0.92, 0.88, 0.82])
    glass, roof = np.array([2.6, 2.0, 1.0]), np.array([0.40, 0.12, 0.10])
    sections = [(4.6, 4.6, 0.0, 2.0, white * 0.7)]
    for i in range(5):
        sections.append(
            (3.2 - 0.26 * i, 3.2 - 0.26 * (i + 1), 2.0 + 4.0 * i, 6.0 + 4.0 * i, red if i % 2 else white)
        )
    sections += [(2.7, 2.7, 22.0, 22.9, roof), (1.5, 1.5, 22.9, 25.4, glass), (2.0, 0.1, 25.4, 27.4, roof)]
    for low_radius, high_radius, low, high, colour in sections:
        bottom, top = foot + ring * low_radius + [0, 0, low], foot + ring * high_radius + [0, 0, high]
        for i in range(28):
            draw_polygon(view, [bottom[i], bottom[i + 1], top[i + 1], top[i]], colour)


def draw_quay(view: View) -> None:
    """Draw the stone wall of the quay, with courses of blocks and weed at the waterline."""

    def blocks(a: Array, b: Array) -> Array:
        """Return the colours of the wall at metres along it and above the water."""
        row = np.floor(b / 0.55)
        joint = (np.mod(b, 0.55) < 0.06) | (np.mod(a + 0.7 * row, 1.6) < 0.07)
        stone = np.array([0.50, 0.44, 0.37]) * (1.0 + 0.14 * look_up(FINE_NOISE, a * 25, b * 25))[..., None]
        stone = np.where(joint[..., None], stone * 0.55, stone)
        return mix(stone, np.array([0.10, 0.12, 0.07]), smoothstep(1.0, 0.3, b))

    for start in np.arange(-20.0, QUAY_LENGTH, 10.0):
        p, q = np.array([*quay_place(start, -0.2), 0.0]), np.array([*quay_place(start + 10.0, -0.2), 0.0])
        up = np.array([0.0, 0.0, 2.5])
        draw_polygon(view, [p, q, q + up, p + up], blocks)
        back = np.array([*INLAND, 0.0]) * 0.9
        draw_polygon(view, [p + up, q + up, q + up + back, p + up + back], np.array([0.62, 0.56, 0.48]))


@dataclass
class Boat:
    """A boat: where it lies, which way its bow points, and what it carries."""

    place: tuple[float, float]
    bow: float
    length: float
    hull: tuple[float, float, float]
    cabin: bool = False
    mast: float = 0.0
    sail: tuple[float, float, float] | None = None

    def __post_init__(self) -> None:
        """Work out the directions of the boat and the height of its deck."""
        self.forward = np.array([math.cos(self.bow), math.sin(self.bow), 0.0])
        self.across = np.array([-self.forward[1], self.forward[0], 0.0])
        self.deck = np.array([*self.place, 0.06 * self.length])

    def draw(self, view: View) -> None:
        """Draw the hull and what stands on it."""
        self.draw_hull(view)
        if self.cabin:
            foot = self.deck - self.forward * 0.12 * self.length
            size = np.array([0.26, 0.17, 0.13]) * self.length
            draw_box(view, foot, self.forward, size, self.cabin_wall)
            roof = foot + np.array([0, 0, size[2]])
            draw_box(view, roof, self.forward, size * [1.15, 1.15, 0.12], np.array([0.34, 0.42, 0.46]))
        if self.mast:
            self.draw_rig(view)
        elif not self.cabin:
            for seat in (-0.5, 0.0, 0.45):
                size = np.array([0.07, 0.30 - 0.08 * abs(seat), 0.02]) * self.length
                draw_box(
                    view, self.deck + self.forward * seat * self.length / 2, self.forward, size, WOOD * 1.5
                )

    def rim(self, side: int, level: float) -> Array:
        """Return the line of the hull at a level between the waterline (0) and the gunwale (1)."""
        station = np.linspace(-1, 1, 21)
        aft = station + 0.2
        beam = self.length * 0.17 * np.where(aft > 0, 1 - np.abs(aft / 1.2) ** 2.2, 1 - 0.35 * aft**2)
        freeboard = self.length * (0.085 + 0.06 * np.maximum(station, 0) ** 2 + 0.015 * station**2)
        flare = beam * (0.72 + 0.28 * level) * side
        rake = station * self.length / 2 + level * 0.05 * self.length * np.maximum(station, 0) ** 3
        line = rake[:, None] * self.forward + flare[:, None] * self.across
        return line + np.array([*self.place, 0.0]) + (freeboard * level)[:, None] * [0.0, 0.0, 1.0]

    def draw_hull(self, view: View) -> None:
        """Draw the planks of both sides in three bands of paint, the boards inside and the stern."""
        hull = np.array(self.hull)
        bands = [(0.0, 0.22, np.array([0.42, 0.13, 0.09])), (0.22, 0.80, hull), (0.80, 1.0, hull * 0.45)]
        for side in (-1, 1):
            for low, high, colour in bands:
                bottom, top = self.rim(side, low), self.rim(side, high)
                for i in range(20):
                    draw_polygon(view, [bottom[i], bottom[i + 1], top[i + 1], top[i]], colour)
        left, right = self.rim(-1, 0.72), self.rim(1, 0.72)
        for i in range(20):
            draw_polygon(view, [left[i], left[i + 1], right[i + 1], right[i]], WOOD * (0.8 + 0.3 * (i % 2)))
        stern = [self.rim(side, level)[0] for side, level in ((-1, 0.0), (1, 0.0), (1, 1.0), (-1, 1.0))]
        draw_polygon(view, stern, hull * 0.8)

    def draw_rig(self, view: View) -> None:
        """Draw the mast with its stays, the boom and the sail if it is set."""
        step = self.deck + self.forward * 0.10 * self.length
        draw_box(view, step, self.forward, np.array([0.16, 0.16, self.mast]), np.array([0.56, 0.40, 0.26]))
        boom = self.deck - self.forward * 0.16 * self.length + np.array([0, 0, 1.3])
        draw_box(view, boom, self.forward, np.array([self.length * 0.5, 0.12, 0.12]), WOOD)
        for end in self.rim(1, 1.0)[[-1, 0]]:
            draw_line(view, step + np.array([0, 0, self.mast]), end, 0.035)
        if self.sail:
            self.draw_sail(view, step + np.array([0, 0, 1.5]), -self.forward, self.across)

    def cabin_wall(self, a: Array, b: Array) -> Array:
        """Return white boards with a row of dark windows."""
        glass = (
            (b > 0.065 * self.length)
            & (b < 0.105 * self.length)
            & (np.mod(a, 0.09 * self.length) > 0.02 * self.length)
        )
        return np.where(glass[..., None], np.array([0.10, 0.14, 0.18]), np.array([0.90, 0.86, 0.78]))

    def draw_sail(self, view: View, tack: Array, aft: Array, across: Array) -> None:
        """Draw a bellied three-cornered sail as a mesh of cloth panels."""
        colour = np.array(self.sail)
        height, foot = self.mast * 0.84, self.length * 0.47
        rows, columns = np.linspace(0, 1, 22), np.linspace(0, 1, 13)
        width = foot * (1 - rows) ** 0.9
        belly = (
            0.16 * foot * np.sin(np.pi * columns[None] ** 0.8) * np.sin(np.pi * (0.15 + 0.8 * rows[:, None]))
        )
        mesh = (
            tack
            + aft * (width[:, None] * columns[None])[..., None]
            + across * belly[..., None]
            + np.array([0, 0, 1.0]) * (rows[:, None] * height * np.ones(13))[..., None]
        )
        for i in range(21):
            seam = 0.86 if i % 4 == 0 else 1.0
            for j in range(12):
                panel = [mesh[i, j], mesh[i, j + 1], mesh[i + 1, j + 1], mesh[i + 1, j]]
                draw_polygon(view, panel, colour * seam)


BOATS = [
    Boat((9.5, 45.0), 2.75, 10.0, (0.90, 0.87, 0.80), mast=13.0, sail=(0.86, 0.40, 0.16)),
    Boat((-5.3, 26.5), 0.50, 5.2, (0.84, 0.26, 0.14)),
    Boat((-25.5, 84.0), 0.95, 10.0, (0.16, 0.34, 0.50), cabin=True, mast=6.0),
    Boat((-15.0, 100.0), 0.95, 9.0, (0.80, 0.74, 0.62), cabin=True),
    Boat((-1.0, 118.0), 0.95, 10.5, (0.62, 0.18, 0.12), cabin=True, mast=7.0),
    Boat((13.0, 141.0), 0.95, 9.5, (0.20, 0.40, 0.34), cabin=True),
    Boat((27.0, 158.0), 0.95, 9.5, (0.84, 0.80, 0.70), mast=11.0),
    Boat((50.0, 132.0), 2.9, 9.0, (0.86, 0.84, 0.80), mast=12.0, sail=(0.92, 0.86, 0.74)),
    Boat((120.0, 330.0), 2.6, 12.0, (0.80, 0.80, 0.80), mast=15.0, sail=(0.94, 0.88, 0.80)),
]


def draw_trees(view: View, town: list[House], rng: np.random.Generator) -> None:
    """Scatter round trees and cypresses over the hill, keeping clear of the houses."""
    places = np.array([house.place for house in town])
    for _ in range(520):
        along, inland = rng.uniform(-30, QUAY_LENGTH + 20), rng.uniform(26, 175)
        place = quay_place(along, inland)
        ground = float(land_height(*place[:, None])[0])
        size, kind, tint = rng.uniform(2.0, 4.0), rng.random(), rng.uniform(0.75, 1.25)
        clumps = rng.normal(0, 0.45, (6, 3))
        if np.linalg.norm(places - place, axis=1).min() < 7.0 or ground < 3.0:
            continue
        if kind < 0.25:
            centre = np.array([*place, ground + size * 1.9])
            draw_blob(
                view,
                centre,
                np.array([1.0, 1.0, 2.3]) * size * 0.8,
                np.array([0.07, 0.13, 0.07]) * tint,
                0.55,
            )
            continue
        green = mix(np.array([0.12, 0.20, 0.08]), np.array([0.30, 0.28, 0.10]), rng.random()) * tint
        for clump in clumps:
            centre = np.array([*place, ground + size]) + clump * size
            draw_blob(view, centre, np.full(3, size * 0.72), green, 0.55)


class Shade:
    """How high the shadow reaches, and how crowded the ground is, over a map of the town."""

    left, near, cell, size = -220.0, 30.0, 0.6, 640

    def __init__(self, town: list[House]) -> None:
        """Raise the houses on a height map and sweep it towards the sun."""
        steps = np.arange(self.size) * self.cell
        x, y = np.meshgrid(self.left + steps, self.near + steps)
        height = np.maximum(land_height(x, y), 0.0)
        for house in town:
            along = (x - house.place[0]) * ALONG[0] + (y - house.place[1]) * ALONG[1]
            deep = (x - house.place[0]) * INLAND[0] + (y - house.place[1]) * INLAND[1]
            side, half = (deep, house.length / 2) if house.ridge_along else (along, house.width / 2)
            roof = house.base + house.height + house.roof * (1 - np.abs(side) / half)
            inside = (np.abs(along) < house.width / 2) & (np.abs(deep) < house.length / 2)
            height = np.where(inside, np.maximum(height, roof), height)
        level = TO_SUN[:2] / np.linalg.norm(TO_SUN[:2])
        climb = TO_SUN[2] / np.linalg.norm(TO_SUN[:2])
        self.reach = np.full_like(height, -1e3)
        for step in np.concatenate([np.arange(1.5, 20, 0.75), np.arange(20, 100, 1.5)]):
            shift = -level[::-1] * step / self.cell
            moved = ndimage.shift(height, shift, order=1, mode="nearest", prefilter=False)
            self.reach = np.maximum(self.reach, moved - climb * step)
        self.crowd = ndimage.gaussian_filter(height, 3.5 / self.cell)

    def at(self, tile: Array, x: Array, y: Array) -> Array:
        """Sample one of the maps at places of the world."""
        place = [(y - self.near) / self.cell, (x - self.left) / self.cell]
        return ndimage.map_coordinates(tile, place, order=1, cval=-1e3, prefilter=False)


def sky(u: Array, v: Array) -> Array:
    """Return the colours of an evening sky with sunlit clouds in the direction (u, 1, v)."""
    stops = [
        (0.00, (1.10, 0.78, 0.48)),
        (0.08, (1.12, 0.80, 0.52)),
        (0.18, (0.96, 0.76, 0.64)),
        (0.32, (0.46, 0.58, 0.74)),
        (0.55, (0.18, 0.33, 0.58)),
    ]
    colour = gradient(stops, v + 0.04 * (u - 0.2))
    colour = (
        colour
        + np.array([0.45, 0.25, 0.05]) * np.exp(-(((u - 0.75) / 0.5) ** 2) - (v / 0.16) ** 2)[..., None]
    )
    tile = noise(1024, 1.75, seed=7, coarsest=2)
    height = np.maximum(v, 0.0) + 0.10

    def cover(du: float, dv: float) -> Array:
        """Return how thick the clouds are, seen a little to one side."""
        flat = (height + dv) ** 0.55
        return look_up(tile, (u + du) * 330 / flat + 610, 760 * flat + 60) - 0.15

    thick = cover(0.0, 0.0)
    body = smoothstep(0.0, 0.75, thick) * smoothstep(-0.02, 0.10, v)
    lit = np.clip(0.5 + 0.75 * (thick - cover(0.035, 0.022)), 0.0, 1.0)
    warm = gradient([(0, (0.46, 0.40, 0.50)), (0.45, (0.80, 0.58, 0.52)), (1, (1.18, 0.92, 0.70))], lit)
    return mix(colour, warm, 0.92 * body)


def shade_view(view: View, shade: Shade) -> Array:
    """Light everything the view has seen with sun, sky and haze, and fill the rest with sky."""
    u, v = np.broadcast_arrays(view.u[None], view.v[:, None])
    solid = np.isfinite(view.depth)
    depth = np.where(solid, view.depth, 1.0)
    x, y, z = u * depth, depth, view.eye + v * depth
    # Surfaces are looked up a little towards the sun so that they do not shade themselves.
    clear = z + 0.3 - shade.at(shade.reach, x + TO_SUN[0] * 0.5, y + TO_SUN[1] * 0.5)
    sunlit = smoothstep(-0.5, 0.5, clear) * np.clip(view.normal @ TO_SUN, 0.0, 1.0)
    open_sky = np.clip(1.0 + (z - shade.at(shade.crowd, x, y)) / 14.0, 0.35, 1.0)
    ambient = (0.62 + 0.38 * view.normal[..., 2]) * open_sky
    bounce = np.clip(0.5 - 0.5 * view.normal[..., 2], 0, 1) * 0.35
    light = (
        sunlit[..., None] * SUN_LIGHT + ambient[..., None] * SKY_LIGHT + bounce[..., None] * [0.5, 0.4, 0.3]
    )
    haze = 1.0 - np.exp(-np.maximum(depth - 40.0, 0.0) / 6000.0)
    far = mix(HAZE, np.array([0.42, 0.46, 0.66]), np.clip(z / 300.0, 0, 1))
    return np.where(solid[..., None], mix(view.colour * light, far, haze), sky(u, np.maximum(v, 0.0)))


def add_water(view: View, picture: Array, mirror: Array) -> Array:
    """Replace the empty sea below the horizon by rippled reflections of the mirrored picture."""
    rows, columns = np.mgrid[0 : view.height, 0 : view.width].astype(np.float32)
    down = np.maximum(-view.v[:, None], 1e-4)
    depth = EYE_HEIGHT / down + 0 * columns
    x = view.u[None] * depth
    waves = np.zeros((2, *depth.shape), np.float32)
    for scale, strength in ((2.2, 0.6), (7.0, 1.0), (19.0, 0.7)):
        # Ripples smaller than a pixel average out, so they fade with distance.
        fade = strength / (1.0 + (depth * scale / 900.0) ** 2)
        for axis in range(2):
            waves[axis] += fade * look_up(
                FINE_NOISE, x * scale * 2.0 + 400 * axis, depth * scale * 0.8 + 77 * axis
            )
    calm = 0.45 + 0.55 * smoothstep(-0.6, 0.8, look_up(GROUND_NOISE, x * 1.5 + 90, depth * 0.7))
    tilt = waves * calm * view.focal * 0.013
    there = [rows + 1.5 * tilt[0] + np.abs(tilt[0]), columns + 0.35 * tilt[1]]
    there[0] = np.maximum(there[0], view.horizon + 1)
    bright = np.stack(
        [ndimage.map_coordinates(mirror[..., c], there, order=1, mode="nearest") for c in range(3)], -1
    )
    fresnel = np.clip(0.94 - 1.25 * down + 0.10 * waves[0] * calm, 0.25, 0.97)
    deep = np.array([0.035, 0.115, 0.135])
    water = mix(np.broadcast_to(deep, bright.shape), bright, fresnel)
    haze = 1.0 - np.exp(-np.maximum(depth - 40.0, 0.0) / 4200.0)
    water = mix(water, HAZE, np.clip(haze, 0, 0.8))
    sea = ~np.isfinite(view.depth) & (view.v[:, None] < 0)
    return np.where(sea[..., None], water, picture)


def harbour(width: int = 1536) -> Array:
    """Render the harbour town."""
    town = build_town(np.random.default_rng(3))
    shade = Shade(town)
    lit = []
    for mirrored in (False, True):
        view = View(width, width * 2 // 3, mirrored)
        draw_land(view)
        draw_quay(view)
        for thing in (*town, *BOATS):
            thing.draw(view)
        draw_church(view)
        draw_lighthouse(view)
        draw_trees(view, town, np.random.default_rng(5))
        lit.append((view, shade_view(view, shade)))
    (view, picture), (_, mirror) = lit
    return develop(add_water(view, picture, mirror))
