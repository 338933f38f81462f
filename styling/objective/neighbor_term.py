"""The term of nearest neighbours (Kolkin et al. 2022, arXiv 2203.13215, section 3).

A field is what is compared at each position: a layer's map, or, with the names of several layers, the
hypercolumns that these layers' maps make at a quarter of the image's side.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from styling.objective import losses
from styling.objective.matching import Scene, unit
from styling.objective.neighbors import nearest
from styling.objective.terms import Target, Term, constants, weighted_sum
from styling.objective.tiles import Tiling, View
from styling.pictures.masks import mostly
from styling.settings.entries import QUARTER_LAYER
from styling.system.quiet import tf

Field = tuple[str, ...]  # the names of its layers
Places = list[tuple[np.ndarray, np.ndarray]]  # of positions in each window, as windows() gives them
QUARTER = 2  # poolings to the size of hypercolumns, which is that of QUARTER_LAYER
CANDIDATES = 4  # a painting's positions for each of the picture's that are compared
MIXTURE = 0.25  # of the picture in the image that searches, beside the photograph (Kolkin et al. 2022)


class Candidates(NamedTuple):
    """A painting's positions in a field, [n, C]: rows of length 1 by which they are found, and what
    the picture is to have."""

    directions: np.ndarray
    wanted: np.ndarray


LAST: list[tuple[Any, dict[int, dict[Field, Candidates]]]] = []  # the last paintings, and what they offer


@dataclass(frozen=True)
class Neighbors:
    """Features are to point the way the painting's most similar ones do; a Matcher.

    By layers, the loss is the mean over sampled positions of 1 - cos(f - mean f, s - mean s), s the
    painting's nearest by this cosine. In the first hypercolumn_iterations it is the mean over all
    hypercolumns of 1 - cos(f, s), s found by the photograph mixed with the picture that a scale starts from.

    A cosine does not see contrast. With style_contrast, layers of blocks 1 and 2 have half the squared
    difference of f and s instead, relative to the variance of the painting's s.
    """

    scene: Scene

    def until(self, at: int) -> int:
        """See Matcher."""
        settings = self.scene.settings
        columns = settings.hypercolumn_iterations
        return columns if at < columns else at + settings.match_iterations

    def term(self, x: tf.Tensor, at: int) -> Term:
        """See Matcher; the sampled positions follow from `at`."""
        scene, settings = self.scene, self.scene.settings
        layers = settings.layer_weights("style")
        fields: dict[Field, float] = {(layer,): weight for layer, weight in layers.items()}
        positions: int | None = settings.match_positions
        if at < settings.hypercolumn_iterations:
            fields, positions = {tuple(layers): 1.0}, None
            x = searching(x, scene, MIXTURE if at else 0.0)
        sizes = {field: math.prod(scene.tiling.size(layer_of(field))) for field in fields}
        chosen = {field: sample(sizes[field], positions, at) for field in fields}
        rows, means, places = look(x, scene, chosen)
        maps: list[dict[Any, Any]] = [{} for _ in scene.tiling.places]
        weights, rest = {}, 0.0
        for field, weight in fields.items():
            wanted, mean, total, constant = self._match(field, rows[field], means[field], chosen[field])
            factor = settings.style_weight * weight / len(wanted)
            weights[field], rest = -factor, rest + factor * constant
            about = mean if positions else np.zeros_like(mean)  # hypercolumns are compared as they are
            for window, (inside, place) in zip(maps, places[field], strict=True):
                counts = (place >= 0)[:, None]
                half = total[inside] * counts / 2 if self._is_squared(field) else None
                window[field] = place, wanted[inside] * counts, about[inside], half
        target = Target(constants(weights), rest=tf.constant(rest, tf.float32))
        needed = {*layers, QUARTER_LAYER} if positions is None else layers
        return Term("style", tuple(sorted(needed)), likeness, weighted_sum, target, maps)

    def _match(
        self, field: Field, rows: np.ndarray, means: np.ndarray, chosen: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
        """For the chosen rows [n, C]: what is wanted of each, by the styles' shares, and the mean of the
        picture about it, both [n, C]; the shares' sum [n, 1]; the constant of the loss."""
        wanted, mean_about, total = (
            np.zeros((len(rows), n), np.float32) for n in (rows.shape[1], rows.shape[1], 1)
        )
        constant, squared = 0.0, self._is_squared(field)
        for mean, shares in zip(means, self.scene.shares(layer_of(field)), strict=True):
            directions = unit(rows - mean)
            for i, share in shares.items():
                painting, of_each = self._candidates[i][field], share[chosen, None]
                found = painting.wanted[nearest(directions, painting.directions).numpy()]
                wanted += of_each * found
                mean_about += of_each * mean
                total += of_each
                constant += float(
                    (of_each * (np.square(found).sum(1, keepdims=True) / 2 if squared else 1)).sum()
                )
        mean_about /= np.maximum(total, 1e-12)
        if not squared:
            return wanted, mean_about, total, constant
        scale = self._variance(field)
        return wanted / scale, mean_about, total / scale, constant / scale

    def _is_squared(self, field: Field) -> bool:
        return self.scene.settings.style_contrast and len(field) == 1 and level_of(field[0]) < QUARTER

    def _variance(self, field: Field) -> float:
        """The variance of what the paintings offer."""
        offers = [self._candidates[i][field].wanted for i in self.scene.used]
        return max(float(np.mean([each.var(0).sum() for each in offers])), 1e-12)

    @cached_property
    def _candidates(self) -> dict[int, dict[Field, Candidates]]:
        """What each painting offers; the next frame of a film is offered the same."""
        paintings = self.scene.paintings
        if [last for last, _ in LAST] != [paintings]:
            LAST.clear()  # before the next need memory
            LAST.append((paintings, {i: self._of_painting(i) for i in self.scene.used}))
        return LAST[0][1]

    def _of_painting(self, style: int) -> dict[Field, Candidates]:
        """What a painting offers in each field, with its turns by quarters."""
        settings = self.scene.settings
        layers = settings.layer_weights("style")
        fields: list[Field] = [(layer,) for layer in layers]
        if settings.hypercolumn_iterations:
            fields.append(tuple(layers))
        found: dict[Field, list[Candidates]] = {field: [] for field in fields}
        turns = 4 if settings.style_turns else 1
        for turn in range(turns):
            scene = self.scene.of_painting(style, turn)
            most, chosen = CANDIDATES * settings.match_positions // turns, {}
            for field in fields:
                within = np.flatnonzero(mostly(scene.shares(layer_of(field))[0][0]))
                chosen[field] = within[sample(len(within), most, turn)]
            rows, means, _ = look(scene.network.preprocess(scene.styles[0]), scene, chosen)
            for field in fields:
                directions = unit(rows[field] - means[field][0])
                wanted = unit(rows[field]) if len(field) > 1 else directions
                if self._is_squared(field):
                    wanted = rows[field]
                found[field].append(Candidates(directions, wanted))
        return {
            field: Candidates(*map(np.concatenate, zip(*parts, strict=True)))
            for field, parts in found.items()
        }


