"""What became of the runs of a sweep, and the files that they leave in its folder.

    runs/STEM.png           the picture
    runs/STEM-grid.png      ten images of the run, where it was asked for them
    runs/STEM-losses.svg    its losses as a plot, where matplotlib is installed
    runs/STEM.toml          its settings, for neural-style --recipe
    runs/STEM.json          what became of it; a run is done once this says so
    runs/STEM.state         a run that is not at its end, for neural-style --resume
    results.csv             all runs in a table
    sheet.png, index.html   all pictures at a glance

A stem has the labels of the run's first place and a digest of all that decides the picture, so that a run is
found again where the spec has changed around it.
"""

import csv
import dataclasses
import hashlib
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from styling import networks, recipes
from styling.files import write_whole
from styling.sweeps.specs import Cell

MOST_BYTES = 80  # of the labels in the name of a file
DIGITS = 10  # of a digest


@dataclass(frozen=True)
class Result:
    """What became of a run.

    status: "done", "failed" or "waiting". error: why it failed, in one line. iterations: updates made.
    seconds: that they took. names: of the losses. history: rows of (iteration, *losses), the last one of the
    end.
    """

    status: str = "waiting"
    error: str = ""
    iterations: int = 0
    seconds: float = 0.0
    names: tuple[str, ...] = ()
    history: tuple[tuple[float, ...], ...] = ()

    @property
    def losses(self) -> dict[str, float]:
        """The last losses by name; empty where there are none."""
        return dict(zip(self.names, self.history[-1][1:], strict=True)) if self.history else {}


@dataclass(frozen=True)
class Entry:
    """A cell, the stem of its run's files, and what became of that; cells may share a run."""

    cell: Cell
    stem: str
    result: Result = Result()


def digest(*parts: object) -> str:
    """What tells a run from all others: some digits for all that decides it, which must have a fixed repr."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:DIGITS]


def stems(folder: Path) -> dict[str, str]:
    """The stems that the files of runs have in the folder, by the runs' digests."""
    found = (path for path in (folder / "runs").glob("*") if path.suffix in (".json", ".state"))
    return {path.stem[-DIGITS:]: path.stem for path in found}


def stem(labels: Sequence[str], digest: str) -> str:
    """The stem of the files of a run that has none yet."""
    words = re.sub(r"[^\w.=]+", "-", "--".join(labels)).encode()
    return f"{words[:MOST_BYTES].decode(errors='ignore').strip('-.')}-{digest}".lstrip("-")


def picture(folder: Path, stem: str) -> Path:
    """The file of a run's picture."""
    return folder / "runs" / f"{stem}.png"


def state(folder: Path, stem: str) -> Path:
    """The file of a run that is not at its end."""
    return folder / "runs" / f"{stem}.state"


def read(folder: Path, stem: str) -> Result:
    """What the folder says of a run; waiting where it says nothing that can be understood."""
    try:
        values = json.loads((folder / "runs" / f"{stem}.json").read_text(encoding="utf-8"))
        history = tuple(tuple(map(float, row)) for row in values["history"])
        values |= {"names": tuple(map(str, values["names"])), "history": history}
        values |= {"iterations": int(values["iterations"]), "seconds": float(values["seconds"])}
        found = Result(**values)
        names = found.losses.keys()
        if found.status == "done" and "total" in names and picture(folder, stem).is_file():
            return found
    except (OSError, ValueError, TypeError, KeyError, OverflowError):
        pass
    return Result()


def write(folder: Path, stem: str, result: Result) -> None:
    """Keep what became of a run. Raises OSError."""
    text = json.dumps(dataclasses.asdict(result), indent=1)
    write_whole(folder / "runs" / f"{stem}.json", lambda file: file.write(text.encode()))


def write_table(folder: Path, entries: Sequence[Entry]) -> Path:
    """Write results.csv: a line for each cell with what it is, what became of it, and its settings."""
    rows = [_row(entry) for entry in entries]
    losses = dict.fromkeys(name for entry in entries for name in entry.result.names)
    settings = dict.fromkeys(name for row in rows for name in row["settings"])
    head = ["page", "row", "column", "label", "file", "status", "error", "updates", "seconds"]
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow([*head, *(f"{name}_loss" for name in losses), "content", "styles", "initial", *settings])
    for row in rows:
        own = (
            [row["losses"].get(name, "") for name in losses],
            [row["settings"].get(name, "") for name in settings],
        )
        writer.writerow([*row["head"], *own[0], *row["images"], *own[1]])
    # A name of a file need not be text, and has question marks then, as on the page.
    whole = text.getvalue().encode(errors="replace")
    return write_whole(folder / "results.csv", lambda file: file.write(whole))


def _row(entry: Entry) -> dict:
    run, result = entry.cell.run, entry.result
    file = f"runs/{entry.stem}.png" if result.status == "done" else ""
    place = [index + 1 for index in entry.cell.place]
    end = [result.iterations, round(result.seconds, 1)] if result.status == "done" else ["", ""]
    return {
        "head": [*place, entry.cell.label, file, result.status, result.error, *end],
        "losses": result.losses,
        "images": [run.content or "", " ".join(map(str, run.styles)), run.initial or ""],
        "settings": settings_of(entry),
    }


def settings_of(entry: Entry) -> dict[str, str]:
    """The settings of an entry's run by name, as texts."""
    run = entry.cell.run
    used = dataclasses.replace(run.running, network=networks.name(run.network))
    table = recipes.to_table(run.settings, used)
    return {name: _text(value) for name, value in table.items()}


def _text(value: object) -> str:
    if isinstance(value, dict):
        return " ".join(f"{name}={number:g}" for name, number in value.items())
    if isinstance(value, tuple):
        return " ".join(map(_text, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
