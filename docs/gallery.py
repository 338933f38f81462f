#!/usr/bin/env python3
"""Paint the pictures of README again: docs/gallery.py [NAME ...]

Needs scikit-image, whose photographs most are of: the cat by Stefan van der Walt (CC0), the coffee by Rachel
Michetti (CC0), the rocket by SpaceX (CC0), the astronaut by NASA (public domain). They are not copied here.
"""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
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
    strength: str = "1",
    network: str = "small",
    width: int = 448,
) -> Image.Image:
    """The picture that the command line makes of these images."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "picture.png")
        settings = ["--recipe", recipe, "--seed", "1", "--network", network, "--width", str(width)]
        command = [sys.executable, ROOT / "neural_style.py", *settings]
        images = ["--content", find(content), "--styles", *map(find, styles), "--output", output]
        subprocess.run([*command, *images, "--style-weight", strength], check=True)
        return Image.open(output).convert("RGB")


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
    makers["still-life-blend"] = lambda: paint("still_life.jpg", "strokes.jpg", "mosaic.jpg")
    makers["astronaut-facets-vgg16"] = lambda: paint(*PAIRS["astronaut-facets"], network="vgg16")
    for name in names or makers:
        makers[name]().save(ROOT / "docs" / f"{name}.jpg", quality=88, optimize=True)


if __name__ == "__main__":
    main(sys.argv[1:])
