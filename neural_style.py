"""The command line: flags -> one Settings value -> stylize() -> files.

    neural-style --content photo.jpg --styles painting.jpg --output picture.png

styling/flags.py has the flags, and styling/jobs.py what they come to. Exit status: 0 for a picture, 2 for
what is wrong on the command line or with the names on it, 1 for what is found inside files or while running,
130 after Ctrl-C, 143 after SIGTERM.
"""

import argparse
import math
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from styling import images, limits, networks, paths, recipes, report, states
from styling.errors import DivergedError, NetworkError, SettingsError, StateError, StyleError
from styling.flags import build_parser
from styling.jobs import Job, beside, input_names, output_names, plan
from styling.process import explain, silent_stderr, stopped, terminable, uninterrupted
from styling.settings import content_size

if TYPE_CHECKING:
    from stylize import Progress


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status, or exits with 2 for a wrong command line."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # a name need not be printable to be written to
    try:
        parser = build_parser()
        options = parser.parse_args(arguments)
        try:
            job = plan(options)
            paths.check_names(input_names(job), output_names(job), options.overwrite, options.resume)
            return paint(job)
        except SettingsError as error:
            parser.error(f"argument --{error.name.replace('_', '-')}: {error.problem}")
    except (StyleError, OSError) as error:
        print(f"neural-style: error: {explain(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as stop:
        print("neural-style: interrupted", file=sys.stderr)
        return stopped(stop)


def paint(job: Job) -> int:
    """Do the job, and return the exit status."""
    options, settings, running = job.options, job.settings, job.running
    with silent_stderr():
        named = read_images(options)
    content, initial = (
        next((image for flag, _, image in named if flag == wanted), None) for wanted in ("content", "initial")
    )
    styles = [image for flag, _, image in named if flag == "styles"]
    identities = identify(named) if options.save_state else []
    if job.saved:
        check_same_images(options.resume, identities, job.saved.images)
    shape = next((image.shape[:2] for image in (content, *styles) if image is not None), (0, 0))
    for name in (options.output, options.checkpoint_output):
        if name is not None:
            images.check_size(name, *content_size(*shape, settings))
    limits.check_tensorflow()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault(
        "KERAS_HOME", os.devnull
    )  # or TensorFlow makes a folder for Keras, even without a home
    with silent_stderr():
        import stylize
        import vgg

        device = stylize.configure(running.device, running.threads, deterministic=settings.seed is not None)
    network, lacking = vgg.load(job.network), []
    if running.network_sha256 not in (None, network.sha256):
        problem = f"is not the network of {options.recipe or options.resume}"
        advice = f"name that one, whose SHA-256 is {running.network_sha256}, with --network"
        raise NetworkError(f"{job.network}: {problem}; {advice}")
    names = {layer.name for layer in network.layers}
    settings = recipes.for_network(settings, job.vgg16, names)
    try:
        if options.recipe:
            settings, lacking = recipes.without_missing(settings, names, job.given)
        settings = stylize.settled(content, styles, network, settings, initial)
        state = stylize.State.from_arrays(job.saved.arrays) if job.saved else None
        run = stylize.stylize(content, styles, network, settings, initial, state)
    except NetworkError as error:
        raise NetworkError(f"{job.network}: {error}") from None
    except StateError as error:
        raise StateError(f"{options.resume}: {error}") from None
    line = networks.describe(job.network, job.instead_of, lacking)
    if settings.tile and job.settings.tile is None:
        line += f"; in tiles of {settings.tile} pixels, since the whole needs more than half of the memory"
    if settings.precision == "bfloat16" and job.settings.precision == "fastest":
        line += "; in bfloat16, since this processor is faster with it"
    name = networks.name(job.network)
    used = replace(running, device=device, network=name, network_sha256=network.sha256, progress_grid=False)
    table = recipes.to_table(settings, used)
    if options.save_recipe:
        path = recipes.write(options.save_recipe, table, options.overwrite)
        line += f"; saved the settings in {path}"
    record = states.Saved(table, identities)
    return follow(run, replace(job, settings=settings), record, line)


def read_images(options: argparse.Namespace) -> list[tuple[str, Path, np.ndarray]]:
    """Every image that the command line names, with its flag and its path. Raises ImageError or OSError."""
    names = [("content", options.content), *(("styles", path) for path in options.styles)]
    names.append(("initial", options.initial))
    return [(flag, path, images.read(path)) for flag, path in names if path]


def identify(named: Sequence[tuple[str, Path, np.ndarray]]) -> list[tuple[str, str, str]]:
    """The flag, the full name and the SHA-256 of the pixels of each image."""
    return [(flag, os.path.abspath(path), states.fingerprint(image)) for flag, path, image in named]


def check_same_images(
    path: Path, now: list[tuple[str, str, str]], before: list[tuple[str, str, str]]
) -> None:
    """Raise StateError unless a run goes on with the images, by identify(), that it began with."""
    for (_, name, digest), (flag, old_name, old_digest) in zip(now, before, strict=True):
        if digest != old_digest:
            raise StateError(f"{name}: is not the image that --{flag} had in the run of {path}, {old_name}")


def follow(run: "Iterator[Progress]", job: Job, record: states.Saved, line: str) -> int:
    """Report on a run until it ends or is stopped, write what it made, and return the exit status.

    record: what is saved of it, but for how far it has come.
    """
    options, settings = job.options, job.settings
    recording = options.progress_write or options.progress_plot
    every, resumed = job.running.print_iterations, job.saved is not None
    reporter = report.Reporter(settings, every, recording, options.quiet, resumed)
    reporter.say(line)
    status, progress, pictures = 0, None, {}
    gridded = report.grid_iterations(settings.iterations) if job.running.progress_grid else ()
    if job.saved:
        reporter.history = [row for row in job.saved.history if row[0] < job.saved.iteration]
        pictures = {at: picture for at, picture in job.saved.pictures.items() if at in gridded}
    keeper = None
    if options.save_state:
        own = options.overwrite or options.save_state == options.resume
        keeper = states.Keeper(options.save_state, options.save_state_iterations, own)

    def keep(progress: "Progress") -> bool:
        return save_state(progress, replace(record, history=reporter.history, pictures=pictures), keeper)

    try:
        with terminable():
            for progress in run:
                reporter(progress)
                if progress.iteration in gridded:
                    pictures[progress.iteration] = images.thumbnail(progress.image())
                writes = options.checkpoint_output and settings.is_checkpoint(progress.iteration)
                if writes and not save_checkpoint(progress, options):
                    status = 1
                if keeper and keeper.is_due(progress.iteration):
                    keep(progress)
        ending = f"total loss {progress.losses()['total']:.6g} after {progress.iteration} iterations"
        if progress.iteration < settings.iterations:
            ending += f", as {settings.optimizer} finds no lower"
        outcome = progress
    except KeyboardInterrupt as stop:
        if progress is None or progress.iteration == 0:
            raise
        status, outcome = stopped(stop), progress
        ending = f"interrupted after {progress.iteration} iterations"
    except StyleError as error:
        if progress is None and not isinstance(error, DivergedError):
            raise
        status, ending = 1, f"error: {error}"
        outcome = error if isinstance(error, DivergedError) else progress
    finally:
        reporter.close()
    if gridded and progress is not None:  # the last one as well where the run has ended early
        pictures.setdefault(progress.iteration, images.thumbnail(progress.image()))
    with uninterrupted():
        kept = keeper is not None and outcome is progress and keep(progress)
        written = save(outcome, reporter.history, [pictures[at] for at in sorted(pictures)], job)
    if keeper and not kept:
        status = status or 1
    line = f"{ending}; {'wrote ' + written if written else 'nothing was written'}"
    if kept and status > 1:
        line += f"; --resume {keeper.path} goes on from there"
    elif keeper and keeper.kept is not None and not written:
        line += f" but {keeper.path}, after {keeper.kept} iterations"
    if status:
        print(f"neural-style: {line}", file=sys.stderr)
    else:
        reporter.say(line)
    return status


def save_state(progress: "Progress", record: states.Saved, keeper: states.Keeper) -> bool:
    """Keep the run as far as it has come, and return whether that worked; if not, what was kept stays."""
    if keeper.kept == progress.iteration:
        return True
    if not math.isfinite(progress.losses()["total"]):
        return False
    path = keeper.path
    try:
        keeper.keep(replace(record, arrays=progress.state.arrays()))
    except OSError as error:
        print(f"neural-style: the run is not kept: {explain(error)}", file=sys.stderr)
        return False
    if keeper.path != path:
        print(f"neural-style: {path} has come to be there; the run is kept in {keeper.path}", file=sys.stderr)
    return True


def save_checkpoint(progress: "Progress", options: argparse.Namespace) -> bool:
    """Write the best image so far, and return whether that worked; if not, the run is worth going on with."""
    path = paths.checkpoint_path(options.checkpoint_output, progress.iteration)
    try:
        images.write(path, progress.result(), options.overwrite)
    except OSError as error:
        print(f"neural-style: no checkpoint, but going on: {explain(error)}", file=sys.stderr)
        return False
    return True


def save(
    outcome: "Progress | DivergedError",
    history: list[tuple[float, ...]],
    pictures: list[np.ndarray],
    job: Job,
) -> str:
    """Write the picture, if there is one, and what was asked for of its progress; returns the names written.

    A picture that cannot be written where it should goes into the folder for temporary files, and a
    StyleError says so.
    """
    options, names = job.options, job.settings.losses
    try:
        picture = outcome.image if isinstance(outcome, DivergedError) else outcome.result()
    except DivergedError as error:  # interrupted after the loss became NaN, and before that was noticed
        picture = error.image
    written = []
    if picture is not None:
        try:
            written.append(images.write(options.output, picture, options.overwrite))
        except OSError as error:
            refuge = Path(tempfile.gettempdir(), options.output.name)
            refuge = images.write(refuge, picture, overwrite=False)
            raise StyleError(f"{explain(error)}; the picture is in {refuge} instead") from None
    for flag, wanted, write in (
        ("progress_write", options.progress_write and history, partial(report.write_history, names=names)),
        ("progress_plot", options.progress_plot and history, partial(report.plot_history, names=names)),
        ("progress_grid", pictures, report.write_grid),
    ):
        if wanted:
            try:
                written.append(write(beside(options.output, flag), options.overwrite, wanted))
            except OSError as error:
                raise StyleError(f"{explain(error)}; wrote {', '.join(map(str, written))}") from None
    return ", ".join(map(str, written))


if __name__ == "__main__":
    sys.exit(main())
