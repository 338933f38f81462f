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
import math
import operator
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, reduce
from pathlib import Path
from typing import Any

from styling.command import jobs
from styling.command.flags import WHITE
from styling.command.jobs import Files, Job
from styling.pictures.images import FLAGS as IMAGES
from styling.pictures.images import LISTS, MASKS
from styling.settings import FIELDS, recipes
from styling.system.errors import RecipeError, SettingsError, SpecError
from styling.system.files import data_folder

AXES = ("pages", "rows", "columns")
TEXTS, TABLES = ("title", "description", "recipe"), ("settings", "published")
KEYS = (*TEXTS, *IMAGES, *TABLES, *AXES)
MOST_RUNS = 10_000
SEED = 1  # by default, so that all runs of a sweep have the same noise each time
WHOLE_SWEEP = ("device", "threads", "print_iterations", "network_sha256")


@dataclass(frozen=True)
class Variation:
    """Some of the settings of a job. Several together give all settings; later ones take precedence.

    label: for people. recipe: a name or a file. values: by the names of Settings and Running. vgg16: weights
    that replace those if the network is a VGG-16. images: the names of the content, styles and initial image.
    """

    label: str = ""
    recipe: str | None = None
    values: dict[str, Any] = field(default_factory=dict)
    vgg16: dict[str, Any] = field(default_factory=dict)
    images: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def names(self) -> set[str]:
        """The keys of a spec that the variation sets."""
        return {*self.values, *self.vgg16, *self.images, *(["recipe"] if self.recipe else [])}


@dataclass(frozen=True)
class Spec:
    """A spec. base: the settings of all runs. axes: by axis, what each page, row or column adds to them.
    published: where to get the images, by name."""

    path: Path
    title: str
    description: str
    base: Variation
    axes: dict[str, tuple[Variation, ...]]
    published: dict[str, str]


@dataclass(frozen=True)
class Cell:
    """The indices of a page, row and column, their labels, and the job whose picture is shown there."""

    place: tuple[int, int, int]
    labels: tuple[str, ...]
    job: Job

    @property
    def label(self) -> str:
        """The labels as one text."""
        return ", ".join(self.labels) or "the run"


def read(name: str) -> Spec:
    """The spec in a TOML file, or a spec that ships, by the name of its figure.

    Raises SettingsError if there is neither, and SpecError, which names the file and the key, for an error in
    the file.
    """
    path = recipes.locate("spec", name, "figures")
    try:
        return _spec(path, recipes.load(path))
    except (RecipeError, SpecError) as error:
        raise SpecError(f"{path}: {error}") from None


def _spec(path: Path, table: dict[str, Any]) -> Spec:
    for key in table:
        if key not in KEYS:
            near = difflib.get_close_matches(key, KEYS, n=1, cutoff=0)
            where = "; settings belong in [settings]" if key in recipes.TYPES else ""
            raise SpecError(f"{key!r} is not a key of a spec{where or f'; the nearest is {near[0]}'}")
    for key in TEXTS:
        _check(key, table.get(key, ""), str, "text")
    for key in TABLES:
        _check(key, table.get(key, {}), dict, "a table")
    published = table.get("published", {})
    for name, where in published.items():
        _check(f"published: {name}", where, str, "text")
    base = {key: table[key] for key in ("recipe", *IMAGES) if key in table}
    axes = {name: _axis(name, table[name]) if name in table else (Variation(),) for name in AXES}
    return Spec(
        path=path,
        title=table.get("title", path.stem),
        description=table.get("description", ""),
        base=_beside(path, _variation("settings", base | table.get("settings", {}))),
        axes={
            name: tuple(_beside(path, variation) for variation in variations)
            for name, variations in axes.items()
        },
        published=published,
    )


def _beside(path: Path, variation: Variation) -> Variation:
    """The variation; the path of its recipe's file is relative to the spec's folder."""
    if variation.recipe is None or not variation.recipe.endswith(".toml"):
        return variation
    return replace(variation, recipe=str(path.parent / variation.recipe))


def _check(key: str, value: object, kind: type, wanted: str) -> None:
    if not isinstance(value, kind):
        raise SpecError(f"{key} is {value!r:.60}, but must be {wanted}")


def _axis(name: str, value: Any) -> tuple[Variation, ...]:
    """What an axis varies: a setting with a list of values, or sets of settings with labels."""
    if isinstance(value, dict) and len(value) == 1:
        ((key, values),) = value.items()
        if key == "label":
            raise SpecError(f"{name} has labels, but no settings")
        _check(f"{name}.{key}", values, list, "a list of values")
        variations = tuple(replace(_variation(name, {key: one}), label=_label(key, one)) for one in values)
    else:
        _check(name, value, list, "a setting with a list of values, or a list of tables with labels,")
        for one in value:
            _check(name, one, dict, "a list of tables")
            if "label" not in one:
                raise SpecError(f"{name} has a set of settings without a label")
        variations = tuple(_variation(name, one) for one in value)
    if not variations:
        raise SpecError(f"{name} is empty")
    for variation in variations:
        for key in WHOLE_SWEEP:
            if key in variation.names:
                raise SpecError(f"{name} cannot vary {key}, which is the same for the whole sweep")
    return variations


