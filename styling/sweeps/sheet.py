"""The contact sheet: a page of a sweep as one labelled image, like a figure in an article.

Everything on the sheet is a small image on white; _join() and _pad() combine them.
"""

import contextlib
import math
import textwrap
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from styling.pictures import images
from styling.sweeps.results import Entry, picture
from styling.sweeps.specs import IMAGES, Spec
from styling.system.errors import ImageError
from styling.system.files import write_whole

SIDE, LEAST_SIDE = 320, 24  # of a picture, at most, in pixels; smaller pictures are not resized
MOST_PIXELS = 60_000_000  # of a sheet, about; if there are very many pictures, they are smaller
EMPTY_CELL, LEAST_CELL = (240, 180), (128, 72)  # without pictures; with pictures, since errors need room
THUMBNAIL_SIDE, THUMBNAIL_HEIGHT, MOST_SOURCES = 144, 72, 6
MARGIN, HEAD_SPACE, LEAST_WIDTH = 36, 28, 320
MOST_LINES, MOST_LETTERS = 8, 1000  # of a label
LEAST_LETTERS = 4  # of a line
WHITE, INK, GRAY, PALE = "#ffffff", "#1f1f1f", "#666666", "#f1efee"
FONTS = ("DejaVuSans.ttf", "LiberationSans-Regular.ttf", "Arial.ttf")  # for letters that Pillow's own lacks

Sources = dict[int, list[tuple[str, Path]]]


def names(spec: Spec) -> list[str]:
    """The names of the sheets, one for each page."""
    count = len(spec.axes["pages"])
    return ["sheet.png"] if count == 1 else [f"sheet-{number + 1}.png" for number in range(count)]


def write(folder: Path, spec: Spec, entries: Sequence[Entry]) -> list[Path]:
    """Write a sheet for each page, with the pictures that exist so far. Raises OSError."""
    paths = []
    for page, name in enumerate(names(spec)):
        image = _sheet(folder, spec, page, [entry for entry in entries if entry.cell.place[0] == page])
        paths.append(write_whole(folder / name, lambda file, image=image: image.save(file, "PNG")))
    return paths


def sources(entries: Iterable[Entry]) -> tuple[Sources, Sources, Sources]:
    """The images to show for each page, row and column, by its index, with flags.

    Images that all runs of a page share are shown once for the page. Of the others, images that all runs of a
    row share are shown beside the row, and images that all runs of a column share above the column.
    """
    entries = list(entries)
    shown = defaultdict(list), defaultdict(list), defaultdict(list)
    for flag in IMAGES:
        for axis, of_axis in enumerate(shown):
            found = defaultdict(set)
            for entry in entries:
                own = tuple(pair for pair in entry.cell.run.images if pair[0] == flag)
                found[entry.cell.place[axis]].add(own)
            if all(len(different) == 1 for different in found.values()):
                for index, (own,) in found.items():
                    of_axis[index] += own
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


def thumbnail(path: Path, side: int) -> Image.Image | None:
    """An image, shrunk to at most `side` pixels on its longer side; None if it is missing or damaged."""
    try:
        return Image.fromarray(images.to_bytes(images.thumbnail(images.read(path), side)))
    except (ImageError, OSError):
        return None


@dataclass(frozen=True)
class Font:
    """A font file of the system, or Pillow's own font (None), which has little more than ASCII."""

    name: str | None

    @classmethod
    def for_texts(cls, texts: Iterable[str]) -> "Font":
        """Pillow's own if all texts are ASCII, or else the first of FONTS that is installed."""
        if not all(map(str.isascii, texts)):
            for name in FONTS:
                with contextlib.suppress(OSError):
                    ImageFont.truetype(name, 12)
                    return cls(name)
        return cls(None)

    def text(
        self,
        text: str,
        size: int,
        width: int,
        lines: int = MOST_LINES,
        ink: str = INK,
        paper: str = WHITE,
        align: float = 0,
    ) -> Image.Image:
        """The text as an image, in at most so many lines of at most this width; align as in _join()."""
        font, pitch = _load_font(self.name, size), round(size * 1.3)
        wrapped = _wrap(self._printable(text), font, width, lines)
        widths = [math.ceil(font.getlength(line)) for line in wrapped]
        image = Image.new("RGB", (min(max(widths, default=0), width), pitch * len(wrapped)), paper)
        draw = ImageDraw.Draw(image)
        for i, (line, own) in enumerate(zip(wrapped, widths, strict=True)):
            draw.text((round(align * (image.width - own)), (i + 0.5) * pitch), line, ink, font, "lm")
        return image

    def _printable(self, text: str) -> str:
        text = "".join(letter if letter.isprintable() else " " for letter in text[:MOST_LETTERS])
        if self.name is None:
            text = "".join(a for a in unicodedata.normalize("NFKD", text) if not unicodedata.combining(a))
            text = text.encode("ascii", "replace").decode()
        return text


