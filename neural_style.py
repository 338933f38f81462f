"""The command line: words -> flags -> a job for each picture -> files.

    neural-style --content photo.jpg --styles painting.jpg --output picture.png

styling/command/flags.py defines the flags, jobs.py turns them into jobs, and painting.py paints these.
Exit status: 0 for a picture, 2 for an error on the command line or in the names on it, 1 for an error inside
a file or while running, 130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP.
"""

import argparse
import sys
from collections.abc import Sequence

from styling.command.filming import paint_film
from styling.command.flags import build_parser
from styling.command.jobs import check_files, plan
from styling.command.painting import paint, paint_batch, read_images, start
from styling.system.process import run_command


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status, or exits with 2 for a wrong command line."""
    return run_command(build_parser(), work, arguments)


def work(options: argparse.Namespace) -> int:
    """Check all file names on the command line, then do what it asks for."""
    jobs = plan(options)
    check_files(jobs)
    job = jobs[0]
    if job.film:
        return paint_film(job, job.film)
    if job.files.folder:
        return paint_batch(jobs)
    named = read_images(job)  # whose errors come before TensorFlow, which takes seconds
    job, network = start(job)
    return paint(job, named, network)


if __name__ == "__main__":
    sys.exit(main())
