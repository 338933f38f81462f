"""The page of a sweep: index.html, from the template data/sweep.html, which shows all runs in tables.

It refers to the files in the sweep's folder alone, and is opened from there without a server.
"""

import base64
import io
import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from html import escape
from pathlib import Path
from string import Template
from urllib.parse import quote

from styling.files import write_whole
from styling.networks import data_folder
from styling.sweeps import sheet
from styling.sweeps.results import Entry, picture, settings_of
from styling.sweeps.specs import Spec

SOURCE_SIDE = 128


def write(folder: Path, spec: Spec, entries: Sequence[Entry], plots: str = "") -> Path:
    """Write index.html with what is in the folder by now, for which the table and the sheets come first.

    plots: what to say where a run has no plot of its losses. Raises OSError.
    """
    runs = {entry.stem: entry for entry in entries}
    settings = {stem: settings_of(entry) for stem, entry in runs.items()}
    common, differing = _compare(settings.values())
    template = Template((data_folder() / "sweep.html").read_text(encoding="utf-8"))
    text = template.substitute(
        title=escape(spec.title),
        head=_head(folder, spec, list(runs.values())),
        pages="\n".join(_page(folder, spec, page, entries) for page in range(len(spec.axes["pages"]))),
        common=_table(common),
        dialogs="\n".join(
            _dialog(folder, entry, {name: settings[stem].get(name, "-") for name in differing}, plots)
            for stem, entry in runs.items()
            if entry.result.status != "waiting"
        ),
    )
    # A name of a file need not be text, and is shown with question marks then.
    return write_whole(folder / "index.html", lambda file: file.write(text.encode(errors="replace")))


def _compare(settings: Iterable[Mapping[str, str]]) -> tuple[dict[str, str], list[str]]:
    """The settings that are the same in all runs, and the names of those that are not."""
    settings = list(settings)
    names = dict.fromkeys(name for own in settings for name in own)
    values = {name: {own.get(name) for own in settings} for name in names}
    common = {name: found.pop() for name, found in values.items() if len(found) == 1}
    return common, [name for name in names if name not in common]


def _head(folder: Path, spec: Spec, runs: Sequence[Entry]) -> str:
    lines = [f"<p>{escape(spec.description)}</p>"] if spec.description else []
    lines.append(f'<p class="quiet">{_counts(runs)}</p>')
    files = [name for name in ("results.csv", *sheet.names(spec)) if (folder / name).is_file()]
    if files:
        links = " ".join(f'<a href="{name}">{name}</a>' for name in files)
        lines.append(f'<p class="links">{links}</p>')
    if len(spec.axes["pages"]) > 1:
        found = enumerate(spec.axes["pages"], 1)
        links = " ".join(f'<a href="#page-{number}">{escape(layer.label)}</a>' for number, layer in found)
        lines.append(f'<nav class="links" aria-label="Pages">{links}</nav>')
    return "\n".join(lines)


def _counts(runs: Sequence[Entry]) -> str:
    """How many runs there are of each status, in words."""
    statuses = [run.result.status for run in runs]
    parts = [f"{statuses.count('done')} of {len(runs)} run{'s' if len(runs) > 1 else ''} done"]
    parts += [f"{statuses.count(status)} {status}" for status in ("failed", "waiting") if status in statuses]
    return ", ".join(parts)


def _page(folder: Path, spec: Spec, page: int, entries: Sequence[Entry]) -> str:
    """A page's heading and its table."""
    entries = [entry for entry in entries if entry.cell.place[0] == page]
    of_page, of_rows, of_columns = sheet.sources(entries)
    cells = {entry.cell.place[1:]: _cell(folder, entry) for entry in entries}
    columns = [_label("col", layer.label, of_columns[i]) for i, layer in enumerate(spec.axes["columns"])]
    rows = [_label("row", layer.label, of_rows[i]) for i, layer in enumerate(spec.axes["rows"])]
    lines = [f'<section class="page" id="page-{page + 1}">']
    if len(spec.axes["pages"]) > 1:
        lines.append(f"<h2>{escape(spec.axes['pages'][page].label)}</h2>")
    if of_page[page]:
        lines.append(f'<p class="quiet">{escape(sheet.describe(of_page[page]))}</p>{_images(of_page[page])}')
    lines.append('<div class="scroll"><table class="grid">')
    lines.append(f"<thead><tr><td></td>{''.join(columns)}</tr></thead><tbody>")
    for i, row in enumerate(rows):
        lines.append(f"<tr>{row}{''.join(cells[i, j] for j in range(len(columns)))}</tr>")
    lines.append("</tbody></table></div></section>")
    return "\n".join(lines)


def _label(scope: str, label: str, pairs: Sequence[tuple[str, Path]]) -> str:
    return f'<th scope="{scope}">{_images(pairs)}{escape(label).replace(",", ",<wbr>")}</th>'


def _images(pairs: Sequence[tuple[str, Path]]) -> str:
    """Images that runs are made of, within the page, since their files may lie anywhere."""
    shown = []
    for pair in pairs[: sheet.MOST_SOURCES]:
        name, data = escape(sheet.describe([pair])), _embedded(pair[1])
        if data:
            shown.append(f'<img src="data:image/jpeg;base64,{data}" alt="{name}" title="{name}">')
    return f'<div class="made-of">{"".join(shown)}</div>' if shown else ""


