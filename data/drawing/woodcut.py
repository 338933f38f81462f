"""A style: a colour woodcut."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from tools import Array, gradient, look_up, mix, noise, smoothstep


def gouges(across: Array, along: Array, spacing: float, length: float, tone: Array) -> Array:
    """Return where the knife has cut: rows of tapered grooves, wider where the tone is lighter.

    Rows lie `spacing` apart in the coordinate `across`; each is broken into grooves of about
    `length` in the coordinate `along`, shifted and stretched from row to row.
    """
    row = np.floor(across / spacing)
    chance = np.modf(np.abs(np.sin(row * 12.9898 + 4.1)) * 43758.5453)[0]
    part = np.mod(along / (length * (0.75 + 0.5 * chance)) + 7.3 * chance, 1.0)
    taper = np.clip(np.minimum(part * 5.0, (1.0 - part) * 2.2), 0.0, 1.0) ** 0.6
    from_middle = np.abs(across / spacing - row - 0.5) * 2.0
    return smoothstep(-0.12, 0.12, np.clip(tone, 0.0, 0.97) * taper - from_middle - 0.06)


@dataclass
class Block:
    """A woodcut in the making: places, the unsteadiness of the hand, the tint below and what is cut."""

    x: Array
    y: Array
    wobble: Array
    patch: Array
    tint: Array
    cut: Array

    def cover(self, inside: Array, tint: Array, cut: Array) -> None:
        """Replace what is inside a shape by another tint and other cuts."""
        self.tint = np.where(inside[..., None], tint, self.tint)
        self.cut = np.where(inside, cut, self.cut)


def cut_sky(block: Block) -> None:
    """Cut rings of grooves around a red sun."""
    dx, dy = block.x - 0.64, block.y - 0.27
    distance, turn = np.hypot(dx, dy), np.arctan2(dy, dx)
    warm = [
        (0.10, (0.99, 0.84, 0.46)),
        (0.28, (0.95, 0.62, 0.30)),
        (0.48, (0.83, 0.42, 0.28)),
        (0.75, (0.46, 0.34, 0.38)),
    ]
    tone = 0.98 - 0.85 * distance + 0.13 * block.patch
    rings = gouges(distance + block.wobble, turn * 0.34, 0.0165, 0.085, tone)
    block.cover(distance >= 0.0, gradient(warm, distance + 0.02 * block.patch), rings)
    bars = gouges(block.y + block.wobble, block.x, 0.014, 0.11, np.full_like(block.x, 0.80))
    block.cover(distance < 0.105, np.array([0.86, 0.20, 0.12]), np.maximum(bars, distance < 0.06))


def cut_mountains(block: Block) -> None:
    """Cut two ranges of peaks, light on the right flanks and dark on the left."""
    ranges = [
        (0.475, 0.130, 1.7, 0.05, (0.80, 0.62, 0.52), (0.40, 0.46, 0.52)),
        (0.545, 0.105, 2.6, 0.43, (0.66, 0.70, 0.58), (0.20, 0.36, 0.42)),
    ]
    for base, height, waves, shift, light, dark in ranges:
        place = block.x * waves + shift
        peaks = np.abs(np.mod(place, 1.0) - 0.42)
        crest = base - height * (1.0 - 2.0 * np.minimum(peaks, 0.58 - 0.16 * peaks)) - 1.6 * block.wobble
        depth = block.y - crest
        # The line between the lit and the shaded flank zigzags down from the peak.
        zigzag = 0.09 * np.abs(np.mod(depth * 16.0, 2.0) - 1.0) - 0.09 + 0.8 * depth
        slope = np.where(np.mod(place + zigzag, 1.0) < 0.42, -1.0, 1.0)
        lit = np.clip(0.92 - 2.4 * depth + 0.10 * block.patch, 0.15, 1.0)
        shaded = np.clip(0.44 - 1.6 * depth + 0.12 * block.patch, 0.05, 1.0)
        across = block.x + slope * 0.55 * block.y + block.wobble
        hatch = gouges(across, block.y, 0.0145, 0.075, np.where(slope > 0, lit, shaded))
        tint = np.where((slope > 0)[..., None], light, dark)
        block.cover(depth > 0, tint, np.where(depth < 0.004, 1.0, hatch))


def cut_sea(block: Block, paper: Array) -> None:
    """Cut seven rows of waves, each in front of the last, with foam on their crests."""
    water = [
        (0.0, (0.92, 0.88, 0.74)),
        (0.30, (0.52, 0.74, 0.68)),
        (0.65, (0.16, 0.48, 0.55)),
        (1.0, (0.08, 0.26, 0.42)),
    ]
    for i in range(7):
        reach, swing = 0.060 + 0.024 * i, 0.012 + 0.0075 * i
        phase = 2 * np.pi * (block.x * (3.4 - 0.30 * i) + 0.37 * i)
        # Adding the wave to its own phase leans the crests over to one side.
        wave = swing * np.cos(phase + 0.9 * np.cos(phase))
        crest = 0.575 + 0.058 * i + 0.004 * i * i - wave - 1.4 * block.wobble
        below = block.y - crest
        depth = below / reach
        tone = 0.98 - 0.62 * depth + 0.16 * block.patch + 0.16 * np.cos(phase)
        across = block.y - crest * (1.0 - 0.25 * depth) + block.wobble
        rows = gouges(across, block.x, 0.0125 + 0.0012 * i, 0.10 + 0.012 * i, tone)
        block.cover(below > 0, gradient(water, depth + 0.08 * block.patch), rows)
        fringe = gouges(block.x + 0.4 * block.y, below, 0.016, 0.060, 1.1 - 2.2 * depth) > 0.5
        foam = (below > 0) & (depth < 0.42) & ((depth < 0.10 + 0.05 * np.cos(phase)) | fringe)
        block.cover(foam, paper, np.maximum(rows, np.where(depth < 0.07, 1.0, 0.9)))


def woodcut(size: int = 1536) -> Array:
    """Print a sun over mountains and a running sea from a dark key block and coloured blocks."""
    y, x = np.mgrid[0:size, 0:size] / size
    ink, paper = np.array([0.065, 0.075, 0.14]), np.array([0.96, 0.90, 0.77])
    wobble = 0.005 * noise(size, 2.4, seed=41, coarsest=4)
    patch = noise(size, 2.0, seed=42, coarsest=3)
    block = Block(x, y, wobble, patch, tint=np.zeros((size, size, 3)), cut=np.zeros((size, size)))
    cut_sky(block)
    cut_mountains(block)
    cut_sea(block, paper)
    grain = noise(size, 0.6, seed=43, coarsest=20)
    fibre = look_up(grain, x * size * 0.12, y * size * 1.6)
    cut = np.clip(block.cut + 0.30 * smoothstep(1.4, 2.6, grain + 0.5 * fibre), 0, 1)
    # The colour block is printed a little beside the key block, as in a real print.
    tint = ndimage.shift(block.tint, (5, -4, 0), order=0, mode="nearest")
    tint = mix(tint, paper, 0.10 + 0.10 * smoothstep(0.5, 2.5, grain))
    sheet = mix(ink * (1.0 + 0.25 * fibre)[..., None], tint * (1.0 + 0.03 * patch)[..., None], cut)
    return sheet * (1.0 + 0.02 * grain)[..., None]
