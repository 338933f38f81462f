"""The flags of the command line: what each is called, means and takes.

They are those of Athalye's neural-style (2015), which people know, and some more.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from styling import __version__, networks, recipes
from styling.errors import SettingsError
from styling.settings import CHOICES, Layers, Settings

DEFAULTS = Settings()
SWITCH = {"action": argparse.BooleanOptionalAction}


class Parser(argparse.ArgumentParser):
    """argparse, with errors in one line."""

    def error(self, message: str) -> NoReturn:
        """Exit with status 2 and the one line that says what is wrong, without the usage before it."""
        hint = f"; see {self.prog} --help" if "arguments are required" in message else ""
        self.exit(2, f"{self.prog}: error: {' '.join(message.split())}{hint}\n")


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


def build_parser() -> argparse.ArgumentParser:
    """The flags of neural-style."""
    usage = "%(prog)s --content IMAGE --styles IMAGE [...] --output IMAGE [--recipe NAME] [flags]"
    parser = new_parser("neural-style", usage, "Paint a photograph in the style of one or several paintings.")
    files = parser.add_argument_group("images and files")
    add_images(files)
    output_help = "the picture to write; png, jpg, webp, tif or bmp"
    add(files, "--output", output_help, type=Path, metavar="IMAGE", required=True)
    add(files, "--overwrite", "replace files that exist", action="store_true", default=False)
    add_network(files)
    add(
        files, "--download", "fetch vgg19, the published network (550 MB), and exit", action=Download, nargs=0
    )
    checkpoint_help = (
        "where to write the best image so far; {} or %%d stands for the iteration, as in out_{:05}.png"
    )
    add(files, "--checkpoint-output", checkpoint_help, metavar="FORMAT", default=None)
    add(files, "--checkpoint-iterations", "write and compare every so many iterations", type=int, metavar="N")

    recipe = parser.add_argument_group("recipes")
    add_recipe(recipe)
    add(recipe, "--list-recipes", "say what each recipe is, and exit", action=ListRecipes, nargs=0)
    save_help = "write all settings of this run to a .toml file, so that --recipe FILE repeats it exactly"
    add(recipe, "--save-recipe", save_help, type=Path, metavar="FILE", default=None)

    stops = parser.add_argument_group("stopping and going on")
    state_help = (
        "keep all that the run needs to go on in this file: each minute, at its end, and when stopped"
    )
    add(stops, "--save-state", state_help, type=Path, metavar="FILE", default=None)
    every_help = "keep it every so many iterations instead of each minute"
    add(stops, "--save-state-iterations", every_help, type=int, metavar="N", default=None)
    resume_help = "go on with the run in this file, to the same picture as if it had not stopped"
    add(stops, "--resume", resume_help, type=Path, metavar="FILE", default=None)

    add_settings(parser)

    running = parser.add_argument_group("running")
    add_machine(running)
    print_help = "print the losses, and write them for --progress-..., every so many iterations"
    add(running, "--print-iterations", print_help, type=int, metavar="N")
    write = {"action": "store_true", "default": False}
    add(running, "--progress-write", "write the losses to progress.txt beside the output", **write)
    add(running, "--progress-plot", "draw the losses in progress.png beside the output", **write)
    grid_help = "lay out ten images of the run in progress-grid.png beside the output"
    add(running, "--progress-grid", grid_help, **SWITCH)
    add_quiet(running)
    return parser


def new_parser(prog: str, usage: str, description: str) -> Parser:
    """A parser. A flag that is a setting has no default, since Settings has them all."""
    return Parser(
        prog=prog,
        usage=usage,
        description=description,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=30, width=100),
    )


def add(group: argparse._ArgumentGroup, flag: str, text: str, **keywords: object) -> None:
    """Add a flag, whose help ends with the setting's default if it is one."""
    default = getattr(DEFAULTS, flag[2:].replace("-", "_"), None)
    if isinstance(default, int | float | str) and default is not False:
        text += f" (default {default:g})" if isinstance(default, float) else f" (default {default})"
    group.add_argument(flag, help=text, **keywords)


def add_images(group: argparse._ArgumentGroup) -> None:
    """The flags for the images that a picture is made of."""
    add(group, "--content", "the photograph", type=Path, metavar="IMAGE", default=None)
    add(group, "--styles", "the paintings", type=Path, metavar="IMAGE", nargs="+", default=[])
    initial_help = "image to start from (default: noise)"
    add(group, "--initial", initial_help, type=Path, metavar="IMAGE", default=None)


def add_network(group: argparse._ArgumentGroup) -> None:
    """The flag for the network."""
    text = (
        "MatConvNet .mat file of VGG-19 or VGG-16, or vgg19, vgg16 or small "
        "(default: the first of these that is here)"
    )
    add(group, "--network", text, metavar="FILE")


