"""From the flags of a command line to jobs: one for each picture, with its settings, files and saved run.

Each function raises SettingsError, with the name of the flag, for an error in a flag. Nothing here needs
TensorFlow.
"""

import argparse
import importlib.util
import os
import re
import secrets
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from styling.command.flags import settings_of
from styling.films import clips, store, writing
from styling.live import address
from styling.network import networks
from styling.pictures import folders, images
from styling.pictures.images import FLAGS
from styling.run import states
from styling.settings import FIELDS, Running, Settings, build, recipes
from styling.system import filenames
from styling.system.errors import RecipeError, SettingsError, StateError, of_network

if TYPE_CHECKING:
    from vgg import Network

FILM_FLAGS = ("frames", "frame_rate", "video_codec", "crf")
MOVING_MASKS = ("style_masks", "content_mask")  # for a film, these masks may be clips
ONE_PICTURE = ("checkpoint_output", "save_recipe", "save_state", "resume")  # flags for a single picture
# What a --progress flag adds to the stem of the picture's name.
PROGRESS = {"progress_write": ".txt", "progress_plot": ".png", "progress_grid": "-grid.png"}
CHECKPOINT = re.compile(r"\{(?::(\d{1,3})d?)?\}|%(\d{0,3})d")  # the place of the iteration in a name
ENDINGS: dict[str, Collection[str]] = {
    "output": images.FORMATS | writing.FORMATS,
    "checkpoint_output": images.FORMATS,
    "save_recipe": (".toml",),
}

NamedFiles = tuple[tuple[str, Path], ...]  # files with the flags that name them


@dataclass(frozen=True)
class Files:
    """The files of a job, by the names of their flags.

    images: what is read, in the order of FLAGS. output: the picture, or the film. save_state: where the run
    is saved, every so many iterations, or each minute. resume: the saved run to go on with. progress: the
    flags of the files about the run's progress. source: the recipe or the saved run that the settings come
    from. folder: of a batch, made with its first picture.
    """

    images: NamedFiles
    output: Path
    overwrite: bool = False
    checkpoint_output: str | None = None
    save_recipe: Path | None = None
    save_state: Path | None = None
    save_state_iterations: int | None = None
    resume: Path | None = None
    progress: tuple[str, ...] = ()
    source: str | None = None
    folder: Path | None = None

    def named(self, flag: str) -> list[Path]:
        """The images that this flag names."""
        return [path for name, path in self.images if name == flag]

    def beside(self, flag: str) -> Path:
        """The file that a --progress flag asks for."""
        return self.output.with_name(f"{self.output.stem}-progress{PROGRESS[flag]}")


class Film(NamedTuple):
    """The clip to paint, the store of its painted frames, the moving masks by their files, and the format of
    the film; None for images."""

    clip: clips.Clip
    store: store.Store
    masks: dict[Path, clips.Clip]
    form: writing.Format | None


@dataclass(frozen=True)
class Job:
    """A picture or a film to paint.

    settings, running: from the flags and the recipe. vgg16: weights that replace those in settings if the
    network is a VGG-16, which is known once it is loaded. instead_of: the network that the recipe is for, if
    it is not here. explicit: settings that stay as they are, whatever layers the network lacks. saved: the
    run to go on with. film: the film to paint, if any; files then has no content. live: the port of a live
    view.
    """

    files: Files
    settings: Settings
    running: Running
    network: Path
    vgg16: dict[str, Any]
    instead_of: str | None
    explicit: frozenset[str]
    saved: states.Saved | None = None
    film: Film | None = None
    live: int | None = None

    def for_network(self, network: "Network") -> tuple[Settings, list[str]]:
        """The settings adapted to the network, and the names of layers that it lacks. Raises NetworkError."""
        layers = {layer.name for layer in network.layers}
        with of_network(self.network):
            return self.settings.for_network(self.vgg16, layers, self.explicit)


