"""From a job to a painted picture: read its images, make its run definite, follow it, write what it made.

The command line, a batch, the page and a sweep all go this way: prepare() and follow(). They differ in who
looks on.
"""

import contextlib
import os
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from styling.command import report
from styling.command.jobs import Job, unpainted
from styling.command.output import Checkpoints, StateFile, save
from styling.films import clips
from styling.network import networks
from styling.pictures import images
from styling.pictures.images import Images
from styling.run import states
from styling.run.recorder import Recorder
from styling.run.sizes import sizes_in_use
from styling.settings import Settings, recipes
from styling.system.errors import DivergedError, NetworkError, StateError, StyleError, flag_of, of_network
from styling.system.process import explain, status_after, uninterrupted
from styling.system.terminal import complain, print_line

if TYPE_CHECKING:
    from styling.run.progress import Progress
    from styling.run.runs import Run
    from vgg import Network

Named = list[tuple[str, Path, np.ndarray]]  # images with their flags and names
Observer = Callable[["Progress", Recorder], object]  # who looks on; KeyboardInterrupt ends the run


@dataclass(frozen=True)
class Prepared:
    """A job whose run is definite.

    progresses: the run, which starts once it is iterated. record: the run so far. line: what the program has
    chosen by itself.
    """

    job: Job
    run: "Run"
    progresses: Generator["Progress", None, None]
    record: states.Saved
    line: str


@dataclass(frozen=True)
class Outcome:
    """What became of a run.

    progress: the last. picture: float32 [H, W, 3], RGB 0..255; None if no loss was finite. early: what ended
    the run early, if anything.
    """

    recorder: Recorder
    progress: "Progress"
    picture: np.ndarray | None
    early: KeyboardInterrupt | StyleError | None


def paint_batch(jobs: Sequence[Job]) -> int:
    """Paint the pictures of a batch that are not there yet, and return the exit status.

    If one fails, the others are still painted.
    """
    left, count = unpainted(jobs), len(jobs)
    print_line(f"{len(left)} of {count} pictures to be made")
    if not left:
        return 0
    started, network = start(left[0])
    failed: list[Path] = []
    for number, job in enumerate(left, count - len(left)):
        (content,) = job.files.named("content")
        print_line(f"{number + 1} of {count}: {content}")
        try:
            status = paint(replace(job, running=started.running), read_images(job), network)
        except (StyleError, OSError, KeyboardInterrupt) as error:
            complain("interrupted" if isinstance(error, KeyboardInterrupt) else f"error: {explain(error)}")
            status = status_after(error)
        if status > 1:
            line = f"{number - len(failed)} of {count} pictures are painted"
            complain(f"{line}; the same command goes on from there")
            return status
        failed += [content] * status
    line = f"{count - len(failed)} of {count} pictures are painted"
    if failed:
        complain(f"{line}; failed: {', '.join(map(str, failed))}")
        return 1
    print_line(line)
    return 0


def read_images(job: Job, model: tuple[int, int] | None = None) -> Named:
    """Read the images of a job for one picture, no larger than its settings need.

    model: the (height, width) whose shape the picture takes, if no image of the job decides it. Raises
    ImageError or OSError.
    """
    settings, moving = job.settings, job.film.masks if job.film else {}
    scales = iter(settings.scales_of_styles(len(job.files.named("styles"))))
    named: Named = []
    for flag, path in job.files.images:
        if path in moving:
            pixels = next(clips.masks(moving[path]))
        elif flag in images.MASKS:
            pixels = images.read_mask(path)
        else:
            scale = next(scales) if flag == "styles" else None
            sizes = partial(sizes_in_use, settings=settings, scale=scale, model=model)
            pixels = images.read(path, sizes)
            model = model or pixels.shape[:2]
        named.append((flag, path, pixels))
    return named


