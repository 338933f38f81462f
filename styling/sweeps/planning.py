"""From the cells of a sweep to what is to be computed: each different run once, and none that is done."""

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np

import stylize
import vgg
from styling import images, networks, recipes, states
from styling.errors import NetworkError, StateError, StyleError
from styling.process import explain, silent_stderr
from styling.sweeps import results
from styling.sweeps.results import Result
from styling.sweeps.specs import Cell
from styling.sweeps.work import Task


@dataclass(frozen=True)
class Plan:
    """What a sweep comes to.

    cells: with the weights that are for their networks. stems: of their runs, in the same order.
    results: what became of the runs so far, by stem. tasks: those that are to be made, by stem.
    pixels: images by digest. networks: files by SHA-256. remarks: lines on where a run differs from its
    recipe.
    """

    cells: list[Cell] = field(default_factory=list)
    stems: list[str] = field(default_factory=list)
    results: dict[str, Result] = field(default_factory=dict)
    tasks: dict[str, Task] = field(default_factory=dict)
    pixels: dict[str, np.ndarray] = field(default_factory=dict)
    networks: dict[str, str] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)


def plan(cells: Sequence[Cell], folder: Path) -> Plan:
    """What is to be done for these cells, beside what the folder has of them.

    A run that cannot be made has failed, and does not keep the others from being made.
    """
    found, stems, there = Plan(), {}, results.stems(folder)
    load, read = cache(vgg.load), cache(_read)
    for cell in cells:
        run = cell.run
        # Until its files are read, a run is known by what it is made of; a set has no fixed repr.
        digest = results.digest(dataclasses.replace(run, droppable=frozenset()))
        try:
            seen = [(flag, path, *read(path)) for flag, path in run.images]
            network = load(run.network)
            if run.running.network_sha256 not in (None, network.sha256):
                raise NetworkError(f"{run.network}: is not the network of the recipe, which has its SHA-256")
            names = {layer.name for layer in network.layers}
            run = dataclasses.replace(run, settings=recipes.for_network(run.settings, run.vgg16, names))
            cell = dataclasses.replace(cell, run=run)
            identity = [(flag, image) for flag, _, image, _ in seen]
            parts = dataclasses.asdict(run.settings), run.running.progress_grid, identity, network.sha256
            digest = results.digest(*parts)
            if digest not in stems:
                stem = stems[digest] = there.get(digest) or results.stem(cell.labels, digest)
                found.results[stem] = results.read(folder, stem)
                if found.results[stem].status != "done":
                    _add_task(found, cell, stem, seen, network, folder)
        except (StyleError, OSError) as error:
            stem = stems.setdefault(digest, results.stem(cell.labels, digest))
            found.results[stem] = Result("failed", explain(error))
        found.cells.append(cell)
        found.stems.append(stems[digest])
    return found


def _read(path: Path) -> tuple[str, np.ndarray]:
    """An image's digest and pixels."""
    with silent_stderr():  # which libtiff writes to
        pixels = images.read(path)
    return states.fingerprint(pixels), pixels


def _add_task(
    found: Plan,
    cell: Cell,
    stem: str,
    seen: list[tuple[str, Path, str, np.ndarray]],
    network: vgg.Network,
    folder: Path,
) -> None:
    """Add a cell's run, which is to be made, of images that are seen as (flag, path, digest, pixels)."""
    run = cell.run
    content, initial = (
        next(((image, pixels) for flag, _, image, pixels in seen if flag == wanted), (None, None))
        for wanted in ("content", "initial")
    )
    styles = [(image, pixels) for flag, _, image, pixels in seen if flag == "styles"]
    paintings = [pixels for _, pixels in styles]
    names = {layer.name for layer in network.layers}
    try:
        settings, lacking = recipes.without_missing(run.settings, names, recipes.TYPES.keys() - run.droppable)
        settings = stylize.settled(content[1], paintings, network, settings, initial[1])
        operations, memory = stylize.demand(content[1], paintings, network, settings)
    except NetworkError as error:
        raise NetworkError(f"{run.network}: {error}") from None
    identities = [(flag, os.path.abspath(path), image) for flag, path, image, _ in seen]
    name = networks.name(run.network)
    if not name.isprintable():
        raise NetworkError(f"{name!r} cannot stand in a recipe; rename the network's file")
    used = dataclasses.replace(run.running, network=name, network_sha256=network.sha256, progress_grid=False)
    found.tasks[stem] = Task(
        stem=stem,
        label=cell.label,
        settings=settings,
        network=network.sha256,
        content=content[0],
        styles=tuple(image for image, _ in styles),
        initial=initial[0],
        gridded=run.running.progress_grid,
        operations=operations,
        memory=memory,
        saved=_saved(results.state(folder, stem), states.Saved(recipes.to_table(settings, used), identities)),
    )
    found.pixels.update({image: pixels for *_, image, pixels in seen})
    found.networks[network.sha256] = str(run.network)
    remark = networks.describe(run.network, run.instead_of, lacking)
    if remark not in found.remarks:
        found.remarks.append(remark)


def _saved(path: Path, new: states.Saved) -> states.Saved:
    """How far a run has come, by its file, or a new one."""
    try:
        found = states.read(path)
    except (OSError, StateError):
        return new
    return dataclasses.replace(found, settings=new.settings, images=new.images)