@cache  # since a page is written again and again while its runs are made
def _embedded(path: Path) -> str:
    """An image as a small JPEG in base64; empty where it cannot be read."""
    image, data = sheet.shrunk(path, SOURCE_SIDE), io.BytesIO()
    if image:
        image.save(data, "JPEG", quality=85)
    return base64.b64encode(data.getvalue()).decode()


def _cell(folder: Path, entry: Entry) -> str:
    """A table's cell: the picture, or what there is to say in its place, as a link to the run's dialog."""
    if entry.result.status == "waiting":
        return '<td><div class="field">not made yet</div></td>'
    inner = _picture(folder, entry) or _field(entry)
    return f'<td><a href="#{quote(entry.stem, safe="")}">{inner}</a></td>'


def _picture(folder: Path, entry: Entry) -> str:
    """The run's picture, or nothing where there is none."""
    size = sheet.picture_size(picture(folder, entry.stem)) if entry.result.status == "done" else None
    return _image(f"{entry.stem}.png", entry.cell.label, size) if size else ""


def _field(entry: Entry) -> str:
    if entry.result.status == "failed":
        return f'<span class="field"><b>failed</b> {escape(entry.result.error)}</span>'
    return '<span class="field"><b>no picture</b> its file has gone or is damaged</span>'


def _image(name: str, alt: str, size: tuple[int, int] | None = None) -> str:
    """A file of runs/, loaded once it is in sight; size: its width and height, to keep room for it."""
    shape = f' width="{size[0]}" height="{size[1]}"' if size else ""
    return f'<img src="{_link(name)}" alt="{escape(alt)}" loading="lazy"{shape}>'


def _link(name: str) -> str:
    return f"runs/{quote(name, safe='')}"


def _dialog(folder: Path, entry: Entry, differing: Mapping[str, str], plots: str) -> str:
    """All there is to say of a run."""
    cell, stem, result = entry.cell, entry.stem, entry.result
    shown = _picture(folder, entry)
    full = f'<a href="{_link(f"{stem}.png")}">{shown}</a>' if shown else _field(entry)
    parts = [
        f'<dialog id="{escape(stem)}" aria-label="{escape(cell.label)}"><div class="full">{full}</div>',
        f'<div class="about"><a class="close" href="#page-{cell.place[0] + 1}">Close</a>',
        f"<h2>{escape(cell.label)}</h2>",
    ]
    if result.status == "done":
        parts.append(f"<p>{result.iterations} iterations in {result.seconds:.1f} seconds</p>")
        parts.append(_losses(folder, stem, result.losses, plots))
        if (folder / "runs" / f"{stem}-grid.png").is_file():
            shown = _image(f"{stem}-grid.png", "the run's images, from its first to its last")
            parts.append(f'<h3>Progress</h3><a href="{_link(f"{stem}-grid.png")}">{shown}</a>')
    marked = (
        f"<h3>Settings that differ between the runs</h3>{_table(differing, 'differs')}" if differing else ""
    )
    parts.append(
        f'<div class="settings">{marked}</div>'
    )  # the others follow, once for all runs, by the script
    made_of = [("style" if flag == "styles" else flag, path.name) for flag, path in cell.run.images]
    network = f"{cell.run.network.name}{f' (for {cell.run.instead_of})' if cell.run.instead_of else ''}"
    parts.append(f"<h3>Made of</h3>{_table([*made_of, ('network', network)])}")
    if (folder / "runs" / f"{stem}.toml").is_file():
        parts.append(f"<h3>To make it again, in this folder</h3><pre>{escape(_command(entry))}</pre>")
    return "\n".join([*parts, "</div></dialog>"])


def _losses(folder: Path, stem: str, losses: Mapping[str, float], plots: str) -> str:
    if not losses:
        return ""
    shown = f'<p class="quiet">{escape(plots)}</p>' if plots else ""
    if (folder / "runs" / f"{stem}-losses.svg").is_file():
        image = _image(f"{stem}-losses.svg", "the losses over the iterations")
        shown = f'<a href="{_link(f"{stem}-losses.svg")}">{image}</a>'
    return f"<h3>Losses</h3>{shown}{_table({name: f'{loss:.4g}' for name, loss in losses.items()})}"


def _table(pairs: Mapping[str, str] | Sequence[tuple[str, str]], css: str = "plain") -> str:
    pairs = pairs.items() if isinstance(pairs, Mapping) else pairs
    rows = (f'<tr><th scope="row">{escape(a)}</th><td>{escape(b)}</td></tr>' for a, b in pairs)
    return f'<table class="{css}"><tbody>{"".join(rows)}</tbody></table>'


def _command(entry: Entry) -> str:
    """The command line that makes a run's picture again, from the sweep's folder."""
    run = entry.cell.run
    words = [["neural-style"], ["--recipe", f"runs/{entry.stem}.toml"]]
    for flag in dict.fromkeys(flag for flag, _ in run.images):
        words.append([f"--{flag}", *(os.path.abspath(path) for name, path in run.images if name == flag)])
    return " \\\n  ".join(map(shlex.join, [*words, ["--output", f"{entry.stem}.png"]]))
