"""From the flags of a command line to the job: its settings, files and saved run.

Each function raises SettingsError, with the name of the flag, for an error in a flag. Nothing here needs
TensorFlow.
"""

import argparse
import importlib.util
import os
import secrets
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from styling.command import checkpoints
from styling.command.flags import settings_of
from styling.films import video
from styling.live import address
from styling.network import networks
from styling.pictures import folders, images
from styling.pictures.images import FLAGS, LISTS
from styling.run import states
from styling.settings import FIELDS, Running, Settings, combine, recipes
from styling.system import filenames
from styling.system.errors import RecipeError, SettingsError, StateError

PROGRESS_FLAGS = ("progress_write", "progress_plot", "progress_grid")
MOVING_MASKS = ("style_masks", "content_mask")  # for a film, these masks may be clips


class Film(NamedTuple):
    """The clip to paint, the store of its painted frames, and the moving masks by their files."""

    clip: video.Clip
    store: video.Store
    masks: dict[Path, video.Clip]


@dataclass(frozen=True)
class Job:
    """What a command line asks for: its flags, the settings from the flags and the recipe, and the network.

    contents, outputs: of each picture; a content may be None. vgg16: weights that replace those in settings
    if the network is a VGG-16, which is known once it is loaded. instead_of: the network that the recipe is
    for, if it is not here. explicit: settings that stay as they are, whatever layers the network lacks.
    saved: the run to go on with. film: the film to paint, if any; contents are then empty, and outputs have
    the video, if the film is written to one file.
    """

    options: argparse.Namespace
    contents: tuple[Path | None, ...]
    outputs: tuple[Path, ...]
    settings: Settings
    vgg16: dict[str, object]
    running: Running
    network: Path
    instead_of: str | None
    explicit: frozenset[str]
    saved: states.Saved | None = None
    film: Film | None = None

    @property
    def is_batch(self) -> bool:
        """Whether the output is a folder, with one picture for each photograph."""
        return self.film is None and self.outputs != (self.options.output,)

    @property
    def left(self) -> list[tuple[Path | None, Path]]:
        """The contents and outputs that are not made yet; a batch skips outputs that exist."""
        pairs = zip(self.contents or (None,) * len(self.outputs), self.outputs, strict=True)
        skips = self.is_batch and not self.options.overwrite
        return [(content, output) for content, output in pairs if not (skips and output.exists())]


def plan(options: argparse.Namespace) -> Job:
    """The job. Raises SettingsError for values out of range or in conflict, RecipeError for a bad recipe."""
    flags = settings_of(options)
    saved, recipe = None, recipes.Recipe()
    if options.resume:
        saved, recipe = read_resumed(options)
    elif options.recipe:
        recipe = recipes.read(options.recipe)
    source = options.resume or options.recipe
    if options.content and "height" in flags:
        raise SettingsError("height", "contradicts --content, whose shape the picture has; leave it out")
    network, instead_of = choose_network(flags.get("network"), recipe, source)
    settings, running = combine(recipe, flags)
    check_effect(settings, flags, options)
    if saved:
        before, _ = combine(recipe, {})
        check_unchanged(options.resume, saved, before, settings, flags)
        running = replace(running, network_sha256=recipe.values.get("network_sha256"))
    if options.save_recipe or options.save_state:
        # A random seed and the machine's number of threads are chosen now, so that they can be saved.
        settings = replace(settings, seed=secrets.randbits(32) if settings.seed is None else settings.seed)
        running = replace(running, threads=running.threads or cores())
    if options.save_recipe and not str(network.resolve()).isprintable():
        raise SettingsError("save_recipe", "cannot hold the name of the network's file; rename that")
    vgg16 = recipes.vgg16_beside(recipe.vgg16, flags)
    try:
        check_images(options, settings, replace(settings, **vgg16))
    except SettingsError as error:
        if error.name in flags or error.name not in recipe.values:
            raise
        raise RecipeError(f"{source}: {error.name} {error.problem}") from None
    film = plan_film(options, settings, flags)
    if film:
        contents, outputs = (), film_outputs(options, film)
    else:
        contents, outputs = pictures(options)
    explicit = frozenset(flags if options.recipe else FIELDS)
    return Job(
        options, contents, outputs, settings, vgg16, running, network, instead_of, explicit, saved, film
    )


def check_images(options: argparse.Namespace, *either: Settings) -> None:
    """Raise SettingsError if the settings do not fit the named images."""
    counts = Counter(flag for flag, _ in named_images(options))
    for settings in either:
        settings.check_images(**{flag: counts[flag] for flag in FLAGS})


