"""Specs: TOML files that list the runs of a sweep; data/figures/ has one for each published figure.

    title = "Style weights"
    recipe = "best"
    content = "photo.jpg"
    styles = ["painting.jpg"]
    rows = { style_weight = [50, 500, 5000] }       # a setting with a list of values

    [settings]                                      # of all runs, as in a recipe
    width = 256

    [[columns]]                                     # or sets of settings with labels
    label = "without tv"
    tv_weight = 0

    [published]                                     # where to get images that do not ship
    "painting.jpg" = "https://..."

rows, columns and pages are the axes. Settings of an axis take precedence over flags, flags over [settings],
and [settings] over the recipe. A flag for a setting that an axis varies is an error. A table `vgg16` within
[settings] or a set has weights that apply if the network is a VGG-16. Nothing here needs TensorFlow.
"""

import difflib
import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from msgspec import Meta

from styling.command import jobs
from styling.command.flags import WHITE
from styling.command.jobs import Files, Job
from styling.pictures.images import FLAGS as IMAGES
from styling.pictures.images import LISTS, MASKS
from styling.settings import FIELDS, recipes
from styling.settings.checks import checked, shown
from styling.sweeps.results import Cell
from styling.system.errors import RecipeError, SettingsError, SpecError
from styling.system.files import data_folder

AXES = ("pages", "rows", "columns")
SEED = 1  # by default, so that all runs of a sweep have the same noise each time
WHOLE_SWEEP = ("device", "threads", "print_iterations", "network_sha256")

Table = dict[str, Any]
Recipe = Annotated[str, Meta(description="a name or a file")]
Name = Annotated[str | Annotated[list[str], Meta(max_length=1)], Meta(description="the name of an image")]
Names = Annotated[str | list[str], Meta(description="the name of an image, or a list of names")]
Values = Annotated[Table, Meta(description="a table")]
Texts = Annotated[dict[str, str], Meta(description="a table of texts")]
Axis = Annotated[
    Annotated[dict[str, Annotated[list[Any], Meta(min_length=1)]], Meta(min_length=1, max_length=1)]
    | Annotated[list[dict[str, Any]], Meta(min_length=1)],
    Meta(description="a setting with a list of values, or a list of tables with labels"),
]
# The keys of a spec, and those of its tables.
VARIED = {"recipe": Recipe} | {flag: Names if flag in LISTS else Name for flag in IMAGES}
KEYS = {"title": str, "description": str, "settings": Values, "published": Texts} | VARIED
KEYS |= dict.fromkeys(AXES, Axis)
PART_KEYS = recipes.TYPES | {"label": str} | VARIED


class Part(NamedTuple):
    """A table of a spec: its label, and its settings, images (lists of names) and recipe's name as values."""

    label: str
    recipe: recipes.Recipe


@dataclass(frozen=True)
class Spec:
    """A spec. base: what all runs share. axes: by axis, what each page, row or column adds to that.
    published: where to get the images, by name."""

    path: Path
    title: str
    description: str
    base: Part
    axes: dict[str, list[Part]]
    published: dict[str, str]


def read(name: str) -> Spec:
    """The spec in a TOML file, or a spec that ships, by the name of its figure.

    Raises SettingsError if there is neither, and SpecError, which names the file and the key, for an error in
    the file.
    """
    path = recipes.locate("spec", name, "figures")
    try:
        table = recipes.load(path)
        for key in table:
            if key not in KEYS:
                near = difflib.get_close_matches(key, KEYS, n=1, cutoff=0)[0]
                advice = "settings belong in [settings]" if key in FIELDS else f"the nearest is {near}"
                raise SpecError(f"{key!r} is not a key of a spec; {advice}")
        table = {key: checked(key, value, KEYS[key]) for key, value in table.items()}
        base = {key: table[key] for key in VARIED if key in table} | table.get("settings", {})
        axes = {axis: _parts(path, axis, table.get(axis, [{"label": ""}])) for axis in AXES}
        title, about = table.get("title", path.stem), table.get("description", "")
        return Spec(path, title, about, _part(path, "settings", base), axes, table.get("published", {}))
    except (RecipeError, SettingsError, SpecError) as error:
        raise SpecError(f"{path}: {error}") from None


def _parts(path: Path, axis: str, value: Any) -> list[Part]:
    """The parts of an axis: a setting with a list of values, or tables of settings with labels."""
    if isinstance(value, dict):
        ((key, values),) = value.items()
        value = [{key: one, "label": f"{key.replace('_', ' ')} {shown(one)}"} for one in values]
    return [_part(path, axis, table) for table in value]


