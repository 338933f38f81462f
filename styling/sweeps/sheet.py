"""The contact sheet: a page of a sweep as one labelled image, like a figure in an article."""

import contextlib
import math
import textwrap
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont, ImageOps

from styling.pictures import images
from styling.pictures.images import FLAGS as IMAGES
from styling.sweeps.results import Cell
from styling.sweeps.specs import Spec
from styling.system.errors import ImageError
from styling.system.files import write_whole

SIDE, LEAST_WIDE = 320, 120  # of a picture, at most; the width of a column, at least
MOST_PIXELS = 60_000_000  # of a sheet, about; if there are very many pictures, they are smaller
SOURCE_SIDE, MOST_SOURCES = 72, 6
MARGIN, GAP, LABEL, TITLE_WIDTH = 36, 12, 200, 480  # LABEL: the width of a row's label
TITLE, LETTERS = 22, 14  # sizes of letters
INK, GRAY, PAPER = "#1f1f1f", "#666666", "white"
# What is said in place of a picture.
REASONS = {"done": "no picture: its file is missing or damaged", "waiting": "not computed yet"}
# Fonts of Linux, macOS and Windows that have more letters than Pillow's own; first those of East Asia.
FONTS = ("NotoSansCJK-Regular.ttc", "wqy-zenhei.ttc", "Arial Unicode.ttf", "DejaVuSans.ttf", "arial.ttf")

Sources = dict[int, tuple[tuple[str, Path], ...]]  # images with their flags by an index of an axis


def names(spec: Spec) -> list[str]:
    """The names of the sheets, one for each page."""
    count = len(spec.axes["pages"])
    return ["sheet.png"] if count == 1 else [f"sheet-{number + 1}.png" for number in range(count)]


def write(folder: Path, spec: Spec, runs: Sequence[Cell]) -> list[Path]:
    """Write a sheet for each page, with the pictures that exist so far. Raises OSError."""
    paths = []
    for page, name in enumerate(names(spec)):
        image = draw(spec, page, [run for run in runs if run.place[0] == page])
        paths.append(write_whole(folder / name, partial(image.save, format="PNG")))
    return paths


def sources(runs: Sequence[Cell]) -> tuple[Sources, Sources, Sources]:
    """The images to show for each page, row and column, by its index, with flags.

    Images that all runs of a page share are shown once for the page. Of the others, images that all runs of a
    row share are shown beside the row, and images that all runs of a column share above the column.
    """
    shown: tuple[Sources, Sources, Sources] = defaultdict(tuple), defaultdict(tuple), defaultdict(tuple)
    for flag in IMAGES:
        named = [(one.place, tuple(pair for pair in one.job.files.images if pair[0] == flag)) for one in runs]
        for axis, by_index in enumerate(shown):
            different = {(place[axis], pairs) for place, pairs in named}
            if len(different) == len(dict(different)):  # all of an index have the same
                for index, pairs in different:
                    by_index[index] += pairs[:MOST_SOURCES]
                break
    return shown


def describe(pairs: Iterable[tuple[str, Path]]) -> str:
    """Images with their flags in words."""
    return ", ".join(f"{flag.removesuffix('s').replace('_', ' ')} {path.stem}" for flag, path in pairs)


def thumbnail(path: Path, side: int) -> Image.Image | None:
    """An image, shrunk to at most `side` pixels on its longer side; None if it is missing or damaged."""
    try:
        return Image.fromarray(images.to_bytes(images.thumbnail(images.read(path), side)))
    except (ImageError, OSError):
        return None


@cache
def font(letters: int) -> Any:
    """A font of this size."""
    for name in FONTS:
        with contextlib.suppress(OSError):  # it is not here
            return ImageFont.truetype(name, letters)
    return ImageFont.load_default(letters)


def words(text: str, width: int, letters: int = LETTERS, ink: str = INK) -> Image.Image:
    """A text as an image of at most about this width and six lines; "..." at the end if it is longer."""
    printable = "".join(letter if letter.isprintable() else " " for letter in text)
    breadth = font(letters).getlength(printable) / max(len(printable), 1)
    most = max(int(width / max(breadth, 1)), 4)
    wrapped = "\n".join(textwrap.wrap(printable, most, max_lines=6, placeholder="..."))
    look: dict[str, Any] = {"font": font(letters), "align": "center"}
    measure = ImageDraw.Draw(Image.new("L", (1, 1)))
    left, top, right, bottom = measure.multiline_textbbox((0, 0), wrapped, **look)
    image = Image.new("RGB", (math.ceil(right - left), math.ceil(bottom - top)), PAPER)
    ImageDraw.Draw(image).multiline_text((-left, -top), wrapped, ink, **look)
    return image


def table(rows: Sequence[Sequence[Image.Image]]) -> Image.Image:
    """Images in rows and columns, each in the middle of its field."""
    heights = [max((image.height for image in row), default=0) for row in rows]
    widths = [max(image.width for image in column) for column in zip(*rows, strict=True)]
    width, height = (sum(sides) + GAP * max(len(sides) - 1, 0) for sides in (widths, heights))
    whole, y = Image.new("RGB", (width, height), PAPER), 0
    for row, high in zip(rows, heights, strict=True):
        x = 0
        for image, wide in zip(row, widths, strict=True):
            whole.paste(image, (x + (wide - image.width) // 2, y + (high - image.height) // 2))
            x += wide + GAP
        y += high + GAP
    return whole


def column(images: Iterable[Image.Image]) -> Image.Image:
    """Images one below the other, without those that are empty."""
    return table([[image] for image in images if image.height])


def side_by_side(pairs: Iterable[tuple[str, Path]], width: int) -> Image.Image:
    """Small images in a row of at most this width; it is empty if there are none."""
    small = [image for _, path in pairs if (image := thumbnail(path, SOURCE_SIDE))]
    row = table([small])
    row.thumbnail((width, SOURCE_SIDE))
    return row


def draw(spec: Spec, page: int, runs: Sequence[Cell]) -> Image.Image:
    """The sheet of a page: a head, and a table of pictures with labels and sources."""
    rows, columns = spec.axes["rows"], spec.axes["columns"]
    page_sources, row_sources, column_sources = sources(runs)
    side = min(SIDE, math.isqrt(MOST_PIXELS // ((len(rows) + 1) * (len(columns) + 1))))
    pictures = {run.path: thumbnail(run.file(".png"), side) for run in runs if run.result.status == "done"}
    wide = max([min(LEAST_WIDE, side), *(image.width for image in pictures.values() if image)])
    fields = {}
    for run in runs:
        reason = REASONS.get(run.result.status, f"failed: {run.result.error}")
        fields[run.place[1:]] = pictures.get(run.path) or words(reason, wide, ink=GRAY)
    grid = [[Image.new("RGB", (0, 0))]]
    for j, one in enumerate(columns):
        grid[0].append(column([words(one.label, wide), side_by_side(column_sources[j], wide)]))
    for i, one in enumerate(rows):
        label = column([words(one.label, LABEL), side_by_side(row_sources[i], LABEL)])
        grid.append([label, *(fields[i, j] for j in range(len(columns)))])
    whole = table(grid)
    caption = " - ".join(filter(None, (spec.axes["pages"][page].label, describe(page_sources[page]))))
    width = max(whole.width, TITLE_WIDTH)
    head = [words(spec.title, width, TITLE), words(caption, width, ink=GRAY)]
    sheet = column([*head, side_by_side(page_sources[page], width), whole])
    return ImageOps.expand(sheet, MARGIN, PAPER)
