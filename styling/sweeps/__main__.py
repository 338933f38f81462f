"""The command line of sweeps: from a spec to its runs, and to their pictures, a sheet, a page and a table.

    neural-style-sweep SPEC.toml --output DIR

Exit status: 0 if all runs are done, 1 for an error inside a file or a run that failed, 2 for an error on the
command line or in the names on it, 130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP.
"""

import argparse
import importlib.util
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from styling.command import flags, jobs
from styling.sweeps import specs, workers
from styling.sweeps.results import Cell
from styling.sweeps.specs import Spec
from styling.system import filenames, limits, terminal
from styling.system.errors import SettingsError
from styling.system.process import run_command

if TYPE_CHECKING:
    from styling.sweeps.driver import Worker

GROUPS = ("the sweep", *(title for title in flags.GROUPS if title not in ("stopping and going on", "video")))


def build_parser() -> flags.Parser:
    """The flags of neural-style-sweep."""
    usage = "%(prog)s SPEC --output DIR [--images DIR ...] [--dry-run] [flags]"
    description = "Compute many runs, and show them in one picture."
    parser, groups = flags.new_parser("neural-style-sweep", usage, description, GROUPS)
    text = "a .toml file that lists the runs, or the name of a published figure"
    parser.add_argument("spec", metavar="SPEC", help=text)
    add = groups["the sweep"].add_argument
    add("-o", "--output", type=Path, metavar="DIR", required=True, help="folder for all that is computed")
    text = "folders with the spec's images, searched before the spec's own folder"
    add("--images", help=text, **flags.SEVERAL | {"metavar": "DIR"})
    text = "files to use in place of images that the spec names"
    add("--image", help=text, **flags.SEVERAL | {"type": str, "metavar": "NAME=FILE"})
    add("--dry-run", help="list the runs, and compute nothing", **flags.SWITCH)
    add("--overwrite", help="replace files that are not from a sweep", **flags.SWITCH)
    text = "list the specs of published figures, and exit"
    add("--list-figures", help=text, action=flags.Answer, const=partial(flags.listed, "figures", specs.read))
    flags.add_images(groups)
    flags.add(groups["recipes"], "--recipe", **flags.RECIPE)
    flags.add_settings(groups, without=("checkpoint_iterations", "print_iterations", "progress_grid"))
    add, text = groups["running"].add_argument, "runs at a time (default: as many as cores and memory allow)"
    add("--workers", help=text, **flags.COUNT)
    text = "compute the runs on this Ray cluster: auto or HOST:6379"
    add("--cluster", metavar="ADDRESS", default=None, help=text)
    flags.add(groups["running"], "--save-state-iterations", **flags.COUNT)
    flags.add_common(groups)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status, or exits with 2 for a wrong command line."""
    return run_command(build_parser(), sweep, arguments, "the same command continues the sweep")


def sweep(options: argparse.Namespace) -> int:
    """Compute the sweep that the command line asks for, and return the exit status."""
    spec, cells = read_cells(options)
    filenames.check_folder("output", options.output)
    outputs = [("output", options.output / name) for name in ("index.html", "results.csv", "sheet.png")]
    is_sweep = (options.output / "runs").is_dir()
    filenames.check_names((), outputs, {}, options.overwrite or is_sweep, makes_folders=True)
    if options.cluster and importlib.util.find_spec("ray") is None:
        raise SettingsError("cluster", "needs Ray: pip install ray")
    limits.check_tensorflow()
    if not (options.cluster or options.dry_run):
        workers.preload()
    from styling.sweeps import driver, planning
    from styling.system.device import configure

    here = configure(cells[0].job.running.device)
    planning.plan(cells, options.output)
    work = driver.Sweep(options.output, spec, cells)
    waiting = work.having("waiting")
    for remark in dict.fromkeys(run.remark for run in waiting):
        terminal.print_line(remark)
    start, count, threads, device = shared_out(options, work.runs, here)
    line = f"{len(waiting)} of {len(work.runs)} runs to compute, {count} at a time, threads: {threads}"
    if options.dry_run:
        terminal.print_line("\n".join([*(f"{cell.label}: {state_of(cell)}" for cell in cells), line]))
        return 0
    terminal.print_line(line)
    for run in waiting:
        running = replace(run.job.running, threads=threads, device=device)
        files = replace(run.job.files, save_state_iterations=options.save_state_iterations)
        run.job = replace(run.job, running=running, files=files)
    return work.compute(start, count)


def shared_out(
    options: argparse.Namespace, runs: Sequence[Cell], here: str
) -> tuple["type[Worker]", int, int, str | None]:
    """The workers, how many there are at a time, the threads of each, and the device. here: this machine's.

    Counted with the runs that are done, so that a sweep that is continued has as many threads as before.
    """
    asked = runs[0].job.running
    if options.cluster:  # each node has its own device, and Ray sees to its memory
        from styling.sweeps import cluster

        cores = cluster.join(options.cluster)
        shares = workers.share_cores(cores, len(runs), options.workers, asked.threads)
        return cluster.ClusterWorker, *shares, asked.device
    need = max(run.memory for run in runs) + workers.PROCESS_BYTES
    fitting = int(limits.free_memory() // need) if here == "cpu" else 1  # a GPU is busy with one run
    most = min(len(runs), fitting)
    shares = workers.share_cores([jobs.cores()], most, options.workers, asked.threads)
    return workers.LocalWorker, *shares, here


def read_cells(options: argparse.Namespace) -> tuple[Spec, list[Cell]]:
    """The spec, and its cells with the flags applied. Raises SettingsError or SpecError."""
    spec, files = specs.read(options.spec), {}
    for pair in options.image:
        name, equals, file = pair.partition("=")
        if not (name and equals and file):
            raise SettingsError("image", f"{pair} is not NAME=FILE, as in photo.jpg=pictures/mine.jpg")
        filenames.check_input("image", Path(file))
        files[Path(name)] = Path(file)
    for folder in options.images:
        if not folder.is_dir():
            raise SettingsError("images", f"{folder} is not a folder")
    values = flags.settings_of(options) | ({"recipe": options.recipe} if options.recipe else {})
    for flag, path in jobs.named_images(options):
        filenames.check_input(flag, path)
        values.setdefault(flag, []).append(os.path.abspath(path))
    if len(values.get("content", ())) > 1:
        raise SettingsError("content", "names several photographs; name them in the spec, on an axis")
    cells = specs.cells(spec, values)
    specs.locate(cells, spec, files, options.images)
    if "network" in values:
        filenames.check_input("network", cells[0].job.network)
    return spec, cells


def state_of(cell: Cell) -> str:
    """What is to be done for a run, in words."""
    if cell.result.status != "waiting":
        return f"{cell.result.status}: {cell.result.error}".removesuffix(": ")
    done = f", {cell.iteration} of them done" if cell.iteration else ""
    return f"{cell.job.settings.iterations} iterations{done}"


if __name__ == "__main__":
    sys.exit(main())
