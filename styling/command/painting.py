"""From a job to painted pictures: read its images, start the network, follow the run, write what it made."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from styling.command import report
from styling.command.jobs import Job, named_images
from styling.command.output import StateFile, save, save_checkpoint
from styling.films import video
from styling.network import networks
from styling.pictures import images
from styling.pictures.images import Images
from styling.run import states
from styling.run.recorder import Recorder
from styling.settings import Running, Settings, content_size, recipes, sizes_in_use
from styling.system import terminal
from styling.system.errors import DivergedError, NetworkError, StateError, StyleError, flag_of, of_network
from styling.system.process import (
    explain,
    loading_tensorflow,
    silent_stderr,
    stopped,
    uninterrupted,
)
from styling.system.terminal import complain

if TYPE_CHECKING:
    from styling.live.view import View
    from styling.run.progress import Progress
    from styling.run.runs import Run
    from vgg import Network

LARGE, SMALLER = 2**22, 1024  # above so many pixels, if no flag names a size, this width is proposed
Named = list[tuple[str, Path, np.ndarray]]  # images with their flags and names


def paint_all(job: Job) -> int:
    """Make every picture that is asked for, and return the exit status."""
    if job.is_batch:
        return paint_batch(job)
    named = read_images(job)
    check_formats(job, Images.named((flag, pixels) for flag, _, pixels in named))
    return paint(job, named, *start(job))


def paint_batch(job: Job) -> int:
    """Make the pictures of a batch that are not there yet, and return the exit status.

    If one fails, the others are still made.
    """
    left, count = job.left, len(job.outputs)
    say = partial(terminal.print_line, quiet=job.options.quiet)
    say(f"{len(left)} of {count} pictures to be made")
    if not left:
        return 0
    running, network = start(job)
    from styling.run.memory import gradients_forgotten

    failures = 0
    for i, (content, output) in enumerate(left, count - len(left) + 1):
        say(f"{i} of {count}: {content}")
        one = replace(job, contents=(content,), outputs=(output,))
        try:
            with gradients_forgotten():
                status = paint(one, read_images(one), running, network)
        except (StyleError, OSError) as error:
            complain(f"error: {explain(error)}")
            status = 1
        if status > 1:
            return status
        failures += status
    if failures:
        complain(f"{failures} of {count} pictures failed")
    return min(failures, 1)


def read_images(job: Job, model: tuple[int, int] | None = None) -> Named:
    """Read the images of a job for one picture, no larger than its settings need.

    model: the (height, width) whose shape the picture takes, if no image of the job decides it. Raises
    ImageError or OSError.
    """
    options, settings = job.options, job.settings
    scales = settings.scales_of_styles(len(options.styles))
    names = [("content", content, None) for content in job.contents]
    names += [("styles", *style) for style in zip(options.styles, scales, strict=True)]
    names += [("initial", options.initial, None)]
    masks = [(flag, path) for flag, path in named_images(options) if flag in images.MASKS]
    moving = job.film.masks if job.film else {}
    found = []
    with silent_stderr():  # libtiff writes warnings there
        for flag, path, scale in names:
            if path:
                sizes = partial(sizes_in_use, settings=settings, scale=scale, model=model)
                found.append((flag, path, images.read(path, sizes)))
                model = model or found[0][2].shape[:2]
        for flag, path in masks:
            mask = next(video.masks(moving[path])) if path in moving else images.read_mask(path)
            found.append((flag, path, mask))
    return found


def check_formats(job: Job, given: Images) -> None:
    """Raise ImageError if the format of an output file cannot hold a picture of this size."""
    for name in (*job.outputs, job.options.checkpoint_output):
        if name is not None:
            images.check_size(name, *content_size(*given.shape, job.settings))


def start(job: Job) -> tuple[Running, "Network"]:
    """Load TensorFlow and the network; returns job.running with the actual device and network, and the
    network."""
    with loading_tensorflow():
        import vgg
        from styling.system.device import configure

        deterministic = job.settings.seed is not None
        device = configure(job.running.device, job.running.threads, deterministic)
    network = vgg.load(job.network)
    if job.running.network_sha256 not in (None, network.sha256):
        problem = f"is not the network of {job.options.recipe or job.options.resume}"
        advice = f"name that one, whose SHA-256 is {job.running.network_sha256}, with --network"
        raise NetworkError(f"{job.network}: {problem}; {advice}")
    name = networks.name(job.network)
    return replace(job.running, device=device, network=name, network_sha256=network.sha256), network


def paint(job: Job, named: Named, running: Running, network: "Network") -> int:
    """Make one picture, and return the exit status. running: as start() returns it."""
    run, record, line = prepare(job, named, running, network)
    if job.options.save_recipe:
        path = recipes.write(job.options.save_recipe, record.settings, job.options.overwrite)
        line += f"; saved the settings in {path}"
    if job.options.live is None:
        return follow(run, job, record, line)
    from styling.live.live import watched

    with watched(job.options.live, run.settings) as (view, place):
        return follow(run, job, record, f"{line}; to be seen at {place}", view)


def prepare(job: Job, named: Named, running: Running, network: "Network") -> tuple["Run", states.Saved, str]:
    """The run of a job for one picture, its record at the start, and the line that is printed first."""
    from styling.run.runs import resolve

    options, saved = job.options, job.saved
    identities = identify(named) if options.save_state else []
    if saved:
        check_same_images(options.resume, identities, saved.images)
    layers = {layer.name for layer in network.layers}
    with of_network(job.network):
        settings, lacking = job.settings.for_network(job.vgg16, layers, job.explicit)
        run = resolve(Images.named((flag, pixels) for flag, _, pixels in named), network, settings)
    table = recipes.to_table(run.settings, replace(running, progress_grid=False))
    record = replace(saved or states.Saved({}, []), settings=table, images=identities)
    return run, record, describe(job, run, lacking)


def identify(named: Named) -> list[tuple[str, str, str]]:
    """The flag, the full name and the SHA-256 of the pixels of each image."""
    return [(flag, os.path.abspath(path), states.fingerprint(pixels)) for flag, path, pixels in named]


def check_same_images(
    path: Path, now: list[tuple[str, str, str]], before: list[tuple[str, str, str]]
) -> None:
    """Raise StateError unless the images are those that the run began with; both as identify() gives them."""
    for (_, name, digest), (flag, old_name, old_digest) in zip(now, before, strict=True):
        if digest != old_digest:
            own = flag_of(flag)
            raise StateError(f"{name}: is not the image that {own} had in the run of {path}, {old_name}")


def describe(job: Job, run: "Run", lacking: list[str]) -> str:
    """One line: which network paints, and what the program has chosen by itself."""
    line = networks.describe(job.network, job.instead_of, lacking)
    if run.settings.tile and job.settings.tile is None:
        line += (
            f"; in tiles of {run.settings.tile} pixels, since the whole needs more than half of the memory"
        )
    height, width = run.scales[-1].size
    if width * height > LARGE and not (run.settings.width or run.settings.max_size):
        line += f"; {width} x {height} pixels, as it comes: --width {SMALLER} would be"
        line += f" {(width / SMALLER) ** 2:.0f} times as fast"
    if run.settings.precision == "bfloat16" and job.settings.precision == "fastest":
        line += "; in bfloat16, since this processor is faster with it"
    return "; ".join((line, *run.remarks))


def follow(run: "Run", job: Job, record: states.Saved, line: str, view: "View | None" = None) -> int:
    """Make a run, report on it until it ends or is stopped, write what it made, and return the exit status.

    record: of a new run, or of a saved run to go on with. line: printed first. view: shows it in a browser.
    """
    options, settings = job.options, run.settings
    progresses = begin(run, record, options.resume)
    every = job.running.print_iterations
    losses_every = (every or 1) if options.progress_write or options.progress_plot or view else 0
    grid, save_every = job.running.progress_grid, options.save_state_iterations
    recorder = Recorder(record, settings.iterations, losses_every, grid, save_every)
    reporter = report.Reporter(settings, every, options.quiet, resumed=bool(record.arrays))
    reporter.say(line)
    file = None
    if options.save_state:
        file = StateFile(options.save_state, options.overwrite or options.save_state == options.resume)

    def watch(progress: "Progress") -> bool:
        """Show, record and save what is due; returns False if a checkpoint could not be written."""
        reporter(progress)
        recorder(progress)
        if view:
            view(progress, recorder)
        writes = options.checkpoint_output and settings.is_checkpoint(progress.iteration)
        is_written = not writes or save_checkpoint(progress, job)
        if file and recorder.is_save_due(progress.iteration):
            file.save(progress, recorder)
        return is_written

    try:
        ending = iterate(progresses, watch, settings)
    finally:
        reporter.close()
    status, progress = ending.status, ending.progress
    with uninterrupted():
        if progress is not None:
            recorder.finish(progress)
        saved = file is not None and ending.diverged is None and file.save(progress, recorder)
        written = save(ending.diverged or progress, recorder, job, settings.losses)
    if file and not saved:
        status = status or 1
    line = f"{ending.text}, in {report.seconds(recorder.seconds)}; "
    line += f"wrote {written}" if written else "nothing was written"
    if saved and status > 1:
        line += f"; --resume {file.path} goes on from there"
    elif file and file.saved is not None and not written:
        line += f" but {file.path}, after {file.saved} iterations"
    say = complain if status else reporter.say
    say(line)
    return status


def begin(run: "Run", record: states.Saved, path: Path | None) -> Iterator["Progress"]:
    """Start the run, or continue it from its record. path: the file of the record, for error messages."""
    import stylize

    try:
        state = states.State.from_arrays(record.arrays) if record.arrays else None
        return stylize.follow(run, state)
    except StateError as error:
        raise StateError(f"{path}: {error}") from None


@dataclass(frozen=True)
class Ending:
    """How a run ended: exit status, and text for people. progress: the last. diverged: the error, if any."""

    status: int
    text: str
    progress: "Progress | None"
    diverged: DivergedError | None = None


def iterate(
    progresses: Iterator["Progress"], watch: Callable[["Progress"], bool], settings: Settings
) -> Ending:
    """Follow a run until it ends, is stopped or fails.

    An exception is raised again if there is nothing to keep yet.
    """
    status, progress = 0, None
    try:
        for progress in progresses:
            if not watch(progress):
                status = 1
    except KeyboardInterrupt as stop:
        if progress is None or progress.iteration == 0:
            raise
        return Ending(stopped(stop), f"interrupted after {progress.iteration} iterations", progress)
    except DivergedError as error:
        return Ending(1, f"error: {error}", progress, error)
    except StyleError as error:
        if progress is None:
            raise
        return Ending(1, f"error: {error}", progress)
    text = f"total loss {progress.losses()['total']:.6g} after {progress.iteration} iterations"
    if progress.iteration < settings.iterations:
        text += f", as {settings.optimizer} finds no lower"
    return Ending(status, text, progress)
