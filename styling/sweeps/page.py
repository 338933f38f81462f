"""The page of a sweep: index.html, from the template data/sweep.html, which shows all runs in tables.

It refers only to files in the sweep's folder, and opens without a server.
"""

import base64
import io
import os
import shlex
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from styling.sweeps import sheet
from styling.sweeps.results import Cell
from styling.sweeps.specs import Spec
from styling.system.errors import flag_of
from styling.system.files import data_folder, write_whole

STRIP_WIDTH = 480
# Labels, errors and names of files, which may contain any characters, are escaped.
TEMPLATES = Environment(loader=FileSystemLoader(data_folder()), autoescape=True, undefined=StrictUndefined)
TEMPLATES.trim_blocks = TEMPLATES.lstrip_blocks = True


def write(folder: Path, spec: Spec, runs: Sequence[Cell]) -> Path:
    """Write index.html with links to the files that the folder has so far; call it after they are written.

    Raises OSError.
    """
    by_stem = {run.stem: run for run in runs}
    settings = {stem: run.settings for stem, run in by_stem.items()}
    names = dict.fromkeys(name for table in settings.values() for name in table)
    values = {name: {table.get(name, "-") for table in settings.values()} for name in names}
    pages = [[run for run in runs if run.place[0] == i] for i in range(len(spec.axes["pages"]))]
    text = TEMPLATES.get_template("sweep.html").render(
        command=command,
        describe=sheet.describe,
        strip=strip,
        spec=spec,
        runs=by_stem,
        counts=Counter(run.result.status for run in by_stem.values()),
        files=[name for name in ("results.csv", *sheet.names(spec)) if (folder / name).is_file()],
        cells={run.place: run for run in runs},
        sources=[sheet.sources(page) for page in pages],
        settings=settings,
        common=[(name, one) for name in names if len(values[name]) == 1 for one in values[name]],
        differing=[name for name in names if len(values[name]) > 1],
    )
    # Names of files may not be valid text; invalid characters become question marks.
    return write_whole(folder / "index.html", lambda file: file.write(text.encode(errors="replace")))


@cache  # the page is written many times while runs are computed
def strip(sources: tuple[tuple[str, Path], ...]) -> str:
    """Images beside each other as JPEG data in base64; empty if there are none."""
    image, file = sheet.side_by_side(sources, STRIP_WIDTH), io.BytesIO()
    if image.width:
        image.save(file, "JPEG", quality=88)
    return base64.b64encode(file.getvalue()).decode()


def command(run: Cell) -> str:
    """The command line that computes a run's picture again, from the sweep's folder."""
    files = run.job.files
    words = [["neural-style"], ["--recipe", f"runs/{run.stem}.toml"]]
    for flag in dict.fromkeys(flag for flag, _ in files.images):
        words.append([flag_of(flag), *map(os.path.abspath, files.named(flag))])
    return " \\\n  ".join(map(shlex.join, [*words, ["--output", f"{run.stem}.png"]]))
