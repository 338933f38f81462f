"""The parts that stylize.py is put together from, one idea a file.

The folders in the order of the way of the data, each above what it uses; imports go down or stay:

    web/, sweeps/   the page; many jobs and their one sheet
    command/        words -> a job -> painted files
    films/, live/   clips and their frames; a run watched in the browser
    (stylize.py)    the method
    run/            one run made definite
    objective/      what is minimised
    (vgg.py)        the network
    pictures/, optimizers/, network/
    settings/       the one list of settings, their checks, recipes
    system/         what the machine gives
"""

__version__ = "0.1.0"

# The modules that callers use, by their names in docs/python.md.
_MODULES = {
    "device": "styling.system.device",
    "errors": "styling.system.errors",
    "images": "styling.pictures.images",
    "networks": "styling.network.networks",
}


def __getattr__(name: str) -> object:
    """A module that callers use, imported when it is first asked for."""
    if name in _MODULES:
        import importlib

        return importlib.import_module(_MODULES[name])
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
