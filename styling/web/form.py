"""The page's form: its fields, which are made from the settings, and the command line for a form."""

import dataclasses
import itertools
import math
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from styling.command.flags import build_parser, shown
from styling.command.jobs import Job, plan
from styling.pictures.images import Images
from styling.run.sizes import scales_of
from styling.settings import FIELDS, Settings, recipes
from styling.settings.checks import choices
from styling.system.errors import NetworkError, SettingsError, StyleError, flag_of
from styling.web.studio import Studio

if TYPE_CHECKING:
    from vgg import Network

# The first look at a picture, before Paint is pressed: one pass, or for other networks a short run.
ONE_PASS = {"recipe": "instant", "values": {"max_size": "384"}}
SHORT = {"recipe": "best", "values": {"iterations": "16", "scales": "1", "max_size": "192"}}
# Settings that have a control of their own on the page; the others are listed as the expert's.
CONTROLS = ("max_size", "style_weight", "tv_weight", "style_scales", "colors", "style_blend_weights")
NAMES = tuple(field.name for field in dataclasses.fields(Settings))
LABELS = {
    "content": "Photograph",
    "styles": "Painting",
    "style_weight": "How much",
    "style_scales": "Strokes",
    "tv_weight": "Smoothness",
    "max_size": "Size",
    "colors": "Colours",
}
MISSING = {"content": "Choose a photograph first.", "styles": "Choose a painting first."}
MOST_CHARACTERS = 2000  # of a value
NO_FORM = "this is no form of the page; load it again"


def label(name: str) -> str:
    """The name of a setting on the page."""
    return LABELS.get(name) or name.replace("_", " ").replace("tv", "TV").capitalize()


def fields() -> dict[str, list[dict[str, object]]]:
    """The expert's settings, by the titles of the flags' groups."""
    groups: dict[str, list[dict[str, object]]] = {}
    for name in NAMES:
        entry = FIELDS[name].metadata
        if name not in CONTROLS:
            values = ("yes", "no") if FIELDS[name].type is bool else choices(FIELDS[name].type)
            field = {"name": name, "label": label(name), "flag": flag_of(name), "choices": values}
            groups.setdefault(entry["group"], []).append(field | {"text": entry["text"]})
    return groups


def offered(network: "Network") -> dict[str, dict[str, object]]:
    """The recipes that work with this network: the description of each, and its settings as typed."""
    from styling.run.one_pass import check_network  # which loads TensorFlow, as the network has

    found: dict[str, dict[str, object]] = {}
    for name in recipes.shipped():
        try:
            settings = Settings.from_recipe(name, network)
            if settings.start == "one-pass":
                check_network(network)
        except NetworkError:
            continue
        values = {key: typed(key, getattr(settings, key)) for key in NAMES}
        found[name] = {"description": recipes.read(name).description, "values": values}
    return found


def typed(name: str, value: object) -> str:
    """A setting's value as it is typed, or the text for an unset value."""
    if value is None:
        return FIELDS[name].metadata["unset"]
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return " ".join(f"{layer}={weight:g}" for layer, weight in value.items())
    return shown(value)