def plan(options: argparse.Namespace) -> list[Job]:
    """The jobs, several if the content is. Raises SettingsError for values out of range or in conflict, and
    RecipeError for a bad recipe."""
    flags, named = settings_of(options), named_images(options)
    saved, recipe = None, recipes.Recipe()
    if options.resume:
        saved, recipe, named = read_resumed(options, named)
    elif options.recipe:
        recipe = recipes.read(options.recipe)
    contents = [path for flag, path in named if flag == "content"]
    job = make_job(recipe, flags, plan_files(options, named), explicit=flags if options.recipe else FIELDS)
    try:
        check_images(job)
    except SettingsError as error:
        if error.name in flags or error.name not in recipe.values:
            raise
        raise RecipeError(f"{job.files.source}: {error.name} {error.problem}") from None
    is_film = len(contents) == 1 and writing.asks_for_film(contents[0], options.output)
    is_batch = not is_film and (len(contents) > 1 or any(map(os.path.isdir, contents)))
    check_together(options, job, recipe, is_film, is_batch)
    job.settings.check_effect(flags)
    if options.live is not None:
        address.bind("live", address.LOOPBACK[0], options.live).close()
    settings, running = job.settings, job.running
    if saved:
        check_unchanged(options.resume, saved, build(recipe.values)[0], settings, flags)
        running = replace(running, network_sha256=recipe.values.get("network_sha256"))
    if job.files.save_recipe or job.files.save_state:
        # A random seed and the machine's number of threads are chosen now, so that they can be saved.
        settings = replace(settings, seed=secrets.randbits(32) if settings.seed is None else settings.seed)
        running = replace(running, threads=running.threads or cores())
    job = replace(job, settings=settings, running=running, saved=saved, live=options.live)
    if is_film:
        return [plan_film(options, contents[0], job)]
    if options.output.suffix.lower() in writing.FORMATS.keys() - images.FORMATS:
        raise SettingsError("content", f"must name one film, since {options.output} is one")
    return [replace(job, files=each) for each in plan_batch(contents, job.files)] if is_batch else [job]


def make_job(
    recipe: recipes.Recipe,
    flags: dict[str, Any],
    files: Files,
    explicit: Collection[str],
    vgg16: dict[str, Any] | None = None,
) -> Job:
    """The job for a recipe with flags in place of some of its values. explicit: as in Job. vgg16: flags for a
    VGG-16 alone.

    Raises SettingsError, and RecipeError if the recipe's network is not here and cannot be replaced.
    """
    network, instead_of = choose_network(flags.get("network"), recipe, files.source)
    recipe = recipe.under(flags, vgg16)
    settings, running = build(recipe.values)
    if running.progress_grid:
        files = replace(files, progress=(*files.progress, "progress_grid"))
    return Job(files, settings, running, network, recipe.vgg16, instead_of, frozenset(explicit))


def check_images(job: Job) -> None:
    """Raise SettingsError if the settings of a job do not fit its images."""
    named = Counter(flag for flag, _ in job.files.images)
    counts: dict[str, Any] = {flag: named[flag] for flag in FLAGS}
    for settings in (job.settings, replace(job.settings, **job.vgg16)):
        settings.check_images(**counts)


def plan_files(options: argparse.Namespace, named: NamedFiles) -> Files:
    """The files that the command line names, for all its pictures together."""
    flags = (*ONE_PICTURE, "output", "overwrite", "save_state_iterations")
    files = Files(named, **{flag: getattr(options, flag) for flag in flags})
    return replace(
        files,
        save_state=options.save_state or options.resume,
        progress=tuple(flag for flag in ("progress_write", "progress_plot") if getattr(options, flag)),
        source=str(options.resume) if options.resume else options.recipe,
    )


def plan_film(options: argparse.Namespace, content: Path, job: Job) -> Job:
    """The job with the film that the command line asks for. content: the clip."""
    files, output = job.files, job.files.output
    for module, package in (("cv2", "opencv-python-headless"), ("av", "av")):
        if importlib.util.find_spec(module) is None:
            raise SettingsError("content", f"is a film, which needs {package}: pip install {package}")
    span = clips.Span.parse(options.frames or ":")
    clip = clips.find("content", content, span, options.frame_rate or clips.USUAL_RATE)
    if options.frame_rate is not None and not clip.numbering:
        raise SettingsError("frame_rate", f"is for numbered images; {clip.name} has its own")
    moving = [(flag, path) for flag, path in files.images if flag in MOVING_MASKS and clips.moves(path)]
    masks = {path: clips.find(flag, path, span) for flag, path in moving}
    form = None
    if writing.is_file(output):
        form = writing.format_of(output, options.video_codec, options.crf)
    painted = store.painted(output, form is not None, job.settings.colors == "content")
    files = replace(files, images=tuple(pair for pair in files.images if pair[0] != "content"))
    job = replace(job, files=files, film=Film(clip, painted, masks, form))
    check_film_output(job, painted, painted if form else store.images(output))
    return job


def check_film_output(job: Job, painted: store.Store, to: store.Store) -> None:
    """Raise SettingsError for images that cannot be written, or would replace what is there.

    painted: the painted frames. to: the images to be written; the same if these are the painted frames.
    """
    for folder in (painted.folder, to.folder):
        filenames.check_folder("output", folder)
    if to.pattern.suffix.lower() not in images.FORMATS:
        problem = f"{job.files.output} makes no images; let it end in one of {' '.join(images.FORMATS)}"
        raise SettingsError("output", problem)
    old = to.files()
    read = {path.resolve() for _, path in input_names(job)}
    if lost := read & {path.resolve() for path in (*old, *painted.files())}:
        raise SettingsError("output", f"{min(lost)} is read as well, and would be lost; give another name")
    if to != painted and old and not job.files.overwrite and painted.recorded() is None:
        problem = f"{to.folder} has other pictures; give another name, or --overwrite to replace them"
        raise SettingsError("output", problem)


