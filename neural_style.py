"""The command line: flags -> one Settings value -> stylize() -> files.

    neural-style --content photo.jpg --styles painting.jpg --output picture.png

The flags are those of Athalye's neural-style (2015), which people know, and some more. Exit status: 0 for a
picture, 2 for what is wrong on the command line or with the names on it, 1 for what is found inside files or
while running, 130 after Ctrl-C.
"""

import argparse
import contextlib
import importlib.util
import os
import secrets
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from styling import __version__, images, networks, paths, recipes, report
from styling.errors import DivergedError, NetworkError, SettingsError, StyleError
from styling.settings import CHOICES, Layers, Running, Settings, content_size

if TYPE_CHECKING:
    from stylize import Progress


class Parser(argparse.ArgumentParser):
    """argparse, with errors in one line."""

    def error(self, message: str) -> NoReturn:
        """Exit with status 2 and the one line that says what is wrong, without the usage before it."""
        hint = "; see neural-style --help" if "arguments are required" in message else ""
        self.exit(2, f"neural-style: error: {' '.join(message.split())}{hint}\n")


class Download(argparse.Action):
    """--download: fetch the published network and exit, whatever else is on the command line."""

    def __call__(self, parser: argparse.ArgumentParser, *ignored: object) -> NoReturn:
        """Exit with status 0 once the network is there; raises DownloadError."""
        print(f"the published network is at {networks.download()}")
        parser.exit()


