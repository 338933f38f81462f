"""The types of settings: what values each allows, and the words for that in errors. msgspec checks them.

A type is an annotation. It may hold a rule that msgspec does not know, a function that tells whether a value
is allowed, or raises ValueError with a reason of its own. Numbers are limited to 32 bits, as all images are
float32, and whole numbers to 64.
"""

import difflib
import itertools
import re
import reprlib
import types
from collections.abc import Sequence
from operator import methodcaller
from typing import Annotated, Any, Literal, get_args, get_origin

import msgspec
import numpy as np
from msgspec import Meta

from styling.system.errors import SettingsError

MOST = 2**63 - 1
LARGEST, SMALLEST = float(np.finfo(np.float32).max), float(np.finfo(np.float32).smallest_subnormal)
BELOW_1 = 1 - 2**-25  # from here on, a number is 1 in 32 bits

# VGG-19 has all layers of VGG-16 as well. A low-rank convolution is a pair, such as conv1_2a and conv1_2b.
PLACES = [f"{block}_{i}" for block, count in enumerate((2, 2, 4, 4, 4), 1) for i in range(1, count + 1)]
POOLS = [f"pool{block}" for block in range(1, 6)]
VGG_LAYERS = [f"{kind}{place}" for kind in ("conv", "relu") for place in PLACES] + POOLS


def _differ(values: Sequence[object]) -> bool:
    return len(set(values)) == len(values)


def _grow_to_1(scales: Sequence[float]) -> bool:
    return all(before < after for before, after in itertools.pairwise(scales)) and scales[-1] == 1


def _are_layers(value: Sequence[str] | dict[str, float]) -> bool:
    for layer in value:
        if layer not in VGG_LAYERS and re.sub("(conv.*)[a-z]", r"\1", layer) not in VGG_LAYERS:
            near = difflib.get_close_matches(layer.lower(), VGG_LAYERS, n=1, cutoff=0.8)
            hint = f"; did you mean {near[0]}?" if near else ", which has relu1_1 to relu5_4 and others"
            raise ValueError(f"{layer!r} is no layer of a VGG{hint}")
    return any(value.values()) if isinstance(value, dict) else _differ(value)


Whole = Annotated[int, Meta(ge=0, le=MOST, description="a whole number of at least 0")]
Count = Annotated[int, Meta(ge=1, le=MOST, description="a whole number of at least 1")]
Positive = Annotated[float, Meta(ge=SMALLEST, le=LARGEST, description="a number above 0")]
# A larger style is a percentage, or a mistake that costs hours.
StyleScale = Annotated[
    float,
    Meta(ge=SMALLEST, le=10, description="a number above 0 and at most 10, where 1 is the picture's width"),
]
Weight = Annotated[float, Meta(ge=0, le=LARGEST, description="a number of at least 0")]
Share = Annotated[float, Meta(ge=0, le=1, description="a number from 0 to 1")]
Decay = Annotated[float, Meta(ge=0, lt=BELOW_1, description="a number of at least 0 and below 1")]
# Fewer evaluations may end within the first line search, without a lower loss.
Evaluations = Annotated[int, Meta(ge=5, lt=2**31, description="a whole number of at least 5")]
Threads = Annotated[int, Meta(ge=1, le=1024, description="a whole number from 1 to 1024")]
Device = Annotated[str, Meta(pattern=r"^(cpu|gpu(:\d{1,3})?)\Z", description="cpu, gpu or gpu:N")]
NetworkName = Annotated[
    str, Meta(pattern=r"^[^\0]+\Z", description="the name of a file, or vgg19, vgg16 or small")
]
Weights = Annotated[
    tuple[Weight, ...], Meta(description="a list of numbers of at least 0, one of them above 0"), any
]
Scales = Annotated[
    tuple[Positive, ...],
    Meta(min_length=1, description="a list of numbers above 0 that grow up to 1, the full size"),
    _grow_to_1,
]
Distances = Annotated[
    tuple[Count, ...],
    Meta(min_length=1, description="a list of different whole numbers of at least 1"),
    _differ,
]
Layers = Annotated[
    Annotated[tuple[str, ...], Meta(min_length=1)] | Annotated[dict[str, Weight], Meta(min_length=1)],
    Meta(description="a list of different names, or a table of numbers of at least 0, one of them above 0"),
    _are_layers,
]


def checked(name: str, value: object, hint: Any, strict: bool = True) -> Any:
    """The value of a setting, converted to its type. Raises SettingsError.

    strict: whether a text stands for itself alone; otherwise it may stand for a number, as on a command line.
    """
    shown = reprlib.repr(value) if strict else " ".join(value) if isinstance(value, list) else str(value)
    try:
        plain = msgspec.to_builtins(value, enc_hook=methodcaller("tolist"))  # what NumPy has
        converted = msgspec.convert(plain, hint, strict=strict)
        rules = (rule for rule in parts(hint)[1] if callable(rule))
        if value is None or (converted is not None and all(rule(converted) for rule in rules)):
            return converted
    except (msgspec.ValidationError, AttributeError, TypeError) as error:
        if any(f"<= {limit}" in str(error) for limit in (MOST, LARGEST)):
            raise SettingsError(name, f"{shown} is too large") from None
    except ValueError as error:
        raise SettingsError(name, str(error)) from None
    raise SettingsError(name, f"{shown} is not {described(hint)}")


def shown(value: object) -> str:
    """A value as it is typed on the command line; a switch as on or off."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, dict):
        return " ".join(f"{name}={shown(each)}" for name, each in value.items())
    if isinstance(value, list | tuple):
        return " ".join(map(shown, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def described(hint: Any) -> str:
    """The words for what a type allows."""
    kind, notes = parts(hint)
    for note in notes:
        if isinstance(note, Meta) and note.description:
            return note.description
    if get_origin(kind) is tuple:
        return f"a list, each {described(get_args(kind)[0])}"
    return {bool: "true or false", str: "a text"}.get(kind) or f"one of {', '.join(get_args(kind))}"


def choices(hint: Any) -> tuple[str, ...]:
    """The values that a type allows, if there are only a few."""
    kind = parts(hint)[0]
    return get_args(kind) if get_origin(kind) is Literal else ()


def parts(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    """A type without None (int, Literal[...], tuple[...] and so on), and its limits and rules."""
    if types.NoneType in get_args(hint):
        hint = get_args(hint)[0]
    return (hint.__origin__, hint.__metadata__) if get_origin(hint) is Annotated else (hint, ())