def words(form: Mapping[str, Any], studio: Studio) -> list[str]:
    """The flags for a form, without the output.

    form: `content`, `start` and `content_mask` are keys of images or None; `styles` and `style_masks` are
    lists of keys; `recipe` is a name; `values` has texts by the names of settings. Of a film, `film` asks for
    the whole, else `frame` is the number of the one to paint. No other files than the studio's can be named.
    Each flag is one word, --name=value, so that no value can be taken for another flag. Raises StyleError.
    """
    values, recipe = form.get("values", {}), form.get("recipe")
    lists = {name: form.get(name, []) for name in ("styles", "style_masks")}
    if recipe not in recipes.shipped() or not isinstance(values, dict):
        raise StyleError(NO_FORM)
    if not all(isinstance(keys, list) for keys in lists.values()):
        raise StyleError(NO_FORM)
    named = {"content": "content", "initial": "start", "content_mask": "content_mask"}
    lists |= {image: [form[key]] for image, key in named.items() if form.get(key) is not None}
    found, is_film = [f"--recipe={recipe}"], form.get("film") is True
    for image, keys in lists.items():
        for key in keys:
            if not isinstance(key, str) or key not in studio.pictures:
                raise PageError(f"{label(image)}: is gone; choose another", image)
            picture = studio.pictures[key]
            if image == "content" and picture.frames > 1 and not is_film:
                number = form.get("frame", 1)
                if type(number) is not int or not 1 <= number <= picture.frames:
                    raise StyleError(NO_FORM)
                picture = studio.pictures[studio.frame(key, number)]
            found.append(f"{flag_of(image)}={picture.path}")
    if form.get("start") is not None:  # noise or a coarse scale would destroy the start
        noise = recipes.read(recipe).values.get("initial_noiseblend")
        values = {"scales": "1"} | ({"initial_noiseblend": "0"} if noise else {}) | values
    if values.get("width"):
        values = {name: text for name, text in values.items() if name != "max_size"}
    for name, text in values.items():
        if name not in NAMES or not isinstance(text, str) or len(text) > MOST_CHARACTERS:
            raise StyleError(NO_FORM)
        if FIELDS[name].metadata["group"] == "video" and not is_film:
            continue
        if FIELDS[name].type is bool:
            found.append(flag_of(name) if text == "yes" else f"--no-{flag_of(name)[2:]}")
        else:
            found.append(f"{flag_of(name)}={','.join(text.split())}")
    return found


def job(arguments: Sequence[str], studio: Studio) -> Job:
    """The job of the command line with these arguments. Raises PageError."""
    parser = build_parser()

    def refuse(message: str) -> NoReturn:
        found = re.match(r"argument (?:-\w/)?--([\w-]+): (.*)", " ".join(message.split()))
        raise SettingsError(found[1].replace("-", "_"), found[2]) if found else StyleError(message)

    vars(parser)["error"] = refuse  # argparse would end the program
    try:
        (one,) = plan(parser.parse_args(arguments))
        return one
    except SettingsError as error:
        raise PageError(explained(error, studio), error.name) from None
    except StyleError as error:
        raise PageError(in_words(str(error), studio)) from None


def explained(error: SettingsError, studio: Studio) -> str:
    """An error in a setting, in the page's words."""
    if error.name in MISSING and error.problem.startswith("is needed"):
        return MISSING[error.name]
    return f"{label(error.name)}: {in_words(error.problem, studio)}"


class PageError(StyleError):
    """An error in the page's words. field: the field that it is about, if it is about one."""

    def __init__(self, line: str, field: str | None = None) -> None:
        super().__init__(line)
        self.field = field


def in_words(line: str, studio: Studio) -> str:
    """A line with the labels of the page in place of flags, and the names of images in place of paths."""
    line = studio.in_words(line)
    return re.sub(r"--([a-z][\w-]+)", lambda flag: f"“{label(flag[1].replace('-', '_'))}”", line)


def updates(job: Job, size: tuple[int, int], frames: int) -> tuple[int, tuple[int, int]]:
    """The pixels of all updates that a job makes, and the (width, height) of its picture.

    size: (width, height) of the photograph. frames: of the film, or 1. Raises ImageError.
    """
    pixels = np.broadcast_to(np.float32(0), (*size[::-1], 3))  # only its shape matters
    named = [(flag, pixels) for flag, _ in job.files.images if flag == "styles"]
    *_, last = scales = scales_of(Images.named([("content", pixels), *named]), job.settings)
    work = sum(scale.pixels for scale in scales)
    if frames > 1:
        from styling.films.frames import iterations_between  # which needs OpenCV, as every film does

        work += (frames - 1) * iterations_between(job.settings) * math.prod(last.size)
    return work, last.size[::-1]


def command(files: Sequence[tuple[str, str]], studio: Studio, name: str, ending: str) -> str:
    """The command line that makes a picture again from its recipe. files: pairs of a flag and a key."""
    parts = [["neural-style"]]
    for image, pairs in itertools.groupby(files, key=lambda pair: pair[0]):
        parts.append([flag_of(image), *(studio.pictures[key].name for _, key in pairs)])
    parts += [["--recipe", f"{name}.toml"], ["--output", f"{name}-again.{ending}"]]
    return " \\\n  ".join(map(shlex.join, parts))
