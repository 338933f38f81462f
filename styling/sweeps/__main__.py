"""The command line of sweeps: from a spec to its runs, and to their pictures, a sheet, a page and a table.

    neural-style-sweep SPEC.toml --output DIR

Exit status: 0 if all runs are done, 1 for an error inside a file or a run that failed, 2 for an error on the
command line or in the names on it, 130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP.
"""

import argparse
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomli_w

from styling.command import flags, jobs
from styling.settings import checks, recipes
from styling.sweeps import specs, workers
from styling.sweeps.specs import Cell, Spec, Variation
from styling.system import filenames, limits, terminal
from styling.system.errors import RecipeError, SettingsError
from styling.system.files import write_whole
from styling.system.process import run_command, uninterrupted

if TYPE_CHECKING:
    from styling.sweeps.driver import Worker
    from styling.sweeps.planning import Plan

RECORD = {"title": str, "threads": int, "count": int, "runs": list}  # the required keys of sweep.toml
GROUPS = ("the sweep", *(title for title in flags.GROUPS if title not in ("stopping and going on", "video")))
OUTPUTS = ("index.html", "results.csv", "runs", "sheet.png", "sheet-1.png", "sweep.toml")


def build_parser() -> flags.Parser:
    """The flags of neural-style-sweep."""
    usage = "%(prog)s SPEC --output DIR [--images DIR ...] [--dry-run] [flags]"
    description = "Compute many runs, and show them in one picture."
    parser, groups = flags.new_parser("neural-style-sweep", usage, description, GROUPS)
    spec_help = "a .toml file that lists the runs, or the name of a published figure"
    parser.add_argument("spec", metavar="SPEC", help=spec_help)
    add = groups["the sweep"].add_argument
    add(*("-o", "--output"), type=Path, metavar="DIR", required=True, help="folder for all that is computed")
    flags.add_files(
        groups["the sweep"],
        "--images",
        "folders with the spec's images, searched before the spec's own folder",
        "DIR",
    )
    add(
        "--image",
        metavar="NAME=FILE",
        nargs="+",
        action="extend",
        default=[],
        help="files to use in place of images that the spec names",
    )
    flags.add_switch(groups["the sweep"], "--dry-run", "list the runs, and compute nothing")
    flags.add_switch(groups["the sweep"], "--overwrite", "replace the sheet of another sweep")
    add(
        "--list-figures",
        action=flags.ListShipped,
        folder="figures",
        describe=lambda name: specs.read(name).description,
        help="list the specs of published figures, and exit",
    )
    flags.add_images(groups)
    flags.add_recipe(groups)
    flags.add_settings(groups, without=("checkpoint_iterations", "print_iterations", "progress_grid"))
    add = groups["running"].add_argument
    add(
        "--workers",
        type=flags.reader(checks.Count),
        metavar="N",
        default=None,
        help="runs at a time (default: as many as cores and memory allow)",
    )
    add(
        "--cluster",
        metavar="ADDRESS",
        default=None,
        help="compute the runs on this Ray cluster: auto or HOST:6379",
    )
    flags.add_save_iterations(groups["running"])
    flags.add_common(groups)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status, or exits with 2 for a wrong command line."""
    return run_command(build_parser(), sweep, arguments, "the same command continues the sweep")


def sweep(options: argparse.Namespace) -> int:
    """Compute the sweep that the command line asks for, and return the exit status."""
    spec, cells = read_cells(options)
    filenames.check_folder("output", options.output)
    if options.cluster and importlib.util.find_spec("ray") is None:
        raise SettingsError("cluster", "needs Ray: pip install ray")
    asked, before = cells[0].job.running, read_record(options.output)
    limits.check_tensorflow()
    if not (options.cluster or options.dry_run or seems_done(options.output, before)):
        workers.preload()
    from styling.sweeps import planning
    from styling.system.device import configure

    device: str | None = configure(asked.device)
    plan = planning.make_plan(cells, options.output)
    if not (is_same_sweep(before, plan) or options.overwrite):
        check_unused(options.output, before)
    if not options.quiet:
        for remark in plan.remarks:
            terminal.print_line(remark)
    if options.cluster:
        from styling.sweeps import cluster

        cluster.join(options.cluster)
        device = asked.device  # each node has its own device
    used_before = None if options.workers else before.get("threads")
    count, threads = choose_workers(options, asked.threads or used_before, plan, device)
    if options.dry_run:
        for line in listing(plan, count, threads):
            terminal.print_line(line)
        return 0
    return compute(options, spec, with_machine(plan, device, threads, options), count, threads)


def read_cells(options: argparse.Namespace) -> tuple[Spec, list[Cell]]:
    """The spec, and its cells with the flags applied. Raises SettingsError or SpecError."""
    spec = specs.read(options.spec)
    files: dict[str, Path] = dict(map(read_pair, options.image))
    named: dict[str, tuple[str, ...]] = {}
    for flag, path in jobs.named_images(options):
        filenames.check_input(flag, path)
        name = os.path.abspath(path)  # no spec uses such names
        files[name], named[flag] = path, (*named.get(flag, ()), name)
    if len(named.get("content", ())) > 1:
        raise SettingsError("content", "names several photographs; name them in the spec, on an axis")
    for folder in options.images:
        if not folder.is_dir():
            raise SettingsError("images", f"{folder} is not a folder")
    variation = Variation("", options.recipe, flags.settings_of(options), {}, named)
    names = specs.image_names(spec, variation)
    for name in files:
        if name not in names:
            raise SettingsError(
                "image", f"{name} is not an image of {spec.path}, which names {', '.join(names)}"
            )
    cells = specs.cells(spec, variation, specs.find_images(names, spec, files, options.images))
    if "network" in variation.names:
        filenames.check_input("network", cells[0].job.network)
    return spec, cells


def read_pair(pair: str) -> tuple[str, Path]:
    """Split NAME=FILE. Raises SettingsError."""
    name, equals, file = pair.partition("=")
    if not (name and equals and file):
        raise SettingsError("image", f"{pair} is not NAME=FILE, as in photo.jpg=pictures/mine.jpg")
    filenames.check_input("image", Path(file))
    return name, Path(file)


def read_record(folder: Path) -> dict[str, Any]:
    """The folder's sweep.toml; empty if there is none, or if it is not one of a sweep."""
    try:
        record = recipes.load(folder / "sweep.toml")
    except (OSError, RecipeError):
        return {}
    complete = all(type(record.get(key)) is kind for key, kind in RECORD.items())
    return record if complete and record["threads"] > 0 else {}


