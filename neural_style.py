"""The command line: flags -> one Settings value -> stylize() -> files.

    neural-style --content photo.jpg --styles painting.jpg --output picture.png

styling/flags.py defines the flags; styling/jobs.py turns them into settings and files. Exit status: 0 for a
picture, 2 for an error on the command line or in the names on it, 1 for an error inside a file or while
running, 130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from styling.command.flags import build_parser
from styling.command.jobs import input_names, output_names, plan
from styling.films import video
from styling.pictures import images
from styling.system import filenames
from styling.system.process import (
    run_command,
)

if TYPE_CHECKING:
    pass

from styling.command.filming import paint_film
from styling.command.painting import paint_all


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status, or exits with 2 for a wrong command line."""
    return run_command(build_parser(), work, arguments)


def work(options: argparse.Namespace) -> int:
    """Check all file names on the command line, then do what it asks for."""
    job = plan(options)
    if job.is_batch:
        options.output.mkdir(exist_ok=True)
    endings = video.FORMATS if job.film else images.FORMATS
    filenames.check_names(input_names(job), output_names(job), options.overwrite, options.resume, endings)
    return paint_film(job, job.film) if job.film else paint_all(job)


if __name__ == "__main__":
    sys.exit(main())
