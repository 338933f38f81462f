"""The page's form: its fields, which follow from the settings, and the command line that it comes to."""

import itertools
import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NoReturn

from styling import recipes
from styling.errors import NetworkError, SettingsError, StyleError, flag_of
from styling.flags import build_parser, shown
from styling.jobs import Job, plan
from styling.settings import FIELDS, Settings

if TYPE_CHECKING:
    from styling.web.sessions import Picture
    from vgg import Network

# Settings that have a control of their own on the page; the others are listed under "more".
CONTROLS = ("max_size", "style_weight", "tv_weight", "style_scales", "colors", "style_blend_weights")
OTHER_NAMES = ("preserve_colors",)  # of what has a control
MOST_CHARACTERS = 2000  # of a value
NO_FORM = "this is no form of the page; load it again"


def fields() -> dict[str, list[dict[str, object]]]:
    """What is listed under "more", by the titles of the flags' groups."""
    groups: dict[str, list[dict[str, object]]] = {}
    for name in recipes.NAMES[Settings]:
        if name not in CONTROLS + OTHER_NAMES:
            entry = FIELDS[name].metadata
            choices = ("yes", "no") if FIELDS[name].type is bool else entry["choices"]
            field = {"name": name, "flag": flag_of(name), "text": entry["text"], "choices": choices}
            groups.setdefault(entry["group"], []).append(field)
    return groups


def offered(network: "Network") -> dict[str, dict[str, object]]:
    """The recipes that this network can paint by: what each is, and its settings as they are typed."""
    found = {}
    for name in recipes.shipped():
        try:
            settings = Settings.from_recipe(name, network)
        except NetworkError:
            continue
        values = {key: typed(key, getattr(settings, key)) for key in recipes.NAMES[Settings]}
        found[name] = {"description": recipes.read(name).description, "values": values}
    return found


def typed(name: str, value: object) -> str:
    """A setting's value as it is typed, or what stands for it where there is none."""
    if value is None:
        return FIELDS[name].metadata["unset"]
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return " ".join(f"{layer}={weight:g}" for layer, weight in value.items())
    return shown(value)


def words(form: Mapping[str, object], pictures: Mapping[str, "Picture"]) -> list[str]:
    """The flags that a form comes to.

    form: `content`, `start` and `content_mask`, keys of files or None, `styles` and `style_masks`, lists of
    such keys, `recipe`, a name, and `values`, texts by the names of settings. pictures: the session's, which
    are all that can be named. Each flag is one word that begins with its name, so that no value is taken for
    another. Raises StyleError.
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
    if form.get("start") is not None:  # keep what is there: neither noise nor a coarse scale takes its place
        values = {"scales": "1", "initial_noiseblend": "0"} | values
    if values.get("width"):
        values = {name: text for name, text in values.items() if name != "max_size"}
    for name, text in values.items():
        if name not in recipes.NAMES[Settings] or not isinstance(text, str) or len(text) > MOST_CHARACTERS:
            raise StyleError(NO_FORM)
        if FIELDS[name].type is bool:
            found.append(flag_of(name) if text == "yes" else f"--no-{flag_of(name)[2:]}")
        else:
            found.append(f"{flag_of(name)}={','.join(text.split())}")
    return found


def job(arguments: Sequence[str]) -> Job:
    """What the command line with these arguments would do. Raises StyleError with the line that it would
    say."""
    parser = build_parser()

    def refuse(message: str) -> NoReturn:
        raise StyleError(" ".join(message.split()))

    parser.error = refuse  # in place of ending the program
    try:
        return plan(parser.parse_args(arguments))
    except SettingsError as error:
        raise StyleError(f"argument {flag_of(error.name)}: {error.problem}") from None


def command(images: Sequence[tuple[str, str]], name: str) -> str:
    """The command line that makes a picture again from its recipe. images: pairs of a flag and a file."""
    parts = [["neural-style"]]
    for image, pairs in itertools.groupby(images, key=lambda pair: pair[0]):
        parts.append([flag_of(image), *(file for _, file in pairs)])
    parts += [["--recipe", f"{name}.toml"], ["--output", f"{name}-again.png"]]
    return " \\\n  ".join(map(shlex.join, parts))
