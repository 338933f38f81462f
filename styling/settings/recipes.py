"""Recipes: named settings, read from TOML files; data/recipes/ has one for each published procedure.

A recipe's keys are the names of Settings and Running, and `description`. Its table [vgg16] has the weights
that differ for a VGG-16.
"""

import dataclasses
import difflib
import os
import reprlib
import tomllib
import types
import typing
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

import tomli_w

from styling import __version__
from styling.settings import FIELDS, LAYER_TERMS, WEIGHTS, Running, Settings
from styling.system.errors import NetworkError, RecipeError, SettingsError
from styling.system.filenames import check_input
from styling.system.files import data_folder, write_whole

MOST_BYTES = 2**20
NAMES = {kind: tuple(field.name for field in dataclasses.fields(kind)) for kind in (Settings, Running)}
TYPES = {"description": str} | {name: field.type for name, field in FIELDS.items()}


class Kind(NamedTuple):
    """A type of settings: its name for people, a test for TOML values, and the conversion from them."""

    name: str
    accepts: Callable[[object], bool]
    convert: Callable


def _is(kind: type, value: object) -> bool:
    # TOML separates integers, floats and booleans; an integer is accepted for a float too.
    return type(value) is kind or (kind is float and type(value) is int and abs(value) < 2**63)


def _are(kind: type, values: object) -> bool:
    return isinstance(values, list) and all(_is(kind, value) for value in values)


KINDS = {
    bool: Kind("true or false", partial(_is, bool), bool),
    int: Kind("a whole number", partial(_is, int), int),
    float: Kind("a number", partial(_is, float), float),
    str: Kind("a text", partial(_is, str), str),
    tuple[int, ...]: Kind("a list of whole numbers", partial(_are, int), tuple),
    tuple[float, ...]: Kind("a list of numbers", partial(_are, float), lambda v: tuple(map(float, v))),
    tuple[str, ...]: Kind("a list of names", partial(_are, str), tuple),
    dict[str, float]: Kind(
        "a table of numbers",
        lambda value: isinstance(value, dict) and _are(float, list(value.values())),
        lambda value: {name: float(number) for name, number in value.items()},
    ),
}


@dataclass(frozen=True)
class Recipe:
    """The contents of a recipe: values by the names of Settings and Running; `vgg16`: its table [vgg16]."""

    description: str = ""
    values: dict[str, object] = field(default_factory=dict)
    vgg16: dict[str, object] = field(default_factory=dict)


def shipped(folder: str = "recipes") -> dict[str, Path]:
    """The files that ship with the program in this folder of data/, by name."""
    files = {path.stem: path for path in (data_folder() / folder).glob("*.toml")}
    return dict(sorted(files.items()))


def locate(flag: str, name: str, folder: str = "recipes") -> Path:
    """The file for a name that ships in this folder, or for a TOML file. Raises SettingsError for others."""
    files = shipped(folder)
    if name not in files and not (name.endswith(".toml") or os.sep in name):
        near = difflib.get_close_matches(name, files, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]}? " if near else ""
        problem = f"there is no {name}; {hint}--list-{folder} names them all, and a file ends in .toml"
        raise SettingsError(flag, problem)
    path = files.get(name, Path(name))
    check_input(flag, path)
    return path


def read(name: str) -> Recipe:
    """The recipe that ships under this name, or that is in this TOML file.

    Raises SettingsError if there is neither. Raises RecipeError, which names the file and the key, for
    unknown keys and for values of a wrong type or out of range.
    """
    path = locate("recipe", name)
    try:
        return from_table(load(path))
    except SettingsError as error:
        raise RecipeError(f"{path}: {error.name} {error.problem}") from None
    except RecipeError as error:
        raise RecipeError(f"{path}: {error}") from None


def load(path: Path) -> dict[str, object]:
    """The contents of a TOML file. Raises RecipeError."""
    if path.stat().st_size > MOST_BYTES:
        raise RecipeError("is too large for a recipe or a spec")
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        repr(table)  # fails for numbers that are too long to print, and for tables that are nested too deeply
        return table
    except (ValueError, RecursionError) as error:
        raise RecipeError(f"is no TOML file ({error})") from None


def from_table(table: dict[str, object]) -> Recipe:
    """The recipe of a file's contents. Raises RecipeError or SettingsError for errors in them."""
    recipe = parse(table)
    settings, _ = combine(recipe, {})
    dataclasses.replace(settings, **recipe.vgg16)
    return recipe


def parse(table: dict[str, object]) -> Recipe:
    """The recipe of a file's contents, which may lack keys. Raises RecipeError for wrong keys."""
    vgg16 = table.pop("vgg16", {})
    if not isinstance(vgg16, dict):
        raise RecipeError("vgg16 is a single value, where a table of weights, [vgg16], is wanted")
    values, vgg16 = _values(table), _values(vgg16)
    for key in vgg16:
        if key not in WEIGHTS:
            raise RecipeError(f"{key} has no place in [vgg16], which is for {', '.join(WEIGHTS)}")
    return Recipe(values.pop("description", ""), values, vgg16)


