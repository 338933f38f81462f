"""The contact sheet: a page of a sweep as one labelled image, like a figure in an article.

matplotlib draws it, with pictures pixel by pixel: a point is a pixel.
"""

import importlib.util
import math
import textwrap
import warnings
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from styling.pictures import images
from styling.sweeps.results import Entry, picture
from styling.sweeps.specs import IMAGES, Spec
from styling.system.errors import ImageError
from styling.system.files import write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIDE, LEAST_SIDE = 320, 24  # of a picture, at most, in pixels; smaller pictures are not resized
MOST_PIXELS = 60_000_000  # of a sheet, about; if there are very many pictures, they are smaller
EMPTY_CELL, LEAST_CELL = (240, 180), (128, 72)  # without pictures; with pictures, since errors need room
THUMBNAIL_SIDE, MOST_SOURCES = 72, 6
MARGIN, SPACE, LEAST_WIDTH, MOST_LINES, PITCH = (
    36,
    8,
    480,
    8,
    1.3,
)  # PITCH: from line to line, by the letters' size
INK, GRAY, PALE = "#1f1f1f", "#666666", "#f1efee"
FONTS = ("Noto Sans CJK JP", "WenQuanYi Zen Hei", "Arial Unicode MS")  # with letters of East Asia

Sources = dict[int, list[tuple[str, Path]]]


def names(spec: Spec) -> list[str]:
    """The names of the sheets, one for each page."""
    count = len(spec.axes["pages"])
    return ["sheet.png"] if count == 1 else [f"sheet-{number + 1}.png" for number in range(count)]


def write(folder: Path, spec: Spec, entries: Sequence[Entry]) -> list[Path]:
    """Write a sheet for each page, with the pictures that exist so far; none without matplotlib.

    Raises OSError.
    """
    paths: list[Path] = []
    if importlib.util.find_spec("matplotlib") is None:
        return paths
    for page, name in enumerate(names(spec)):
        sheet = Sheet(folder, spec, page, [entry for entry in entries if entry.cell.place[0] == page])
        image = Image.fromarray(sheet.pixels())
        paths.append(write_whole(folder / name, partial(image.save, format="PNG")))
    return paths


def sources(entries: Iterable[Entry]) -> tuple[Sources, Sources, Sources]:
    """The images to show for each page, row and column, by its index, with flags.

    Images that all runs of a page share are shown once for the page. Of the others, images that all runs of a
    row share are shown beside the row, and images that all runs of a column share above the column.
    """
    entries = list(entries)
    shown: tuple[Sources, Sources, Sources] = defaultdict(list), defaultdict(list), defaultdict(list)
    for flag in IMAGES:
        for axis, of_axis in enumerate(shown):
            different = defaultdict(set)
            for entry in entries:
                pairs = tuple(pair for pair in entry.cell.job.files.images if pair[0] == flag)
                different[entry.cell.place[axis]].add(pairs)
            if all(len(one) == 1 for one in different.values()):
                for index, (pairs,) in different.items():
                    of_axis[index] += pairs
                break
    return shown


def describe(pairs: Iterable[tuple[str, Path]]) -> str:
    """Images with their flags in words."""
    return ", ".join(f"{name_of(flag)} {path.stem}" for flag, path in pairs)


def name_of(flag: str) -> str:
    """An image's flag in words, for one image."""
    return flag.removesuffix("s").replace("_", " ")


def picture_size(path: Path) -> tuple[int, int] | None:
    """The width and height of a picture; None if the file is missing or is not an image."""
    try:
        with Image.open(path) as image:
            return image.size
    except Exception:  # Pillow raises nearly anything for a damaged file
        return None


def thumbnail(path: Path, side: int) -> np.ndarray | None:
    """An image, shrunk to at most `side` pixels on its longer side, uint8 [H, W, 3]; None if it is missing or
    damaged."""
    try:
        return images.to_bytes(images.thumbnail(images.read(path), side))
    except (ImageError, OSError):
        return None


