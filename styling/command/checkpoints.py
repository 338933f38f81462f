"""The names of checkpoints, made from a pattern; raises SettingsError for a pattern that makes none."""

import os
import re
from pathlib import Path

from styling.system.errors import SettingsError


def checkpoint_paths(pattern: str, every: int, iterations: int) -> list[Path]:
    """The names of all checkpoints of a run; raises unless `pattern` makes a different one for each."""
    if checkpoint_path(pattern, 1) == checkpoint_path(pattern, 2):
        problem = f"{pattern} makes the same name each time; use {{}} or %d, as in out_{{:05}}.png"
        raise SettingsError("checkpoint_output", problem)
    return [checkpoint_path(pattern, iteration) for iteration in range(every, iterations + 1, every)]


def checkpoint_path(pattern: str, iteration: int) -> Path:
    """The name of a checkpoint: `pattern` with its {} or %d replaced by the iteration."""
    if re.search(r"(\{[^}]*|%[^a-zA-Z]*)\d{4}", pattern):
        raise SettingsError("checkpoint_output", f"{pattern} asks for more digits than a name can have")
    try:
        name = pattern.format(iteration) if "{" in pattern else pattern % iteration
        os.fsencode(name)
    except (ArithmeticError, AttributeError, LookupError, MemoryError, TypeError, ValueError) as error:
        problem = f"{pattern} cannot be filled in ({error}); use {{}} or %d, as in out_{{:05}}.png"
        raise SettingsError("checkpoint_output", problem) from None
    return Path(name)
