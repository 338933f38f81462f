"""From the cells of a sweep to its runs: each once, with the results that the folder has already."""

import contextlib
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path

import numpy as np

import vgg
from styling.command import painting
from styling.pictures import images
from styling.pictures.images import MASKS
from styling.run import states
from styling.run.runs import memory_needed
from styling.sweeps import results
from styling.sweeps.results import Cell, Result
from styling.system.errors import StateError, StyleError
from styling.system.process import explain

load_network = cache(vgg.load)


def plan(cells: Sequence[Cell], folder: Path) -> None:
    """Fill in the runs of the cells, and the results that the folder has already.

    A run that cannot be computed has the result "failed"; the others are not affected.
    """
    stems = results.stems(folder / "runs")
    for cell in cells:
        # Until its files are read, a run is identified by its place.
        cell.path = folder / "runs" / results.stem(cell.labels, stems, cell.place)
        try:
            make_ready(cell, stems)
        except (StyleError, OSError) as error:
            cell.result = Result("failed", explain(error))


def make_ready(cell: Cell, stems: dict[str, str]) -> None:
    """Fill in all that the computation of a run needs, and its result if it has one."""
    job, network = cell.job, load_network(cell.job.network.absolute())
    hashed = [(flag, path, *read_image(path.absolute(), flag in MASKS)) for flag, path in job.files.images]
    cell.named = [(flag, path, pixels) for flag, path, pixels, _ in hashed]
    job = painting.with_network(job, network)
    resolved, lacking = painting.make_run(job, cell.named, network)
    parts = asdict(resolved.settings), job.files.progress, network.sha256
    hashes = [(flag, sha256) for flag, _, _, sha256 in hashed]
    cell.path = cell.path.with_name(results.stem(cell.labels, stems, *parts, hashes))
    state = cell.file(".state")
    files = replace(job.files, output=cell.file(".png"), save_state=state, resume=state)
    cell.job = replace(job, settings=resolved.settings, files=files)
    with contextlib.suppress(OSError, StateError):  # of a run that was stopped, if it is there and whole
        saved = states.read(state)
        cell.job, cell.iteration = replace(cell.job, saved=saved), saved.iteration
    cell.memory, cell.remark = memory_needed(resolved), painting.describe(job, resolved, lacking)
    cell.result = results.read(cell)


@cache
def read_image(path: Path, is_mask: bool) -> tuple[np.ndarray, str]:
    """The pixels of an image or a mask at an absolute path, and their SHA-256."""
    pixels = images.read_mask(path) if is_mask else images.read(path)
    return pixels, states.fingerprint(pixels)