def likeness(view: View, target: Target, maps: Mapping[Any, Any]) -> dict[Any, tf.Tensor]:
    """The sum over a window's chosen positions of the cosine to what is wanted there, times its length.

    half: of a position's weight in squared differences, whose constant is left out; None for cosines.
    """
    sums = {}
    for field, (at, wanted, about, half) in maps.items():
        rows = tf.gather(values(view, field), tf.maximum(at, 0))
        if half is None:
            sums[field] = tf.reduce_sum(tf.math.l2_normalize(rows - about, -1) * wanted)
        else:
            sums[field] = tf.reduce_sum(rows * wanted - half * tf.square(rows))
    return sums


def values(view: View, field: Field) -> tf.Tensor:
    """A field's values at the positions that count, in rows [n, C]."""
    if len(field) == 1:
        return losses.rows(losses.core(view.features[field[0]], view.parts.get(field[0])))
    return losses.rows(tf.concat([at_a_quarter(view, layer) for layer in field], -1))


def at_a_quarter(view: View, layer: str) -> tf.Tensor:
    """A layer's map at a quarter of the image's side, over its number of channels (Kolkin et al. 2022)."""
    x, part, level = view.features[layer], view.parts.get(layer), level_of(layer)
    x /= x.shape[-1]
    if level <= QUARTER:
        x = losses.core(x, part)
        for _ in range(level, QUARTER):
            x = tf.nn.avg_pool2d(x, 2, 2, "SAME")
        return x
    times = 1 << (level - QUARTER)
    x = tf.image.resize(x, [times * side for side in x.shape[1:3]])
    if part is None:
        height, width = view.features[QUARTER_LAYER].shape[1:3]
        return x[:, :height, :width]
    quarter = view.parts[QUARTER_LAYER]
    top, left = (at - times * start for at, start in ((quarter.row, part.row), (quarter.column, part.column)))
    return x[:, top + quarter.top : top + quarter.bottom, left + quarter.left : left + quarter.right]