class ListRecipes(argparse.Action):
    """--list-recipes: say what each recipe is and exit."""

    def __call__(self, parser: argparse.ArgumentParser, *ignored: object) -> NoReturn:
        """Exit with status 0 after a line for each recipe."""
        for name in recipes.shipped():
            print(f"{name:20}{recipes.read(name).description}")
        parser.exit()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status, or exits with 2 for a wrong command line."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # a name need not be printable to be written to
    try:
        parser = build_parser()
        options = parser.parse_args(arguments)
        try:
            job = plan(options)
            paths.check_names(input_names(job), output_names(job), options.overwrite)
            return paint(job)
        except SettingsError as error:
            parser.error(f"argument --{error.name.replace('_', '-')}: {error.problem}")
    except (StyleError, OSError) as error:
        print(f"neural-style: error: {explain(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("neural-style: interrupted", file=sys.stderr)
        return 130


def build_parser() -> argparse.ArgumentParser:
    """The flags. One that is a setting has no default here: Settings has them all."""
    parser = Parser(
        prog="neural-style",
        usage="neural-style --content IMAGE --styles IMAGE [...] --output IMAGE [--recipe NAME] [flags]",
        description="Paint a photograph in the style of one or several paintings.",
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=30, width=100),
    )
    defaults = Settings()
    switch = {"action": argparse.BooleanOptionalAction}

    def add(group: argparse._ArgumentGroup, flag: str, text: str, **keywords: object) -> None:
        default = getattr(defaults, flag[2:].replace("-", "_"), None)
        if isinstance(default, int | float | str) and default is not False:
            text += f" (default {default:g})" if isinstance(default, float) else f" (default {default})"
        group.add_argument(flag, help=text, **keywords)

    files = parser.add_argument_group("images and files")
    add(files, "--content", "the photograph", type=Path, metavar="IMAGE", default=None)
    add(files, "--styles", "the paintings", type=Path, metavar="IMAGE", nargs="+", default=[])
    add(
        files,
        "--output",
        "the picture to write; png, jpg, webp, tif or bmp",
        type=Path,
        metavar="IMAGE",
        required=True,
    )
    add(files, "--overwrite", "replace files that exist", action="store_true", default=False)
    add(files, "--initial", "image to start from (default: noise)", type=Path, metavar="IMAGE", default=None)
    network_help = (
        "MatConvNet .mat file of VGG-19 or VGG-16, or vgg19, vgg16 or compact (default: vgg19 if it is here)"
    )
    add(files, "--network", network_help, metavar="FILE")
    add(
        files, "--download", "fetch vgg19, the published network (550 MB), and exit", action=Download, nargs=0
    )
    checkpoint_help = (
        "where to write the best image so far; {} or %%d stands for the iteration, as in out_{:05}.png"
    )
    add(files, "--checkpoint-output", checkpoint_help, metavar="FORMAT", default=None)
    add(files, "--checkpoint-iterations", "write and compare every so many iterations", type=int, metavar="N")

    recipe = parser.add_argument_group("recipes")
    recipe_help = "settings of a published procedure, or of a .toml file; flags beside it win"
    add(recipe, "--recipe", recipe_help, metavar="NAME", default=None)
    add(recipe, "--list-recipes", "say what each recipe is, and exit", action=ListRecipes, nargs=0)
    save_help = "write all settings of this run to a .toml file, so that --recipe FILE repeats it exactly"
    add(recipe, "--save-recipe", save_help, type=Path, metavar="FILE", default=None)

    size = parser.add_argument_group("sizes")
    add(size, "--width", "width of the picture in pixels (default: the content's)", type=int, metavar="W")
    height_help = (
        "its height, beside --width, where there is no content (default: in the first style's shape)"
    )
    add(size, "--height", height_help, type=int, metavar="H")
    add(size, "--max-size", "shrink the picture to at most this on its longer side", type=int, metavar="N")
    scales_help = "scale of each style, relative to the width (default 1 each)"
    add(size, "--style-scales", scales_help, type=float, nargs="+", metavar="F")

    objective = parser.add_argument_group("what is minimised")
    add(objective, "--content-weight", "weight of the content", type=float, metavar="F")
    add(objective, "--style-weight", "weight of the style", type=float, metavar="F")
    shift_help = "weight of shifted Gram matrices, which hold long-range structure"
    add(objective, "--shift-weight", shift_help, type=float, metavar="F")
    histogram_help = "weight of the histogram loss, which steadies contrast and colours"
    add(objective, "--histogram-weight", histogram_help, type=float, metavar="F")
    add(objective, "--tv-weight", "weight of the total variation; more is smoother", type=float, metavar="F")
    blend_help = "relative weight of each style (default: equal)"
    add(objective, "--style-blend-weights", blend_help, type=float, nargs="+", metavar="F")
    content_blend_help = "share of relu4_2; relu5_2, which keeps less detail, has the rest (default 1)"
    add(objective, "--content-weight-blend", content_blend_help, type=float, metavar="F")
    exponent_help = "each style layer weighs this many times the one before; more is coarser (default 1)"
    add(objective, "--style-layer-weight-exp", exponent_help, type=float, metavar="F")
    layers = {"type": str, "nargs": "+", "metavar": "NAME[=WEIGHT]"}
    add(objective, "--content-layers", "content layers (default relu4_2, and relu5_2 by the blend)", **layers)
    style_layers_help = "style layers (default relu1_1 relu2_1 relu3_1 relu4_1 relu5_1)"
    add(objective, "--style-layers", style_layers_help, **layers)
    add(
        objective,
        "--shift-layers",
        "layers of the shifted Gram matrices (default: the style layers)",
        **layers,
    )
    add(objective, "--histogram-layers", "layers of the histogram loss (default relu1_1 relu4_1)", **layers)
    shifts_help = "positions to shift by, sideways and down (default 1 2 4 8)"
    add(objective, "--shifts", shifts_help, type=int, nargs="+", metavar="N")
    for flag, text in (
        ("--content-reduction", "squared differences of the content's features are averaged or summed"),
        ("--style-reduction", "those of Gram matrices"),
        ("--tv-reduction", "those of neighbouring pixels"),
        ("--gram-divisor", "divide Gram matrices by h*w*C (size), by h*w (positions), or not"),
        ("--pooling", "how the network pools"),
    ):
        add(objective, flag, text, choices=CHOICES[flag[2:].replace("-", "_")])
    normalize_help = "scale the network's filters to mean activations of 1 over the run's images"
    add(objective, "--normalize", normalize_help, **switch)
    add(objective, "--preserve-colors", "keep the content's colours", **switch)

    search = parser.add_argument_group("how it is minimised")
    add(search, "--iterations", "updates to make", type=int, metavar="N")
    add(search, "--optimizer", "how", choices=CHOICES["optimizer"])
    rate_help = "step, in grey levels; for every optimizer but lbfgs"
    add(search, "--learning-rate", rate_help, type=float, metavar="F")
    add(search, "--beta1", "Adam's decay of the first moment", type=float, metavar="F")
    add(search, "--beta2", "Adam's decay of the second moment", type=float, metavar="F")
    add(search, "--eps", "epsilon of Adam and of normalized gradient descent", type=float, metavar="F")
    evaluations_help = "make each iteration of lbfgs a new call of at most so many evaluations"
    add(search, "--evaluations", evaluations_help, type=int, metavar="N")
    add(search, "--clip", "keep all pixels within 0..255 at every step", **switch)
    best_help = "keep the image with the lowest loss of all iterations"
    add(search, "--best-of-all", best_help, **switch)
    noise_help = "share of noise in the start (default 1, or 0 with --initial)"
    add(search, "--initial-noiseblend", noise_help, type=float, metavar="F")
    kind_help = "normal about the mean pixel, or uniform in 128..129"
    add(search, "--noise", kind_help, choices=CHOICES["noise"])
    seed_help = "seed of the noise: same seed, threads and machine, same picture"
    add(search, "--seed", seed_help, type=int, metavar="N")

    running = parser.add_argument_group("running")
    add(running, "--device", "cpu, gpu or gpu:N (default: a GPU if there is one)")
    add(running, "--threads", "CPU threads (default: one a core)", type=int, metavar="N")
    print_help = "print the losses, and write them for --progress-..., every so many iterations"
    add(running, "--print-iterations", print_help, type=int, metavar="N")
    write = {"action": "store_true", "default": False}
    add(running, "--progress-write", "write the losses to progress.txt beside the output", **write)
    add(running, "--progress-plot", "draw the losses in progress.png beside the output", **write)
    grid_help = "lay out ten images of the run in progress-grid.png beside the output"
    add(running, "--progress-grid", grid_help, **switch)
    add(running, "--quiet", "print errors only", **write)
    running.add_argument("--version", action="version", version=f"neural-style {__version__}")
    return parser


