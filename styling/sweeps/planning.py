"""From the cells of a sweep to its tasks: each different run once, and none that is done already."""

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
from styling.settings import Settings
from styling.sweeps import results
from styling.sweeps.results import Result
from styling.sweeps.specs import Cell, Run
from styling.sweeps.tasks import Task


@dataclass(frozen=True)
class NamedImage:
    """An image of a run: its flag, its file, its pixels [H, W, 3] and their SHA-256."""

    flag: str
    path: Path
    sha256: str
    pixels: np.ndarray


@dataclass(frozen=True)
class Plan:
    """What a sweep consists of.

    cells: with the weights for their networks. stems: the names of their runs' files, in the same order.
    results: of the runs so far, by stem. tasks: the runs to be computed, by stem. pixels: images by SHA-256.
    networks: files by SHA-256. remarks: lines on how runs differ from their recipes.
    """

    cells: list[Cell] = field(default_factory=list)
    stems: list[str] = field(default_factory=list)
    results: dict[str, Result] = field(default_factory=dict)
    tasks: dict[str, Task] = field(default_factory=dict)
    pixels: dict[str, np.ndarray] = field(default_factory=dict)
    networks: dict[str, str] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    @property
    def done(self) -> int:
        """How many runs are done."""
        return sum(result.status == "done" for result in self.results.values())


def make_plan(cells: Sequence[Cell], folder: Path) -> Plan:
    """Plan these cells, given the runs that the folder has already.

    A run that cannot be computed gets the result "failed"; the others are not affected.
    """
    plan, stems, existing = Plan(), {}, results.stems(folder)
    load, read = cache(vgg.load), cache(_read_image)
    for cell in cells:
        run = cell.run
        # Until its files are read, a run is identified by its parts; a set has no fixed repr.
        digest = results.digest(dataclasses.replace(run, droppable=frozenset()))
        try:
            found = [NamedImage(flag, path, *read(path)) for flag, path in run.images]
            network = load(run.network)
            if run.running.network_sha256 not in (None, network.sha256):
                raise NetworkError(f"{run.network}: is not the network of the recipe, which has its SHA-256")
            names = {layer.name for layer in network.layers}
            run = dataclasses.replace(run, settings=recipes.for_network(run.settings, run.vgg16, names))
            cell = dataclasses.replace(cell, run=run)
            identity = [(image.flag, image.sha256) for image in found]
            settings = dataclasses.asdict(run.settings)
            digest = results.digest(settings, run.running.progress_grid, identity, network.sha256)
            if digest not in stems:
                stem = stems[digest] = existing.get(digest) or results.stem(cell.labels, digest)
                plan.results[stem] = results.read(folder, stem)
                if plan.results[stem].status != "done":
                    _add_task(plan, cell, stem, found, network, folder)
        except (StyleError, OSError) as error:
            stem = stems.setdefault(digest, results.stem(cell.labels, digest))
            plan.results[stem] = Result("failed", explain(error))
        plan.cells.append(cell)
        plan.stems.append(stems[digest])
    return plan


def _read_image(path: Path) -> tuple[str, np.ndarray]:
    """The SHA-256 of an image's pixels, and the pixels."""
    with silent_stderr():  # which libtiff writes to
        pixels = images.read(path)
    return states.fingerprint(pixels), pixels


def _add_task(
    plan: Plan, cell: Cell, stem: str, found: Sequence[NamedImage], network: vgg.Network, folder: Path
) -> None:
    """Add the task of a cell's run to the plan."""
    content, initial = (
        next((image for image in found if image.flag == flag), None) for flag in ("content", "initial")
    )
    styles = [image for image in found if image.flag == "styles"]
    settings, saved, missing = prepare(cell.run, content, styles, initial, network)
    pixels, memory = stylize.estimate(
        content and content.pixels, [style.pixels for style in styles], network, settings
    )
    plan.tasks[stem] = Task(
        stem=stem,
        label=cell.label,
        settings=settings,
        network=network.sha256,
        content=content and content.sha256,
        styles=tuple(style.sha256 for style in styles),
        initial=initial and initial.sha256,
        grid=cell.run.running.progress_grid,
        pixels=pixels,
        memory=memory,
        saved=_continued(results.state(folder, stem), saved),
    )
    plan.pixels.update({image.sha256: image.pixels for image in found})
    plan.networks[network.sha256] = str(cell.run.network)
    remark = networks.describe(cell.run.network, cell.run.instead_of, missing)
    if remark not in plan.remarks:
        plan.remarks.append(remark)


def prepare(
    run: Run,
    content: NamedImage | None,
    styles: Sequence[NamedImage],
    initial: NamedImage | None,
    network: vgg.Network,
) -> tuple[Settings, states.Saved, list[str]]:
    """A run's complete settings, its record before the first update, and layers that the network lacks.

    Raises NetworkError, and what stylize() raises at the call.
    """
    names = {layer.name for layer in network.layers}
    pixels = [image and image.pixels for image in (content, initial)]
    try:
        fixed = recipes.TYPES.keys() - run.droppable
        settings, missing = recipes.without_missing(run.settings, names, fixed)
        settings = stylize.settled(
            pixels[0], [style.pixels for style in styles], network, settings, pixels[1]
        )
    except NetworkError as error:
        raise NetworkError(f"{run.network}: {error}") from None
    name = networks.name(run.network)
    if not name.isprintable():
        raise NetworkError(f"{name!r} cannot stand in a recipe; rename the network's file")
    used = dataclasses.replace(run.running, network=name, network_sha256=network.sha256, progress_grid=False)
    identities = [
        (image.flag, os.path.abspath(image.path), image.sha256)
        for image in (content, *styles, initial)
        if image
    ]
    return settings, states.Saved(recipes.to_table(settings, used), identities), missing


def _continued(path: Path, new: states.Saved) -> states.Saved:
    """The record of a run that was stopped, if the file has one, or else the new record."""
    try:
        saved = states.read(path)
    except (OSError, StateError):
        return new
    return dataclasses.replace(saved, settings=new.settings, images=new.images)
