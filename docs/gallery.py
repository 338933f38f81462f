#!/usr/bin/env python3
"""Paint the pictures of README again: docs/gallery.py [NAME ...]

Needs scikit-image, whose photographs most are of: the cat by Stefan van der Walt (CC0), the coffee by Rachel
Michetti (CC0), the rocket by SpaceX (CC0), the astronaut by NASA (public domain). They are not copied here.
"""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
PAIRS = {  # name: content, style
    "cat-glass": ("chelsea.png", "glass.jpg"),
    "astronaut-facets": ("astronaut.png", "facets.jpg"),
    "coffee-watercolour": ("coffee.png", "watercolour.jpg"),
    "rocket-strokes": ("rocket.jpg", "strokes.jpg"),
    "still-life-mosaic": ("still_life.jpg", "mosaic.jpg"),
    "harbour-woodcut": ("harbour.jpg", "woodcut.jpg"),
}
INSTANT = ("woodcut.jpg", "mosaic.jpg", "watercolour.jpg", "glass.jpg")
STRENGTHS = ("0.1", "0.3", "1", "3", "10")
TEMPORAL_WEIGHTS = (0.0, 0.3, 3.0, 30.0, 300.0)
STYLE_LOSSES = ("gram", "li2016", "best")
GAP = 4


def find(name: str) -> Path:
    """An image of this project, or else of scikit-image."""
    own = ROOT / "data" / name
    if own.exists():
        return own
    package = find_spec("skimage")
    if package is None:
        sys.exit(f"{name} is one of scikit-image's photographs: pip install '.[gallery]'")
    return Path(package.origin).parent / "data" / name


def paint(
    content: str,
    *styles: str,
    recipe: str = "best",
    strength: str | None = None,
    network: str = "small",
    width: int = 448,
) -> Image.Image:
    """The picture that the command line makes of these images."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "picture.png")
        settings = ["--recipe", recipe, "--seed", "1", "--network", network, "--width", str(width)]
        command = [sys.executable, ROOT / "neural_style.py", *settings]
        images = ["--content", find(content), "--styles", *map(find, styles), "--output", output]
        weight = ["--style-weight", strength] if strength else []
        subprocess.run([*command, *images, *weight], check=True)
        return Image.open(output).convert("RGB")


def strip(frames: int, width: int, weights: Sequence[float] = ()) -> Image.Image:
    """A film of benchmarks/film.py: every other frame of the clip, above the film's. With weights, the last
    frame of each film, of 40 updates, above its difference from the frame before along the true motion, three
    times."""
    sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT)]
    import film

    network, scene = film.vgg.load(film.networks.find("small")), film.Scene(width, width * 9 // 16)
    contents, style = [scene.frame(t) for t in range(frames)], np.asarray(Image.open(find("mosaic.jpg")))
    settings = film.Settings.from_recipe("best", network, seed=1)
    if weights:
        settings = replace(settings, frame_iterations=40)
    films, first = [], None
    for weight in weights or [settings.temporal_weight]:
        of_weight = replace(settings, temporal_weight=weight)
        pictures, _ = film.paint(contents, style.astype(np.float32), network, of_weight, first)
        films.append(pictures)
        first = pictures[0]
    if not weights:
        return stacked([side_by_side([*map(picture, each[::2])]) for each in (contents, *films)])
    motion, same = scene.motion(frames - 1)
    apart = [
        255 - 3 * np.abs(each[-1] - film.flow.warp(each[-2], motion)) * same[..., None] for each in films
    ]
    return stacked(
        [side_by_side([picture(each[-1]) for each in films]), side_by_side([*map(picture, apart)])]
    )


def picture(pixels: np.ndarray) -> Image.Image:
    """Pixels [H, W, 3], of any range, as a picture."""
    return Image.fromarray(np.rint(pixels).clip(0, 255).astype(np.uint8))


def stacked(rows: Sequence[Image.Image]) -> Image.Image:
    """Two pictures of one width over each other, with white between."""
    gap = np.full((GAP, rows[0].width, 3), 255, np.uint8)
    return Image.fromarray(np.concatenate([rows[0], gap, rows[1]]))


def side_by_side(pictures: Sequence[Image.Image]) -> Image.Image:
    """Pictures of one height in a row, with white between."""
    gap = np.full((pictures[0].height, GAP, 3), 255, np.uint8)
    row = [part for picture in pictures for part in (np.asarray(picture), gap)]
    return Image.fromarray(np.concatenate(row[:-1], axis=1))


def main(names: Sequence[str]) -> None:
    """Paint those named, or all."""
    makers = {name: lambda pair=pair: paint(*pair) for name, pair in PAIRS.items()}
    makers["strengths"] = lambda: side_by_side(
        [paint("chelsea.png", "strokes.jpg", strength=strength, width=256) for strength in STRENGTHS]
    )
    makers["instant"] = lambda: side_by_side(
        [paint("still_life.jpg", style, recipe="instant", width=256) for style in INSTANT]
    )
    makers["style-losses"] = lambda: side_by_side(
        [paint("harbour.jpg", "woodcut.jpg", recipe=recipe, width=384) for recipe in STYLE_LOSSES]
    )
    makers["still-life-blend"] = lambda: paint("still_life.jpg", "strokes.jpg", "mosaic.jpg")
    makers["astronaut-facets-vgg16"] = lambda: paint(
        *PAIRS["astronaut-facets"], recipe="gram", network="vgg16"
    )
    makers["astronaut-facets-small"] = lambda: paint(*PAIRS["astronaut-facets"], recipe="gram")
    makers["film"] = lambda: strip(9, 240)
    makers["temporal-weight"] = lambda: strip(2, 192, TEMPORAL_WEIGHTS)
    for name in names or makers:
        makers[name]().save(ROOT / "docs" / f"{name}.jpg", quality=88, optimize=True)


if __name__ == "__main__":
    main(sys.argv[1:])
