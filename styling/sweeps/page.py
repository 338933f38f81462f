"""The page of a sweep: index.html, from the template data/sweep.html, which shows all runs in tables.

It refers only to files in the sweep's folder, and opens without a server.
"""

import base64
import os
import shlex
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined, Template

from styling.live.view import jpeg
from styling.pictures import images
from styling.sweeps import sheet
from styling.sweeps.results import Entry, picture, settings_of
from styling.sweeps.specs import Spec
from styling.system.errors import ImageError, flag_of
from styling.system.files import data_folder, write_whole

THUMBNAIL_SIDE = 128


def write(folder: Path, spec: Spec, entries: Sequence[Entry], plot_note: str = "") -> Path:
    """Write index.html with links to the files that the folder has so far; call it after they are written.

    plot_note: the text in place of a missing plot of the losses. Raises OSError.
    """
    runs = {entry.stem: entry for entry in entries}
    settings = {stem: settings_of(entry) for stem, entry in runs.items()}
    names = dict.fromkeys(name for table in settings.values() for name in table)
    values = {name: {table.get(name, "-") for table in settings.values()} for name in names}
    differing = [name for name in names if len(values[name]) > 1]
    text = _template().render(
        spec=spec,
        counts=_counts([entry.result.status for entry in runs.values()]),
        files=[name for name in ("results.csv", *sheet.names(spec)) if (folder / name).is_file()],
        pages=[_page(spec, page, entries) for page in range(len(spec.axes["pages"]))],
        runs={stem: _run(folder, entry, settings[stem], differing) for stem, entry in runs.items()},
        common=[(name, value) for name in names if len(values[name]) == 1 for value in values[name]],
        plot_note=plot_note,
    )
    # Names of files may not be valid text; invalid characters become question marks.
    return write_whole(folder / "index.html", lambda file: file.write(text.encode(errors="replace")))


@cache
def _template() -> Template:
    # Autoescape, since labels, errors and names of files may contain any characters.
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string((data_folder() / "sweep.html").read_text(encoding="utf-8"))


def _counts(statuses: Sequence[str]) -> str:
    """How many runs have each status, in words."""
    plural = "s" * (len(statuses) != 1)
    parts = [f"{statuses.count('done')} of {len(statuses)} run{plural} done"]
    parts += [f"{statuses.count(status)} {status}" for status in ("failed", "waiting") if status in statuses]
    return ", ".join(parts)


def _page(spec: Spec, page: int, entries: Sequence[Entry]) -> dict[str, Any]:
    """A page for the template: its label, images, columns and rows."""
    entries = [entry for entry in entries if entry.cell.place[0] == page]
    of_page, of_rows, of_columns = sheet.sources(entries)
    stems = {entry.cell.place[1:]: entry.stem for entry in entries}
    columns = [
        {"label": layer.label, "sources": _thumbnails(of_columns[j])}
        for j, layer in enumerate(spec.axes["columns"])
    ]
    rows = [
        {
            "label": layer.label,
            "sources": _thumbnails(of_rows[i]),
            "stems": [stems[i, j] for j in range(len(columns))],
        }
        for i, layer in enumerate(spec.axes["rows"])
    ]
    return {
        "label": spec.axes["pages"][page].label,
        "source_names": sheet.describe(of_page[page]),
        "sources": _thumbnails(of_page[page]),
        "columns": columns,
        "rows": rows,
    }


def _thumbnails(sources: Sequence[tuple[str, Path]]) -> list[dict[str, str]]:
    """The first few of these images for the template: names, and JPEG data, which may be empty."""
    return [
        {"name": sheet.describe([source]), "jpeg": _jpeg(source[1])}
        for source in sources[: sheet.MOST_SOURCES]
    ]


@cache  # the page is written many times while runs are computed
def _jpeg(path: Path) -> str:
    """An image as a small JPEG in base64; empty if it cannot be read."""
    try:
        return base64.b64encode(jpeg(images.read(path), THUMBNAIL_SIDE)).decode()
    except (ImageError, OSError):
        return ""


def _run(folder: Path, entry: Entry, settings: Mapping[str, str], differing: Sequence[str]) -> dict[str, Any]:
    """A run for the template."""
    stem, job, result, runs = entry.stem, entry.cell.job, entry.result, folder / "runs"
    images = [(sheet.name_of(flag), path.name) for flag, path in job.files.images]
    network = f"{job.network.name} (for {job.instead_of})" if job.instead_of else job.network.name
    return {
        "stem": stem,
        "label": entry.cell.label,
        "page": entry.cell.place[0] + 1,
        "status": result.status,
        "error": result.error,
        "iterations": result.iterations,
        "seconds": result.seconds,
        "losses": [(name, f"{loss:.4g}") for name, loss in result.losses.items()],
        "size": sheet.picture_size(picture(folder, stem)) if result.status == "done" else None,
        "has_plot": (runs / f"{stem}-losses.svg").is_file(),
        "has_grid": (runs / f"{stem}-grid.png").is_file(),
        "differing": [(name, settings.get(name, "-")) for name in differing],
        "files": [*images, ("network", network)],
        "command": _command(entry) if (runs / f"{stem}.toml").is_file() else "",
    }


def _command(entry: Entry) -> str:
    """The command line that computes a run's picture again, from the sweep's folder."""
    job = entry.cell.job
    words = [["neural-style"], ["--recipe", f"runs/{entry.stem}.toml"]]
    for flag in dict.fromkeys(flag for flag, _ in job.files.images):
        words.append(
            [
                flag_of(flag),
                *(os.path.abspath(path) for name, path in job.files.images if name == flag),
            ]
        )
    return " \\\n  ".join(map(shlex.join, [*words, ["--output", f"{entry.stem}.png"]]))