@dataclass(frozen=True)
class Job:
    """What a command line asks for: its flags, the settings that they and the recipe come to, the network.

    instead_of: the network that the recipe is for, if it is not here. given: settings named by flags.
    """

    options: argparse.Namespace
    settings: Settings
    running: Running
    network: Path
    instead_of: str | None
    given: frozenset[str]


def plan(options: argparse.Namespace) -> Job:
    """What to do. Raises SettingsError for values out of range or at odds, RecipeError for a bad recipe."""
    flags = {name: value for name, value in vars(options).items() if name in recipes.TYPES}
    for name in ("content_layers", "style_layers", "shift_layers", "histogram_layers"):
        if name in flags:
            flags[name] = read_layers(name, flags[name])
    for name in ("style_scales", "style_blend_weights", "shifts"):
        if name in flags:
            flags[name] = tuple(flags[name])
    recipe = recipes.Recipe() if options.recipe is None else recipes.read(options.recipe)
    wanted = recipe.values.get("network")
    instead_of = wanted if "network" not in flags and wanted and not networks.is_present(wanted) else None
    network = networks.find(flags.get("network", None if instead_of else wanted))
    settings, running = recipes.combine(recipe, flags, compact=networks.is_compact(network))
    if options.save_recipe:
        # What is left to chance or to the machine is settled now, so that it can be saved.
        settings = replace(settings, seed=secrets.randbits(32) if settings.seed is None else settings.seed)
        running = replace(running, threads=running.threads or cores())
    settings.check_images(options.content is not None, len(options.styles), options.initial is not None)
    return Job(options, settings, running, network, instead_of, frozenset(flags))


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def read_layers(name: str, words: Sequence[str]) -> Layers:
    """NAME ... as a tuple, or NAME=WEIGHT ... as a dict. Raises SettingsError for a mixture of the two."""
    pairs = [word.partition("=") for word in words]
    if not any(equals for _, equals, _ in pairs):
        return tuple(words)
    weights = {}
    for layer, equals, weight in pairs:
        if not layer:
            raise SettingsError(name, f"={weight} names no layer")
        if not equals:
            raise SettingsError(name, f"{layer} has no weight, while others have one; give all or none")
        if layer in weights:
            raise SettingsError(name, f"{layer} is named twice")
        try:
            weights[layer] = float(weight)
        except ValueError:
            raise SettingsError(name, f"{weight!r} in {layer}={weight} is not a number") from None
    return weights


