"""The contact sheet: a page of a sweep as one labelled image, as figures in articles have it.

A sheet is put together from blocks, small images on white, from the inside out: lines of text, thumbnails and
their labels, the head, the table.
"""

import contextlib
import math
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from PIL import Image, ImageChops, ImageDraw, ImageFont

from styling import images
from styling.errors import ImageError
from styling.files import write_whole
from styling.sweeps.results import Entry, picture
from styling.sweeps.specs import IMAGES, Spec

SIDE, LEAST_SIDE = 320, 24  # of a picture in the sheet, in pixels
MOST_PIXELS = 60_000_000
EMPTY = (240, 180)  # a cell's size, and the least that it shrinks to, where there is no picture to ask
ROOM_FOR_TEXT = (128, 72)
SOURCE_SIDE, SOURCE_HEIGHT, MOST_SOURCES = 144, 72, 6  # of the images that runs are made of, beside a label
MARGIN, NARROWEST = 36, 320
LABEL_LINES, LONGEST_TEXT = 8, 1000
WHITE, INK, GREY, PALE, PALER = "#ffffff", "#1f1f1f", "#666666", "#f1efee", "#f7f7f7"
FONTS = ("DejaVuSans.ttf", "LiberationSans-Regular.ttf", "Arial.ttf")

Sources = dict[int, list[tuple[str, Path]]]


def names(spec: Spec) -> list[str]:
    """The names of the sheets, one for each page."""
    count = len(spec.axes["pages"])
    return ["sheet.png"] if count == 1 else [f"sheet-{number + 1}.png" for number in range(count)]


def write(folder: Path, spec: Spec, entries: Sequence[Entry]) -> list[Path]:
    """Write a sheet for each page, with what there is of the entries' pictures. Raises OSError."""
    paths = []
    for page, name in enumerate(names(spec)):
        image = _draw(folder, spec, page, [entry for entry in entries if entry.cell.place[0] == page])
        paths.append(write_whole(folder / name, lambda file, image=image: image.save(file, "PNG")))
    return paths


def sources(entries: Iterable[Entry]) -> tuple[Sources, Sources, Sources]:
    """The images, with their flags, to be shown of each page, row and column, by its index.

    Those of a flag are shown where they are the same within each: for the entries of a page once for all,
    where they can, else beside the rows, else over the columns.
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
    return ", ".join(f"{'style' if flag == 'styles' else flag} {path.stem}" for flag, path in pairs)


def picture_size(path: Path) -> tuple[int, int] | None:
    """The width and height of a picture; None where it has gone or is none."""
    try:
        with Image.open(path) as image:
            return image.size
    except Exception:  # Pillow raises nearly anything for a damaged file
        return None


def shrunk(path: Path, side: int) -> Image.Image | None:
    """An image of at most so many pixels a side; None where it has gone or is damaged."""
    try:
        return Image.fromarray(images.to_bytes(images.thumbnail(images.read(path), side)))
    except (ImageError, OSError):
        return None


@dataclass(frozen=True)
class Pen:
    """Writes text in a font of the system, or in Pillow's own (None), which has hardly more than ASCII."""

    font: str | None

    def block(
        self, text: str, size: int, width: int, lines: int = LABEL_LINES, ink: str = INK, align: str = "left"
    ) -> Image.Image:
        """The text, wrapped to a width, as an image no larger than needed."""
        font, pitch = _font(self.font, size), round(size * 1.3)
        wrapped = _wrap(self._known(text), font, width, lines)
        widths = [math.ceil(font.getlength(line)) for line in wrapped]
        image = Image.new("RGB", (min(max(widths, default=0), width), pitch * len(wrapped)), WHITE)
        draw = ImageDraw.Draw(image)
        for number, line in enumerate(wrapped):
            left = {"left": 0, "center": 0.5, "right": 1}[align] * (image.width - widths[number])
            draw.text((round(left), number * pitch + pitch / 2), line, ink, font, "lm")
        return image

    def _known(self, text: str) -> str:
        text = "".join(letter if letter.isprintable() else " " for letter in text[:LONGEST_TEXT])
        if self.font is None:
            text = "".join(a for a in unicodedata.normalize("NFKD", text) if not unicodedata.combining(a))
            text = text.encode("ascii", "replace").decode()
        return text


def _pen(texts: Iterable[str]) -> Pen:
    """A pen that knows the letters of all the texts, if there is one, so that a sheet has but one font."""
    if not all(map(str.isascii, texts)):
        for name in FONTS:
            with contextlib.suppress(OSError):
                _font(name, 12)
                return Pen(name)
    return Pen(None)


