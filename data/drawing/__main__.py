"""Draw the example images that ship with the program: two contents and seven styles.

Everything here is computed with NumPy, SciPy and Pillow from fixed random seeds, so that anyone can draw the
pictures again, and change them; it takes about two minutes:

    python data/drawing [FOLDER]
"""

import argparse
from pathlib import Path

import numpy as np
from bricks import bricks
from facets import facets
from glass import glass
from harbour import harbour
from mosaic import mosaic
from PIL import Image
from still_life import still_life
from strokes import strokes
from tools import Array
from watercolour import watercolour
from woodcut import woodcut

WIDTHS = {
    harbour: 768,
    still_life: 576,
    strokes: 768,
    mosaic: 720,
    woodcut: 720,
    bricks: 512,
    glass: 720,
    facets: 720,
    watercolour: 720,
}


def save(rgb: Array, path: Path, width: int, quality: int = 90) -> None:
    """Shrink a picture of values 0..1 to the given width and write it as JPEG."""
    picture = Image.fromarray((np.clip(rgb, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8))
    height = round(width * picture.height / picture.width)
    picture.resize((width, height), Image.Resampling.LANCZOS).save(path, quality=quality, optimize=True)


def main() -> None:
    """Draw all the pictures into the folder named on the command line, or into data/."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    data = Path(__file__).resolve().parent.parent
    parser.add_argument(
        "folder", type=Path, nargs="?", default=data, help="where to (default: over those in data/)"
    )
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    for draw, width in WIDTHS.items():
        path = folder / f"{draw.__name__}.jpg"
        save(draw(), path, width)
        print(f"{path}: {path.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