def plan_film(options: argparse.Namespace, settings: Settings, flags: dict[str, object]) -> Film | None:
    """The film to paint; None if the command line does not ask for a film."""
    if len(options.content) != 1 or not video.asks_for_film(options.content[0], options.output):
        ending = options.output.suffix.lower()
        if ending in video.FORMATS.keys() - images.FORMATS:
            raise SettingsError("content", f"must name one film, since {options.output} is one")
        is_video = len(options.content) == 1 and video.is_video(options.content[0])
        if is_video and ending not in images.FORMATS:
            filenames.check_output("output", options.output, options.overwrite, video.FORMATS)
        of_films = [name for name in flags if FIELDS[name].metadata.get("group") == "video"]
        for flag in (*of_films, *(flag for flag in ("frames", "frame_rate") if getattr(options, flag))):
            raise SettingsError(flag, "goes with a film only; name one with --content and --output")
        return None
    for flag in ("checkpoint_output", "save_recipe", "save_state", "resume", *PROGRESS_FLAGS):
        if getattr(options, flag, False):
            raise SettingsError(flag, "goes with one picture only; a film goes on by itself when run again")
    for module, package in (("cv2", "opencv-python-headless"), ("av", "av")):
        if importlib.util.find_spec(module) is None:
            raise SettingsError("content", f"is a film, which needs {package}: pip install {package}")
    span = video.Span.parse(options.frames or ":")
    clip = video.find_clip("content", options.content[0], span, options.frame_rate or video.USUAL_RATE)
    if options.frame_rate is not None and not clip.is_numbered:
        raise SettingsError("frame_rate", f"is for numbered images; {clip.name} has its own")
    masks = {
        path: video.find_clip(flag, path, span)
        for flag, path in named_images(options)
        if flag in MOVING_MASKS and video.moves(path)
    }
    return Film(clip, video.store(options.output, settings.colors == "content"), masks)


def film_outputs(options: argparse.Namespace, film: Film) -> tuple[Path, ...]:
    """The file that a film is written to, or nothing if it is written as images.

    Raises SettingsError for images that cannot be written, or would replace what is there.
    """
    output, store = options.output, film.store
    is_file = output.suffix.lower() in video.FORMATS and not video.is_numbered(output)
    to = store if is_file else video.Store(video.pattern(output))
    for folder in (store.folder, to.folder):
        filenames.check_folder("output", folder)
    if not is_file and to.pattern.suffix.lower() not in images.FORMATS:
        problem = f"{output} makes no images; let it end in one of {' '.join(images.FORMATS)}"
        raise SettingsError("output", problem)
    named = (path for _, path in named_images(options))
    read = chain(film.clip.files, *(clip.files for clip in film.masks.values()), named)
    old, painted = to.files(), [] if to == store else store.files()
    lost = set(map(Path.resolve, [*old, *painted])) & set(map(Path.resolve, read))
    if lost:
        raise SettingsError("output", f"{min(lost)} is read as well, and would be lost; give another name")
    if to != store and old and not options.overwrite and store.recorded() is None:
        problem = f"{to.folder} has other pictures; give another name, or --overwrite to replace them"
        raise SettingsError("output", problem)
    return (output,) if is_file else ()


def pictures(options: argparse.Namespace) -> tuple[tuple[Path | None, ...], tuple[Path, ...]]:
    """The content and the output of each picture."""
    named = options.content
    if len(named) < 2 and not any(map(os.path.isdir, named)):
        return (named[0] if named else None,), (options.output,)
    contents = tuple(folders.expand("content", named))
    filenames.check_folder("output", options.output)
    if options.output.suffix.lower() in images.FORMATS:
        problem = f"{options.output} is one picture; name a folder for the {len(contents)} of --content"
        raise SettingsError("output", problem)
    for flag in ("checkpoint_output", "save_recipe", "save_state", "resume"):
        if getattr(options, flag):
            raise SettingsError(flag, "goes with one picture only; give a single --content")
    stems = Counter(path.stem for path in contents)
    names = [path.stem if stems[path.stem] == 1 else path.name for path in contents]
    return contents, tuple(options.output / f"{name}.png" for name in names)


def check_effect(settings: Settings, flags: dict[str, object], options: argparse.Namespace) -> None:
    """Raise SettingsError for flags that have no effect beside the others."""
    settings.check_effect(flags)
    has_initial = options.initial is not None
    if "noise" in flags and settings.noiseblend(has_initial) == 0:
        raise SettingsError("noise", "has no effect, since the start has no noise; see --initial-noiseblend")
    if has_initial and settings.noiseblend(has_initial) == 1:
        raise SettingsError("initial", "has no effect with --initial-noiseblend 1, which is all noise")
    if "mask_feather" in flags and not (options.style_masks or options.content_mask):
        raise SettingsError("mask_feather", "has no effect without --style-masks or --content-mask")


def choose_network(named: str | None, recipe: recipes.Recipe, source: str) -> tuple[Path, str | None]:
    """The file of the network: the named one, else the recipe's, else one that is here. Also returns the name
    of the recipe's network if another one replaces it.

    source: the recipe's file. Raises SettingsError, and RecipeError if the network cannot be replaced.
    """
    wanted = None if named else recipe.values.get("network")
    instead_of = None if wanted is None or networks.is_present(wanted) else wanted
    if instead_of and (instead_of not in networks.FILES or "network_sha256" in recipe.values):
        raise RecipeError(f"{source}: its network {wanted} is not here; name one with --network")
    return networks.find(named or (None if instead_of else wanted)), instead_of