def combine(recipe: Recipe, flags: dict[str, object]) -> tuple[Settings, Running]:
    """The settings of a recipe and of flags; flags replace the recipe's values.

    Raises SettingsError if a flag is out of range, or contradicts another flag.
    """
    return build(over(recipe.values, flags))


def over(values: dict[str, object], flags: dict[str, object]) -> dict[str, object]:
    """The values with the flags in their places, without values that would contradict a flag."""
    if "style_layer_weight_exp" in flags and isinstance(values.get("style_layers"), dict):
        values = values | {
            "style_layers": tuple(values["style_layers"])
        }  # the exponent now gives their weights
    for contradicts, rivals in (
        ("width" in flags, ("max_size", "height")),
        ("max_size" in flags, ("width", "height")),
        ("content_layers" in flags, ("content_weight_blend",)),
        ("content_weight_blend" in flags, ("content_layers",)),
        (isinstance(flags.get("style_layers"), dict), ("style_layer_weight_exp",)),
        (flags.get("optimizer", "lbfgs-b") != "lbfgs-b", ("evaluations",)),
        ("scales" in flags, ("scale_shares",)),
        ("network" in flags, ("network_sha256",)),
        ("colors" in flags, ("preserve_colors",)),
        ("preserve_colors" in flags, ("colors",)),
    ):
        if contradicts:
            values = {name: value for name, value in values.items() if name not in rivals}
    return values | flags


def vgg16_beside(vgg16: dict[str, object], given: Collection[str]) -> dict[str, object]:
    """The weights for a VGG-16, without those that a flag gives for any network."""
    return {name: weight for name, weight in vgg16.items() if name not in given}


def build(values: dict[str, object]) -> tuple[Settings, Running]:
    """Settings and Running from values by name. Raises SettingsError."""
    return tuple(kind(**{name: values[name] for name in NAMES[kind] if name in values}) for kind in NAMES)


def for_network(
    settings: Settings, vgg16: dict[str, object], layers: Collection[str], kept: Collection[str]
) -> tuple[Settings, list[str]]:
    """The settings adapted to a network with these layers, and the names of layers that it lacks.

    vgg16: weights for a VGG-16, which is recognised by the three convolutions of its third block; a VGG-19
    has four. Layers that the network lacks are left out, and the others keep their weights. kept: settings
    that stay as they are. Raises NetworkError if a term would lose all its layers.
    """
    is_vgg16 = "relu3_3" in layers and "relu3_4" not in layers
    changes, gone = dict(vgg16) if is_vgg16 else {}, []
    settings = dataclasses.replace(settings, **changes)
    for term in LAYER_TERMS:
        weights = settings.layer_weights(term)
        missing = [name for name in weights if name not in layers]
        if not missing or f"{term}_layers" in kept:
            continue
        changes[f"{term}_layers"] = {name: weights[name] for name in weights if name not in missing}
        gone += [name for name in missing if name not in gone]
        if not changes[f"{term}_layers"]:
            raise NetworkError(f"has none of the recipe's {term} layers, {', '.join(missing)}")
    if "content_layers" in changes:
        changes["content_weight_blend"] = None
    if "style_layers" in changes:
        changes["style_layer_weight_exp"] = None
    return dataclasses.replace(settings, **changes), gone


def write(path: Path, table: dict[str, object], overwrite: bool = True) -> Path:
    """Write what to_table() gives as a recipe, so that a run can be repeated. Raises OSError.

    Without `overwrite`, the file gets another name if the name is taken; returns the final name.
    """
    table = {"description": f"a run, as saved by neural-style {__version__}"} | table
    return write_whole(path, lambda file: tomli_w.dump(table, file), overwrite)


def to_table(settings: Settings, running: Running) -> dict[str, object]:
    """All settings by name, except those that are None."""
    values = dataclasses.asdict(running) | dataclasses.asdict(settings)
    return {name: value for name, value in values.items() if value is not None}


def _values(table: dict[str, object]) -> dict[str, object]:
    values = {}
    for key, value in table.items():
        if key not in TYPES:
            near = difflib.get_close_matches(key, TYPES, n=1, cutoff=0)
            shown = key if key.isprintable() else repr(key)
            raise RecipeError(f"{shown} is no setting; the nearest is {near[0]}")
        values[key] = _converted(key, value, TYPES[key])
    return values


def _converted(key: str, value: object, hint: object) -> object:
    """A TOML value, converted to the type of its setting."""
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    for kind in kinds:
        if kind in KINDS and KINDS[kind].accepts(value):
            return KINDS[kind].convert(value)
    wanted = " or ".join(KINDS[kind].name for kind in kinds if kind in KINDS)
    raise RecipeError(f"{key} is {reprlib.repr(value)}, where {wanted} is wanted")
