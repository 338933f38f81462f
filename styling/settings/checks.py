"""Checks of single settings: each raises SettingsError, with the setting's name, if its value is not allowed.

None is always allowed, since it stands for a default.
"""

import difflib
import itertools
import math
import re
import struct
from collections.abc import Sequence

from styling.system.errors import SettingsError

Layers = tuple[str, ...] | dict[str, float]

# VGG-19 has all layers of VGG-16 as well. A low-rank convolution is a pair, such as conv1_2a and conv1_2b.
PLACES = [f"{block}_{i}" for block, count in enumerate((2, 2, 4, 4, 4), 1) for i in range(1, count + 1)]
POOLS = [f"pool{block}" for block in range(1, 6)]
VGG_LAYERS = [f"{kind}{place}" for kind in ("conv", "relu") for place in PLACES] + POOLS


def count(name: str, value: int | None, low: int = 1, high: int | None = None) -> None:
    """A whole number from `low` to `high` that 64 bits hold."""
    if value is None:
        return
    if not isinstance(value, int) or isinstance(value, bool) or value < low:
        raise SettingsError(name, f"{value} is not a whole number of at least {low}")
    if value >= 2**63:
        raise SettingsError(name, f"{value} is more than 64 bits hold")
    if high is not None and value > high:
        raise SettingsError(name, f"{value} is more than {high}")


def number(
    name: str,
    value: float | None,
    low: float,
    high: float = math.inf,
    low_open: bool = False,
    high_open: bool = False,
) -> None:
    """A number from `low` to `high`, without open ends, that float32 can hold, as all images are float32."""
    if value is None:
        return
    try:
        rounded = struct.unpack("f", struct.pack("f", value))[0]
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


def choice(name: str, value: str | None, choices: Sequence[str]) -> None:
    """One of the choices."""
    if value is not None and value not in choices:
        raise SettingsError(name, f"{value!r} is none of {', '.join(choices)}")


def choices(name: str, values: Sequence[str] | None, of: Sequence[str]) -> None:
    """Several of the choices."""
    for value in values or ():
        choice(name, value, of)


def positives(name: str, values: Sequence[float] | None) -> None:
    """Numbers above 0."""
    for value in values or ():
        number(name, value, low=0, low_open=True)


def weights(name: str, values: Sequence[float] | None) -> None:
    """Weights of at least 0, of which one is above 0."""
    if values is None:
        return
    for value in values:
        number(name, value, low=0)
    if not any(values):
        raise SettingsError(name, "the weights sum to 0; at least one must be above 0")


def one_each(name: str, values: Sequence[float] | None, wanted: int, of: str = "style image") -> None:
    """One value for each style image, or for each `of`."""
    if values is not None and len(values) != wanted:
        raise SettingsError(name, f"{len(values)} of them given for {wanted} {of}{'s' * (wanted != 1)}")


def layers(name: str, value: Layers | None) -> None:
    """Layers of a VGG by different names, or names and weights."""
    if isinstance(value, str) or (value is not None and not value):
        raise SettingsError(name, f"{value!r} is no tuple of names and no dict of names and weights")
    if isinstance(value, dict):
        weights(name, tuple(value.values()))
    elif value is not None and len(set(value)) < len(value):
        raise SettingsError(name, "a layer is named twice")
    for layer in value or ():
        if layer not in VGG_LAYERS and re.sub("(conv.*)[a-z]", r"\1", layer) not in VGG_LAYERS:
            near = difflib.get_close_matches(layer.lower(), VGG_LAYERS, n=1, cutoff=0.8)
            hint = f"; did you mean {near[0]}?" if near else ", which has relu1_1 to relu5_4 and others"
            raise SettingsError(name, f"{layer!r} is no layer of a VGG{hint}")


def shifts(name: str, values: Sequence[int]) -> None:
    """Different whole numbers above 0."""
    for value in values:
        count(name, value)
    if not values or len(set(values)) < len(values):
        raise SettingsError(name, "must be different whole numbers, at least one")


def scales(name: str, values: Sequence[float]) -> None:
    """Increasing numbers above 0, of which the last is 1."""
    positives(name, values)
    growing = all(before < after for before, after in itertools.pairwise(values))
    if not (growing and values and values[-1] == 1):
        raise SettingsError(name, "must grow from scale to scale, and the last be 1, the full size")


def network(name: str, value: str | None) -> None:
    """The name of a file, or of a network that styling.network.networks knows."""
    if value == "":
        raise SettingsError(name, "is empty; name a file, or vgg19, vgg16 or small")
    if value and "\0" in value:
        raise SettingsError(name, f"{value!r} is no name of a file")


def device(name: str, value: str | None) -> None:
    """cpu, gpu or gpu:N."""
    if value is not None and not re.fullmatch(r"cpu|gpu(:\d{1,3})?", value):
        raise SettingsError(name, f"{value!r} is not cpu, gpu or gpu:N")
