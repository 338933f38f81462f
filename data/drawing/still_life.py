"""A content: a still life in window light."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scene import FINE_NOISE, GROUND_NOISE, View, develop, draw_blob, draw_line, draw_polygon
from scipy import ndimage
from tools import Array, gradient, look_up, mix, noise, smoothstep

JUG_PLACE = (-1.25, 16.6)
DRAPE_NOISE = noise(512, 3.0, seed=51, coarsest=3)
TO_WINDOW = np.array([-0.72, -0.52, 0.66]) / np.linalg.norm([-0.72, -0.52, 0.66])
WINDOW_LIGHT = np.array([1.00, 0.90, 0.74]) * 1.75
ROOM_LIGHT = np.array([0.30, 0.34, 0.42]) * 0.75


@dataclass
class Solid:
    """A body given by its distance function around its centre, with its paint and its shine."""

    centre: Array
    reach: float
    distance: Callable[[Array], Array]
    paint: Callable[[Array], Array]
    shine: float

    def slope(self, p: Array) -> Array:
        """Return the direction in which the distance grows, which on the surface is its normal."""
        corners = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], np.float32)
        normal = sum(corner * self.distance(p + 0.004 * corner)[..., None] for corner in corners)
        return normal / np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-9)

    def draw(self, view: View) -> None:
        """Walk the rays that pass near the body up to its surface and store what they meet."""
        box = self.centre + self.reach * np.array(
            [[i, j, k] for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)]
        )
        window = view.window(*view.project(box))
        if window is None:
            return
        u, v = np.meshgrid(view.u[window[1]], view.v[window[0]])
        ray = np.stack([u, np.ones_like(u), v], axis=-1)
        length = np.linalg.norm(ray, axis=-1)
        start = np.array([0.0, 0.0, view.eye]) - self.centre
        depth = np.full_like(u, self.centre[1] - self.reach * 1.05)
        gap = depth
        for _ in range(70):
            gap = self.distance(start + ray * depth[..., None])
            depth = np.minimum(depth + gap / length, self.centre[1] + self.reach * 1.05)
        p = start + ray * depth[..., None]
        view.put(window, gap < 0.01, depth, self.slope(p), self.paint(p), self.shine)

    def shadow(self, places: Array, normal: Array) -> Array:
        """Return how much of the window light the body lets through to each place, 0 to 1."""
        light = np.ones(len(places), np.float32)
        local = places - self.centre + normal * 0.03
        ahead = -local @ TO_WINDOW
        aside = np.linalg.norm(local + ahead[:, None] * TO_WINDOW, axis=1)
        near = (ahead > -self.reach) & (aside < self.reach * 1.5)
        p, travelled = local[near], np.full(near.sum(), 0.02, np.float32)
        through = np.ones(len(p), np.float32)
        for _ in range(32):
            gap = self.distance(p + travelled[:, None] * TO_WINDOW)
            through = np.minimum(through, 0.5 + 4.5 * gap / (travelled + 0.15))
            travelled += np.clip(gap, 0.04, 0.5)
        light[near] = smoothstep(0.0, 1.0, through)
        return light

    def closeness(self, places: Array, normal: Array) -> Array:
        """Return how much of the room the body hides from each place, taking it for a ball."""
        offset = self.centre - places
        distance = np.linalg.norm(offset, axis=1)
        facing = np.clip((normal * offset).sum(1) / np.maximum(distance, 1e-6), 0, 1)
        return np.clip(facing * (0.85 * self.reach / np.maximum(distance, 0.85 * self.reach)) ** 2, 0, 0.8)


def cosine_to(axis: tuple[float, float, float], p: Array) -> Array:
    """Return the cosine of the angle between places, seen from the centre, and an axis."""
    height = p @ (np.array(axis, float) / np.linalg.norm(axis))
    return height / np.maximum(np.linalg.norm(p, axis=-1), 1e-6)


def fruit_outline(kind: str, c: Array) -> Array:
    """Return the radius of a kind of fruit at a cosine of the angle to its axis."""
    if kind == "apple":
        dimples = 0.38 * np.exp(-((1 - c) / 0.10)) + 0.16 * np.exp(-((1 + c) / 0.07))
        return 1.0 + 0.05 * c - dimples
    if kind == "pear":
        return 0.94 - 0.08 * c + 0.80 * np.maximum(c, 0.0) ** 4.0 - 0.12 * np.exp(-((1 + c) / 0.05))
    if kind == "lemon":
        return 0.86 + 0.20 * c**4 + 0.16 * np.exp(-((1 - np.abs(c)) / 0.035))
    return np.ones_like(c)


def fruit_skin(kind: str, seed: int, turn: Array, c: Array) -> Array:
    """Return the colours of the skin at an angle round the axis and a cosine of the angle to it."""
    streak = look_up(FINE_NOISE, turn * 110 + 91 * seed, c * 12)
    blotch = look_up(GROUND_NOISE, turn * 60 + 53 * seed, c * 60 + 17 * seed)
    speck = look_up(FINE_NOISE, turn * 160 + 29 * seed, c * 150)
    if kind == "apple":
        red = gradient(
            [(-2, (0.42, 0.04, 0.05)), (0.3, (0.66, 0.10, 0.07)), (2.2, (0.86, 0.50, 0.16))], streak
        )
        colour = mix(red, np.array([0.80, 0.66, 0.22]), smoothstep(0.5, 1.0, c + 0.16 * blotch))
        return mix(colour, np.array([0.24, 0.16, 0.06]), smoothstep(0.965, 0.995, c))
    if kind == "pear":
        skin = gradient(
            [(-2, (0.50, 0.52, 0.12)), (1, (0.74, 0.66, 0.20)), (2.5, (0.80, 0.42, 0.16))], blotch
        )
        return skin * (1.0 - 0.16 * (speck > 1.1))[..., None]
    if kind == "lemon":
        return gradient([(-2, (0.78, 0.60, 0.06)), (2, (0.94, 0.80, 0.16))], 0.8 * blotch + 0.5 * speck)
    return gradient([(-2, (0.08, 0.02, 0.10)), (2, (0.30, 0.14, 0.32))], blotch)


def fruit(
    kind: str, centre: tuple[float, float, float], size: float, axis: tuple[float, float, float], seed: int
) -> Solid:
    """Return an apple, pear, lemon or grape; its radius depends on the angle to its axis."""

    def distance(p: Array) -> Array:
        """Return a distance that is never too long."""
        return 0.55 * (np.linalg.norm(p, axis=-1) - size * fruit_outline(kind, cosine_to(axis, p)))

    def paint(p: Array) -> Array:
        """Return the colours of the skin."""
        return fruit_skin(kind, seed, np.arctan2(p[..., 1], p[..., 0]), cosine_to(axis, p))

    shine = {"apple": 0.75, "pear": 0.30, "lemon": 0.35, "grape": 0.55}[kind]
    return Solid(np.array(centre), size * 1.72 if kind == "pear" else size * 1.1, distance, paint, shine)


def jug() -> Solid:
    """Return a tall glazed jug, turned on the wheel, with a painted band."""
    heights = np.array([0.0, 0.15, 0.9, 2.0, 3.1, 4.0, 4.7, 5.2, 5.6, 5.8])
    radii = np.array([1.00, 1.08, 1.62, 1.98, 1.78, 1.18, 0.78, 0.74, 0.92, 1.06])
    fine = np.linspace(0.0, 5.8, 200)
    profile = ndimage.gaussian_filter1d(np.interp(fine, heights, radii), 5, mode="nearest")
    half = 2.9

    def distance(p: Array) -> Array:
        """Return a safe distance to the turned profile, which is closed at both ends."""
        z = p[..., 2] + half
        wall = np.hypot(p[..., 0], p[..., 1]) - np.interp(z, fine, profile)
        return np.maximum(0.62 * wall, np.abs(p[..., 2]) - half)

    def paint(p: Array) -> Array:
        """Return blue-green glaze that runs to a bare foot, with a band of painted diamonds."""
        z, turn = p[..., 2] + half, np.arctan2(p[..., 1], p[..., 0])
        run = look_up(FINE_NOISE, turn * 70, z * 16) + look_up(GROUND_NOISE, turn * 80, z * 30)
        glaze = gradient(
            [(-2.5, (0.03, 0.20, 0.26)), (0, (0.07, 0.36, 0.42)), (2.5, (0.26, 0.56, 0.54))], run
        )
        diamond = np.abs(np.mod(turn * 14 / (2 * np.pi), 1.0) * 2 - 1) + np.abs(z - 2.05) / 0.48
        band = (z > 1.5) & (z < 2.6)
        glaze = np.where(
            (band & (diamond < 0.9) & (np.abs(diamond - 0.5) > 0.1))[..., None],
            np.array([0.88, 0.82, 0.64]),
            glaze,
        )
        lines = (np.abs(z - 1.42) < 0.06) | (np.abs(z - 2.68) < 0.06)
        glaze = np.where(lines[..., None], np.array([0.80, 0.56, 0.20]), glaze)
        clay = np.array([0.56, 0.36, 0.24]) * (1.0 + 0.08 * run)[..., None]
        return mix(clay, glaze, smoothstep(0.42, 0.55, z + 0.10 * np.sin(turn * 7) + 0.05 * run))

    return Solid(np.array([*JUG_PLACE, half]), 3.6, distance, paint, 1.0)


def bowl(centre: tuple[float, float, float]) -> Solid:
    """Return a shallow white bowl: a thin shell of a ball, cut off level at the rim."""
    radius, rim = 2.35, -0.80

    def distance(p: Array) -> Array:
        """Return the distance to the shell and its foot."""
        shell = np.maximum(np.abs(np.linalg.norm(p, axis=-1) - radius) - 0.07, p[..., 2] - rim)
        foot = np.maximum(
            np.abs(np.hypot(p[..., 0], p[..., 1]) - 0.85) - 0.12, np.abs(p[..., 2] + radius + 0.08) - 0.2
        )
        return 0.9 * np.minimum(shell, foot)

    def paint(p: Array) -> Array:
        """Return cream glaze with a blue rim."""
        cream = (
            np.array([0.84, 0.80, 0.70])
            * (1.0 + 0.02 * look_up(FINE_NOISE, p[..., 0] * 40, p[..., 2] * 40))[..., None]
        )
        stripe = (p[..., 2] > rim - 0.13) | (np.abs(p[..., 2] - rim + 0.34) < 0.05)
        return np.where(stripe[..., None], np.array([0.12, 0.22, 0.44]), cream)

    return Solid(np.array(centre), 2.75, distance, paint, 0.7)


def table_and_wall(view: View) -> None:
    """Draw the table with a striped cloth drawn over part of it, and the plaster wall behind."""

    def wood_and_cloth(a: Array, b: Array) -> Array:
        """Return the colours of the table top at metres to the right and away."""
        x, y = a - 9.0, b + 6.0
        grain = look_up(FINE_NOISE, x * 9, y * 110) + look_up(GROUND_NOISE, x * 14, y * 120)
        wood = gradient([(-3, (0.13, 0.065, 0.035)), (0, (0.30, 0.16, 0.08)), (3, (0.46, 0.27, 0.14))], grain)
        wood = np.where((np.mod(y, 3.1) < 0.05)[..., None], wood * 0.35, wood)
        s, t = (x + 0.55 * y) * 0.876, (y - 0.55 * x) * 0.876
        weave = 1.0 + 0.05 * np.sin(s * 55) * np.sin(t * 55)
        linen = np.array([0.86, 0.82, 0.74]) * weave[..., None]
        stripes = (np.abs(np.mod(s, 1.9) - 0.5) < 0.16) | (np.abs(np.mod(s, 1.9) - 0.82) < 0.05)
        linen = np.where(stripes[..., None], np.array([0.66, 0.20, 0.16]) * weave[..., None], linen)
        edge = cloth_edge(x, y)
        linen = np.where((edge < 0.16)[..., None], linen * 0.8, linen)
        # The cloth throws a thin shadow on the wood beside its hem.
        wood = wood * (1.0 - 0.6 * smoothstep(-0.28, 0.0, edge))[..., None]
        return np.where((edge > 0)[..., None], linen, wood)

    def plaster(a: Array, b: Array) -> Array:
        """Return a warm grey-green wall with patches and trowel marks."""
        marks = look_up(GROUND_NOISE, a * 18, b * 18) + 0.6 * look_up(FINE_NOISE, a * 16, b * 9)
        wall = gradient(
            [(-3, (0.24, 0.27, 0.26)), (0, (0.42, 0.42, 0.36)), (3, (0.62, 0.54, 0.40))], 1.2 * marks
        )
        # Light from the window falls in a slanting patch; the corner beside it stays dark.
        return wall * (0.45 + 0.85 * smoothstep(-9.0, 4.0, a - 14.0 - 0.8 * (b - 15.0)))[..., None]

    table = np.array([[-9.0, 6.0, 0.0], [9.0, 6.0, 0.0], [9.0, 20.0, 0.0], [-9.0, 20.0, 0.0]])
    draw_polygon(view, table, wood_and_cloth)
    wall = np.array([[-14.0, 24.0, -9.0], [14.0, 24.0, -9.0], [14.0, 24.0, 16.0], [-14.0, 24.0, 16.0]])
    draw_polygon(view, wall, plaster)
    cloth_folds(view)


def cloth_edge(x: Array, y: Array) -> Array:
    """Return how far a place of the table lies inside the cloth (negative outside)."""
    far = 15.3 - y + 0.25 * np.sin(1.3 * x) - 0.30 * x
    return np.minimum(far, 3.1 - x + 0.30 * np.sin(0.9 * y) + 0.25 * (y - 12.0))


def cloth_folds(view: View) -> None:
    """Turn the surface of the cloth to and fro so that it lies in soft folds."""
    depth = np.where(np.isfinite(view.depth), view.depth, 1.0)
    x, y = view.u[None] * depth, depth
    flat = (view.eye + view.v[:, None] * depth < 0.01) & (y < 20.0)

    def fold(x: Array, y: Array) -> Array:
        """Return the height of the cloth."""
        swell = look_up(DRAPE_NOISE, x * 26 + 200, y * 40 + 80)
        crease = look_up(DRAPE_NOISE, x * 18 + 90, y * 24 + 300)
        return 0.16 * swell + 0.13 * np.abs(crease)

    here = flat & (cloth_edge(x, y) > 0)
    normal = np.stack(
        [(fold(x, y) - fold(x + 0.09, y)) / 0.09, (fold(x, y) - fold(x, y + 0.09)) / 0.09], axis=-1
    )
    normal = np.concatenate([normal, np.ones_like(normal[..., :1])], axis=-1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    view.normal[here] = normal[here]
    view.shine[flat & ~here] = 0.25


def draw_bouquet(view: View, rng: np.random.Generator) -> None:
    """Draw stems with leaves and large daisies that rise from the jug."""
    mouth = np.array([*JUG_PLACE, 5.7])
    flowers = [
        ((-2.6, 0.3, 2.3), 0.95, (0.94, 0.70, 0.14)),
        ((-0.7, -0.6, 2.9), 1.05, (0.90, 0.86, 0.76)),
        ((1.0, -0.2, 2.6), 0.95, (0.86, 0.36, 0.14)),
        ((2.5, 0.4, 1.5), 0.85, (0.92, 0.88, 0.80)),
        ((0.1, -1.0, 1.3), 0.95, (0.95, 0.72, 0.16)),
        ((-1.7, -0.9, 0.9), 0.80, (0.84, 0.32, 0.18)),
        ((1.5, -0.9, 0.8), 0.72, (0.93, 0.66, 0.20)),
    ]
    for offset, size, colour in flowers:
        head = mouth + np.array(offset)
        draw_line(view, mouth, head, 0.05)
        lean = np.array([0.35 * offset[0], -2.6, 0.25 * offset[2] + 0.4]) + rng.normal(0, 0.25, 3)
        draw_flower(view, head, lean / np.linalg.norm(lean), size, np.array(colour), rng)
    for _ in range(120):
        reach = rng.uniform(0.1, 1.0)
        spread = np.array([rng.normal(0, 1.5), rng.normal(0.45, 0.5), rng.uniform(0.1, 3.3)])
        root = mouth + spread * reach
        along = spread * [1, 1, 0.6] + rng.normal(0, 0.5, 3) + [0, 0.1, 0]
        along *= rng.uniform(0.8, 1.6) / np.linalg.norm(along)
        green = mix(np.array([0.07, 0.16, 0.07]), np.array([0.26, 0.34, 0.14]), rng.random())
        draw_leaf(view, root, along, rng.normal(0, 1, 3), 0.30, green)


def draw_leaf(view: View, root: Array, along: Array, roll: Array, breadth: float, colour: Array) -> None:
    """Draw a leaf or petal as two halves, folded a little along the middle."""
    length = np.linalg.norm(along)
    side = np.cross(along, roll)
    side *= breadth * length / np.linalg.norm(side)
    lift = np.cross(side, along)
    lift *= 0.10 / max(np.linalg.norm(lift), 1e-6)
    outline = [(0.0, 0.0), (0.2, 0.6), (0.5, 0.95), (0.75, 0.95), (0.92, 0.6), (1.0, 0.0)]
    for hand in (-1, 1):
        half = [root + along * t + hand * side * w * 0.5 + lift * w for t, w in outline]
        draw_polygon(view, np.array(half), colour * (1.0 if hand > 0 else 0.86))


def draw_flower(
    view: View, head: Array, facing: Array, size: float, colour: Array, rng: np.random.Generator
) -> None:
    """Draw two rings of petals around a dark, domed heart."""
    right = np.cross(facing, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    up = np.cross(right, facing)
    for ring, count in ((1.0, 15), (0.74, 12)):
        for i in range(count):
            turn = 2 * np.pi * (i + 0.5 * (ring < 1)) / count + rng.normal(0, 0.06)
            outward = math.cos(turn) * right + math.sin(turn) * up
            along = (outward + facing * (0.25 + 0.3 * (ring < 1) + rng.normal(0, 0.08))) * size * ring
            tint = colour * rng.uniform(0.82, 1.06) * (1.0 if ring < 1 else 0.9)
            draw_leaf(view, head + outward * 0.14 * size, along, facing, 0.36, tint)
    draw_blob(view, head + facing * 0.16 * size, np.full(3, 0.27 * size), np.array([0.22, 0.11, 0.05]), 0.5)


def still_life(width: int = 1152) -> Array:
    """Render a jug of flowers and fruit on a table, lit by a window on the left."""
    view = View(width, width * 4 // 3, eye_height=6.4, spread=0.66, level=0.272)
    solids = [jug(), bowl((1.95, 13.3, 2.53))]
    for kind, centre, size, axis in [
        ("apple", (1.2, 13.2, 1.42), 0.92, (0.2, -0.3, 1.0)),
        ("lemon", (2.8, 13.0, 1.45), 0.74, (0.9, 0.4, 0.35)),
        ("pear", (2.15, 14.1, 1.70), 0.82, (0.25, 0.1, 1.0)),
        ("apple", (-3.0, 13.6, 0.92), 0.95, (-0.35, -0.45, 0.9)),
        ("lemon", (-1.45, 11.2, 0.66), 0.72, (1.0, -0.45, 0.08)),
        ("pear", (0.75, 10.8, 0.78), 0.84, (0.85, 0.25, 0.22)),
    ]:
        solids.append(fruit(kind, centre, size, axis, seed=len(solids)))
    rng = np.random.default_rng(52)
    for i in range(17):
        row, place = divmod(i, 7)
        x = -0.95 + 0.50 * (place % 4) + rng.normal(0, 0.08)
        y = 12.2 + 0.46 * (place // 4) + 0.25 * (place % 2) + rng.normal(0, 0.06)
        solids.append(
            fruit("grape", (x + 0.2 * row, y, 0.33 + 0.47 * row), 0.335, (0, 0, 1), seed=len(solids))
        )
    table_and_wall(view)
    for solid in solids:
        solid.draw(view)
    draw_line(view, np.array([1.32, 12.95, 2.05]), np.array([1.46, 12.9, 2.45]), 0.035)
    draw_bouquet(view, rng)
    return develop(shade_still_life(view, solids))


def shade_still_life(view: View, solids: list[Solid]) -> Array:
    """Light the table with the window, its reflection in everything glossy, and the dim room."""
    shape = view.depth.shape
    u, v = np.broadcast_arrays(view.u[None], view.v[:, None])
    places = np.stack([u * view.depth, view.depth, view.eye + v * view.depth], axis=-1).reshape(-1, 3)
    normal = view.normal.reshape(-1, 3)
    light, hidden = np.ones(len(places), np.float32), np.ones(len(places), np.float32)
    for solid in solids:
        light *= solid.shadow(places, normal)
        hidden *= 1.0 - solid.closeness(places, normal)
    # The flowers are many thin sheets, so their shadow on the wall and jug is only suggested.
    toward = places - np.array([*JUG_PLACE, 7.6])
    aside = toward - (toward @ TO_WINDOW)[:, None] * TO_WINDOW
    crown = np.exp(-((np.linalg.norm(aside, axis=1) / 2.3) ** 4)) * (toward @ TO_WINDOW < -1.0)
    light *= 1.0 - 0.6 * crown * (places[:, 1] > 16.2)
    sun = light * np.clip(normal @ TO_WINDOW, 0, 1)
    sun *= np.clip(1.12 - 0.045 * (places[:, 0] + 4.0), 0.5, 1.2)
    fill = hidden * (0.62 + 0.38 * normal[:, 2])
    bounce = hidden * np.clip(-normal[:, 2] * 0.6 + 0.35, 0, 1) * np.exp(-np.maximum(places[:, 2], 0) / 1.8)
    colour = view.colour.reshape(-1, 3)
    glow = sun[:, None] * WINDOW_LIGHT + fill[:, None] * ROOM_LIGHT + bounce[:, None] * [0.34, 0.24, 0.17]
    ray = np.stack([u, np.ones_like(u), v], axis=-1).reshape(-1, 3)
    ray /= np.linalg.norm(ray, axis=1, keepdims=True)
    mirror = ray - 2.0 * (ray * normal).sum(1, keepdims=True) * normal
    side = np.cross(TO_WINDOW, [0.0, 0.0, 1.0])
    side /= np.linalg.norm(side)
    a, b = mirror @ side, mirror @ np.cross(side, TO_WINDOW)
    panes = smoothstep(0.30, 0.22, np.abs(a)) * smoothstep(0.36, 0.28, np.abs(b)) * (mirror @ TO_WINDOW > 0)
    panes *= 1.0 - 0.8 * np.maximum(smoothstep(0.05, 0.02, np.abs(a)), smoothstep(0.05, 0.02, np.abs(b)))
    grazing = 0.04 + 0.6 * (1.0 - np.abs((ray * normal).sum(1))) ** 4
    shine = view.shine.reshape(-1)
    gleam = shine * (0.75 * panes * light + 0.5 * grazing * hidden)
    return (colour * glow + gleam[:, None] * [1.0, 0.95, 0.86]).reshape(*shape, 3).astype(np.float32)