def input_names(job: Job) -> Iterator[tuple[str, Path]]:
    """Every file that the run will read, with the flag that names it."""
    options = job.options
    yield "network", job.network
    for flag in ("content", "initial"):
        if getattr(options, flag):
            yield flag, getattr(options, flag)
    for style in options.styles:
        yield "styles", style
    if options.recipe and options.recipe not in recipes.shipped():
        yield "recipe", Path(options.recipe)


def output_names(job: Job) -> Iterator[tuple[str, Path]]:
    """Every file that the run will write, with the flag that asks for it. Raises SettingsError."""
    options, settings = job.options, job.settings
    yield "output", options.output
    if options.save_recipe:
        yield "save_recipe", options.save_recipe
    for flag in ("progress_write", "progress_plot"):
        if getattr(options, flag):
            yield flag, beside(options.output, flag)
    if options.progress_plot and importlib.util.find_spec("matplotlib") is None:
        raise SettingsError("progress_plot", "needs matplotlib: pip install matplotlib")
    if job.running.progress_grid:
        yield "progress_grid", beside(options.output, "progress_grid")
    pattern, every = options.checkpoint_output, settings.checkpoint_iterations
    given = "checkpoint_iterations" in job.given  # a recipe's are for comparing, and need no files
    if (pattern and not every) or (given and not pattern):
        problem = "goes together with --checkpoint-iterations; give both or neither"
        raise SettingsError("checkpoint_output", problem)
    if given and every > settings.iterations:
        raise SettingsError(
            "checkpoint_iterations", f"{every} is more than the {settings.iterations} iterations"
        )
    if pattern:
        for path in paths.checkpoint_paths(pattern, every, settings.iterations):
            yield "checkpoint_output", path


def beside(output: Path, flag: str) -> Path:
    """Where what a --progress flag asks for goes, in the folder of the output."""
    names = {"progress_write": ".txt", "progress_plot": ".png", "progress_grid": "-grid.png"}
    return output.with_name(f"progress{names[flag]}")


def paint(job: Job) -> int:
    """Do the job, and return the exit status."""
    options, settings, running = job.options, job.settings, job.running
    with silent_stderr():
        content = images.read(options.content) if options.content else None
        styles = [images.read(path) for path in options.styles]
        initial = images.read(options.initial) if options.initial else None
    shape = next((image.shape[:2] for image in (content, *styles) if image is not None), (0, 0))
    for name in (options.output, options.checkpoint_output):
        if name is not None:
            images.check_size(name, *content_size(*shape, settings))
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with silent_stderr():
        import stylize
        import vgg

        device = stylize.configure(running.device, running.threads, deterministic=settings.seed is not None)
    network, lacking, saved = vgg.load(job.network), [], ""
    if running.network_sha256 not in (None, network.sha256):
        problem = f"is not the network of {options.recipe}, whose SHA-256 is {running.network_sha256}"
        raise NetworkError(f"{job.network}: {problem}; name that one, or another on purpose, with --network")
    try:
        if options.recipe:
            names = {layer.name for layer in network.layers}
            settings, lacking = recipes.without_missing(settings, names, job.given)
        run = stylize.stylize(content, styles, network, settings, initial)
    except NetworkError as error:
        raise NetworkError(f"{job.network}: {error}") from None
    if options.save_recipe:
        path = paths.unclaimed(options.save_recipe, options.overwrite)
        name = networks.name(job.network)
        recipes.write(
            path, settings, replace(running, device=device, network=name, network_sha256=network.sha256)
        )
        saved = f"saved its settings in {path}; "
    line = saved + networks.describe(job.network, job.instead_of, lacking)
    return follow(run, replace(job, settings=settings), line)