@cache
def _font(name: str | None, size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.truetype(name, size) if name else ImageFont.load_default(size)
    return font.font_variant(layout_engine=ImageFont.Layout.BASIC)  # the other makes one dash of two


def _wrap(text: str, font: ImageFont.FreeTypeFont, width: int, most: int) -> list[str]:
    """The text in at most so many lines, those too long for it broken within a word; an ellipsis stands for
    what is left out."""
    lines = []
    for word in re.findall(r" ?[^ ,/]*[,/]+| ?[^ ,/]+", " ".join(text.split())):
        if lines and font.getlength(lines[-1] + word) <= width:
            lines[-1] += word
            continue
        lines.append("")
        for letter in word.strip():
            if lines[-1] and font.getlength(lines[-1] + letter) > width:
                lines.append("")
            lines[-1] += letter
    if len(lines) > most:
        lines = lines[:most]
        while lines and lines[-1] and font.getlength(f"{lines[-1]}...") > width:
            lines[-1] = lines[-1][:-1]
        lines[-1:] = [f"{line}..." for line in lines[-1:]]
    return lines


def _join(blocks: Iterable[Image.Image], gap: int, down: bool, align: float = 0.5) -> Image.Image:
    """Blocks beside or under each other; align: 0 for left (or top), 1 for right (or bottom)."""
    blocks = [block for block in blocks if block.width and block.height]
    along, across = (1, 0) if down else (0, 1)
    size = [0, 0]
    size[along] = sum(block.size[along] + gap for block in blocks) - gap if blocks else 0
    size[across] = max((block.size[across] for block in blocks), default=0)
    joined, at = Image.new("RGB", tuple(size), WHITE), 0
    for block in blocks:
        corner = [0, 0]
        corner[along], corner[across] = at, round(align * (size[across] - block.size[across]))
        joined.paste(block, tuple(corner))
        at += block.size[along] + gap
    return joined


@dataclass(frozen=True)
class Table:
    """The measures of a sheet's table: its labels as blocks, the size of a cell, the step between cells.

    size: of all, in pixels; corner: of its first cell.
    """

    rows: list[Image.Image]
    columns: list[Image.Image]
    cell: tuple[int, int]
    gap: int
    text: int

    @property
    def corner(self) -> tuple[int, int]:
        """Where the first cell begins."""
        left, top = max(block.width for block in self.rows), max(block.height for block in self.columns)
        return left + (left and self.gap + 4), top + (top and self.gap)

    @property
    def step(self) -> tuple[int, int]:
        """From one cell to the next; rows give way to their labels."""
        tallest = max(block.height for block in self.rows)
        return self.cell[0] + self.gap, max(self.cell[1], tallest) + self.gap

    @property
    def size(self) -> tuple[int, int]:
        """The width and the height of all."""
        counts = len(self.columns), len(self.rows)
        return tuple(
            corner + count * step - self.gap
            for corner, count, step in zip(self.corner, counts, self.step, strict=True)
        )


def _draw(folder: Path, spec: Spec, page: int, entries: Sequence[Entry]) -> Image.Image:
    of_page, of_rows, of_columns = sources(entries)
    labels = [layer.label for axis in spec.axes.values() for layer in axis]
    errors = [entry.result.error for entry in entries]
    names = [describe(pairs) for pairs in of_page.values()]
    pen = _pen([spec.title, *labels, *errors, *names])
    paths = {
        path for shown in (of_page, of_rows, of_columns) for pairs in shown.values() for _, path in pairs
    }
    thumbnails = {path: shrunk(path, SOURCE_SIDE) for path in paths}

    done = {entry.stem for entry in entries if entry.result.status == "done"}
    sizes = [size for stem in done if (size := picture_size(picture(folder, stem)))]
    side = SIDE
    while True:
        table = _table(pen, spec, (of_rows, of_columns), thumbnails, _cell(sizes, side), side)
        width = max(table.size[0], NARROWEST)
        head = _head(pen, spec, page, of_page[page], thumbnails, width, table.text)
        size = width + 2 * MARGIN, table.size[1] + head.height + 28 + 2 * MARGIN
        if math.prod(size) <= MOST_PIXELS or side <= LEAST_SIDE:
            break
        side = max(min(side - 1, int(side * math.sqrt(MOST_PIXELS / math.prod(size)))), LEAST_SIDE)

    sheet = Image.new("RGB", size, WHITE)
    sheet.paste(head, (MARGIN, MARGIN))
    _fill(sheet, (MARGIN, MARGIN + head.height + 28), pen, table, folder, entries, side)
    return sheet


def _cell(sizes: Sequence[tuple[int, int]], side: int) -> tuple[int, int]:
    """The size of a cell that holds every picture, of these sizes, shrunk to a side, and some words."""
    if not sizes:
        return tuple(pixels * side // SIDE for pixels in EMPTY)
    scales = [min(side / max(size), 1) for size in sizes]
    return tuple(
        max(
            min(ROOM_FOR_TEXT[i], side),
            *(int(size[i] * scale) for size, scale in zip(sizes, scales, strict=True)),
        )
        for i in range(2)
    )


def _table(
    pen: Pen,
    spec: Spec,
    shown: tuple[Sources, Sources],
    thumbnails: Mapping[Path, Image.Image | None],
    cell: tuple[int, int],
    side: int,
) -> Table:
    text = min(max(cell[0] // 14, 11), 20)
    rooms, aligns = (max(min(cell[0], 240), 60), cell[0]), ("right", "center")
    blocks = []
    for axis, pairs, room, align in zip(("rows", "columns"), shown, rooms, aligns, strict=True):
        blocks.append([])
        for index, layer in enumerate(spec.axes[axis]):
            found = _thumbnails(pairs.get(index, ()), thumbnails, room, min(SOURCE_HEIGHT, side))
            label = pen.block(layer.label, text, room, align=align)
            blocks[-1].append(_join([found, label], 6, down=True, align=1 if align == "right" else 0.5))
    return Table(*blocks, cell, max(side // 27, 3), text)


def _thumbnails(
    pairs: Sequence[tuple[str, Path]],
    thumbnails: Mapping[Path, Image.Image | None],
    room: int,
    height: int = SOURCE_HEIGHT,
) -> Image.Image:
    """The first few of the images beside each other, of one height, within some room."""
    found = [thumbnails[path] for _, path in pairs if thumbnails[path]][:MOST_SOURCES]
    height = min([height, *(image.height for image in found)])
    total = sum(image.width * height / image.height for image in found)
    scale = min((room - 6 * len(found)) / max(total, 1), 1) * height
    sizes = [(round(image.width * scale / image.height), round(scale)) for image in found]
    smaller = [
        image.resize([max(side, 1) for side in size]) for image, size in zip(found, sizes, strict=True)
    ]
    return _join(smaller, 6, down=False)


def _head(
    pen: Pen,
    spec: Spec,
    page: int,
    pairs: Sequence[tuple[str, Path]],
    thumbnails: Mapping[Path, Image.Image | None],
    width: int,
    text: int,
) -> Image.Image:
    """The title, the page's label and the names of what all its runs are made of, with these images at the
    right, or beneath where that leaves too little room."""
    found = _thumbnails(pairs, thumbnails, width // 2 if width > 2 * NARROWEST else width)
    beside = width - found.width - 30 >= NARROWEST
    room = width - found.width - 30 if beside and found.width else width
    size = max(round(text * 1.5), 22)
    words = [pen.block(spec.title, size, room, 4)]
    if len(spec.axes["pages"]) > 1:
        words.append(pen.block(spec.axes["pages"][page].label, round(size * 0.8), room, 3))
    words.append(pen.block(describe(pairs), max(round(text * 0.85), 14), room, 4, GREY))
    left = _join(words, 5, down=True, align=0)
    if not beside:
        return _join([left, found], 12, down=True, align=0)
    head = Image.new("RGB", (width, max(left.height, found.height)), WHITE)
    head.paste(left, (0, 0))
    head.paste(found, (width - found.width, 0))
    return head


def _fill(
    sheet: Image.Image,
    start: tuple[int, int],
    pen: Pen,
    table: Table,
    folder: Path,
    entries: Sequence[Entry],
    side: int,
) -> None:
    """Draw the table into the sheet; the pictures are opened one by one."""
    left, top = start[0] + table.corner[0], start[1] + table.corner[1]
    width, (right, down) = table.cell[0], table.step
    for column, block in enumerate(table.columns):
        sheet.paste(
            block, (left + column * right + (width - block.width) // 2, top - table.gap - block.height)
        )
    for row, block in enumerate(table.rows):
        middle = (down - table.gap - block.height) // 2
        sheet.paste(block, (left - table.gap - 4 - block.width, top + row * down + middle))
    for entry in entries:
        _, row, column = entry.cell.place
        block = _block(pen, table, folder, entry, side)
        x = left + column * right + (width - block.width) // 2
        sheet.paste(block, (x, top + row * down + (down - table.gap - block.height) // 2))


def _block(pen: Pen, table: Table, folder: Path, entry: Entry, side: int) -> Image.Image:
    """An entry's picture, or what there is to say in its place."""
    result = entry.result
    if result.status == "done":
        image = shrunk(picture(folder, entry.stem), side)
        return image or _field(pen, table, "no picture", "its file has gone or is damaged", PALE)
    if result.status == "failed":
        return _field(pen, table, "failed", result.error, PALE)
    return _field(pen, table, "not made yet", "", PALER)


def _field(pen: Pen, table: Table, heading: str, text: str, color: str) -> Image.Image:
    """A pale cell with words in it, as many as it holds."""
    width, height = table.cell
    field = Image.new("RGB", table.cell, color)
    size, pad = max(round(table.text * 0.85), 9), max(width // 16, 2)
    lines = max((height - 2 * pad) // round(size * 1.3), 0)
    first = pen.block(heading, size, width - 2 * pad, lines, INK if text else GREY, "center")
    left = lines - first.height // round(size * 1.3)
    second = pen.block(text, size, width - 2 * pad, left, GREY, "center")
    words = _join([first, second], 0, down=True)
    # The darker of the two keeps the words' grey edges on the pale colour.
    field.paste(
        ImageChops.darker(words, Image.new("RGB", words.size, color)),
        ((width - words.width) // 2, (height - words.height) // 2),
    )
    return field
