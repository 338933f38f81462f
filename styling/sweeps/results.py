"""The results of a sweep's runs, and the files that a sweep writes into its folder.

    runs/STEM.png           the picture
    runs/STEM-grid.png      ten images of the run, if it was asked for them
    runs/STEM-losses.svg    a plot of its losses, if matplotlib is installed
    runs/STEM.toml          its settings, for neural-style --recipe
    runs/STEM.json          its result; once this file is there, the run is done
    runs/STEM.state         the state of a run that was stopped, for neural-style --resume
    results.csv             all runs in a table
    sheet.png, index.html   all pictures

A stem consists of the labels of the run's first cell, and a digest of everything that decides the picture.
The digest identifies a run even after other parts of the spec have changed.
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
from typing import Any

from styling.network import networks
from styling.settings import recipes
from styling.sweeps.specs import IMAGES, Cell
from styling.system.files import write_whole

MOST_BYTES = 80  # of the labels in the name of a file
DIGITS = 10  # of a digest
RUN_COLUMNS = ("page", "row", "column", "label", "file", "status", "error", "updates", "seconds")


@dataclass(frozen=True)
class Result:
    """The result of a run.

    status: "done", "failed" or "waiting". error: why it failed, in one line. iterations: the updates made.
    seconds: the time that they took. names: of the losses. history: rows of (iteration, *losses), up to the
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
        """The last losses by name; empty if there are none."""
        return dict(zip(self.names, self.history[-1][1:], strict=True)) if self.history else {}


@dataclass(frozen=True)
class Entry:
    """A cell, the stem of its run's files, and the run's result; several cells may have the same run."""

    cell: Cell
    stem: str
    result: Result = Result()


def digest(*parts: object) -> str:
    """Digits that identify a run, from everything that decides it; each part must have a fixed repr."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:DIGITS]


def stems(folder: Path) -> dict[str, str]:
    """The stems of the runs that the folder has, by their digests."""
    files = (path for path in (folder / "runs").glob("*") if path.suffix in (".json", ".state"))
    return {path.stem[-DIGITS:]: path.stem for path in files}


def stem(labels: Sequence[str], digest: str) -> str:
    """The stem for the files of a new run."""
    words = re.sub(r"[^\w.=]+", "-", "--".join(labels)).encode()
    return f"{words[:MOST_BYTES].decode(errors='ignore').strip('-.')}-{digest}".lstrip("-")


def picture(folder: Path, stem: str) -> Path:
    """The file of a run's picture."""
    return folder / "runs" / f"{stem}.png"


def state(folder: Path, stem: str) -> Path:
    """The file of the state of a run that has not ended."""
    return folder / "runs" / f"{stem}.state"


def read(folder: Path, stem: str) -> Result:
    """A run's result from its file; "waiting" if there is no file, or no valid one."""
    try:
        values = json.loads((folder / "runs" / f"{stem}.json").read_text(encoding="utf-8"))
        history = tuple(tuple(map(float, row)) for row in values["history"])
        values |= {"names": tuple(map(str, values["names"])), "history": history}
        values |= {"iterations": int(values["iterations"]), "seconds": float(values["seconds"])}
        result = Result(**values)
        is_told = "total" in result.losses or not result.names  # a run without updates has no losses
        if result.status == "done" and is_told and picture(folder, stem).is_file():
            return result
    except (OSError, ValueError, TypeError, KeyError, OverflowError):
        pass
    return Result()


def write(folder: Path, stem: str, result: Result) -> None:
    """Write the file of a run's result. Raises OSError."""
    text = json.dumps(dataclasses.asdict(result), indent=1)
    write_whole(folder / "runs" / f"{stem}.json", lambda file: file.write(text.encode()))


def write_table(folder: Path, entries: Sequence[Entry]) -> Path:
    """Write results.csv: a line for each cell, with its place, its run's result and its settings."""
    losses = dict.fromkeys(f"{name}_loss" for entry in entries for name in entry.result.names)
    settings = dict.fromkeys(name for entry in entries for name in settings_of(entry))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, [*RUN_COLUMNS, *losses, *IMAGES, *settings], restval="")
    writer.writeheader()
    writer.writerows(map(_row, entries))
    # Names of files may not be valid text; invalid characters become question marks, as on the page.
    encoded = text.getvalue().encode(errors="replace")
    return write_whole(folder / "results.csv", lambda file: file.write(encoded))


def _row(entry: Entry) -> dict[str, Any]:
    job, result = entry.cell.job, entry.result
    row: dict[str, Any] = {
        axis: index + 1 for axis, index in zip(("page", "row", "column"), entry.cell.place, strict=True)
    }
    row |= {"label": entry.cell.label, "status": result.status, "error": result.error}
    if result.status == "done":
        row |= {"file": f"runs/{entry.stem}.png", "updates": result.iterations}
        row |= {"seconds": round(result.seconds, 1)}
    row |= {f"{name}_loss": loss for name, loss in result.losses.items()}
    row |= {flag: " ".join(map(str, job.files.named(flag))) for flag in IMAGES}
    return row | settings_of(entry)


def settings_of(entry: Entry) -> dict[str, str]:
    """The settings of an entry's run by name, as text."""
    job = entry.cell.job
    used = dataclasses.replace(job.running, network=networks.name(job.network))
    table = recipes.to_table(job.settings, used)
    return {name: _text(value) for name, value in table.items()}


def _text(value: object) -> str:
    if isinstance(value, dict):
        return " ".join(f"{name}={number:g}" for name, number in value.items())
    if isinstance(value, tuple):
        return " ".join(map(_text, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
