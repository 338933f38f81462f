"""The term of patches (Li & Wand, "Combining Markov Random Fields and Convolutional Neural Networks for Image
Synthesis", CVPR 2016)."""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from styling.objective import losses
from styling.objective.matching import Scene, unit
from styling.objective.neighbors import nearest
from styling.objective.terms import Target, Term, constants, content_differences, weighted_sum
from styling.objective.tiles import Features
from styling.pictures.masks import mostly
from styling.system.errors import ImageError
from styling.system.quiet import tf

SIDE = 3  # of a patch, in positions
EVERY = 2  # positions of a painting, from the middle of one patch to the next
MOST = 2**13  # patches of a painting; of more, as many are taken at even distances
CHUNK = 2**24  # values of patches at a time


class Painting(NamedTuple):
    """A painting's map [h, w, C] at a layer, its patches [n, C * 9] of length 1, and the rows and columns of
    their first positions, each [n]."""

    values: np.ndarray
    patches: np.ndarray
    rows: np.ndarray
    columns: np.ndarray


@dataclass(frozen=True)
class Patches:
    """Each patch of 3 x 3 positions is to be the painting's most similar one, by their normalised
    cross-correlation; a Matcher.

    A position is in as many as nine patches; it is to be the mean of what these are matched with, as the
    authors average the patches' gradients. The loss is the squared difference to it: a sum over positions, or
    what style_reduction says.
    """

    scene: Scene

    def until(self, at: int) -> int:
        """See Matcher."""
        return at + self.scene.settings.match_iterations

    def term(self, x: tf.Tensor, at: int) -> Term:
        """See Matcher."""
        scene, settings, tiling = self.scene, self.scene.settings, self.scene.tiling
        weights, masks = {}, {}
        maps: list[Features] = [{} for _ in tiling.places]
        for layer, values in whole_maps(x, scene).items():
            wanted, share = self._match(layer, values)
            factor = {
                "sum": wanted.size,
                "mean": 1,
                "relative": losses.relative_factor(float(np.square(wanted).mean())),
            }
            weights[layer] = settings.style_weight * settings.layer_weights("style")[layer]
            weights[layer] *= factor[settings.style_reduction]
            masks[layer] = tf.constant(share[None, ..., None])
            for place, window in zip(tiling.places, maps, strict=True):
                window[layer] = tiling.cut(wanted[None], place, layer)
        target = Target(constants(weights), masks=masks)
        return Term("style", tuple(weights), content_differences, weighted_sum, target, maps)

    def _match(self, layer: str, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What a map [h, w, C] is to be, and how much each of its positions counts, [h, w]."""
        wanted, total, patches = np.zeros_like(values), np.zeros_like(values[..., :1]), patches_of(values)
        height, width = patches.shape[:2]
        for shares in self.scene.shares(layer):
            for i, share in shares.items():
                painting = self._paintings[i][layer]
                middle = share.reshape(values.shape[:2])[1:-1, 1:-1, None].astype(np.float32)
                found = found_by(patches, painting.patches)
                for down in range(SIDE):
                    for right in range(SIDE):
                        here = slice(down, down + height), slice(right, right + width)
                        like = painting.values[painting.rows[found] + down, painting.columns[found] + right]
                        wanted[here] += middle * like
                        total[here] += middle
        covered = np.outer(*(np.convolve(np.ones(n), np.ones(SIDE)) for n in (height, width)))
        return wanted / np.maximum(total, 1e-12), total[..., 0] / covered.astype(np.float32)

    @cached_property
    def _paintings(self) -> dict[int, dict[str, Painting]]:
        return {i: self._of_painting(i) for i in self.scene.used}

    def _of_painting(self, style: int) -> dict[str, Painting]:
        scene = self.scene.of_painting(style)
        found = {}
        for layer, values in whole_maps(scene.network.preprocess(scene.styles[0]), scene).items():
            if min(values.shape[:2]) < SIDE:
                problem = f"is smaller than a patch of {layer}, {SIDE} x {SIDE} of its positions"
                raise ImageError(f"style {style + 1} {problem}: use a larger --width or --style-scales")
            within = scene.shares(layer)[0][0].reshape(values.shape[:2])[1:-1:EVERY, 1:-1:EVERY]
            rows, columns = EVERY * np.argwhere(mostly(within)).T
            step = -(-len(rows) // MOST)
            rows, columns = rows[::step], columns[::step]
            patches = unit(patches_of(values)[rows, columns].reshape(len(rows), -1))
            found[layer] = Painting(values, patches, rows, columns)
        return found


def patches_of(values: np.ndarray) -> np.ndarray:
    """All patches of a map [h, w, C], as a view [h - 2, w - 2, C, 3, 3]."""
    return sliding_window_view(values, (SIDE, SIDE), axis=(0, 1))


def found_by(patches: np.ndarray, paintings: np.ndarray) -> np.ndarray:
    """For each patch [h, w, C, 3, 3], the index of the painting's [n, C * 9] that is most similar: [h, w]."""
    step = max(CHUNK // (patches.shape[1] * paintings.shape[1]), 1)
    rows = [patches[first : first + step] for first in range(0, len(patches), step)]
    found = [nearest(row.reshape(-1, paintings.shape[1]), paintings).numpy() for row in rows]
    return np.concatenate(found).reshape(patches.shape[:2])


def whole_maps(x: tf.Tensor, scene: Scene) -> dict[str, np.ndarray]:
    """Each style layer's map [h, w, C] of an image of the scene's size, put together from its windows."""
    layers = scene.settings.layer_weights("style")
    shapes = scene.network.shapes(*scene.tiling.size(), layers)
    maps = {layer: np.empty(shape, np.float32) for layer, shape in shapes.items()}
    for tile, view in enumerate(scene.views(x, layers)):
        for layer, values in view.features.items():
            rows = losses.rows(losses.core(values, view.parts.get(layer)))
            maps[layer].reshape(-1, rows.shape[-1])[scene.tiling.positions(tile, layer)] = rows
    return maps