@cache
def _load_font(name: str | None, size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.truetype(name, size) if name else ImageFont.load_default(size)
    return font.font_variant(layout_engine=ImageFont.Layout.BASIC)  # the other makes two hyphens one dash


def _wrap(text: str, font: ImageFont.FreeTypeFont, width: int, most: int) -> list[str]:
    """The text in lines that fit the width, or nearly; "..." at the end if there are too many lines."""
    letters, lines = max(len(text), LEAST_LETTERS), []
    while most > 0:
        lines = textwrap.wrap(text, letters, max_lines=most, placeholder="...")
        widest = max(map(font.getlength, lines), default=0)
        if widest <= width or letters == LEAST_LETTERS:
            break
        letters = max(min(letters - 1, int(letters * width / widest)), LEAST_LETTERS)
    return lines


def _join(
    blocks: Iterable[Image.Image], gap: int, down: bool = False, align: float = 0.5, margin: int = 0
) -> Image.Image:
    """Images beside each other, or below each other if `down`, with a gap between and a margin around them.

    align: across that direction, from 0 (top or left) to 1 (bottom or right).
    """
    along, across = (1, 0) if down else (0, 1)
    blocks = [block for block in blocks if block.size[along]]
    size = [0, 0]
    size[along] = sum(block.size[along] + gap for block in blocks) - gap if blocks else 0
    size[across] = max((block.size[across] for block in blocks), default=0)
    joined, position = Image.new("RGB", tuple(pixels + 2 * margin for pixels in size), WHITE), margin
    for block in blocks:
        corner = [0, 0]
        corner[along] = position
        corner[across] = margin + round(align * (size[across] - block.size[across]))
        joined.paste(block, tuple(corner))
        position += block.size[along] + gap
    return joined


def _pad(
    image: Image.Image, width: int, height: int | None = None, align: float = 0.5, paper: str = WHITE
) -> Image.Image:
    """The image on a larger one; align: from 0 (left) to 1 (right)."""
    padded = Image.new("RGB", (width, image.height if height is None else height), paper)
    padded.paste(image, (round(align * (width - image.width)), (padded.height - image.height) // 2))
    return padded


def _sheet(folder: Path, spec: Spec, page: int, entries: Sequence[Entry]) -> Image.Image:
    of_page, of_rows, of_columns = sources(entries)
    rows, columns = spec.axes["rows"], spec.axes["columns"]
    texts = [spec.title, describe(of_page[page]), *(entry.result.error for entry in entries)]
    font = Font.for_texts([*texts, *(layer.label for axis in spec.axes.values() for layer in axis)])
    stems = {entry.stem for entry in entries if entry.result.status == "done"}
    sizes = [size for stem in stems if (size := picture_size(picture(folder, stem)))]
    side, cell = SIDE, _cell_size(sizes, SIDE)
    # One more row and column for labels, and a tenth for gaps.
    shrink = math.sqrt(MOST_PIXELS / (1.1 * math.prod(cell) * (len(rows) + 1) * (len(columns) + 1)))
    if shrink < 1:
        side = max(int(max(cell) * shrink), LEAST_SIDE)
        cell = _cell_size(sizes, side)
    text_size, gap = min(max(cell[0] // 14, 11), 20), max(side // 27, 3)

    def label(text: str, pairs: Sequence[tuple[str, Path]], width: int, align: float) -> Image.Image:
        pictures = _thumbnails(pairs, width, min(THUMBNAIL_HEIGHT, side))
        return _join([pictures, font.text(text, text_size, width, align=align)], 6, down=True, align=align)

    row_width = max(min(cell[0], 240), 60)
    row_labels = [label(layer.label, of_rows[i], row_width, 1) for i, layer in enumerate(rows)]
    row_width = max(image.width for image in row_labels)
    row_labels = [_pad(image, row_width, align=1) for image in row_labels]
    column_labels = [label(layer.label, of_columns[j], cell[0], 0.5) for j, layer in enumerate(columns)]
    column_labels = [_pad(image, cell[0]) for image in column_labels]
    lines = [_join([Image.new("RGB", (row_width, 1), WHITE), *column_labels], gap, align=1)]
    at = {entry.cell.place[1:]: entry for entry in entries}
    for i, row_label in enumerate(row_labels):
        cells = [_cell(folder, at[i, j], font, text_size, cell, side) for j in range(len(columns))]
        lines.append(_join([row_label, *cells], gap))
    head = _head(font, spec, page, of_page[page], max(lines[-1].width, LEAST_WIDTH), text_size)
    space = Image.new("RGB", (1, HEAD_SPACE - 2 * gap), WHITE)
    return _join([head, space, *lines], gap, down=True, align=0, margin=MARGIN)


def _cell_size(sizes: Sequence[tuple[int, int]], side: int) -> tuple[int, int]:
    """The size of a cell for pictures of these sizes, shrunk to a side, and for some text."""
    if not sizes:
        return tuple(pixels * side // SIDE for pixels in EMPTY_CELL)
    shrunk = [[int(pixels * min(side / max(size), 1)) for pixels in size] for size in sizes]
    least = [min(pixels, side) for pixels in LEAST_CELL]
    return tuple(map(max, zip(least, *shrunk, strict=True)))


def _thumbnails(pairs: Sequence[tuple[str, Path]], width: int, height: int) -> Image.Image:
    """The first few of these images beside each other, at one height, within a width."""
    found = [image for _, path in pairs[:MOST_SOURCES] if (image := thumbnail(path, THUMBNAIL_SIDE))]
    shapes = [image.width / image.height for image in found]
    fits = (width - 6 * len(found)) / max(sum(shapes), 1e-9)
    height = max(int(min([height, fits, *(image.height for image in found)])), 1)
    resized = [
        image.resize((max(round(height * shape), 1), height))
        for image, shape in zip(found, shapes, strict=True)
    ]
    return _join(resized, 6)


def _head(
    font: Font, spec: Spec, page: int, pairs: Sequence[tuple[str, Path]], width: int, text_size: int
) -> Image.Image:
    """The title, the page's label, and the images that all its runs share, with their names."""
    pictures = _thumbnails(pairs, width // 2 if width > 2 * LEAST_WIDTH else width, THUMBNAIL_HEIGHT)
    room = width - pictures.width - 30 if pictures.width else width
    beside = room >= LEAST_WIDTH
    room, size = room if beside else width, max(round(text_size * 1.5), 22)
    words = [font.text(spec.title, size, room, 4)]
    if len(spec.axes["pages"]) > 1:
        words.append(font.text(spec.axes["pages"][page].label, round(size * 0.8), room, 3))
    words.append(font.text(describe(pairs), max(round(text_size * 0.85), 14), room, 4, GRAY))
    left = _join(words, 5, down=True, align=0)
    if beside:
        return _join([_pad(left, room, align=0), pictures], 30, align=0)
    return _join([left, pictures], 12, down=True, align=0)


def _cell(
    folder: Path, entry: Entry, font: Font, text_size: int, size: tuple[int, int], side: int
) -> Image.Image:
    """An entry's picture, or a pale cell that says why there is none."""
    result, reason = entry.result, "not computed yet"
    if result.status == "done":
        if image := thumbnail(picture(folder, entry.stem), side):
            return _pad(image, *size)
        reason = "no picture: its file is missing or damaged"
    elif result.status == "failed":
        reason = f"failed: {result.error}"
    text_size, border = max(round(text_size * 0.85), 9), max(size[0] // 16, 2)
    lines = (size[1] - 2 * border) // round(text_size * 1.3)
    words = font.text(reason, text_size, size[0] - 2 * border, lines, GRAY, PALE, align=0.5)
    return _pad(words, *size, paper=PALE)