def start(job: Job) -> tuple[Job, "Network"]:
    """Load TensorFlow and the network; returns the job with the device and the network that it really has."""
    import vgg
    from styling.system.device import configure

    device = configure(job.running.device, job.running.threads, deterministic=job.settings.seed is not None)
    network = vgg.load(job.network)
    job = with_network(job, network)
    return replace(job, running=replace(job.running, device=device)), network


def with_network(job: Job, network: "Network") -> Job:
    """The job with the actual network's name and SHA-256. Raises NetworkError if it is for another."""
    if job.running.network_sha256 not in (None, network.sha256):
        problem = f"is not the network of {job.files.source}"
        advice = f"name that one, whose SHA-256 is {job.running.network_sha256}, with --network"
        raise NetworkError(f"{job.network}: {problem}; {advice}")
    name = networks.name(job.network)
    return replace(job, running=replace(job.running, network=name, network_sha256=network.sha256))


def paint(job: Job, named: Named, network: "Network") -> int:
    """Paint one picture, write its files, report on it, and return the exit status. job: as of start()."""
    prepared, files = prepare(job, named, network), job.files
    line, settings = prepared.line, prepared.run.settings
    if files.save_recipe:
        path = recipes.write(files.save_recipe, prepared.record.settings, files.overwrite)
        line += f"; saved the settings in {path}"
    with contextlib.ExitStack() as stack:
        resumed = bool(prepared.record.arrays)
        reporter = report.Reporter(settings, job.running.print_iterations, resumed)
        stack.enter_context(contextlib.closing(reporter.bar))
        checkpoints, state = Checkpoints(files, settings), StateFile(files.save_state)
        observers: list[Observer] = [reporter, checkpoints, state]
        if job.live is not None:
            from styling.live.http import watched

            view, place = stack.enter_context(watched(job.live))
            observers.append(view)
            line += f"; to be seen at {place}"
        print_line(line)
        needs_losses = job.live is not None or {"progress_write", "progress_plot"} & set(files.progress)
        losses_every = (job.running.print_iterations or 1) if needs_losses else 0
        outcome = follow(prepared, observers, losses_every)
    status = finish(prepared, outcome, state)
    return status or int(checkpoints.failed)


def prepare(job: Job, named: Named, network: "Network") -> Prepared:
    """Make the run of a job definite. job: with the actual device and network. named: its images.

    Raises StyleError for images or a network that do not fit the job, or the memory at hand.
    """
    import stylize

    files, saved = job.files, job.saved
    identities = identify(named) if files.save_state else []
    before = saved.images if saved else identities
    for (_, path, digest), (flag, first, first_digest) in zip(identities, before, strict=True):
        if digest != first_digest:
            problem = f"is not the image that {flag_of(flag)} had in the run of {files.resume}, {first}"
            raise StateError(f"{path}: {problem}")
    run, lacking = make_run(job, named, network)
    images.check_size(files.output, *run.scales[-1].size)
    table = recipes.to_table(run.settings, replace(job.running, progress_grid=False))
    record = replace(saved or states.Saved({}, []), settings=table, images=identities)
    try:
        state = states.State.from_arrays(record.arrays) if record.arrays else None
        return Prepared(job, run, stylize.follow(run, state), record, describe(job, run, lacking))
    except StateError as error:
        raise StateError(f"{files.resume}: {error}") from None


def make_run(job: Job, named: Named, network: "Network") -> tuple["Run", list[str]]:
    """The run of a job, and the names of layers of its recipe that the network lacks."""
    from styling.run.runs import resolve

    settings, lacking = job.for_network(network)
    with of_network(job.network):
        return resolve(Images.named((flag, pixels) for flag, _, pixels in named), network, settings), lacking


