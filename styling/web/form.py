"""The page's form: its fields, which are made from the settings, and the command line for a form."""

import argparse
import contextlib
import dataclasses
import io
import itertools
import math
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from styling.command.flags import build_parser
from styling.command.jobs import Job, plan
from styling.pictures.images import Images
from styling.run.one_pass import check_network
from styling.run.sizes import scales_of
from styling.settings import FIELDS, Settings, recipes
from styling.settings.checks import shown
from styling.system.errors import NetworkError, SettingsError, StyleError, flag_of
from styling.web.studio import Form, Studio
from vgg import Network

PASS = 3  # a picture in one pass takes the time of so many updates
COSTS = {"gram": 0.5, "neighbors": 1, "patches": 3}  # of an update by its style measure, as measured
NAMES = tuple(field.name for field in dataclasses.fields(Settings))


def offered(network: Network) -> dict[str, dict[str, object]]:
    """The recipes that work with this network: the description of each, and its settings as typed."""
    offers: dict[str, dict[str, object]] = {}
    for name in recipes.shipped():
        with contextlib.suppress(NetworkError):
            settings = Settings.from_recipe(name, network)
            if settings.start == "one-pass" and not settings.iterations:
                check_network(network)
            pairs = ((key, getattr(settings, key)) for key in NAMES)
            values = {
                key: FIELDS[key].metadata["unset"] if value is None else shown(value) for key, value in pairs
            }
            offers[name] = {"description": recipes.read(name).description, "values": values}
    return offers


def named(form: Form, studio: Studio) -> list[tuple[str, str]]:
    """The images of a form: pairs of a flag's name and a key. Raises ImageError for a frame that a film
    lacks."""
    content = form.content
    if content in studio.pictures and not form.film:
        content = studio.frame(content, form.frame)
    masks = [*(("style_masks", key) for key in form.style_masks), ("content_mask", form.content_mask)]
    others = [*(("styles", key) for key in form.styles), ("initial", form.start), *masks]
    return [(name, key) for name, key in [("content", content), *others] if key is not None]


def words(form: Form, studio: Studio) -> list[str]:
    """The flags for a form, without the output. Raises StyleError.

    No other files than the studio's can be named. Each flag is one word, --name=value, so that no value can
    be taken for another flag.
    """
    if form.recipe not in recipes.shipped() or not {*form.values} <= {*NAMES}:
        raise StyleError("this is no form of the page; load it again")
    flags, values = [f"--recipe={form.recipe}"], form.values
    for name, key in named(form, studio):
        if key not in studio.pictures:
            raise SettingsError(name, "is gone; choose another")
        flags.append(f"{flag_of(name)}={studio.path(key)}")
    if form.start is not None:  # noise or a coarse scale would destroy the start
        noise = recipes.read(form.recipe).values.get("initial_noiseblend")
        values = {"scales": "1"} | ({"initial_noiseblend": "0"} if noise else {}) | values
    for name, text in values.items():
        if FIELDS[name].metadata["group"] == "video" and not form.film:
            continue
        if FIELDS[name].type is bool:
            flags.append(flag_of(name) if text == "on" else f"--no-{flag_of(name)[2:]}")
        else:
            flags.append(f"{flag_of(name)}={','.join(text.split())}")
    return flags


def job(arguments: Sequence[str]) -> Job:
    """The job of the command line with these arguments. Raises StyleError."""
    parser = build_parser()
    parser.exit_on_error = False
    try:
        (one,) = plan(parser.parse_args(arguments))
        return one
    except argparse.ArgumentError as error:
        name = (error.argument_name or "").rpartition("--")[2].replace("-", "_")
        raise SettingsError(name, error.message) from None


def updates(job: Job, size: tuple[int, int]) -> tuple[float, tuple[int, int]]:
    """The pixels of all updates that a job makes, by their COSTS and with a pass as PASS of them, and its
    picture's (width, height). size: that of the photograph. Raises ImageError."""
    pixels = np.broadcast_to(np.float32(0), (*size[::-1], 3))  # only its shape matters
    named = [(flag, pixels) for flag, _ in job.files.images if flag == "styles"]
    scales = scales_of(Images.named([("content", pixels), *named]), job.settings)
    passes = PASS * math.prod(scales[0].size) if job.settings.start == "one-pass" else 0
    cost = COSTS[job.settings.style_measure]
    return passes + cost * sum(scale.pixels for scale in scales), scales[-1].size[::-1]


def command(form: Form, studio: Studio, key: str) -> str:
    """The command line that makes a result again from its recipe, in the folder of packed()."""
    stem, ending = os.path.splitext(key)
    parts = ["neural-style"]  # no name needs quotes, as studio.cleaned() made them
    for flag, pairs in itertools.groupby(named(form, studio), key=lambda pair: pair[0]):
        parts.append(" ".join([flag_of(flag), *(image for _, image in pairs)]))
    return " \\\n  ".join([*parts, f"--recipe {stem}.toml", f"--output {stem}-again{ending}"])


def packed(key: str, studio: Studio) -> bytes:
    """A result and all that the command line needs to paint it again, as ZIP."""
    result, file = studio.pictures[key], io.BytesIO()
    files = [studio.path(image) for _, image in named(result.form, studio) if image in studio.pictures]
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("command.txt", f"{result.command}\n")
        for path in filter(Path.exists, dict.fromkeys([studio.path(key), studio.recipe(key), *files])):
            archive.write(path, path.name)
    return file.getvalue()
