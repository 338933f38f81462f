"""The settings of a run: one frozen value with every default, and the rules that tie settings together.

A flag, a keyword argument and a line in a saved run carry the same name. Nothing here needs TensorFlow, so
that a wrong setting is found out at once. Defaults are those of the best known TensorFlow program of this
family (Athalye 2015), except for average pooling, which is what Gatys et al. (2015) use.
"""

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from styling.errors import SettingsError

LOSSES = ("content", "style", "tv", "total")
STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
CONTENT_LAYERS = ("relu4_2", "relu5_2")
POOLING = ("avg", "max")

Layers = tuple[str, ...] | dict[str, float]


@dataclass(frozen=True)
class Settings:
    """Everything that decides what a run computes, besides the images and the network.

    iterations: optimiser updates to make.
    checkpoint_iterations: compare the loss every so many updates, or None for only at the end; the result
        is the image with the lowest loss among those compared.
    width, max_size: pixels; width of the result, or at most so many on its longer side; the content's own
        size where both are None.
    content_layers, style_layers: names, or a dict of names and weights (used as they are); None for
        relu4_2 and relu5_2, shared out by content_weight_blend, and for relu1_1 .. relu5_1. Content layers
        without weights have equal shares, style layers those of style_layer_weight_exp.
    content_weight_blend: weight of relu4_2, 0..1; relu5_2 has the rest. None stands for 1.
    style_layer_weight_exp: each style layer weighs this many times the one before. None stands for 1.
    style_scales: scale of each style relative to the content's width; None for 1 each.
    style_blend_weights: share of each style, any positive scale; None for equal shares.
    initial_noiseblend: share of noise in the start, 0..1; None for 0 with an initial image, else 1.
    seed: of the start's noise; None for a new one each time.
    preserve_colors: take the colours (chroma) of the content.

    Raises SettingsError where a value is out of range or two contradict each other.
    """

    iterations: int = 1000
    checkpoint_iterations: int | None = None
    width: int | None = None
    max_size: int | None = None
    pooling: str = "avg"
    content_layers: Layers | None = None
    style_layers: Layers | None = None
    content_weight_blend: float | None = None
    style_layer_weight_exp: float | None = None
    content_weight: float = 5.0
    style_weight: float = 500.0
    tv_weight: float = 100.0
    style_scales: tuple[float, ...] | None = None
    style_blend_weights: tuple[float, ...] | None = None
    learning_rate: float = 10.0
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    initial_noiseblend: float | None = None
    seed: int | None = None
    preserve_colors: bool = False

    def __post_init__(self) -> None:
        for name in ("iterations", "checkpoint_iterations", "width", "max_size"):
            _check_count(name, getattr(self, name))
        for name in ("content_weight", "style_weight", "tv_weight", "style_layer_weight_exp"):
            _check_range(name, getattr(self, name), low=0)
        for name in ("learning_rate", "eps"):
            _check_range(name, getattr(self, name), low=0, low_open=True)
        for name in ("beta1", "beta2"):
            _check_range(name, getattr(self, name), low=0, high=1, high_open=True)
        for name in ("content_weight_blend", "initial_noiseblend"):
            _check_range(name, getattr(self, name), low=0, high=1)
        for scale in self.style_scales or ():
            _check_range("style_scales", scale, low=0, low_open=True)
        _check_count("seed", self.seed, low=0)
        if self.pooling not in POOLING:
            raise SettingsError("pooling", f"{self.pooling!r} is neither avg nor max")
        if self.width and self.max_size:
            raise SettingsError("max_size", "contradicts --width; give one of the two")
        if self.content_weight == self.style_weight == self.tv_weight == 0:
            raise SettingsError("style_weight", "every weight is 0, which leaves nothing to optimise")
        if self.style_blend_weights is not None:
            _check_weights("style_blend_weights", self.style_blend_weights)
        _check_layers("content_layers", self.content_layers)
        _check_layers("style_layers", self.style_layers)
        if self.content_layers is not None and self.content_weight_blend is not None:
            problem = "contradict --content-weight-blend, which is for the two default layers"
            raise SettingsError("content_layers", problem)
        if isinstance(self.style_layers, dict) and self.style_layer_weight_exp is not None:
            raise SettingsError("style_layers", "with weights contradict --style-layer-weight-exp")

    def content_layer_weights(self) -> dict[str, float]:
        """Content layers and their weights c_l, those above 0 only; empty if content has no weight."""
        layers = self.content_layers
        if layers is None:
            blend = 1.0 if self.content_weight_blend is None else self.content_weight_blend
            layers = dict(zip(CONTENT_LAYERS, (blend, 1 - blend), strict=True))
        elif not isinstance(layers, dict):
            layers = dict.fromkeys(layers, 1 / len(layers))
        return _weighted(layers) if self.content_weight else {}

    def style_layer_weights(self) -> dict[str, float]:
        """Style layers and their weights w_l, those above 0 only; empty if style has no weight."""
        layers = STYLE_LAYERS if self.style_layers is None else self.style_layers
        if not isinstance(layers, dict):
            ratio = 1.0 if self.style_layer_weight_exp is None else self.style_layer_weight_exp
            layers = dict(zip(layers, _geometric(ratio, len(layers)), strict=True))
        return _weighted(layers) if self.style_weight else {}

    def style_shares(self, count: int) -> tuple[float, ...]:
        """Blend weights b_i of so many styles, sum 1. Raises SettingsError if others were given."""
        if count < 1:
            raise SettingsError("styles", "there must be at least one style image")
        _check_number("style_blend_weights", self.style_blend_weights, count)
        weights = self.style_blend_weights or (1.0,) * count
        largest = max(weights)
        shares = [weight / largest for weight in weights]
        return tuple(share / sum(shares) for share in shares)

    def scales(self, count: int) -> tuple[float, ...]:
        """Scales of so many styles. Raises SettingsError if another number was given."""
        _check_number("style_scales", self.style_scales, count)
        return self.style_scales or (1.0,) * count

    def is_checkpoint(self, iteration: int) -> bool:
        """Whether an image after this many updates is compared (and written); the start never is."""
        every = self.checkpoint_iterations
        return every is not None and iteration > 0 and iteration % every == 0

    def noiseblend(self, has_initial: bool) -> float:
        """Share of noise in the start: as given, else 0 with an initial image and 1 without."""
        if self.initial_noiseblend is not None:
            return self.initial_noiseblend
        return 0.0 if has_initial else 1.0


