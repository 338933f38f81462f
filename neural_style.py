"""The command line: flags -> one Settings value -> stylize() -> files.

    neural-style --content photo.jpg --styles painting.jpg --output picture.png

The flags are those of Athalye's neural-style (2015), which people know, and some more. Exit status: 0 for a
picture, 2 for what is wrong on the command line or with the names on it, 1 for what is found inside files or
while running, 130 after Ctrl-C.
"""

import argparse
import contextlib
import dataclasses
import importlib.util
import os
import re
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from styling import __version__, images, networks, paths, report
from styling.errors import DivergedError, NetworkError, SettingsError, StyleError
from styling.settings import POOLING, Layers, Settings, content_size

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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status, or exits with 2 for a wrong command line."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # a name need not be printable to be written to
    try:
        parser = build_parser()
        options = parser.parse_args(arguments)
        try:
            settings = read_settings(options)
            options.network = networks.find(options.network)
            paths.check_names(input_names(options), output_names(options, settings), options.overwrite)
            return paint(options, settings)
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
        usage="neural-style --content IMAGE --styles IMAGE [IMAGE ...] --output IMAGE [flags]",
        description="Paint a photograph in the style of one or several paintings.",
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=30, width=100),
    )
    defaults = Settings()

    def add(group: argparse._ArgumentGroup, flag: str, text: str, **keywords: object) -> None:
        default = getattr(defaults, flag[2:].replace("-", "_"), None)
        if default is not None and default is not False:
            text += f" (default {default:g})" if isinstance(default, float) else f" (default {default})"
        group.add_argument(flag, help=text, **keywords)

    files = parser.add_argument_group("images and files")
    add(files, "--content", "the photograph", type=Path, metavar="IMAGE", required=True)
    add(files, "--styles", "the paintings", type=Path, metavar="IMAGE", nargs="+", required=True)
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
        "MatConvNet .mat file of VGG-19 or VGG-16, or vgg19 or compact (default: vgg19 if it is here)"
    )
    add(files, "--network", network_help, metavar="FILE", default=None)
    add(
        files, "--download", "fetch vgg19, the published network (550 MB), and exit", action=Download, nargs=0
    )
    checkpoint_help = (
        "where to write the best image so far; {} or %%d stands for the iteration, as in out_{:05}.png"
    )
    add(files, "--checkpoint-output", checkpoint_help, metavar="FORMAT", default=None)
    add(files, "--checkpoint-iterations", "write and compare every so many iterations", type=int, metavar="N")

    size = parser.add_argument_group("sizes")
    one_of = size.add_mutually_exclusive_group()
    add(one_of, "--width", "width of the picture in pixels (default: the content's)", type=int, metavar="W")
    add(one_of, "--max-size", "shrink the picture to at most this on its longer side", type=int, metavar="N")
    scales_help = "scale of each style, relative to the width (default 1 each)"
    add(size, "--style-scales", scales_help, type=float, nargs="+", metavar="F")

    objective = parser.add_argument_group("what is minimised")
    add(objective, "--content-weight", "weight of the content", type=float, metavar="F")
    add(objective, "--style-weight", "weight of the style", type=float, metavar="F")
    add(objective, "--tv-weight", "weight of the total variation; more is smoother", type=float, metavar="F")
    blend_help = "relative weight of each style (default: equal)"
    add(objective, "--style-blend-weights", blend_help, type=float, nargs="+", metavar="F")
    content_blend_help = "share of relu4_2; relu5_2, which keeps less detail, has the rest (default 1)"
    add(objective, "--content-weight-blend", content_blend_help, type=float, metavar="F")
    exponent_help = "each style layer weighs this many times the one before; more is coarser (default 1)"
    add(objective, "--style-layer-weight-exp", exponent_help, type=float, metavar="F")
    layers = {"type": str, "nargs": "+", "metavar": "NAME[=WEIGHT]"}
    add(objective, "--content-layers", "content layers (default relu4_2, and relu5_2 by the blend)", **layers)
    add(
        objective,
        "--style-layers",
        "style layers (default relu1_1 relu2_1 relu3_1 relu4_1 relu5_1)",
        **layers,
    )
    add(objective, "--pooling", "how the network pools", choices=POOLING)
    add(objective, "--preserve-colors", "keep the content's colours", action="store_true")

    search = parser.add_argument_group("how it is minimised")
    add(search, "--iterations", "updates to make", type=int, metavar="N")
    add(search, "--learning-rate", "Adam's step, in grey levels", type=float, metavar="F")
    add(search, "--beta1", "Adam's decay of the first moment", type=float, metavar="F")
    add(search, "--beta2", "Adam's decay of the second moment", type=float, metavar="F")
    add(search, "--eps", "Adam's epsilon", type=float, metavar="F")
    noise_help = "share of noise in the start (default 1, or 0 with --initial)"
    add(search, "--initial-noiseblend", noise_help, type=float, metavar="F")
    seed_help = "seed of the noise: same seed, threads and machine, same picture"
    add(search, "--seed", seed_help, type=int, metavar="N")

    running = parser.add_argument_group("running")
    add(running, "--device", "cpu, gpu or gpu:N (default: a GPU if there is one)", type=device, default=None)
    add(running, "--threads", "CPU threads (default: one a core)", type=threads, metavar="N", default=None)
    print_help = "print the losses, and write them for --progress-..., every so many iterations"
    add(running, "--print-iterations", print_help, type=count, metavar="N", default=None)
    switch = {"action": "store_true", "default": False}
    add(running, "--progress-write", "write the losses to progress.txt beside the output", **switch)
    add(running, "--progress-plot", "draw the losses in progress.png beside the output", **switch)
    add(running, "--quiet", "print errors only", **switch)
    running.add_argument("--version", action="version", version=f"neural-style {__version__}")
    return parser


