"""From the cells of a sweep to the runs that are to be computed: each once, without those that are done."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import numpy as np

import vgg
from styling.command import painting
from styling.command.jobs import Job
from styling.network import networks
from styling.pictures import images
from styling.pictures.images import MASKS
from styling.run import states
from styling.run.runs import memory_needed
from styling.settings import FIELDS
from styling.sweeps import results
from styling.sweeps.results import Result
from styling.sweeps.specs import Cell
from styling.sweeps.workers import Planned
from styling.system.errors import NetworkError, StateError, StyleError
from styling.system.process import explain, silent_stderr


@dataclass(frozen=True)
class Plan:
    """What a sweep consists of.

    cells: with the weights for their networks. stems: the names of their runs' files, in the same order.
    results: of the runs so far, by stem. runs: those to be computed, by stem. pixels: images by SHA-256.
    networks: files by SHA-256. remarks: lines on how runs differ from their recipes.
    """

    cells: list[Cell] = field(default_factory=list)
    stems: list[str] = field(default_factory=list)
    results: dict[str, Result] = field(default_factory=dict)
    runs: dict[str, Planned] = field(default_factory=dict)
    pixels: dict[str, np.ndarray] = field(default_factory=dict)
    networks: dict[str, Path] = field(default_factory=dict)
    remarks: dict[str, None] = field(default_factory=dict)

    @property
    def done(self) -> int:
        """How many runs are done."""
        return sum(result.status == "done" for result in self.results.values())


def make_plan(cells: Sequence[Cell], folder: Path) -> Plan:
    """Plan these cells, with the runs that the folder has already.

    A run that cannot be computed gets the result "failed"; the others are not affected.
    """
    plan, stems, existing = Plan(), {}, results.stems(folder)
    load, read = cache(vgg.load), cache(_read_image)
    for cell in cells:
        # Until its files are read, a run is identified by its parts; a set has no fixed repr.
        digest = results.digest(replace(cell.job, explicit=frozenset()))
        try:
            named = [(flag, path, *read(path, flag in MASKS)) for flag, path in cell.job.files.images]
            network = load(cell.job.network)
            job, lacking = _adapted(cell.job, network)
            cell = replace(cell, job=job)
            identity = [(flag, sha256) for flag, _, sha256, _ in named]
            wants_grid = "progress_grid" in job.files.progress
            digest = results.digest(dataclasses.asdict(job.settings), wants_grid, identity, network.sha256)
            if digest not in stems:
                stem = stems[digest] = existing.get(digest) or results.stem(cell.labels, digest)
                plan.results[stem] = results.read(folder, stem)
                if plan.results[stem].status != "done":
                    planned = _planned(cell, stem, named, network, folder, plan)
                    plan.remarks[networks.describe(job.network, job.instead_of, lacking)] = None
                    plan.runs[stem] = planned
                    plan.pixels.update({sha256: pixels for _, _, sha256, pixels in named})
                    plan.networks[network.sha256] = job.network
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


def _adapted(job: Job, network: vgg.Network) -> tuple[Job, list[str]]:
    """A job with settings for its network, and the layers that the network lacks. Raises NetworkError."""
    name = networks.name(job.network)
    if job.running.network_sha256 not in (None, network.sha256):
        raise NetworkError(f"{job.network}: is not the network of the recipe, which has its SHA-256")
    if not name.isprintable():
        raise NetworkError(f"{name!r} cannot stand in a recipe; rename the network's file")
    settings, lacking = job.for_network(network)
    running = replace(job.running, network=name, network_sha256=network.sha256)
    return replace(job, settings=settings, running=running, vgg16={}, explicit=frozenset(FIELDS)), lacking


def _planned(
    cell: Cell,
    stem: str,
    named: Sequence[tuple[str, Path, str, np.ndarray]],
    network: vgg.Network,
    folder: Path,
    plan: Plan,
) -> Planned:
    """The run of a cell. Raises what painting.make_run() raises."""
    job, state = cell.job, results.state(folder, stem)
    run, _ = painting.make_run(job, [(flag, path, pixels) for flag, path, _, pixels in named], network)
    plan.remarks.update(dict.fromkeys(run.remarks))
    files = replace(job.files, output=results.picture(folder, stem), save_state=state, resume=state)
    identity = [(flag, sha256) for flag, _, sha256, _ in named]
    job = replace(job, settings=run.settings, files=files, saved=_saved(state, identity))
    return Planned(
        stem=stem,
        label=cell.label,
        job=job,
        images=tuple(sha256 for _, _, sha256, _ in named),
        pixels=sum(scale.pixels for scale in run.scales),
        memory=memory_needed(run),
    )


def _saved(path: Path, identity: list[tuple[str, str]]) -> states.Saved | None:
    """The record of a run that was stopped, if the file has one of a run with these images."""
    try:
        saved = states.read(path)
    except (OSError, StateError):
        return None
    return saved if [(flag, sha256) for flag, _, sha256 in saved.images] == identity else None