class Sheet:
    """A sheet. Everything has its place in pixels, from the top left corner."""

    def __init__(self, folder: Path, spec: Spec, page: int, entries: Sequence[Entry]) -> None:
        self._spec, self._page, self._entries = spec, page, entries
        self._files = {entry.stem: picture(folder, entry.stem) for entry in entries}
        self._rows, self._columns = spec.axes["rows"], spec.axes["columns"]
        self._side, self._cell = self._choose_cell()
        self._letters = min(max(self._cell[0] // 14, 11), 20)
        self._gap = max(self._side // 27, 3)

    def _choose_cell(self) -> tuple[int, tuple[int, int]]:
        """The longest side of a picture, and the (width, height) of a cell for pictures and some text."""
        done = {entry.stem for entry in self._entries if entry.result.status == "done"}
        sizes = [size for stem in done if (size := picture_size(self._files[stem]))]
        cell = _cell_size(sizes, SIDE)
        # One more row and column for labels, and a tenth for gaps.
        count = 1.1 * (len(self._rows) + 1) * (len(self._columns) + 1)
        shrink = math.sqrt(MOST_PIXELS / (count * math.prod(cell)))
        side = SIDE if shrink >= 1 else max(int(max(cell) * shrink), LEAST_SIDE)
        return side, _cell_size(sizes, side)

    def pixels(self) -> np.ndarray:
        """The sheet as an image, uint8 [H, W, 3]."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        canvas = FigureCanvasAgg(self.figure())
        with warnings.catch_warnings(action="ignore"):  # of letters that no font has
            canvas.draw()
        return np.array(np.asarray(canvas.buffer_rgba())[..., :3])

    def figure(self) -> "Figure":
        """The sheet as a figure of 72 dots an inch."""
        from matplotlib import font_manager, rc_context
        from matplotlib.figure import Figure

        (width, height), gap, letters = self._cell, self._gap, self._letters
        of_page, of_rows, of_columns = sources(self._entries)
        beside = min(max(width, 60), 240)  # the width of the rows' labels
        beside += THUMBNAIL_SIDE * bool(of_rows)
        across = max(beside + len(self._columns) * (width + gap), LEAST_WIDTH)
        title = _wrapped(self._spec.title, across, 22, 4)
        page = self._spec.axes["pages"][self._page].label
        caption = _wrapped(" - ".join(filter(None, (page, describe(of_page[self._page])))), across, 14, 4)
        heads = [_wrapped(column.label, width, letters) for column in self._columns]
        top = MARGIN + _height(title, 22) + _height(caption, 14) + THUMBNAIL_SIDE * bool(of_page[self._page])
        top += 2 * (gap + SPACE) + max(_height(head, letters) for head in heads)
        top += (THUMBNAIL_SIDE + gap) * bool(of_columns)
        size = across + 2 * MARGIN, top + len(self._rows) * (height + gap) + MARGIN

        installed = {font.name for font in font_manager.fontManager.ttflist}
        fonts = ["DejaVu Sans", *(name for name in FONTS if name in installed)]
        with rc_context({"font.family": fonts, "text.parse_math": False}):
            figure = Figure(figsize=(size[0] / 72, size[1] / 72), dpi=72, facecolor="white")
            canvas = Canvas(figure, size)
            y = canvas.text(title, MARGIN, MARGIN, 22)
            y = canvas.text(caption, MARGIN, y + SPACE, 14, GRAY)
            canvas.row(of_page[self._page], MARGIN, y + SPACE, across, THUMBNAIL_SIDE)
            for j, head in enumerate(heads):
                x = MARGIN + beside + gap + j * (width + gap)
                canvas.text(head, x + width / 2, top - gap - _height(head, letters), letters, align="center")
                y = top - 2 * gap - max(_height(head, letters) for head in heads) - THUMBNAIL_SIDE
                canvas.row(of_columns[j], x, y, width, THUMBNAIL_SIDE, centre=True)
            for i, row in enumerate(self._rows):
                y = top + i * (height + gap)
                high = min(THUMBNAIL_SIDE, height)
                used = canvas.row(of_rows[i], MARGIN, y + (height - high) // 2, beside, high)
                label = _wrapped(row.label, beside - used, letters, max(int(height / letters / PITCH), 1))
                middle = y + (height - _height(label, letters)) / 2
                canvas.text(label, MARGIN + beside, middle, letters, align="right")
            for entry in self._entries:
                _, i, j = entry.cell.place
                x = MARGIN + beside + gap + j * (width + gap)
                self._draw(canvas, entry, x, top + i * (height + gap))
        return figure

    def _draw(self, canvas: "Canvas", entry: Entry, x: float, y: float) -> None:
        """An entry's picture, or a pale cell that says why there is none."""
        (width, height), result, reason = self._cell, entry.result, "not computed yet"
        if result.status == "done":
            pixels = thumbnail(self._files[entry.stem], self._side)
            if pixels is not None:
                high, wide = pixels.shape[:2]
                canvas.image(pixels, x + (width - wide) // 2, y + (height - high) // 2)
                return
            reason = "no picture: its file is missing or damaged"
        elif result.status == "failed":
            reason = f"failed: {result.error}"
        letters, border = max(round(self._letters * 0.85), 9), max(width // 16, 2)
        lines = int((height - 2 * border) / letters / PITCH)
        words = _wrapped(reason, width - 2 * border, letters, lines)
        canvas.image(np.full((height, width, 3), int(PALE[1:3], 16), np.uint8), x, y)
        canvas.text(words, x + width / 2, y + (height - _height(words, letters)) / 2, letters, GRAY, "center")


class Canvas:
    """A figure of this (width, height), on which pictures and words are put by pixels from the top left."""

    def __init__(self, figure: "Figure", size: tuple[float, float]) -> None:
        self._figure, self._size = figure, size

    def image(self, pixels: np.ndarray, x: float, y: float) -> None:
        """Put an image there."""
        self._figure.figimage(pixels, round(x), round(self._size[1] - y - pixels.shape[0]))

    def text(
        self, lines: Sequence[str], x: float, y: float, letters: float, ink: str = INK, align: str = "left"
    ) -> float:
        """Put lines there, and return where they end."""
        for i, line in enumerate(lines):
            place = x / self._size[0], 1 - (y + (i + 0.5) * letters * PITCH) / self._size[1]
            self._figure.text(*place, line, size=letters, color=ink, ha=align, va="center_baseline")
        return y + _height(lines, letters)

    def row(
        self,
        pairs: Sequence[tuple[str, Path]],
        x: float,
        y: float,
        width: float,
        height: int,
        centre: bool = False,
    ) -> float:
        """Put the first few of these images there, beside each other, and return the width that they take."""
        read = [thumbnail(path, 2 * height) for _, path in pairs[:MOST_SOURCES]]
        small = [pixels for pixels in read if pixels is not None]
        shapes = [pixels.shape[1] / pixels.shape[0] for pixels in small]
        high = max(int(min([height, (width - 6 * len(small)) / max(sum(shapes), 1e-9)])), 1)
        wides = [max(round(high * shape), 1) for shape in shapes]
        taken = sum(wides) + 6 * len(wides)
        x += (width - taken) / 2 if centre else 0
        for pixels, wide in zip(small, wides, strict=True):
            self.image(np.asarray(Image.fromarray(pixels).resize((wide, high))), x, y + height - high)
            x += wide + 6
        return taken


def _cell_size(sizes: Sequence[tuple[int, int]], side: int) -> tuple[int, int]:
    """The (width, height) of a cell for pictures of these sizes, shrunk to a side, and for some text."""
    if not sizes:
        return EMPTY_CELL[0] * side // SIDE, EMPTY_CELL[1] * side // SIDE
    shrunk = [[int(pixels * min(side / max(size), 1)) for pixels in size] for size in sizes]
    width, height = map(max, zip([min(pixels, side) for pixels in LEAST_CELL], *shrunk, strict=True))
    return width, height


def _wrapped(text: str, width: float, letters: float, most: int = MOST_LINES) -> list[str]:
    """The text in lines of this width, about, in letters of this size; "..." at the end if it is too long."""
    shown = "".join(letter if letter.isprintable() else " " for letter in text)
    breadth = 0.62 if shown.isascii() else 1.0  # of the widest usual letters, by their size
    return textwrap.wrap(
        shown, max(int(width / letters / breadth), 4), max_lines=max(most, 1), placeholder="..."
    )


def _height(lines: Sequence[str], letters: float) -> float:
    return len(lines) * letters * PITCH