def follow(run: "Iterator[Progress]", job: Job, line: str) -> int:
    """Report on a run until it ends or is interrupted, write what it made, and return the exit status."""
    options, settings = job.options, job.settings
    recording = options.progress_write or options.progress_plot
    reporter = report.Reporter(settings.iterations, job.running.print_iterations, recording, options.quiet)
    reporter.say(line)
    status, progress, pictures = 0, None, []
    gridded = report.grid_iterations(settings.iterations) if job.running.progress_grid else ()
    try:
        for progress in run:
            reporter(progress)
            if job.running.progress_grid and progress.iteration in report.grid_iterations(
                settings.iterations
            ):
                pictures.append(images.thumbnail(progress.image()))
            writes = options.checkpoint_output and settings.is_checkpoint(progress.iteration)
            if writes and not save_checkpoint(progress, options):
                status = 1
        ending = f"total loss {progress.losses()['total']:.6g} after {progress.iteration} iterations"
        if progress.iteration < settings.iterations:
            ending += f", as {settings.optimizer} finds no lower"
        outcome = progress
    except KeyboardInterrupt:
        if progress is None or progress.iteration == 0:
            raise
        status, ending, outcome = 130, f"interrupted after {progress.iteration} iterations", progress
    except StyleError as error:
        if progress is None and not isinstance(error, DivergedError):
            raise
        status, ending = 1, f"error: {error}"
        outcome = error if isinstance(error, DivergedError) else progress
    finally:
        reporter.close()
    if gridded and progress is not None and progress.iteration not in gridded:  # the run has ended early
        pictures.append(images.thumbnail(progress.image()))
    with uninterrupted():
        written = save(outcome, reporter.history, pictures, job)
    line = f"{ending}; {'wrote ' + written if written else 'nothing was written'}"
    if status:
        print(f"neural-style: {line}", file=sys.stderr)
    else:
        reporter.say(line)
    return status


def save_checkpoint(progress: "Progress", options: argparse.Namespace) -> bool:
    """Write the best image so far, and return whether that worked; if not, the run is worth going on with."""
    path = paths.checkpoint_path(options.checkpoint_output, progress.iteration)
    try:
        images.write(paths.unclaimed(path, options.overwrite), progress.result())
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
        written.append(paths.unclaimed(options.output, options.overwrite))
        try:
            images.write(written[-1], picture)
        except OSError as error:
            refuge = paths.unclaimed(Path(tempfile.gettempdir(), options.output.name), overwrite=False)
            images.write(refuge, picture)
            raise StyleError(f"{explain(error)}; the picture is in {refuge} instead") from None
    for flag, wanted, write in (
        ("progress_write", options.progress_write and history, partial(report.write_history, names=names)),
        ("progress_plot", options.progress_plot and history, partial(report.plot_history, names=names)),
        ("progress_grid", pictures, report.write_grid),
    ):
        if wanted:
            path = paths.unclaimed(beside(options.output, flag), options.overwrite)
            try:
                write(path, wanted)
            except OSError as error:
                raise StyleError(f"{explain(error)}; wrote {', '.join(map(str, written))}") from None
            written.append(path)
    return ", ".join(map(str, written))


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Let Ctrl-C wait, which could only lose the picture that is being written."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def silent_stderr() -> Iterator[None]:
    """Keep off the terminal what libraries write there: libtiff on a damaged file, TensorFlow on loading."""
    if sys.stderr is None:  # closed by whoever started the program
        yield
        return
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "wb") as sink:
        os.dup2(sink.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def explain(error: Exception) -> str:
    """An error in one line, with the name of the file that it is about."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(str(error).split())


if __name__ == "__main__":
    sys.exit(main())