def _part(path: Path, where: str, table: Table) -> Part:
    """A table of the spec with its values checked. where: its key."""
    if where in AXES and "label" not in table:
        raise SpecError(f"{where} has a set of settings without a label")
    for key in ("description", *(WHOLE_SWEEP if where in AXES else ())):
        if key in table:
            raise SpecError(f"{where}: {key} is for the whole sweep")
    try:
        recipe = recipes.parse(table, PART_KEYS)
    except (RecipeError, SettingsError) as error:
        raise SpecError(f"{where}: {error}") from None
    values = recipe.values
    for flag in values.keys() & IMAGES:
        names = [values[flag]] if isinstance(values[flag], str) else values[flag]
        values[flag] = [WHITE if name == "all" and flag in MASKS else name for name in names]
    if values.get("recipe", "").endswith(".toml"):
        values["recipe"] = str(path.parent / values["recipe"])
    return Part(values.pop("label", ""), recipe)


def cells(spec: Spec, flags: Table) -> list[Cell]:
    """The sweep's cells: pages, then rows, then columns; the paths of images are as the spec names them.

    flags: what the command line gives, as the values of a part. Raises SettingsError for a flag that
    contradicts the spec, and SpecError or RecipeError for an error in a file.
    """
    for axis, parts in spec.axes.items():
        varied = {key for part in parts for key in (*part.recipe.values, *part.recipe.vgg16)}
        for name in varied & flags.keys():
            raise SettingsError(name, f"is what the {axis} of {spec.path} vary; leave it out")
    read, planned = cache(recipes.read), []
    for (i, page), (j, row), (k, column) in itertools.product(*map(enumerate, spec.axes.values())):
        labels = tuple(part.label for part in (page, row, column) if part.label)
        recipe = spec.base.recipe.under(flags)
        for part in (page, row, column):
            recipe = recipe.under(part.recipe.values, part.recipe.vgg16)
        try:
            planned.append(Cell((i, j, k), labels, _job(spec, recipe, read)))
        except SettingsError as error:
            if error.name in flags:
                raise
            where = f"{', '.join(labels)}: " if labels else ""
            raise SpecError(f"{spec.path}: {where}{error.name} {error.problem}") from None
    return planned


def _job(spec: Spec, part: recipes.Recipe, read: Callable[[str], recipes.Recipe]) -> Job:
    """The job of a cell. part: its settings, images and recipe's name. read: gives the recipe of a name."""
    values, is_named = part.values, "recipe" in part.values
    recipe = read(values["recipe"]) if is_named else recipes.Recipe()
    recipe = replace(recipe, values={"seed": SEED} | recipe.values)
    images = tuple((flag, Path(name)) for flag in IMAGES for name in values.get(flag, ()))
    files = Files(images, output=Path(), source=str(spec.path))
    job = jobs.make_job(recipe, values, files, explicit=values if is_named else FIELDS, vgg16=part.vgg16)
    jobs.check_images(job)
    return job


def locate(cells: Sequence[Cell], spec: Spec, named: Mapping[Path, Path], folders: Sequence[Path]) -> None:
    """Give the cells the files of their images: as named, or in the folders, in the spec's folder, or among
    the files that ship.

    Raises SettingsError for a name that no cell has, and SpecError, which says where to get them, if images
    are missing.
    """
    names = dict.fromkeys(path for cell in cells for _, path in cell.job.files.images)
    for path in named.keys() - names:
        listed = ", ".join(map(str, names))
        raise SettingsError("image", f"{path} is not an image of {spec.path}, which names {listed}")
    files = dict(named)
    for place in (*folders, spec.path.parent, data_folder()):
        for path in names:
            if path not in files and os.path.isfile(place / path):  # unlike Path, it accepts any name
                files[path] = place / path
    if missing := [str(path) for path in names if path not in files]:
        places = {name: f"{name} ({where})" for name, where in spec.published.items()}
        listed = "; ".join(places.get(name, name) for name in missing)
        advice = "name a folder with --images, or each with --image NAME=FILE"
        raise SpecError(f"{spec.path}: images are missing ({advice}): {listed}")
    for cell in cells:
        images = tuple((flag, files[path]) for flag, path in cell.job.files.images)
        cell.job = replace(cell.job, files=replace(cell.job.files, images=images))
