"""The one list of settings, their checks, and recipes."""

from styling.settings.entries import COLORS, FIELDS, STYLE_LAYERS, Running
from styling.settings.settings import Settings, build

__all__ = ["COLORS", "FIELDS", "STYLE_LAYERS", "Running", "Settings", "build"]
