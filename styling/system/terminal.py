"""Lines on the terminal."""

import logging
import os
import sys
from functools import cache

from tqdm import tqdm


def is_quiet() -> bool:
    """Whether nothing but errors is to be seen: there is no stdout, which --quiet takes away."""
    return sys.stdout is None


def print_line(line: str) -> None:
    """Print a line on stdout, above a bar."""
    if is_quiet():
        return
    try:
        tqdm.write(line, file=sys.stdout)
        sys.stdout.flush()
    except OSError:
        # A closed pipe or a full disk for these lines is no reason to give up the picture.
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115


class Complaints(logging.Handler):
    """Prints the warnings of the log "styling" as complain() does."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one."""
        complain(record.getMessage())


def complain(line: str) -> None:
    """Print a line on stderr, with the program's name."""
    print(f"neural-style: {line}", file=sys.stderr)


@cache
def remark(line: str) -> None:
    """Say a line about a file that is read, once in a process.

    It goes to the logger "styling", so that a program that imports this one decides what becomes of it.
    Without a handler, Python writes it to stderr.
    """
    logging.getLogger("styling").warning(line)