def _variation(where: str, table: dict[str, Any]) -> Variation:
    table = dict(table)
    label, recipe = table.pop("label", ""), table.pop("recipe", None)
    _check(f"{where}: label", label, str, "text")
    if recipe is not None:
        _check(f"{where}: recipe", recipe, str, "a name or a file")
    if "description" in table:
        raise SpecError(f"{where}: description is for the whole sweep; put it at the top")
    names = {key: _names(f"{where}: {key}", table.pop(key)) for key in IMAGES if key in table}
    for key in set(LISTS) & set(MASKS) & names.keys():
        names[key] = tuple(WHITE if name == "all" else name for name in names[key])
    for key in set(IMAGES) - set(LISTS):
        if len(names.get(key, ())) > 1:
            raise SpecError(f"{where}: {key} has more than one image")
    try:
        settings = recipes.parse(table)
    except (RecipeError, SettingsError) as error:
        raise SpecError(f"{where}: {error}") from None
    return Variation(label, recipe, settings.values, settings.vgg16, names)


def _names(key: str, value: Any) -> tuple[str, ...]:
    """The name of an image, or names, as a tuple."""
    names = value if isinstance(value, list) else [value]
    for name in names:
        _check(key, name, str, "the name of an image, or a list of names,")
    return tuple(names)


def _label(key: str, value: Any) -> str:
    """The label for a value of a setting."""
    if key == "recipe":
        return str(value)
    if key in IMAGES:
        return " and ".join(Path(name).stem for name in _names(key, value)) or f"no {key}"
    if isinstance(value, dict):
        value = [f"{name}={number:g}" for name, number in value.items() if isinstance(number, int | float)]
    if isinstance(value, list):
        value = ", ".join(_shown(one) for one in value)
    return f"{key.replace('_', ' ')} {_shown(value)}"


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)


def image_names(spec: Spec, flags: Variation) -> list[str]:
    """The names of all images that the runs need, each once. Raises what cells() raises."""
    named = (_images(variations) for _, variations in _places(spec, flags))
    return list(dict.fromkeys(name for images in named for names in images.values() for name in names))


def cells(spec: Spec, flags: Variation, files: Mapping[str, Path]) -> list[Cell]:
    """The sweep's cells: pages, then rows, then columns.

    flags: the settings from the command line. files: of the images, by name. Raises SettingsError for a flag
    that contradicts the spec, and SpecError for an error in the spec.
    """
    cells, read = [], cache(recipes.read)
    for place, variations in _places(spec, flags):
        labels = tuple(variation.label for variation in variations[-len(AXES) :] if variation.label)
        try:
            cells.append(Cell(place, labels, _job(spec, variations, files, read)))
        except SettingsError as error:
            if error.name in flags.names:
                raise
            where = f"{', '.join(labels)}: " if labels else ""
            raise SpecError(f"{spec.path}: {where}{error.name} {error.problem}") from None
    return cells


def _places(spec: Spec, flags: Variation) -> Iterator[tuple[tuple[int, int, int], list[Variation]]]:
    """The indices of each page, row and column, and the variations of the run there, in their order."""
    for axis, variations in spec.axes.items():
        for name in set().union(*(variation.names for variation in variations)) & flags.names:
            raise SettingsError(name, f"is what the {axis} of {spec.path} vary; leave it out")
    count = math.prod(map(len, spec.axes.values()))
    if count > MOST_RUNS:
        raise SpecError(f"{spec.path}: has {count} runs, more than {MOST_RUNS}")
    for choices in itertools.product(*map(enumerate, spec.axes.values())):
        place, variations = zip(*choices, strict=True)
        yield place, [spec.base, flags, *variations]


def _images(variations: Sequence[Variation]) -> dict[str, tuple[str, ...]]:
    return reduce(operator.or_, (variation.images for variation in variations), {})


def _job(
    spec: Spec,
    variations: Sequence[Variation],
    files: Mapping[str, Path],
    read: Callable[[str], recipes.Recipe],
) -> Job:
    name = next((one.recipe for one in reversed(variations) if one.recipe), None)
    recipe = read(name) if name else recipes.Recipe()
    named: dict[str, Any] = {}
    values, vgg16 = recipes.over({"seed": SEED}, recipe.values), recipe.vgg16
    for one in variations:
        named, values = recipes.over(named, one.values), recipes.over(values, one.values)
        vgg16 = recipes.vgg16_beside(vgg16, one.values) | one.vgg16
    names = _images(variations)
    images = tuple((flag, files[name]) for flag in IMAGES for name in names.get(flag, ()))
    flags = {"network": named["network"]} if named.get("network") else {}
    job = jobs.make_job(
        recipes.Recipe("", values, vgg16),
        flags,
        Files(images, output=Path(), source=str(spec.path)),
        explicit=named if name else FIELDS,
    )
    jobs.check_images(job)
    return job


def find_images(
    names: Iterable[str], spec: Spec, named: Mapping[str, Path], folders: Sequence[Path]
) -> dict[str, Path]:
    """The files of images by name: as named, or in the folders, the spec's folder, or the files that ship.

    Raises SpecError if images are missing; it says where to get them.
    """
    places = [*folders, spec.path.parent, data_folder()]
    files = {name: named.get(name) or _first(place / name for place in places) for name in names}
    missing = [name for name, path in files.items() if path is None]
    if missing:
        listed = "; ".join(
            f"{name} ({spec.published[name]})" if name in spec.published else name for name in missing
        )
        advice = "name a folder with --images, or each with --image NAME=FILE"
        raise SpecError(f"{spec.path}: images are missing ({advice}): {listed}")
    return {name: path for name, path in files.items() if path}


def _first(paths: Iterable[Path]) -> Path | None:
    return next((path for path in paths if os.path.isfile(path)), None)  # unlike Path, accepts any name
