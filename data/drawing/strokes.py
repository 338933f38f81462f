"""A style: thick brush strokes in a swirling flow."""

import numpy as np
from canvas import Canvas, follow, scattered
from tools import Array, gradient, noise

# Where each light hangs, how large it glows and which way the paint turns round it (in parts of the size).
LIGHTS = [
    (0.70, 0.27, 0.150, 1.0),
    (0.22, 0.40, 0.105, -1.0),
    (0.46, 0.10, 0.060, 1.0),
    (0.93, 0.60, 0.075, -1.0),
    (0.47, 0.63, 0.085, 1.0),
    (0.10, 0.10, 0.055, 1.0),
    (0.16, 0.79, 0.060, -1.0),
    (0.76, 0.85, 0.095, 1.0),
]


def swirl_field(size: int) -> tuple[Array, Array]:
    """Return the angle of the flow and the glow of the lights at every pixel."""
    y, x = np.mgrid[0:size, 0:size] / size
    drift = 0.35 * np.sin(2 * np.pi * (x * 1.1 + 0.3 * y)) - 0.5 + 0.7 * (y - 0.5)
    flow_x, flow_y = 0.8 * np.cos(drift), 0.8 * np.sin(drift)
    glow = np.zeros_like(x)
    for centre_x, centre_y, radius, turn in LIGHTS:
        dx, dy = x - centre_x, y - centre_y
        distance = np.hypot(dx, dy) + 1e-6
        pull = 4.0 * turn * np.exp(-((distance / (2.1 * radius)) ** 2))
        flow_x += -dy / distance * pull
        flow_y += dx / distance * pull
        glow = np.maximum(glow, np.exp(-((distance / (1.15 * radius)) ** 1.6)))
    ripple = 0.10 * noise(size, 2.4, seed=21, coarsest=2)
    return np.arctan2(flow_y, flow_x) + ripple, glow


def strokes(size: int = 1536) -> Array:
    """Paint glowing lights in a current of blue, layer over layer, from broad and dark to fine and light."""
    rng = np.random.default_rng(22)
    angle, glow = swirl_field(size)
    bands = noise(size, 2.0, seed=23, coarsest=3)
    palette = [
        (0.00, (0.03, 0.06, 0.20)),
        (0.22, (0.06, 0.15, 0.42)),
        (0.42, (0.10, 0.34, 0.60)),
        (0.58, (0.24, 0.60, 0.66)),
        (0.70, (0.66, 0.78, 0.58)),
        (0.80, (0.86, 0.66, 0.22)),
        (0.92, (0.98, 0.80, 0.28)),
        (1.00, (1.00, 0.95, 0.66)),
    ]

    def flow(x: float, y: float) -> float:
        """Return the angle of the flow at a point."""
        return angle[min(max(int(y), 0), size - 1), min(max(int(x), 0), size - 1)]

    canvas = Canvas.blank(size, (0.05, 0.07, 0.20))
    # spacing, width, length, how much lighter, how often the brush skips a place
    layers = [
        (27, 42, 220, -0.10, 0.0),
        (21, 30, 175, -0.02, 0.1),
        (17, 21, 135, 0.04, 0.35),
        (14, 13, 95, 0.10, 0.6),
    ]
    for spacing, width, length, lift, skip in layers:
        for start in scattered(rng, size, spacing):
            column, row = np.clip(start.astype(int), 0, size - 1)
            if rng.random() < skip - 0.45 * glow[row, column]:
                continue
            tone = 0.25 + 0.095 * bands[row, column] + 0.60 * glow[row, column] + lift + rng.normal(0, 0.06)
            colour = gradient(palette, np.float64(tone)) * rng.normal(1.0, 0.05, 3)
            # A few strokes of burnt ochre among the blues keep the cool parts from going flat.
            if rng.random() < 0.05 and tone < 0.5:
                colour = np.array([0.62, 0.40, 0.18]) * rng.uniform(0.7, 1.1)
            path = follow(flow, start, length * rng.uniform(0.6, 1.2) * (1.0 - 0.45 * glow[row, column]))
            canvas.stroke(path, width * rng.uniform(0.75, 1.2), np.clip(colour, 0.01, 1), rng, dry=0.5)
    return canvas.light(strength=0.42, shine=0.10)
