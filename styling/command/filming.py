"""From a job to a painted film: paint the frames that are not painted yet, then write the film."""

import contextlib
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from styling.command import report
from styling.command.jobs import Film, Job
from styling.command.painting import Named, identify, read_images, start
from styling.films import clips, store, writing
from styling.network import networks
from styling.pictures import images
from styling.pictures.images import Images
from styling.run.sizes import content_size
from styling.settings import Running, Settings, recipes
from styling.system.errors import DivergedError, StyleError, of_network
from styling.system.process import explain, status_after
from styling.system.terminal import complain, print_line

if TYPE_CHECKING:
    from styling.run.runs import Run
    from vgg import Network


def paint_film(job: Job, film: Film) -> int:
    """Paint the frames of a film that are not painted yet, write it, and return the exit status."""
    clip, painted = film.clip, film.store
    clip.check_images()
    film = film._replace(masks={path: clips.aligned(mask, clip) for path, mask in film.masks.items()})
    with contextlib.closing(clip.frames()) as frames:
        first = next(frames).pixels()
    named = read_images(job, first.shape[:2])
    _, network = start(job)
    settings, lacking = job.for_network(network)
    settings = replace(settings, seed=settings.seed if settings.seed is not None else painted.seed())
    digests = [digest for _, _, digest in identify([("content", clip.name, first), *named])]
    record = {"network": network.sha256, "images": digests}
    painted.begin(record | recipes.to_table(settings, Running()), job.files.overwrite)
    print_line(networks.describe(job.network, job.instead_of, lacking))
    stop = None
    try:
        with of_network(job.network):
            paint_frames(film, named, network, settings)
        written = write(film, job, settings)
    except (KeyboardInterrupt, OSError) as error:
        stop = error
    count = sum(painted.path(number).is_file() for number in clip.numbers())
    frames_line = f"{count} frames are in {painted.folder}"
    if stop is not None:
        why = "interrupted" if isinstance(stop, KeyboardInterrupt) else f"error: {explain(stop)}"
        complain(f"{why}; {frames_line}, and the same command goes on from there")
        return status_after(stop)
    is_apart = written != painted.folder
    print_line(f"wrote {written}; its {frames_line}" if is_apart else f"wrote {count} frames to {written}")
    return 0


def paint_frames(film: Film, named: Named, network: "Network", settings: Settings) -> None:
    """Paint the frames that are not painted yet. Raises OSError, and StyleError with the frame's number."""
    from styling.films import frames as films

    painted, numbers = film.store, film.clip.numbers()
    done = sum(painted.path(number).is_file() for number in numbers)
    share = films.share_of_work(settings)
    reporter = report.FilmReporter(len(numbers), done, share)
    masks = {path: clips.masks(mask) for path, mask in film.masks.items()}
    before: deque[films.Painted] = deque(maxlen=max(settings.frames_back))
    first, size, number = None, None, None  # the first of the scene
    try:
        with contextlib.closing(film.clip.frames()) as frames:
            for frame in frames:
                number, pixels = frame.number, frame.pixels()
                now = {path: next(each) for path, each in masks.items()}
                size = size or content_size(pixels.shape[0], pixels.shape[1], settings)
                light = films.light(pixels)
                content = images.resize(pixels / (light or 1), *size)
                inputs = Images.named((flag, now.get(path, image)) for flag, path, image in named)
                areas = films.masks_of(inputs, content)
                first = None if films.is_cut(content, before) else first
                if not painted.path(number).is_file():
                    run = None
                    if light:
                        run = films.resolve(content, inputs, before, network, settings, areas, first)
                    work = 1 if run and run.images.warped is None else share
                    picture = paint_frame(run, reporter, work) if run else content
                    images.write(painted.path(number), picture * (light or 1))
                    reporter.is_done(work)
                picture = images.read(painted.path(number)) / (light or 1)
                before.append(films.Painted(content, picture, areas))
                first = first or before[-1]
    except DivergedError as error:
        raise StyleError(f"frame {number}: {error}") from None
    finally:
        reporter.bar.close()


def paint_frame(run: "Run", reporter: report.FilmReporter, work: float) -> np.ndarray:
    """The picture of a frame, of this work."""
    import stylize
    from styling.run.memory import gradients_forgotten

    with gradients_forgotten():
        for progress in stylize.follow(run):
            reporter(progress, work)
    return progress.result()


def write(film: Film, job: Job, settings: Settings) -> Path:
    """Write the painted frames as the film or the images asked for; returns the film or the folder."""
    frames = finished(film, settings)
    if film.form:
        return writing.write_film(job.files.output, film.form, film.clip, frames, job.files.overwrite)
    to = store.images(job.files.output)
    if to != film.store:
        to.folder.mkdir(exist_ok=True)
        for frame, picture in frames:
            images.write(to.path(frame.number), picture)
    return to.folder


def finished(film: Film, settings: Settings) -> Iterator[writing.Shown]:
    """The frames, and their pictures with the clip's colours if the settings keep them."""
    for frame in film.clip.frames():
        picture = images.read(film.store.path(frame.number))
        if settings.colors == "content":
            picture = images.keep_colors(picture, images.resize(frame.pixels(), *picture.shape[:2]))
        yield frame, picture
