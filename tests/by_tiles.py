"""Holds what is computed by tiles to the same whole."""

import dataclasses

import numpy as np
import pytest

from styling.objective.evaluation import evaluation
from stylize import build_objective


def assert_same_by_tiles(network, x, settings, *images, tile, matched=0, **more):
    """Hold the losses and the gradient by tiles to those of the whole; returns the losses.

    matched: the update after which matches are made.
    """
    (whole, gradient), (tiled, tiled_gradient) = (
        evaluation(objective.matched(x, matched))(x)
        for objective in (
            build_objective(*images, network, dataclasses.replace(settings, tile=cut), **more)
            for cut in (0, tile)
        )
    )
    assert list(tiled) == list(whole)
    for name, loss in whole.items():
        assert float(tiled[name]) == pytest.approx(float(loss), rel=1e-4, abs=1e-9), name
    assert np.abs(tiled_gradient - gradient).max() <= 1e-4 * np.abs(gradient).max()
    return whole