def plan_batch(named: Sequence[Path], files: Files) -> Iterator[Files]:
    """The files of each picture. named: photographs, and folders of photographs."""
    folder, contents = files.output, tuple(folders.expand("content", named))
    filenames.check_folder("output", folder)
    if folder.suffix.lower() in images.FORMATS:
        problem = f"{folder} is one picture; name a folder for the {len(contents)} of --content"
        raise SettingsError("output", problem)
    others = [pair for pair in files.images if pair[0] != "content"]
    outputs = [folder / f"{name}.png" for name in names_apart(contents)]
    if {folder.resolve(), *map(Path.resolve, outputs)} & set(map(Path.resolve, (*named, *contents))):
        raise SettingsError("output", f"{folder} has photographs of --content; name another folder")
    for path, output in zip(contents, outputs, strict=True):
        yield replace(files, images=(("content", path), *others), output=output, folder=folder)


def names_apart(contents: Sequence[Path]) -> list[Path]:
    """A different name for each picture, without its ending: the photograph's, and where that is not enough,
    with the photograph's ending, or in folders as the photographs are."""
    names = [Path(path.name) for path in contents]
    if len(set(names)) < len(names):
        above = os.path.commonpath([path.absolute().parent for path in contents])
        names = [path.absolute().relative_to(above) for path in contents]
    stems = Counter(name.with_suffix("") for name in names)
    short = [stem if stems[stem := name.with_suffix("")] == 1 else name for name in names]
    return short if len(set(short)) == len(short) else names


def check_together(
    options: argparse.Namespace, job: Job, recipe: recipes.Recipe, is_film: bool, is_batch: bool
) -> None:
    """Raise SettingsError for the first flag that lacks what it goes with."""
    settings, files = job.settings, job.files
    noise, every = settings.noiseblend(bool(files.named("initial"))), settings.checkpoint_iterations
    is_masked = files.named("style_masks") or files.named("content_mask")
    has_matplotlib = importlib.util.find_spec("matplotlib") is not None
    updates = not settings.iterations or recipe.values.get("iterations") != 0
    video = [name for name, field in FIELDS.items() if field.metadata.get("group") == "video"]
    for flags, is_met, problem in (
        ((*FILM_FLAGS, *video), is_film, "goes with a film only; name one with --content and --output"),
        (("video_codec", "crf"), writing.is_file(files.output), "goes with films in one file"),
        (ONE_PICTURE, not (is_film or is_batch), "goes with one picture only; others go on by themselves"),
        (PROGRESS, not is_film, "goes with pictures only"),
        (("iterations",), updates, f"does not go with {files.source}, which minimises nothing; try best"),
        (("noise",), noise > 0, "goes with noise in the start; see --initial-noiseblend"),
        (("initial",), noise < 1, "goes with --initial-noiseblend below 1; 1 is all noise"),
        (("mask_feather",), is_masked, "goes with --style-masks or --content-mask"),
        (("save_state_iterations",), files.save_state, "goes with --save-state; give both"),
        (("save_state", *PROGRESS), settings.iterations, "goes with updates; --iterations 0 makes none"),
        (("checkpoint_output",), every, "goes with --checkpoint-iterations; give both"),
        (("checkpoint_iterations",), files.checkpoint_output, "goes with --checkpoint-output; give both"),
        (("checkpoint_iterations",), settings.iterations >= (every or 0), "is more than --iterations"),
        (("progress_plot",), has_matplotlib, "needs matplotlib: pip install matplotlib"),
        (("live",), address.is_installed(), "needs starlette and uvicorn: pip install starlette uvicorn"),
    ):
        for name in flags:
            value = getattr(options, name, None)
            if not is_met and value is not None and value is not False and value != []:  # but 0 is a value
                raise SettingsError(name, problem)


def choose_network(named: str | None, recipe: recipes.Recipe, source: str | None) -> tuple[Path, str | None]:
    """The file of the network: the named one, else the recipe's, else one that is here. Also returns the name
    of the recipe's network if another one replaces it.

    source: the recipe's file. Raises SettingsError, and RecipeError if the network cannot be replaced.
    """
    wanted = named or recipe.values.get("network")
    if named or wanted is None or networks.is_present(wanted):
        return networks.find(wanted), None
    if wanted not in networks.FILES or "network_sha256" in recipe.values:
        raise RecipeError(f"{source}: its network {wanted} is not here; name one with --network")
    return networks.find(), wanted


