"""From a job to a painted film: paint the frames that are not painted yet, then write the film."""

import contextlib
from collections import deque
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from styling.command import report
from styling.command.jobs import Film, Job
from styling.films import video
from styling.network import networks
from styling.pictures import images
from styling.pictures.images import Images
from styling.run.sizes import content_size
from styling.settings import Running, Settings, recipes
from styling.system import terminal
from styling.system.errors import DivergedError, StyleError, of_network
from styling.system.process import (
    explain,
    stopped,
)
from styling.system.terminal import complain

if TYPE_CHECKING:
    from styling.run.runs import Run
    from vgg import Network

from styling.command.painting import Named, identify, read_images, start


def paint_film(job: Job, film: Film) -> int:
    """Paint the frames of a film that are not painted yet, write it, and return the exit status."""
    clip, store, overwrite = film.clip, film.store, job.files.overwrite
    say = partial(terminal.print_line, quiet=job.quiet)
    with contextlib.closing(clip.frames()) as frames:
        first = next(frames).pixels
    named = read_images(job, first.shape[:2])
    _, network = start(job)
    layers = {layer.name for layer in network.layers}
    with of_network(job.network):
        settings, lacking = job.settings.for_network(job.vgg16, layers, job.explicit)
    settings = replace(settings, seed=settings.seed if settings.seed is not None else store.seed())
    digests = [digest for _, _, digest in identify([("content", clip.name, first), *named])]
    record = {"network": network.sha256, "images": digests}
    store.begin(record | recipes.to_table(settings, Running()), overwrite)
    say(networks.describe(job.network, job.instead_of, lacking))
    with of_network(job.network):
        last, stop = paint_frames(film, named, network, settings, job.quiet)
    count = last - clip.span.first + 1
    kept = f"{count} frames are in {store.folder}"
    if isinstance(stop, KeyboardInterrupt):
        complain(f"interrupted; {kept}, and the same command goes on from there")
        return stopped(stop)
    if clip.problem:
        complain(f"{clip.name}: {clip.problem}; painted as far as it can be read")
    if stop is None:
        try:
            written = video.write(job.files.output, clip, store, settings, overwrite)
        except OSError as error:
            stop = error
    if stop is not None:
        complain(f"error: {explain(stop)}; {kept}, and the same command goes on from there")
        return 1
    if clip.sound_problem:
        complain(f"{clip.name}: {clip.sound_problem}")
    say(f"wrote {written}; its {kept}" if written != store.folder else f"wrote {count} frames to {written}")
    return 0


def paint_frames(
    film: Film, named: Named, network: "Network", settings: Settings, quiet: bool
) -> tuple[int, KeyboardInterrupt | OSError | None]:
    """Paint the frames that are not painted yet, and return the last one and what stopped it, if anything."""
    from styling.films import frames as films

    clip, store = film.clip, film.store
    moving = {path: video.masks(of) for path, of in film.masks.items()}
    last = store.done(clip.span.first)
    reporter = report.FilmReporter(clip.count(), last - clip.span.first + 1, quiet)
    before: deque[films.Frame] = deque(maxlen=max(settings.frames_back))
    frame, size = None, None
    try:
        with contextlib.closing(clip.frames()) as frames:
            for frame in frames:
                moved = {path: next(each) for path, each in moving.items()}
                if frame.number <= last - before.maxlen:
                    continue
                size = size or content_size(*frame.pixels.shape[:2], settings)
                content = images.resize(frame.pixels, *size)
                given = Images.named((flag, moved.get(path, pixels)) for flag, path, pixels in named)
                masks = films.masks_of(given, content)
                if frame.number > last:
                    run = films.resolve(content, given, before, network, settings, masks)
                    picture = paint_frame(run, reporter) if run else content
                    store.write(frame.number, picture)
                    last = frame.number
                    reporter.is_done()
                picture = store.read(frame.number)
                before.append(films.Frame(content, picture, masks))
    except (KeyboardInterrupt, OSError) as stop:
        return last, stop
    except DivergedError as error:
        raise StyleError(f"frame {frame.number}: {error}") from None
    finally:
        reporter.close()
    return last, None


def paint_frame(run: "Run", reporter: report.FilmReporter) -> np.ndarray:
    """The picture of a frame."""
    import stylize
    from styling.run.memory import gradients_forgotten

    with gradients_forgotten():
        for progress in stylize.follow(run):
            reporter(progress)
    return progress.result()