def follow(prepared: Prepared, observers: Iterable[Observer], losses_every: int = 0) -> Outcome:
    """Make a run, until it ends or is stopped; each observer is called with each Progress, once recorded.

    losses_every: record the losses every so many iterations, and at the end; 0 for never. An error is raised
    if there is nothing to keep yet, and is in the outcome otherwise.
    """
    from styling.run.memory import gradients_forgotten

    job, record, settings = prepared.job, prepared.record, prepared.run.settings
    grid = "progress_grid" in job.files.progress
    recorder = Recorder(record, settings.iterations, losses_every, grid, job.files.save_state_iterations)
    progress: Progress | None = None
    early: KeyboardInterrupt | StyleError | None = None
    try:
        with gradients_forgotten(), contextlib.closing(prepared.progresses) as progresses:
            for progress in progresses:
                recorder(progress)
                for observer in observers:
                    observer(progress, recorder)
    except (KeyboardInterrupt, StyleError) as error:
        if progress is None or (isinstance(error, KeyboardInterrupt) and progress.iteration == 0):
            raise
        early = error
    assert progress is not None  # the first comes before any update
    with uninterrupted():
        recorder.finish(progress)
        return Outcome(recorder, progress, picture_of(early, progress), early)


def picture_of(early: BaseException | None, progress: "Progress") -> np.ndarray | None:
    """The picture if a run ends here; at a coarse scale, it is the image that the next would start from.

    If the loss has diverged, it is the best of the images compared, or None.
    """
    if isinstance(early, DivergedError) and progress.state.best[1] is None:
        return None
    try:
        is_last = progress.state.scale == len(progress.scales) - 1
        return progress.result() if is_last else progress.image()
    except DivergedError:  # interrupted after the loss became NaN, but before it was noticed
        return None


def finish(prepared: Prepared, outcome: Outcome, state: StateFile) -> int:
    """Write what a run made, say so, and return the exit status; of a batch, only what is finished."""
    files, settings, early = prepared.job.files, prepared.run.settings, outcome.early
    status = status_after(early) if early else 0
    written, saved = "", False
    with uninterrupted():
        if not isinstance(early, DivergedError):
            saved = state.save(outcome.progress, outcome.recorder)
        if not (early and files.folder):
            written = save(outcome.picture, outcome.recorder, files, settings.losses)
    if state.path and not saved:
        status = status or 1
    line = f"{ending(outcome, settings)}, in {report.seconds(outcome.recorder.seconds)}; "
    line += f"wrote {written}" if written else "nothing was written"
    if saved and status > 1:
        line += f"; --resume {state.path} goes on from there"
    elif state.saved is not None and not written:
        line += f" but {state.path}, after {state.saved} iterations"
    (complain if status else print_line)(line)
    return status


def ending(outcome: Outcome, settings: Settings) -> str:
    """How a run ended, in words."""
    iteration = outcome.progress.iteration
    if isinstance(outcome.early, KeyboardInterrupt):
        return f"interrupted after {iteration} iterations"
    if outcome.early:
        return f"error: {outcome.early}"
    if not settings.iterations:
        return "painted in one pass"
    line = f"total loss {outcome.progress.losses()['total']:.6g} after {iteration} iterations"
    return line + (f", as {settings.optimizer} finds no lower" if iteration < settings.iterations else "")


def identify(named: Named) -> list[tuple[str, str, str]]:
    """The flag, the full name and the SHA-256 of the pixels of each image."""
    return [(flag, os.path.abspath(path), states.fingerprint(pixels)) for flag, path, pixels in named]


def describe(job: Job, run: "Run", lacking: list[str]) -> str:
    """One line: which network paints, and what the program has chosen by itself."""
    line = networks.describe(job.network, job.instead_of, lacking)
    if run.settings.tile and job.settings.tile is None:
        why = "since the whole needs more than half of the memory"
        line += f"; in tiles of {run.settings.tile} pixels, {why}"
    if run.settings.precision == "bfloat16" and job.settings.precision == "fastest":
        line += "; in bfloat16, since this processor is faster with it"
    return "; ".join((line, *run.remarks))
