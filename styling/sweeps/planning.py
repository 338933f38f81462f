"""From the cells of a sweep to its runs: each once, with the results that the folder has already."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path

import numpy as np

import vgg
from styling.command import painting
from styling.network import networks
from styling.pictures import images
from styling.pictures.images import MASKS
from styling.run import states
from styling.run.runs import memory_needed
from styling.sweeps import results
from styling.sweeps.results import Planned, Result
from styling.sweeps.specs import Cell
from styling.system.errors import NetworkError, StateError, StyleError
from styling.system.process import explain


def plan(cells: Sequence[Cell], folder: Path) -> list[Planned]:
    """The cells with their runs, and with the results that the folder has already.

    A run that cannot be computed has the result "failed"; the others are not affected.
    """
    runs, existing = [], results.stems(folder / "runs")
    for cell in cells:
        # Until its files are read, a run is identified by its place.
        path = folder / "runs" / results.stem(cell.labels, existing, cell.place)
        runs.append(Planned(cell.place, cell.labels, cell.job, path))
        try:
            make_ready(runs[-1], existing)
        except (StyleError, OSError) as error:
            runs[-1].result = Result("failed", explain(error))
    return runs


def make_ready(run: Planned, existing: dict[str, str]) -> None:
    """Fill in all that the run's computation needs, and its result if it has one."""
    job = run.job
    hashed = [(flag, path, *read_image(path.absolute(), flag in MASKS)) for flag, path in job.files.images]
    run.named = [(flag, path, pixels) for flag, path, pixels, _ in hashed]
    network, name = load(job.network.absolute()), networks.name(job.network)
    if job.running.network_sha256 not in (None, network.sha256):
        raise NetworkError(f"{job.network}: is not the network of the recipe, which has its SHA-256")
    if not name.isprintable():
        raise NetworkError(f"{name!r} cannot stand in a recipe; rename the network's file")
    resolved, lacking = painting.make_run(job, run.named, network)
    parts = asdict(resolved.settings), job.files.progress, network.sha256
    hashes = [(flag, sha256) for flag, _, _, sha256 in hashed]
    run.path = run.path.with_name(results.stem(run.labels, existing, *parts, hashes))
    state = run.file(".state")
    run.job = replace(
        job,
        settings=resolved.settings,
        running=replace(job.running, network=name, network_sha256=network.sha256),
        files=replace(job.files, output=run.file(".png"), save_state=state, resume=state),
        saved=saved(state),
    )
    run.iteration = run.job.saved.iteration if run.job.saved else 0
    run.memory = memory_needed(resolved)
    run.remark = painting.describe(job, resolved, lacking)
    run.result = results.read(run)


load = cache(vgg.load)


@cache
def read_image(path: Path, is_mask: bool) -> tuple[np.ndarray, str]:
    """The pixels of an image or a mask at an absolute path, and their SHA-256."""
    pixels = images.read_mask(path) if is_mask else images.read(path)
    return pixels, states.fingerprint(pixels)


def saved(state: Path) -> states.Saved | None:
    """The run in the file of a run that was stopped, if there is one."""
    try:
        return states.read(state)
    except (OSError, StateError):
        return None
