"""The runs of a sweep, their results, and the files that a sweep writes into its folder.

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
import hashlib
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from styling.command.jobs import Job
from styling.command.painting import Named
from styling.pictures.images import FLAGS as IMAGES
from styling.settings import recipes
from styling.settings.checks import shown
from styling.system.files import write_whole

MOST_BYTES = 80  # of the labels in the name of a file
DIGITS = 10  # of a digest


@dataclass(frozen=True)
class Result:
    """The result of a run.

    status: "done", "failed" or "waiting". error: why it failed, in one line. iterations: the updates made.
    seconds: the time that they took. losses: the last, by name; empty without updates.
    """

    status: str = "waiting"
    error: str = ""
    iterations: int = 0
    seconds: float = 0.0
    losses: dict[str, float] = field(default_factory=dict)


@dataclass
class Cell:
    """A place in a sweep, and its run, which changes while it is computed; several cells may have the same.

    place: the indices of its page, row and column. labels: theirs. job: of the run; once it is planned, its
    settings leave nothing open, and saved is where it goes on. path: of the run's files, without their
    endings. named: its images. iteration: the updates made. memory: the bytes that it needs. remark: what the
    program has chosen by itself.
    """

    place: tuple[int, int, int]
    labels: tuple[str, ...]
    job: Job
    path: Path = Path()
    result: Result = field(default_factory=Result)
    named: Named = field(default_factory=list)
    iteration: int = 0
    memory: float = 0.0
    remark: str = ""

    @property
    def label(self) -> str:
        """The labels as one text."""
        return ", ".join(self.labels) or "the run"

    @property
    def stem(self) -> str:
        """What the names of the run's files begin with."""
        return self.path.name

    def file(self, ending: str) -> Path:
        """One of the run's files."""
        return self.path.with_name(self.stem + ending)

    @property
    def settings(self) -> dict[str, str]:
        """The settings of the job by name, as text."""
        table = recipes.to_table(self.job.settings, self.job.running)
        return {name: shown(value) for name, value in table.items()}


def stems(folder: Path) -> dict[str, str]:
    """The stems of the runs that have files in this folder, by their digests."""
    files = (path for path in folder.glob("*") if path.suffix in (".json", ".state"))
    return {path.stem[-DIGITS:]: path.stem for path in files}


def stem(labels: Sequence[str], existing: dict[str, str], *parts: object) -> str:
    """The stem of a run's files, which is added to the existing ones if it is new.

    existing: as stems() returns it. parts: all that decides the run; each must have a fixed repr.
    """
    digest = hashlib.sha256(repr(parts).encode()).hexdigest()[:DIGITS]
    words = re.sub(r"[^\w.=]+", "-", "--".join(labels)).encode()[:MOST_BYTES].decode(errors="ignore")
    return existing.setdefault(digest, f"{words.strip('-.')}-{digest}".lstrip("-"))


def read(run: Cell) -> Result:
    """The result in a run's file; "waiting" if there is no file, or no valid one."""
    try:
        result = msgspec.json.decode(run.file(".json").read_bytes(), type=Result)
    except (OSError, msgspec.MsgspecError, RecursionError):
        return Result()
    return result if result.status == "done" and run.file(".png").is_file() else Result()


def write_table(folder: Path, runs: Sequence[Cell]) -> Path:
    """Write results.csv: a line for each cell, with its place, its run's result and its settings."""
    rows = list(map(_row, runs))
    names = dict.fromkeys(name for row in sorted(rows, key=len, reverse=True) for name in row)
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, list(names))
    writer.writeheader()
    writer.writerows(rows)
    # Names of files may not be valid text; invalid characters become question marks, as on the page.
    table = file.getvalue().encode(errors="replace")
    return write_whole(folder / "results.csv", lambda file: file.write(table))


def _row(run: Cell) -> dict[str, object]:
    result = run.result
    page, row, column = (index + 1 for index in run.place)
    cells: dict[str, object] = {"page": page, "row": row, "column": column, "label": run.label}
    cells["file"] = f"runs/{run.stem}.png" if result.status == "done" else ""
    cells |= {"status": result.status, "error": result.error}
    cells |= {"updates": result.iterations, "seconds": round(result.seconds, 1)}
    cells |= {f"{name}_loss": loss for name, loss in result.losses.items()}
    cells |= {flag: " ".join(map(str, run.job.files.named(flag))) for flag in IMAGES}
    return cells | run.settings