def add_recipe(group: argparse._ArgumentGroup) -> None:
    """The flag for a recipe."""
    text = "settings of a published procedure, or of a .toml file; flags beside it win"
    add(group, "--recipe", text, metavar="NAME|FILE", default=None)


def add_machine(group: argparse._ArgumentGroup) -> None:
    """The flags for where to compute."""
    add(group, "--device", "cpu, gpu or gpu:N (default: a GPU if there is one)")
    add(group, "--threads", "CPU threads (default: one a core)", type=int, metavar="N")


def add_quiet(group: argparse._ArgumentGroup) -> None:
    """The flags that every program has, --help apart."""
    add(group, "--quiet", "print errors only", action="store_true", default=False)
    group.add_argument("--version", action="version", version=f"%(prog)s {__version__}")


def add_settings(parser: argparse.ArgumentParser) -> None:
    """The flags for what is computed."""
    size = parser.add_argument_group("sizes")
    add(size, "--width", "width of the picture in pixels (default: the content's)", type=int, metavar="W")
    height_help = (
        "its height, beside --width, where there is no content (default: in the first style's shape)"
    )
    add(size, "--height", height_help, type=int, metavar="H")
    add(size, "--max-size", "shrink the picture to at most this on its longer side", type=int, metavar="N")
    scales_help = "sizes at which the picture is made, coarse to fine, relative to its own, as 0.25 0.5 1"
    add(size, "--scales", scales_help, type=float, nargs="+", metavar="F")
    shares_help = "share of the iterations at each scale (default: equal)"
    add(size, "--scale-shares", shares_help, type=float, nargs="+", metavar="F")
    tile_help = (
        "evaluate it in tiles of about N pixels a side, with the same result in less memory; 0 for whole "
        "(default: whole if that fits well into the machine's memory, else 512)"
    )
    add(size, "--tile", tile_help, type=int, metavar="N")
    style_help = "scale of each style, relative to the width (default 1 each)"
    add(size, "--style-scales", style_help, type=float, nargs="+", metavar="F")

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
    exponent_help = "each style layer weighs this many times the one before; more shows forms (default 1)"
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
        (
            "--content-reduction",
            "squared differences of the content's features: their mean, their sum, or, relative, their mean "
            "over that of the features' squares",
        ),
        ("--style-reduction", "those of Gram matrices; if relative, of shifted ones and histograms as well"),
        ("--tv-reduction", "those of neighbouring pixels; relative to 255^2"),
        ("--gram-divisor", "divide Gram matrices by h*w*C (size), by h*w (positions), or not"),
        ("--pooling", "how the network pools"),
        (
            "--padding",
            "what the network's first layer sees beyond the picture's border: the mean pixel (zero), or the "
            "pixels at the edge",
        ),
    ):
        add(objective, flag, text, choices=CHOICES[flag[2:].replace("-", "_")])
    normalize_help = "scale the network's filters to mean activations of 1 over the run's images"
    add(objective, "--normalize", normalize_help, **SWITCH)
    add(objective, "--preserve-colors", "keep the content's colours", **SWITCH)

    search = parser.add_argument_group("how it is minimised")
    add(search, "--iterations", "updates to make", type=int, metavar="N")
    add(search, "--optimizer", "how", choices=CHOICES["optimizer"])
    rate_help = "step, in grey levels; for every optimizer but lbfgs and lbfgs-b"
    add(search, "--learning-rate", rate_help, type=float, metavar="F")
    add(search, "--beta1", "Adam's decay of the first moment", type=float, metavar="F")
    add(search, "--beta2", "Adam's decay of the second moment", type=float, metavar="F")
    add(search, "--eps", "epsilon of Adam and of normalized gradient descent", type=float, metavar="F")
    evaluations_help = "make each iteration of lbfgs-b a new call of at most so many evaluations, 5 or more"
    add(search, "--evaluations", evaluations_help, type=int, metavar="N")
    add(search, "--clip", "keep all pixels within 0..255 at every step", **SWITCH)
    best_help = "keep the image with the lowest loss of all iterations"
    add(search, "--best-of-all", best_help, **SWITCH)
    noise_help = "share of noise in the start (default 1, or 0 with --initial)"
    add(search, "--initial-noiseblend", noise_help, type=float, metavar="F")
    kind_help = "normal about the mean pixel, or uniform in 128..129"
    add(search, "--noise", kind_help, choices=CHOICES["noise"])
    precision_help = (
        "of the network's convolutions; bfloat16 rounds more and is faster on processors that have it, "
        "which fastest finds out"
    )
    add(search, "--precision", precision_help, choices=CHOICES["precision"])
    seed_help = "seed of the noise: same seed, threads and machine, same picture"
    add(search, "--seed", seed_help, type=int, metavar="N")


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
