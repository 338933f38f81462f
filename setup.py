"""Packaging: `pip install .` installs the commands and the modules behind them; pyproject.toml lists them."""

from setuptools import setup

setup()