def content_size(height: int, width: int, settings: Settings) -> tuple[int, int]:
    """The result's (height, width) in pixels for a content image of this size."""
    if settings.width:
        return math.floor(height / width * settings.width), settings.width
    if settings.max_size and max(height, width) > settings.max_size:
        longer = max(height, width)
        return height * settings.max_size // longer, width * settings.max_size // longer
    return height, width


def style_size(height: int, width: int, scale: float, content_width: int) -> tuple[int, int]:
    """A style's (height, width) in pixels: `scale` of the content's width, both sides truncated."""
    factor = scale * content_width / width  # in this order, since rounding decides the size at times
    return int(height * factor), int(width * factor)


def _geometric(ratio: float, count: int) -> list[float]:
    # The largest power is kept at 1, so that no ratio overflows.
    powers = [ratio ** (k - count + 1) if ratio > 1 else ratio**k for k in range(count)]
    return [power / sum(powers) for power in powers]


def _weighted(layers: dict[str, float]) -> dict[str, float]:
    return {name: weight for name, weight in layers.items() if weight > 0}


def _check_count(name: str, value: int | None, low: int = 1) -> None:
    if value is None:
        return
    if not isinstance(value, int) or isinstance(value, bool) or value < low:
        raise SettingsError(name, f"{value} is not a whole number of at least {low}")
    if value >= 2**63:
        raise SettingsError(name, f"{value} is more than 64 bits hold")


def _check_range(
    name: str,
    value: float | None,
    low: float,
    high: float = math.inf,
    low_open: bool = False,
    high_open: bool = False,
) -> None:
    if value is None:
        return
    try:
        rounded = struct.unpack("f", struct.pack("f", value))[0]  # all is computed in 32 bits
    except OverflowError:
        rounded = math.inf
    except struct.error:
        raise SettingsError(name, f"{value!r} is not a number") from None
    above = rounded > low if low_open else rounded >= low
    below = rounded < high if high_open else rounded <= high
    if not (math.isfinite(rounded) and above and below):
        lower = f"above {low}" if low_open else f"at least {low}"
        upper = "" if high == math.inf else f" and below {high}" if high_open else f" and at most {high}"
        if math.isfinite(value) and rounded == math.inf:
            raise SettingsError(name, f"{value} is more than 32 bits hold")
        raise SettingsError(name, f"{value} is not a number of {lower}{upper}")


def _check_weights(name: str, weights: Sequence[float]) -> None:
    for weight in weights:
        _check_range(name, weight, low=0)
    if not any(weights):
        raise SettingsError(name, "the weights sum to 0; at least one must be above 0")


def _check_number(name: str, values: Sequence[float] | None, count: int) -> None:
    if values is not None and len(values) != count:
        raise SettingsError(name, f"{len(values)} of them given for {count} style image{'s' * (count != 1)}")


def _check_layers(name: str, layers: Layers | None) -> None:
    if isinstance(layers, str) or (layers is not None and not layers):
        raise SettingsError(name, f"{layers!r} is no tuple of names and no dict of names and weights")
    if isinstance(layers, dict):
        _check_weights(name, tuple(layers.values()))
    elif layers is not None and len(set(layers)) < len(layers):
        raise SettingsError(name, "a layer is named twice")