def count(text: str) -> int:
    """A whole number of at least 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not a whole number of at least 1")
    return value


def threads(text: str) -> int:
    """A whole number of at least 1 that a machine can have as threads."""
    value = count(text)
    if value > 1024:
        raise argparse.ArgumentTypeError(f"{value} is more than 1024")
    return value


def device(text: str) -> str:
    """cpu, gpu or gpu:N."""
    if not re.fullmatch(r"cpu|gpu(:\d{1,3})?", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not cpu, gpu or gpu:N")
    return text


def read_settings(options: argparse.Namespace) -> Settings:
    """The settings among the flags. Raises SettingsError for values out of range or at odds."""
    given = vars(options)
    values = {field.name: given[field.name] for field in dataclasses.fields(Settings) if field.name in given}
    for name in ("content_layers", "style_layers"):
        if name in values:
            values[name] = read_layers(name, values[name])
    for name in ("style_scales", "style_blend_weights"):
        if name in values:
            values[name] = tuple(values[name])
    settings = Settings(**values)
    settings.scales(len(options.styles))
    settings.style_shares(len(options.styles))
    return settings


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


def input_names(options: argparse.Namespace) -> Iterator[tuple[str, Path]]:
    """Every file that the run will read, with the flag that names it."""
    yield "content", options.content
    yield "network", options.network
    for style in options.styles:
        yield "styles", style
    if options.initial:
        yield "initial", options.initial


def output_names(options: argparse.Namespace, settings: Settings) -> Iterator[tuple[str, Path]]:
    """Every file that the run will write, with the flag that asks for it. Raises SettingsError."""
    yield "output", options.output
    if options.progress_write:
        yield "progress_write", progress_path(options, ".txt")
    if options.progress_plot:
        if importlib.util.find_spec("matplotlib") is None:
            raise SettingsError("progress_plot", "needs matplotlib: pip install matplotlib")
        yield "progress_plot", progress_path(options, ".png")
    pattern, every = options.checkpoint_output, settings.checkpoint_iterations
    if (pattern is None) != (every is None):
        problem = "goes together with --checkpoint-iterations; give both or neither"
        raise SettingsError("checkpoint_output", problem)
    if every is not None and every > settings.iterations:
        raise SettingsError(
            "checkpoint_iterations", f"{every} is more than the {settings.iterations} iterations"
        )
    if every:
        for path in paths.checkpoint_paths(pattern, every, settings.iterations):
            yield "checkpoint_output", path


def paint(options: argparse.Namespace, settings: Settings) -> int:
    """Do what the flags ask, and return the exit status."""
    with silent_stderr():
        content = images.read(options.content)
        styles = [images.read(path) for path in options.styles]
        initial = images.read(options.initial) if options.initial else None
    for name in (options.output, options.checkpoint_output):
        if name is not None:
            images.check_size(name, *content_size(*content.shape[:2], settings))
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with silent_stderr():
        import stylize
        import vgg

        stylize.configure(options.device, options.threads, deterministic=settings.seed is not None)
    network = vgg.load(options.network)
    try:
        run = stylize.stylize(content, styles, network, settings, initial)
    except NetworkError as error:
        raise NetworkError(f"{options.network}: {error}") from None
    return follow(run, options, settings)


def follow(run: "Iterator[Progress]", options: argparse.Namespace, settings: Settings) -> int:
    """Report on a run until it ends or is interrupted, write what it made, and return the exit status."""
    recording = options.progress_write or options.progress_plot
    reporter = report.Reporter(settings.iterations, options.print_iterations, recording, options.quiet)
    reporter.say(networks.describe(options.network))
    status, progress = 0, None
    try:
        for progress in run:
            reporter(progress)
            if settings.is_checkpoint(progress.iteration) and not save_checkpoint(progress, options):
                status = 1
        ending = f"total loss {progress.losses()['total']:.6g} after {progress.iteration} iterations"
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
    with uninterrupted():
        written = save(outcome, reporter.history, options)
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
    outcome: "Progress | DivergedError", history: list[tuple[float, ...]], options: argparse.Namespace
) -> str:
    """Write the picture, if there is one, and the losses that were asked for; returns the names written.

    A picture that cannot be written where it should goes into the folder for temporary files, and a
    StyleError says so.
    """
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
    for wanted, ending, write in (
        (options.progress_write, ".txt", report.write_history),
        (options.progress_plot, ".png", report.plot_history),
    ):
        if wanted and history:
            path = paths.unclaimed(progress_path(options, ending), options.overwrite)
            try:
                write(path, history)
            except OSError as error:
                raise StyleError(f"{explain(error)}; wrote {', '.join(map(str, written))}") from None
            written.append(path)
    return ", ".join(map(str, written))


def progress_path(options: argparse.Namespace, ending: str) -> Path:
    """Where the losses go: progress.txt or progress.png beside the output."""
    return options.output.with_name(f"progress{ending}")


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
