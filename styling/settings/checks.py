"""How a setting's value is checked against its type by msgspec, and the words for a type and a value.

A type is an annotation. It may hold a rule that msgspec does not know, a function that tells whether a value
is allowed, or raises ValueError with a reason of its own.
"""

import reprlib
import types
from operator import methodcaller
from typing import Annotated, Any, Literal, get_args, get_origin

import msgspec
import numpy as np
from msgspec import Meta

from styling.system.errors import SettingsError

# Numbers are limited to 32 bits, as all images are float32, and whole numbers to 64.
MOST = 2**63 - 1
LARGEST, SMALLEST = float(np.finfo(np.float32).max), float(np.finfo(np.float32).smallest_subnormal)


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
