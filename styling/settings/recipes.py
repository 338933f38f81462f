"""Recipes: named settings, read from TOML files; data/recipes/ has one for each published procedure.

A recipe's keys are the names of settings, and `description`. Its table [vgg16] has the weights that differ
for a VGG-16.
"""

import dataclasses
import difflib
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomli_w

from styling import __version__
from styling.settings.checks import checked
from styling.settings.entries import FIELDS, WEIGHTS, Entries, Running
from styling.system.errors import RecipeError, SettingsError
from styling.system.filenames import check_input
from styling.system.files import data_folder, write_whole

TYPES = {"description": str} | {name: field.type for name, field in FIELDS.items()}


@dataclass(frozen=True)
class Recipe:
    """The contents of a recipe: values by the names of their settings; vgg16: its table [vgg16]."""

    description: str = ""
    values: dict[str, Any] = field(default_factory=dict)
    vgg16: dict[str, Any] = field(default_factory=dict)

    def under(self, flags: dict[str, Any], vgg16: dict[str, Any] | None = None) -> "Recipe":
        """The recipe with flags in place of its values, and without values that contradict a flag.

        A flag gives a weight for any network, unless vgg16 has another for a VGG-16.
        """
        values = dict(self.values)
        if "style_layer_weight_exp" in flags and isinstance(values.get("style_layers"), dict):
            values["style_layers"] = tuple(values["style_layers"])  # the exponent now gives their weights
        for contradicts, rivals in (
            ("width" in flags, ("max_size", "height")),
            ("max_size" in flags, ("width", "height")),
            ("content_layers" in flags, ("content_weight_blend",)),
            ("content_weight_blend" in flags, ("content_layers",)),
            (isinstance(flags.get("style_layers"), dict), ("style_layer_weight_exp",)),
            (flags.get("optimizer", "lbfgs-b") != "lbfgs-b", ("evaluations",)),
            ("scales" in flags, ("scale_shares",)),
            ("network" in flags, ("network_sha256",)),
        ):
            for name in rivals if contradicts else ():
                values.pop(name, None)
        weights = {name: weight for name, weight in self.vgg16.items() if name not in flags}
        return Recipe(self.description, values | flags, weights | (vgg16 or {}))


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
    except (RecipeError, SettingsError) as error:
        raise RecipeError(f"{path}: {error}") from None


def load(path: Path) -> dict[str, Any]:
    """The contents of a TOML file. Raises RecipeError."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise RecipeError(f"is no TOML file ({error})") from None


def from_table(table: dict[str, Any]) -> Recipe:
    """The recipe of a file's contents. Raises RecipeError or SettingsError for errors in them."""
    recipe = parse(table)
    names = {field.name for field in dataclasses.fields(Entries)}
    settings = Entries(**{name: value for name, value in recipe.values.items() if name in names})
    dataclasses.replace(settings, **recipe.vgg16)
    return recipe


def parse(table: dict[str, Any], types: Mapping[str, Any] = TYPES) -> Recipe:
    """The recipe of a file's contents, which may lack keys. types: of the values of all keys.

    Raises RecipeError for wrong keys, and SettingsError for wrong values.
    """
    table = dict(table)
    # Keys that earlier versions had, and wrote in saved runs.
    if isinstance(table.get("preserve_colors"), bool) and table.pop("preserve_colors"):
        table.setdefault("colors", "content")
    if table.get("padding") == "zero":
        del table["padding"]
    vgg16 = table.pop("vgg16", {})
    if not isinstance(vgg16, dict):
        raise RecipeError("vgg16 is a single value, where a table of weights, [vgg16], is wanted")
    for key in (*table, *vgg16):
        if key not in types:
            near = difflib.get_close_matches(key, types, n=1, cutoff=0)
            shown = key if key.isprintable() else repr(key)
            raise RecipeError(f"{shown} is no setting; the nearest is {near[0]}")
        if key in vgg16 and key not in WEIGHTS:
            raise RecipeError(f"{key} has no place in [vgg16], which is for {', '.join(WEIGHTS)}")
    values, vgg16 = (
        {name: checked(name, value, types[name]) for name, value in part.items()} for part in (table, vgg16)
    )
    return Recipe(values.pop("description", ""), values, vgg16)


def write(path: Path, table: dict[str, object], overwrite: bool = True) -> Path:
    """Write what to_table() gives as a recipe, so that a run can be repeated. Raises OSError.

    Without `overwrite`, the file gets another name if the name is taken; returns the final name.
    """
    table = {"description": f"a run, as saved by neural-style {__version__}"} | table
    return write_whole(path, lambda file: tomli_w.dump(table, file), overwrite)


def to_table(settings: Entries, running: Running) -> dict[str, Any]:
    """All settings by name, except those that are None."""
    values = dataclasses.asdict(running) | dataclasses.asdict(settings)
    return {name: value for name, value in values.items() if value is not None}
