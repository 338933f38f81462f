"""The flags of the command line: their names, help texts and values.

They are the flags of Athalye's neural-style (2015), which people know, and some more. The flags of settings
are made from their entries in styling/settings/entries.py. docs/flags.py lists them all.
"""

import argparse
import difflib
import re
import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import Field
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NoReturn, get_args, get_origin

from msgspec import Meta

from styling import __version__
from styling.films import writing
from styling.network import networks
from styling.settings import FIELDS, recipes
from styling.settings.checks import checked, choices, parts, shown
from styling.settings.entries import Count, Layers
from styling.system import terminal
from styling.system.errors import SettingsError, flag_of
from styling.system.files import data_folder

DASHES = "\u2010\u2011\u2012\u2013\u2014\u2015\u2212"  # what word processors and web pages make of hyphens
GROUPS = (
    *("images and files", "recipes", "stopping and going on", "sizes"),
    *("what is minimised", "how it is minimised", "video", "running"),
)
WHITE = "white.png"  # in data/
LIVE_PORT = 8189
LAYERS = parts(Layers)[0]
METAVARS = {int: "N", float: "F", LAYERS: "NAME[=WEIGHT]"}  # what stands for a value in --help


class Parser(argparse.ArgumentParser):
    """argparse, with errors in one line, and suggestions for misspelt flags."""

    def error(self, message: str) -> NoReturn:
        """Exit with status 2 and a one-line error, without the usage before it."""
        hint = f"; see {self.prog} --help" if "arguments are required" in message else ""
        self.exit(2, f"{self.prog}: error: {' '.join(message.split())}{hint}\n")

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse the command line. Unknown flags are reported first, since they cause other errors."""
        words = sys.argv[1:] if args is None else list(args)
        for word in words:
            flag = word.partition("=")[0]
            name = flag.lstrip(DASHES + "-")
            if flag.startswith(tuple(DASHES)) and re.fullmatch(r"[a-z][a-z0-9-]*", name):
                self.error(f"argument {word}: begins with a dash; type two hyphens, as in --{name}")
            if flag.startswith("--") and flag != "--" and flag not in self._option_string_actions:
                near = difflib.get_close_matches(flag, self._option_string_actions, n=1)
                hint = f"did you mean {near[0]}?" if near else f"see {self.prog} --help"
                self.error(f"argument {flag}: there is no such flag; {hint}")
        return super().parse_args(words, namespace)


class Answer(argparse.Action):
    """A flag that is answered with lines, which `const` gives, whatever else is on the command line."""

    def __init__(self, *, const: Callable[[], Iterable[str]], **keywords: Any) -> None:
        super().__init__(nargs=0, const=const, **keywords)

    def __call__(self, parser: argparse.ArgumentParser, *ignored: object) -> NoReturn:
        """Print the lines, and exit with status 0."""
        for line in self.const():
            terminal.print_line(line)
        parser.exit()


def listed(folder: str, read: Callable[[str], Any]) -> Iterable[str]:
    """A line for each file that ships in a folder of data/; read: gives what describes it."""
    return (f"{name:24}{read(name).description}" for name in recipes.shipped(folder))


def reader(hint: Any) -> Callable[[str], Any]:
    """What reads a word of the command line as a value of this type."""

    def read(word: str) -> Any:
        try:
            return checked("", word, hint, strict=False)
        except SettingsError as error:
            raise argparse.ArgumentTypeError(error.problem) from None

    return read


# Kinds of flags: a file, an image, several (given twice, the flag adds to the list), a switch, and so on.
FILE: dict[str, Any] = {"type": Path, "default": None, "metavar": "FILE"}
IMAGE: dict[str, Any] = {"type": Path, "nargs": 1, "default": [], "metavar": "IMAGE"}
SEVERAL: dict[str, Any] = IMAGE | {"nargs": "+", "action": "extend"}
SWITCH: dict[str, Any] = {"action": "store_true", "default": False}
COUNT: dict[str, Any] = {"type": reader(Count), "metavar": "N", "default": None}
RECIPE: dict[str, Any] = {"metavar": "NAME|FILE", "default": None}
Port = Annotated[int, Meta(ge=0, le=65535, description="a number from 0 to 65535")]
Quality = Annotated[float, Meta(ge=0, le=63, description="a number from 0 to 63")]
FrameRate = Annotated[float, Meta(gt=0, le=1000, description="a number above 0 and at most 1000")]


TEXTS = {  # what --help says of the flags that are no settings
    "--content": "the photograph; several, or a folder, are painted one after the other; if --output is a "
    "film: a film, or its frames as a folder or as in/%%04d.png",
    "--styles": "the paintings",
    "--initial": "image to start from (default: noise)",
    "--style-masks": "where each style paints: white for yes, gray for partly, black for no; where none "
    "paints, the photograph stays; all for everywhere, or one mask for all styles",
    "--style-guides": "the part of each painting that its style is taken from, in white; all for all of it",
    "--content-mask": "in white, the part of the photograph that stays as it is",
    "--output": "the picture to write: png, jpg, webp, tif or bmp; a folder for several contents; a film as "
    "mp4, mov, mkv, webm, gif or webp, or its frames as a folder or as out/%%04d.png",
    "--overwrite": "replace files that exist",
    "--checkpoint-output": "where to write the best image so far; {} or %%d stands for the iteration, as in "
    "out_{:05}.png; goes with --checkpoint-iterations",
    "--download": "fetch vgg19, the published network (550 MB), and exit",
    "--recipe": "settings of a published procedure, or of a .toml file; a flag replaces the recipe's value",
    "--list-recipes": "say what each recipe is, and exit",
    "--save-recipe": "write all settings of this run to a .toml file; --recipe FILE repeats it exactly",
    "--save-state": "save the state of the run in this file, for --resume: each minute, at its end, and when "
    "stopped (default: the file of --resume)",
    "--save-state-iterations": "save the state every N iterations instead of each minute",
    "--resume": "continue the run in this file; the picture is the same as if it had not stopped",
    "--frames": "the first and the last frame to paint, counted from 1 or by their numbers (default: all)",
    "--frame-rate": "frames a second of numbered images (default: 25)",
    "--video-codec": "of mp4, mov and mkv: h264, h264-444 (a colour for each pixel) or prores (to edit on)",
    "--crf": "quality of H.264 (default: 17) and VP9 (default: 20); less is better and larger",
    "--progress-write": "write the losses to NAME-progress.txt",
    "--progress-plot": "draw the losses in NAME-progress.png",
    "--live": f"show the picture and its losses while they change, at 127.0.0.1:PORT (default: {LIVE_PORT})",
    "--quiet": "print errors only",
}


def build_parser() -> Parser:
    """The flags of neural-style."""
    usage = "%(prog)s --content IMAGE --styles IMAGE [...] --output IMAGE [--recipe NAME] [flags]"
    description = "Paint a photograph in the style of one or several paintings."
    parser, groups = new_parser("neural-style", usage, description)
    add_images(groups)
    files, text = groups["images and files"], TEXTS["--output"]
    files.add_argument("-o", "--output", type=Path, metavar="IMAGE", required=True, help=text)
    add(files, "--overwrite", **SWITCH)
    add(files, "--checkpoint-output", metavar="FORMAT", default=None)
    add(files, "--download", action=Answer, const=lambda: [f"vgg19 is at {networks.download()}"])
    add_settings(groups)
    add(groups["recipes"], "--recipe", **RECIPE)
    add(groups["recipes"], "--list-recipes", action=Answer, const=partial(listed, "recipes", recipes.read))
    add(groups["recipes"], "--save-recipe", **FILE)
    going_on, film, running = (groups[title] for title in ("stopping and going on", "video", "running"))
    add(going_on, "--save-state", **FILE)
    add(going_on, "--save-state-iterations", **COUNT)
    add(going_on, "--resume", **FILE)
    add(film, "--frames", metavar="A:B", default=None)
    add(film, "--frame-rate", type=reader(FrameRate), metavar="F", default=None)
    add(film, "--video-codec", choices=writing.CODECS, default=None)
    add(film, "--crf", type=reader(Quality), metavar="F", default=None)
    add(running, "--progress-write", "--progress-plot", **SWITCH)
    add(running, "--live", type=reader(Port), nargs="?", const=LIVE_PORT, metavar="PORT", default=None)
    add_common(groups)
    return parser


def add(group: argparse._ArgumentGroup, *flags: str, **keywords: Any) -> None:
    """Add flags of one kind that are no settings; the keywords are those of argparse."""
    for flag in flags:
        group.add_argument(flag, help=TEXTS[flag], **keywords)


def new_parser(
    prog: str, usage: str, description: str, titles: Sequence[str] = GROUPS
) -> tuple[Parser, dict[str, argparse._ArgumentGroup]]:
    """A parser and its groups of flags by title. Flags of settings have no default, since Settings has it."""
    parser = Parser(
        prog=prog,
        usage=usage,
        description=description,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=30, width=100),
    )
    return parser, {title: parser.add_argument_group(title) for title in titles}


def add_images(groups: dict[str, argparse._ArgumentGroup]) -> None:
    """The flags for the images that a picture is made of."""
    group = groups["images and files"]
    add(group, "--content", "--styles", **SEVERAL)
    add(group, "--initial", **IMAGE)
    add(group, "--style-masks", "--style-guides", **SEVERAL | {"type": mask_file, "metavar": "MASK"})
    add(group, "--content-mask", **IMAGE | {"metavar": "MASK"})


def mask_file(word: str) -> Path:
    """The file of a mask; `all` stands for a white mask."""
    return data_folder() / WHITE if word == "all" else Path(word)


def add_common(groups: dict[str, argparse._ArgumentGroup]) -> None:
    """The flags that every program has, --help apart."""
    add(groups["running"], "--quiet", **SWITCH)
    groups["running"].add_argument("--version", action="version", version=f"%(prog)s {__version__}")


def add_settings(groups: dict[str, argparse._ArgumentGroup], without: Collection[str] = ()) -> None:
    """The flags of all settings in these groups, but those in `without`."""
    for name, field in FIELDS.items():
        if field.metadata.get("group") in groups and name not in without:
            add_setting(groups[field.metadata["group"]], field)
    add = groups["what is minimised"].add_argument
    for flag, colors in (("--preserve-colors", "content"), ("--no-preserve-colors", "style")):
        text = f"another name of --colors {colors}"
        add(flag, action="store_const", dest="colors", const=colors, help=text)


def add_setting(group: argparse._ArgumentGroup, field: Field) -> None:
    """The flag of a setting, made from its type and its entry; settings_of() reads its words."""
    entry, kind = field.metadata, parts(field.type)[0]
    flags = [*filter(None, [entry["short"]]), flag_of(field.name)]
    has_default = kind is not bool and field.default is not None
    default = entry["unset"] or (shown(field.default) if has_default else "")
    text = entry["text"] + (f" (default: {default})" if default else "")
    item = get_args(kind)[0] if get_origin(kind) is tuple else kind
    how: dict[str, Any] = {"metavar": entry["metavar"] or METAVARS.get(parts(item)[0])}
    if kind is bool:
        how = {"action": argparse.BooleanOptionalAction}
    elif choices(kind):
        how = {"choices": choices(kind)}
    if item != kind or kind == LAYERS:
        how |= {"nargs": "+", "action": "extend"}
    group.add_argument(*flags, help=text, **how)


def settings_of(options: argparse.Namespace) -> dict[str, Any]:
    """The settings that the command line gives. Raises SettingsError."""
    flags = {name: value for name, value in vars(options).items() if name in FIELDS}
    return {
        name: checked(name, several(name, value), FIELDS[name].type, strict=False)
        for name, value in flags.items()
    }


def several(name: str, words: Any) -> Any:
    """The words of a list, with commas or spaces between them; those of NAME=WEIGHT as a table.

    Raises SettingsError for a mixture. What is no list stays as it is.
    """
    if not isinstance(words, list):
        return words
    words = [word for text in words for word in text.split(",") if word]
    if not any("=" in word for word in words):
        return words
    weights: dict[str, float] = {}
    for word in words:
        layer, _, weight = word.partition("=")
        if layer in weights:
            raise SettingsError(name, f"{layer} is named twice")
        try:
            weights[layer] = float(weight)
        except ValueError:
            raise SettingsError(name, f"{word} is not NAME=WEIGHT with a number, as others are") from None
    return weights
