"""The parts that stylize.py is put together from, one idea a file."""

__version__ = "0.1.0"