def look(
    x: tf.Tensor, scene: Scene, chosen: Mapping[Field, np.ndarray]
) -> tuple[dict[Field, np.ndarray], dict[Field, np.ndarray], dict[Field, Places]]:
    """Each field's values [n, C] at the chosen positions of an image, its mean in each region, [regions, C],
    and where each window has these positions."""
    places = {field: list(windows(scene.tiling, layer_of(field), at)) for field, at in chosen.items()}
    shares = {field: [np.sum([*at.values()], 0) for at in scene.shares(layer_of(field))] for field in chosen}
    layers = {layer for field in chosen for layer in (*field, layer_of(field))}
    shapes = scene.network.shapes(*scene.tiling.size(), layers)
    channels = {field: sum(shapes[layer][2] for layer in field) for field in chosen}
    rows = {field: np.empty((len(at), channels[field]), np.float32) for field, at in chosen.items()}
    means = {field: np.zeros((len(at), channels[field]), np.float32) for field, at in shares.items()}
    for window, view in enumerate(scene.views(x, layers)):
        for field in chosen:
            seen = values(view, field)
            inside, at = places[field][window]
            rows[field][inside[at >= 0]] = tf.gather(seen, at[at >= 0]).numpy()
            core = scene.tiling.positions(window, layer_of(field))
            for mean, share in zip(means[field], shares[field], strict=True):
                weights = tf.constant(share[core] / max(share.sum(), 1e-12), tf.float32)
                mean += tf.linalg.matvec(seen, weights, transpose_a=True).numpy()
    return rows, means, places


def windows(tiling: Tiling, layer: str, chosen: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For each window, which of the chosen positions are its own, and where they are among those that count.

    Both int32 [n], with the same n for all, filled up with -1 for the second and 0 for the first.
    """
    cores = [tiling.positions(tile, layer) for tile in range(len(tiling.places))]
    most = min(len(chosen), max(core.size for core in cores))
    for core in cores:
        at = np.minimum(np.searchsorted(core, chosen), core.size - 1).astype(np.int32)
        inside = np.flatnonzero(core[at] == chosen).astype(np.int32)
        filling = most - len(inside)
        yield np.pad(inside, (0, filling)), np.pad(at[inside], (0, filling), constant_values=-1)


def layer_of(field: Field) -> str:
    """A layer whose map has the field's size."""
    return field[0] if len(field) == 1 else QUARTER_LAYER


def level_of(layer: str) -> int:
    """The number of poolings before a layer, by its name."""
    return int(layer[4]) - 1


def sample(positions: int, most: int | None, seed: int) -> np.ndarray:
    """So many of the positions 0, 1 .. at most, in order; None for all."""
    if most is None or positions <= most:
        return np.arange(positions)
    return np.sort(np.random.default_rng(seed).choice(positions, most, replace=False, shuffle=False))


def searching(x: tf.Tensor, scene: Scene, mixture: float) -> tf.Tensor:
    """The image that searches: the photograph, with this share of the picture and of the photograph's finest
    detail."""
    assert scene.content is not None  # which Settings.check_images() has made sure of
    photo = scene.network.preprocess(scene.content)
    height, width = photo.shape[1:3]
    halved = tf.image.resize(photo, [-(-height // 2), -(-width // 2)], antialias=True)
    finest = photo - tf.image.resize(halved, [height, width])
    return photo + mixture * (x + finest - photo)