def seems_done(folder: Path, before: dict[str, Any]) -> bool:
    """Whether there are as many finished runs as the folder's sweep has, so that no worker may be needed."""
    return len(list((folder / "runs").glob("*.json"))) == before.get("count")


def is_same_sweep(before: dict[str, Any], plan: "Plan") -> bool:
    """Whether the folder has the same sweep as the plan."""
    # A run that could not be planned before, for example without its image, may have another stem now.
    return before.get("count") == len(plan.results) and plan.results.keys() >= set(before["runs"])


def check_unused(folder: Path, before: dict[str, Any]) -> None:
    """Raise SettingsError if the folder has a sheet or a table that would be overwritten."""
    if before:
        problem = f"{folder} has another sweep, {before['title']}"
    elif any((folder / name).exists() for name in OUTPUTS):
        problem = f"{folder} has files that are not from a sweep"
    else:
        return
    advice = "name another folder, or replace its sheet with --overwrite, which keeps runs that are the same"
    raise SettingsError("output", f"{problem}; {advice}")


def choose_workers(
    options: argparse.Namespace, threads: int | None, plan: "Plan", device: str | None
) -> tuple[int, int]:
    """How many runs at a time, and how many threads each.

    threads: from the flag, or else as in the sweep so far, since they change the last bits of the pictures.
    """
    if options.cluster:
        from styling.sweeps import cluster

        return cluster.share_cpus(len(plan.runs), options.workers, threads)
    count = options.workers or (None if device == "cpu" else 1)  # a GPU is busy with one run
    memory = max((planned.memory for planned in plan.runs.values()), default=0)
    return workers.share_cores(jobs.cores(), len(plan.runs), memory, count, threads)


