"""The page's form: its fields, which are made from the settings, and the command line for a form."""

import dataclasses
import itertools
import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NoReturn

from styling.command.flags import build_parser, shown
from styling.command.jobs import Job, plan
from styling.settings import FIELDS, Settings, recipes
from styling.settings.checks import choices
from styling.system.errors import NetworkError, SettingsError, StyleError, flag_of
from styling.web.requests import NO_FORM

if TYPE_CHECKING:
    from styling.web.sessions import Picture
    from vgg import Network

# Settings that have a control of their own on the page; the others are listed under "more".
CONTROLS = ("max_size", "style_weight", "tv_weight", "style_scales", "colors", "style_blend_weights")
NAMES = tuple(field.name for field in dataclasses.fields(Settings))
MOST_CHARACTERS = 2000  # of a value


def fields() -> dict[str, list[dict[str, object]]]:
    """The settings listed under "more", by the titles of the flags' groups; none of films, which the page
    does not paint."""
    groups: dict[str, list[dict[str, object]]] = {}
    for name in NAMES:
        entry = FIELDS[name].metadata
        if name not in CONTROLS and entry["group"] != "video":
            values = ("yes", "no") if FIELDS[name].type is bool else choices(FIELDS[name].type)
            field = {"name": name, "flag": flag_of(name), "text": entry["text"], "choices": values}
            groups.setdefault(entry["group"], []).append(field)
    return groups


def offered(network: "Network") -> dict[str, dict[str, object]]:
    """The recipes that work with this network: the description of each, and its settings as typed."""
    found = {}
    for name in recipes.shipped():
        try:
            settings = Settings.from_recipe(name, network)
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


def words(form: Mapping[str, object], pictures: Mapping[str, "Picture"]) -> list[str]:
    """The flags for a form.

    form: `content`, `start` and `content_mask` are keys of files or None; `styles` and `style_masks` are
    lists of keys; `recipe` is a name; `values` has texts by the names of settings. pictures: the session's;
    no other files can be named. Each flag is one word, --name=value, so that no value can be taken for
    another flag. Raises StyleError.
    """
    values, recipe = form.get("values", {}), form.get("recipe")
    lists = {name: form.get(name, []) for name in ("styles", "style_masks")}
    if recipe not in recipes.shipped() or not isinstance(values, dict):
        raise StyleError(NO_FORM)
    if not all(isinstance(keys, list) for keys in lists.values()):
        raise StyleError(NO_FORM)
    found = [f"--recipe={recipe}"]
    named = {"content": "content", "initial": "start", "content_mask": "content_mask"}
    lists |= {image: [form[key]] for image, key in named.items() if form.get(key) is not None}
    for image, keys in lists.items():
        for key in keys:
            if not isinstance(key, str) or key not in pictures:
                raise StyleError(f"argument {flag_of(image)}: is no image of this session; choose another")
            found.append(f"{flag_of(image)}={pictures[key].path}")
    if form.get("start") is not None:  # noise or a coarse scale would destroy the start
        values = {"scales": "1", "initial_noiseblend": "0"} | values
    if values.get("width"):
        values = {name: text for name, text in values.items() if name != "max_size"}
    for name, text in values.items():
        if name not in NAMES or not isinstance(text, str) or len(text) > MOST_CHARACTERS:
            raise StyleError(NO_FORM)
        if FIELDS[name].type is bool:
            found.append(flag_of(name) if text == "yes" else f"--no-{flag_of(name)[2:]}")
        else:
            found.append(f"{flag_of(name)}={','.join(text.split())}")
    return found


def job(arguments: Sequence[str]) -> Job:
    """The job of the command line with these arguments. Raises StyleError with the line that it would
    print."""
    parser = build_parser()

    def refuse(message: str) -> NoReturn:
        raise StyleError(" ".join(message.split()))

    parser.error = refuse  # argparse would end the program
    try:
        (one,) = plan(parser.parse_args(arguments))
        return one
    except SettingsError as error:
        raise StyleError(f"argument {flag_of(error.name)}: {error.problem}") from None


def command(images: Sequence[tuple[str, str]], name: str) -> str:
    """The command line that makes a picture again from its recipe. images: pairs of a flag and a file."""
    parts = [["neural-style"]]
    for image, pairs in itertools.groupby(images, key=lambda pair: pair[0]):
        parts.append([flag_of(image), *(file for _, file in pairs)])
    parts += [["--recipe", f"{name}.toml"], ["--output", f"{name}-again.png"]]
    return " \\\n  ".join(map(shlex.join, parts))