def read_resumed(options: argparse.Namespace) -> tuple[states.Saved, recipes.Recipe]:
    """The run that --resume names, and its settings as a recipe.

    Adds to the options the images that the command line does not name, and the file to save the run in.
    Raises StateError for a file that holds no run, SettingsError for flags that do not fit it.
    """
    path = options.resume
    filenames.check_input("resume", path)
    if options.recipe:
        raise SettingsError("recipe", "contradicts --resume, which goes on with the settings of its run")
    saved = states.read(path)
    for flag in FLAGS:
        is_list = flag in ("content", *LISTS)
        given = getattr(options, flag)
        count = len(given) if is_list else given is not None
        before = [Path(name) for saved_flag, name, _ in saved.images if saved_flag == flag]
        if not count and before:
            setattr(options, flag, before if is_list else before[0])
            for name in before:
                check_present(path, flag, name)
        elif count != len(before):
            raise SettingsError(flag, f"named {count}, where the run in {path} has {len(before)}; name none")
    if options.save_state is None or os.path.realpath(options.save_state) == os.path.realpath(path):
        options.save_state = path
    try:
        return saved, recipes.from_table(dict(saved.settings))
    except (RecipeError, SettingsError) as error:
        raise StateError(f"{path}: holds no settings of a run ({error})") from None


def check_present(path: Path, flag: str, name: Path) -> None:
    """Raise SettingsError if an image of a saved run does not exist any more."""
    if not name.exists():
        raise SettingsError(flag, f"must say where {name} is now, an image of the run in {path}")


def check_unchanged(
    path: Path, saved: states.Saved, before: Settings, now: Settings, flags: dict[str, object]
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
    row = len(("iteration", *now.losses))
    if any(len(losses) != row for losses in saved.history):
        raise StateError(f"{path}: its losses are not those of its settings")


def named_images(options: argparse.Namespace) -> Iterator[tuple[str, Path]]:
    """Every image on the command line, with the flag that names it."""
    for flag in FLAGS:
        value = getattr(options, flag)
        yield from ((flag, path) for path in (value if isinstance(value, list) else filter(None, [value])))


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def input_names(job: Job) -> Iterator[tuple[str, Path]]:
    """Every file that the run will read, with the flag that names it."""
    options = job.options
    yield "network", job.network
    moving = job.film.masks if job.film else {}
    for path in job.film.clip.files if job.film else ():
        yield "content", path
    for content, _ in job.left:
        if content:
            yield "content", content
    for flag, path in named_images(options):
        if flag != "content":
            yield from ((flag, file) for file in (moving[path].files if path in moving else [path]))
    if options.recipe and options.recipe not in recipes.shipped():
        yield "recipe", Path(options.recipe)
    if options.resume and options.resume != options.save_state:
        yield "resume", options.resume


def output_names(job: Job) -> Iterator[tuple[str, Path]]:
    """Every file that the run will write, with the flag that asks for it. Raises SettingsError."""
    options, settings = job.options, job.settings
    for _, output in job.left:
        yield "output", output
        for flag in progress_flags(job):
            yield flag, beside(output, flag)
    if options.save_recipe:
        yield "save_recipe", options.save_recipe
    if options.save_state:
        yield "save_state", options.save_state
    if options.save_state_iterations and not options.save_state:
        raise SettingsError("save_state_iterations", "goes together with --save-state; give both")
    if options.progress_plot and importlib.util.find_spec("matplotlib") is None:
        raise SettingsError("progress_plot", "needs matplotlib: pip install matplotlib")
    if options.live is not None:
        if not address.is_installed():
            raise SettingsError("live", "needs starlette and uvicorn: pip install starlette uvicorn")
        address.bind("live", address.LOOPBACK[0], options.live).close()
    pattern, every = options.checkpoint_output, settings.checkpoint_iterations
    given = "checkpoint_iterations" in vars(options)  # a recipe's only select the best image, without files
    if (pattern and not every) or (given and not pattern):
        problem = "goes together with --checkpoint-iterations; give both or neither"
        raise SettingsError("checkpoint_output", problem)
    if given and every > settings.iterations:
        raise SettingsError(
            "checkpoint_iterations", f"{every} is more than the {settings.iterations} iterations"
        )
    if pattern:
        for path in checkpoints.checkpoint_paths(pattern, every, settings.iterations):
            yield "checkpoint_output", path


def progress_flags(job: Job) -> Sequence[str]:
    """The flags that ask for a file about the run's progress."""
    wanted = {
        "progress_write": job.options.progress_write,
        "progress_plot": job.options.progress_plot,
        "progress_grid": job.running.progress_grid,
    }
    return [flag for flag, is_wanted in wanted.items() if is_wanted]


def beside(output: Path, flag: str) -> Path:
    """The file that a --progress flag asks for: beside the output, with a name made from the output's."""
    names = {"progress_write": ".txt", "progress_plot": ".png", "progress_grid": "-grid.png"}
    return output.with_name(f"{output.stem}-progress{names[flag]}")
