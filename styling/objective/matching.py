"""Terms that match the picture with the paintings: what nearest neighbours and patches have in common.

A match says what a position of the picture is to be like. While it stands it is a constant of the loss, so
that such a term is a sum over positions like any other, whole or by tiles. The loop of stylize.py asks a
Matcher for new matches between two updates.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from styling.objective import layer_masks, targets
from styling.objective.terms import Term, share_at
from styling.objective.tiles import Tiling, View
from styling.pictures.masks import Layout, Region
from styling.settings import Settings
from styling.system.quiet import tf
from vgg import Network


class Matcher(Protocol):
    """Makes a term for the picture as it is, and says how long its matches stand."""

    def term(self, x: tf.Tensor, at: int) -> Term:
        """The term with matches for the picture x [1, H, W, 3] after `at` updates."""

    def until(self, at: int) -> int:
        """The update at which matches of update `at` are renewed."""


@dataclass(frozen=True)
class Scene:
    """A picture of one size and the paintings for it, as matchers see them.

    content: [H, W, 3], or None. styles: the paintings [h, w, 3]. layout: which style paints where.
    """

    network: Network
    settings: Settings
    tiling: Tiling
    content: np.ndarray | None
    styles: Sequence[np.ndarray]
    layout: Layout

    @property
    def used(self) -> list[int]:
        """The styles that paint anywhere."""
        return sorted({i for region in self.layout.regions for i, share in region.shares.items() if share})

    @property
    def paintings(self) -> tuple:
        """Equal for scenes that have the same paintings and use them in the same way."""
        arrays = (*self.styles, *self.layout.guides)
        pixels = [None if array is None else (array.shape, array.tobytes()) for array in arrays]
        return self.network, self.settings, self.used, pixels

    def views(self, x: tf.Tensor, layers: Collection[str]) -> Iterator[View]:
        """The features of the picture, or of another image of its size."""
        return self.tiling.views(self.network, x, layers, self.settings.pooling)

    def shares(self, layer: str) -> list[dict[int, np.ndarray]]:
        """For each region, the share of each of its styles at all positions of a layer's map, [h * w].

        The shares of all styles at a position add up to 1 where everything is painted.
        """
        size = self.tiling.size(layer)
        layers_of = self.settings.layers_of_styles(len(self.styles), {layer})
        every = []
        for region in self.layout.regions:
            at = np.ones(size, np.float32)
            if region.mask is not None:
                masks = layer_masks.of_style(region.mask, self.network, {layer}, self.settings)
                at = masks[layer].numpy().reshape(size) if layer in masks else np.zeros(size, np.float32)
                at = at / max(at.mean(), 1e-12)
            shares = {i: share for i, share in region.shares.items() if share}
            every.append({i: share_at(layer, i, shares, layers_of) * at.ravel() for i in shares})
        return every

    def of_painting(self, i: int, turn: int = 0) -> "Scene":
        """A painting, turned by so many quarters, as a picture that is painted within its guide."""
        image, guide = np.rot90(self.styles[i], turn), self.layout.guides[i]
        tiling = targets.cut(self.network, self.settings.layers(), self.settings, image.shape[:2])
        region = Region(None if guide is None else np.rot90(guide, turn), {0: 1.0})
        # The structure says at which layers a style counts, not what it is.
        settings = replace(self.settings, style_structure=None)
        layout = Layout((region,), (None,))
        return replace(self, settings=settings, tiling=tiling, styles=(image,), layout=layout)


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows [n, C] of length 1."""
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