def listing(plan: "Plan", count: int, threads: int) -> Iterator[str]:
    """The lines of a dry run: one for each cell, and one for the sweep."""
    for cell, stem in zip(plan.cells, plan.stems, strict=True):
        if planned := plan.runs.get(stem):
            state = f"{planned.job.settings.iterations} iterations"
            if planned.iterations_done:
                state += f", {planned.iterations_done} of them done"
        else:
            result = plan.results[stem]
            state = result.status + (f": {result.error}" if result.error else "")
        yield f"{cell.label}: {state}"
    yield summary(plan, count, threads)


def summary(plan: "Plan", count: int, threads: int) -> str:
    """How many runs are to be computed, and how."""
    at_once = f"{plural(count, 'run')} at a time with {plural(threads, 'thread')}{' each' * (count > 1)}"
    return f"{plural(len(plan.runs), 'run')} to compute, {plan.done} done; {at_once}"


def plural(count: int, noun: str) -> str:
    """A number and a noun, as in 1 run or 2 runs."""
    return f"{count} {noun}{'s' * (count != 1)}"


def with_machine(plan: "Plan", device: str | None, threads: int, options: argparse.Namespace) -> "Plan":
    """The plan, with what each run is computed on, and how often it is saved."""

    def placed(job: jobs.Job) -> jobs.Job:
        running = replace(job.running, threads=threads, device=device)
        files = replace(job.files, save_state_iterations=options.save_state_iterations)
        return replace(job, running=running, files=files)

    runs = {stem: replace(planned, job=placed(planned.job)) for stem, planned in plan.runs.items()}
    return replace(plan, runs=runs)


def compute(options: argparse.Namespace, spec: Spec, plan: "Plan", count: int, threads: int) -> int:
    """Compute the runs that are not done, write the pages, and return the exit status."""
    from styling.sweeps import driver

    folder = options.output
    (folder / "runs").mkdir(parents=True, exist_ok=True)
    write_record(folder, spec, plan, threads)
    display = driver.Display(list(plan.runs.values()), plan.done, options.quiet)
    for stem, cell in dict(zip(plan.stems, plan.cells, strict=True)).items():
        if plan.results[stem].status == "failed":
            display.warn(f"{cell.label} failed: {plan.results[stem].error}")
    work = driver.Sweep(folder, spec, plan, display)
    try:
        if plan.runs:
            display.print(summary(plan, count, threads))
            work.compute(starter(options, plan), count)
    finally:
        display.close()
        with uninterrupted():
            written = work.write_pages(sheets=True)
    display.print(f"wrote {', '.join(map(str, written))}")
    failed = sorted(stem for stem, result in plan.results.items() if result.status == "failed")
    if failed:
        display.warn(f"{plural(len(failed), 'run')} failed: {', '.join(failed)}")
    return 1 if failed else 0


def starter(options: argparse.Namespace, plan: "Plan") -> "Callable[[], Worker]":
    """What makes a worker: a process of this machine, or a share of the cluster that was joined."""
    if not options.cluster:
        return lambda: workers.LocalWorker(plan.pixels)
    from styling.sweeps import cluster

    store = cluster.Store(plan.pixels, plan.networks)
    return lambda: cluster.ClusterWorker(store)


def write_record(folder: Path, spec: Spec, plan: "Plan", threads: int) -> None:
    """Write sweep.toml: which sweep is in the folder, and with how many threads it is computed."""
    record = {"title": spec.title, "spec": str(spec.path), "threads": threads, "count": len(plan.results)}
    record["runs"] = sorted(stem for stem, result in plan.results.items() if result.status != "failed")
    text = tomli_w.dumps(record).encode(errors="replace")  # names of files may not be valid text
    write_whole(folder / "sweep.toml", lambda file: file.write(text))


if __name__ == "__main__":
    sys.exit(main())
