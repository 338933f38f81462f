"""From the cells of a sweep to its tasks: each distinct run once, without the runs that are done."""

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np

import vgg
from styling.network import networks
from styling.pictures import images
from styling.pictures.images import MASKS, Images
from styling.run import states
from styling.run.runs import memory_needed, resolve
from styling.settings import Settings, recipes
from styling.sweeps import results, specs
from styling.sweeps.results import Result
from styling.sweeps.specs import Cell
from styling.sweeps.tasks import Task
from styling.system.errors import NetworkError, StateError, StyleError, of_network
from styling.system.process import explain, silent_stderr


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
        digest = results.digest(dataclasses.replace(run, explicit=frozenset()))
        try:
            found = [NamedImage(flag, path, *read(path, flag in MASKS)) for flag, path in run.images]
            network = load(run.network)
            if run.running.network_sha256 not in (None, network.sha256):
                raise NetworkError(f"{run.network}: is not the network of the recipe, which has its SHA-256")
            settings, missing = _fitting(run, network)
            run = dataclasses.replace(run, settings=settings)
            cell = dataclasses.replace(cell, run=run)
            identity = [(image.flag, image.sha256) for image in found]
            settings = dataclasses.asdict(run.settings)
            digest = results.digest(settings, run.running.progress_grid, identity, network.sha256)
            if digest not in stems:
                stem = stems[digest] = existing.get(digest) or results.stem(cell.labels, digest)
                plan.results[stem] = results.read(folder, stem)
                if plan.results[stem].status != "done":
                    _add_task(plan, cell, stem, found, network, folder)
                    _add_remark(plan, networks.describe(run.network, run.instead_of, missing))
        except (StyleError, OSError) as error:
            stem = stems.setdefault(digest, results.stem(cell.labels, digest))
            plan.results[stem] = Result("failed", explain(error))
        plan.cells.append(cell)
        plan.stems.append(stems[digest])
    return plan


def _read_image(path: Path, is_mask: bool) -> tuple[str, np.ndarray]:
    """The SHA-256 of an image's or a mask's pixels, and the pixels."""
    with silent_stderr():  # libtiff writes warnings there
        pixels = images.read_mask(path) if is_mask else images.read(path)
    return states.fingerprint(pixels), pixels


def _fitting(run: specs.Run, network: vgg.Network) -> tuple[Settings, list[str]]:
    """A run's settings adapted to its network, and the layers that it lacks. Raises NetworkError."""
    layers = {layer.name for layer in network.layers}
    with of_network(run.network):
        return run.settings.for_network(run.vgg16, layers, run.explicit)


def _add_task(
    plan: Plan, cell: Cell, stem: str, found: Sequence[NamedImage], network: vgg.Network, folder: Path
) -> None:
    """Add the task of a cell's run to the plan. Raises NetworkError, and the errors of runs.resolve()."""
    of, name = cell.run, networks.name(cell.run.network)
    with of_network(of.network):
        run = resolve(Images.named((image.flag, image.pixels) for image in found), network, of.settings)
    for remark in run.remarks:
        _add_remark(plan, remark)
    if not name.isprintable():
        raise NetworkError(f"{name!r} cannot stand in a recipe; rename the network's file")
    used = dataclasses.replace(of.running, network=name, network_sha256=network.sha256, progress_grid=False)
    identities = [(image.flag, os.path.abspath(image.path), image.sha256) for image in found]
    saved = states.Saved(recipes.to_table(run.settings, used), identities)
    plan.tasks[stem] = Task(
        stem=stem,
        label=cell.label,
        settings=run.settings,
        network=network.sha256,
        images=tuple((image.flag, image.sha256) for image in found),
        grid=of.running.progress_grid,
        pixels=sum(scale.pixels for scale in run.scales),
        memory=memory_needed(run),
        saved=_continued(results.state(folder, stem), saved),
    )
    plan.pixels.update({image.sha256: image.pixels for image in found})
    plan.networks[network.sha256] = str(of.network)


def _add_remark(plan: Plan, remark: str) -> None:
    if remark not in plan.remarks:
        plan.remarks.append(remark)


def _continued(path: Path, new: states.Saved) -> states.Saved:
    """The record of a run that was stopped, if the file has one, or else the new record."""
    try:
        saved = states.read(path)
    except (OSError, StateError):
        return new
    return dataclasses.replace(saved, settings=new.settings, images=new.images)
