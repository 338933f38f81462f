"""Optimisers, by their names as settings.

A new one is a class in a file here, its entry in KINDS, and its name among the choices of
settings.Settings.optimizer.
"""

from dataclasses import fields

from styling.optimizers.base import Optimizer
from styling.optimizers.first_order import Adam, GradientDescent, NormalizedGradientDescent, PyramidAdam
from styling.optimizers.lbfgs import Lbfgs
from styling.optimizers.lbfgs_b import LbfgsB
from styling.settings import Settings

KINDS: dict[str, type[Optimizer]] = {
    "adam": Adam,
    "pyramid-adam": PyramidAdam,
    "gradient-descent": GradientDescent,
    "normalized-gradient-descent": NormalizedGradientDescent,
    "lbfgs": Lbfgs,
    "lbfgs-b": LbfgsB,
}


def of_settings(settings: Settings) -> Optimizer:
    """The optimiser that the settings name, with its own settings."""
    kind = KINDS[settings.optimizer]
    return kind(**{field.name: getattr(settings, field.name) for field in fields(kind)})