def read_resumed(
    options: argparse.Namespace, named: NamedFiles
) -> tuple[states.Saved, recipes.Recipe, NamedFiles]:
    """The run that --resume names, its settings as a recipe, and the images: those of the command line, and
    for flags that it lacks, those of the run.

    Raises StateError for a file that holds no run, SettingsError for flags that do not fit it.
    """
    path = options.resume
    filenames.check_input("resume", path)
    if options.recipe:
        raise SettingsError("recipe", "contradicts --resume, which goes on with the settings of its run")
    saved = states.read(path)
    now, before = Counter(flag for flag, _ in named), Counter(flag for flag, *_ in saved.images)
    for flag, count in now.items():
        if count != before[flag]:
            problem = f"named {count}, where the run in {path} has {before[flag]}; name none"
            raise SettingsError(flag, problem)
    again = [(flag, Path(name)) for flag, name, _ in saved.images if flag not in now]
    for flag, name in again:
        if not name.exists():
            raise SettingsError(flag, f"must say where {name} is now, an image of the run in {path}")
    named = tuple(sorted([*named, *again], key=lambda pair: FLAGS.index(pair[0])))
    try:
        return saved, recipes.from_table(dict(saved.settings)), named
    except (RecipeError, SettingsError) as error:
        raise StateError(f"{path}: holds no settings of a run ({error})") from None


def check_unchanged(
    path: Path, saved: states.Saved, before: Settings, now: Settings, flags: Collection[str]
) -> None:
    """Raise SettingsError if flags change the settings of a saved run, other than to more iterations."""
    if now.iterations != before.iterations and len(before.scales) > 1:
        problem = f"must stay {before.iterations}, since the run in {path} has --scales"
        raise SettingsError("iterations", problem)
    if now.iterations < saved.iteration:
        problem = f"{now.iterations} is less than the {saved.iteration} that the run in {path} has made"
        raise SettingsError("iterations", problem)
    for name in (field.name for field in fields(now)):
        if name in flags and name != "iterations" and getattr(now, name) != getattr(before, name):
            problem = f"cannot change in the run in {path}; leave it out, or begin anew without --resume"
            raise SettingsError(name, problem)


def named_images(options: argparse.Namespace) -> NamedFiles:
    """Every image on the command line, with the flag that names it."""
    return tuple((flag, path) for flag in FLAGS for path in getattr(options, flag))


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_files(jobs: Sequence[Job]) -> None:
    """Raise SettingsError unless all named files can be read, and all outputs written."""
    files, left = jobs[0].files, unpainted(jobs)
    inputs, outputs = (chain.from_iterable(map(names, left)) for names in (input_names, output_names))
    filenames.check_names(inputs, outputs, ENDINGS, files.overwrite, files.resume, bool(files.folder))


def unpainted(jobs: Sequence[Job]) -> list[Job]:
    """The jobs but those of a batch whose pictures are there."""
    keeps = jobs[0].files.folder and not jobs[0].files.overwrite
    return [job for job in jobs if not (keeps and job.files.output.exists())]


def input_names(job: Job) -> Iterator[tuple[str, Path]]:
    """Every file that the job will read, with the flag that names it."""
    files, film = job.files, job.film
    yield "network", job.network
    for path in film.clip.files if film else ():
        yield "content", path
    for flag, path in files.images:
        moving = film.masks.get(path) if film else None
        yield from ((flag, file) for file in (moving.files if moving else [path]))
    if files.source and not files.resume and files.source not in recipes.shipped():
        yield "recipe", Path(files.source)
    if files.resume and files.resume != files.save_state:
        yield "resume", files.resume


def output_names(job: Job) -> Iterator[tuple[str, Path]]:
    """Every file that the job will write, with the flag that asks for it. Raises SettingsError."""
    files = job.files
    if not job.film or job.film.form:
        yield "output", files.output
    for flag in files.progress:
        yield flag, files.beside(flag)
    for flag in ("save_recipe", "save_state"):
        if path := getattr(files, flag):
            yield flag, path
    every = job.settings.checkpoint_iterations
    if files.checkpoint_output and every:
        for iteration in range(every, job.settings.iterations + 1, every):
            yield "checkpoint_output", checkpoint_path(files.checkpoint_output, iteration)


def checkpoint_path(pattern: str, iteration: int) -> Path:
    """The name of a checkpoint: the iteration replaces {} or %d in the pattern, or {:05} or %05d.

    Raises SettingsError for a pattern that has none of these.
    """
    name, count = CHECKPOINT.subn(lambda place: f"{iteration:{place[1] or place[2] or ''}d}", pattern)
    if not count:
        problem = f"{pattern} makes the same name each time; use {{}} or %d, as in out_{{:05}}.png"
        raise SettingsError("checkpoint_output", problem)
    return Path(name)
