"""The command line of sweeps: a spec -> its runs -> a picture of each, a sheet, a page and a table.

    neural-style-sweep SPEC.toml --output DIR

Exit status: 0 once all runs are done, 2 for what is wrong on the command line or with the names on it, 1 for
what is found inside files or where a run failed, 130 after Ctrl-C, 143 after SIGTERM.
"""

import argparse
import contextlib
import dataclasses
import datetime
import importlib.util
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import tomli_w

from styling import checks, flags, jobs, limits, paths, recipes, report
from styling.errors import DivergedError, RecipeError, SettingsError, StyleError
from styling.files import check_writable, write_whole
from styling.process import explain, silent_stderr, stopped, terminable, uninterrupted
from styling.sweeps import specs
from styling.sweeps.specs import Cell, Layer, Spec

if TYPE_CHECKING:
    from styling.sweeps.cluster import Cluster
    from styling.sweeps.layout import Layout
    from styling.sweeps.planning import Plan
    from styling.sweeps.pool import Pool

RECORD = {"title": str, "workers": int, "threads": int, "rate": float, "count": int, "runs": list}
MADE = ("index.html", "results.csv", "runs", "sheet.png", "sheet-1.png", "sweep.toml")


class ListFigures(argparse.Action):
    """--list-figures: say what each spec is that ships, and exit."""

    def __call__(self, parser: argparse.ArgumentParser, *ignored: object) -> NoReturn:
        """Exit with status 0 after a line for each spec."""
        for name in recipes.shipped("figures"):
            print(f"{name:24}{specs.read(name).description}")
        parser.exit()


def build_parser() -> flags.Parser:
    """The flags of neural-style-sweep."""
    usage = "%(prog)s SPEC --output DIR [--images DIR ...] [--dry-run] [flags]"
    parser = flags.new_parser("neural-style-sweep", usage, "Make many runs and one sheet of them.")
    spec_help = "a .toml file that says which runs, or the name of a published figure"
    parser.add_argument("spec", metavar="SPEC", help=spec_help)
    sweep = parser.add_argument_group("the sweep")
    add = flags.add
    add(sweep, "--output", "folder for all that is made", type=Path, metavar="DIR", required=True)
    folders_help = "folders to look for the spec's images in, before its own"
    add(sweep, "--images", folders_help, type=Path, metavar="DIR", nargs="+", default=[])
    image_help = "files to take for images that the spec names"
    add(sweep, "--image", image_help, metavar="NAME=FILE", nargs="+", action="extend", default=[])
    add(sweep, "--dry-run", "list the runs and the time that they take", action="store_true", default=False)
    add(sweep, "--overwrite", "replace the sheet of another sweep", action="store_true", default=False)
    add(sweep, "--list-figures", "say what each spec that ships is, and exit", action=ListFigures, nargs=0)

    everywhere = parser.add_argument_group("for all runs, in place of what the spec says")
    flags.add_images(everywhere)
    flags.add_network(everywhere)
    flags.add_recipe(everywhere)
    flags.add_settings(parser)

    running = parser.add_argument_group("running")
    workers_help = "runs at a time (default: what is fastest, by measurement)"
    add(running, "--workers", workers_help, type=int, metavar="N", default=None)
    flags.add_machine(running)
    cluster_help = "make the runs on this Ray cluster, as auto or HOST:6379"
    add(running, "--cluster", cluster_help, metavar="ADDRESS", default=None)
    every_help = "keep each run's state every so many iterations instead of each minute"
    add(running, "--save-state-iterations", every_help, type=int, metavar="N", default=None)
    flags.add_quiet(running)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status, or exits with 2 for a wrong command line."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # a name need not be printable to be written to
    try:
        parser = build_parser()
        options = parser.parse_args(arguments)
        try:
            with terminable():
                return sweep(options)
        except SettingsError as error:
            name = "SPEC" if error.name == "spec" else f"--{error.name.replace('_', '-')}"
            parser.error(f"argument {name}: {error.problem}")
    except (StyleError, OSError) as error:
        print(f"neural-style-sweep: error: {explain(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as stop:
        print("neural-style-sweep: interrupted; the same command goes on from there", file=sys.stderr)
        return stopped(stop)


def sweep(options: argparse.Namespace) -> int:
    """Make the sweep that the command line asks for, and return the exit status."""
    spec, cells = read_cells(options)
    check_folder(options.output)
    for flag in ("workers", "save_state_iterations"):
        checks.count(flag, getattr(options, flag))
    if options.cluster and importlib.util.find_spec("ray") is None:
        raise SettingsError("cluster", "needs Ray: pip install ray")
    asked = cells[0].run.running
    limits.check_tensorflow()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault(
        "KERAS_HOME", os.devnull
    )  # or TensorFlow makes a folder for Keras, even without a home
    with silent_stderr():
        import stylize
        from styling.sweeps import planning

        device = stylize.configure(asked.device)
    plan = planning.plan(cells, options.output)
    before = read_record(options.output)
    if not (is_same(before, plan) or options.overwrite):
        check_unused(options.output, before)
    say = (lambda line: None) if options.quiet else report.print_line
    for remark in plan.remarks:
        say(remark)
    if options.cluster:
        from styling.sweeps import cluster

        cluster.join(options.cluster)
        device = asked.device  # of the nodes
    layout = choose_layout(options, asked.threads, plan, device, before)
    if options.dry_run:
        for line in listing(plan, layout):
            report.print_line(line)
        return 0
    return make(options, spec, plan, device, layout)


def read_cells(options: argparse.Namespace) -> tuple[Spec, list[Cell]]:
    """The spec's cells, with what the command line says besides. Raises SettingsError or SpecError."""
    spec = specs.read(options.spec)
    given, named = dict(map(read_pair, options.image)), {}
    for flag in specs.IMAGES:
        own = getattr(options, flag)
        if own:
            own = own if flag == "styles" else [own]
            for path in own:
                paths.check_input(flag, path)
            found = {os.path.abspath(path): path for path in own}  # names that no spec has for another image
            given |= found
            named[flag] = tuple(found)
    for folder in options.images:
        if not folder.is_dir():
            raise SettingsError("images", f"{folder} is no folder")
    layer = Layer("", options.recipe, jobs.settings_of(options), {}, named)
    names = specs.image_names(spec, layer)
    for name in given:
        if name not in names:
            raise SettingsError("image", f"{name} is none of {spec.path}, which names {', '.join(names)}")
    cells = specs.cells(spec, layer, specs.find_images(names, spec, given, options.images))
    if "network" in layer.names:
        paths.check_input("network", cells[0].run.network)
    return spec, cells


def read_pair(pair: str) -> tuple[str, Path]:
    """NAME=FILE as the two."""
    name, equals, file = pair.partition("=")
    if not (name and equals and file):
        raise SettingsError("image", f"{pair} is not NAME=FILE, as in photo.jpg=pictures/mine.jpg")
    paths.check_input("image", Path(file))
    return name, Path(file)


def check_folder(folder: Path) -> None:
    """Raise SettingsError unless a sweep can be written there."""
    try:
        if folder.exists() and not folder.is_dir():
            raise SettingsError("output", f"{folder} is a file, where a folder is wanted")
        if not folder.parent.is_dir():
            raise SettingsError("output", f"there is no folder {folder.parent}; make it first")
        check_writable(folder / "sweep.toml" if folder.exists() else folder)
    except OSError as error:
        raise SettingsError("output", f"{folder} cannot be written: {error.strerror}") from None


def read_record(folder: Path) -> dict[str, object]:
    """What the folder's sweep.toml says of the sweep that is there; nothing where that is no such file."""
    try:
        record = recipes.load(folder / "sweep.toml")
    except (OSError, RecipeError):
        return {}
    whole = all(type(record.get(key)) is kind for key, kind in RECORD.items())
    return record if whole and min(record["workers"], record["threads"]) > 0 else {}


def is_same(before: dict[str, object], plan: "Plan") -> bool:
    """Whether the sweep that was there before is the one that is planned."""
    # A run that could not even be planned then, as for want of an image, may be known by another name now.
    return before.get("count") == len(plan.results) and plan.results.keys() >= set(before["runs"])


def check_unused(folder: Path, before: dict[str, object]) -> None:
    """Raise SettingsError where the folder has a sheet or a table that would be lost."""
    if before:
        problem = f"{folder} has another sweep, {before['title']}"
    elif any((folder / name).exists() for name in MADE):
        problem = f"{folder} has files that are no sweep's"
    else:
        return
    advice = "give another folder, or --overwrite to replace its sheet; runs that are the same stay"
    raise SettingsError("output", f"{problem}; {advice}")


def choose_layout(
    options: argparse.Namespace,
    threads: int | None,
    plan: "Plan",
    device: str | None,
    before: dict[str, object],
) -> "Layout":
    """How many runs at a time, with how many threads: as asked for, as before, or what is fastest.

    Its rate is measured where there is a choice, and for a dry run, which tells the time.
    """
    from styling.sweeps import layout
    from styling.sweeps.pool import Setup

    workers, cores, tasks = options.workers, jobs.cores(), list(plan.tasks.values())
    if options.cluster:
        from styling.sweeps import cluster

        ways = [cluster.layout(len(tasks), workers, threads or before.get("threads"))]
    elif workers or threads:
        ways = [layout.Layout(workers or max(cores // threads, 1), threads or max(cores // workers, 1))]
    elif before:
        at_most = max(cores // before["threads"], 1)  # a cluster may have had more
        ways = [layout.Layout(min(before["workers"], at_most), before["threads"], before["rate"])]
    elif device == "cpu":
        ways = layout.ways(cores, tasks)
    else:
        ways = [layout.Layout(1, cores)]
    if tasks and (len(ways) > 1 or (options.dry_run and not ways[0].rate)):
        task = max(tasks, key=lambda task: task.operations)
        setup = Setup(device, 1, plan.pixels, plan.networks)
        ways = [replace(way, workers=min(way.workers, len(tasks))) for way in ways]
        try:
            ways = [layout.measure(way, setup, task, here=not options.cluster) for way in ways]
        except DivergedError:  # as the run itself will, which is no reason for others not to be made
            if options.dry_run:
                raise
    return max(ways, key=lambda way: way.rate)


def listing(plan: "Plan", layout: "Layout") -> Iterator[str]:
    """What a dry run says: each cell with its run's state or its time, and all in all."""
    from styling.sweeps import layout as layouts

    for cell, stem in zip(plan.cells, plan.stems, strict=True):
        task, result = plan.tasks.get(stem), plan.results[stem]
        if task:
            seconds = layouts.seconds([task], replace(layout, workers=1, rate=layout.rate / layout.workers))
            what = f"{task.settings.iterations} iterations, about {duration(seconds)}"
        else:
            what = result.status + (f": {result.error}" if result.error else "")
        yield f"{cell.label}: {what}"
    tasks = list(plan.tasks.values())
    done = sum(result.status == "done" for result in plan.results.values())
    all_in_all = duration(layouts.seconds(tasks, layout))
    yield f"{runs(len(tasks))} to be made, {done} done: about {all_in_all}, {layout}"


def runs(count: int) -> str:
    """So many runs, in words."""
    return f"{count} run{'s' * (count != 1)}"


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    return str(datetime.timedelta(seconds=round(seconds)))


def make(
    options: argparse.Namespace,
    spec: Spec,
    plan: "Plan",
    device: str | None,
    layout: "Layout",
) -> int:
    """Make what is to be made, write all that there is to see, and return the exit status."""
    from styling.sweeps import driver

    folder = options.output
    (folder / "runs").mkdir(parents=True, exist_ok=True)
    write_record(folder, spec, plan, layout)
    done = sum(result.status == "done" for result in plan.results.values())
    how = {"threads": layout.threads} | ({"device": device} if device else {})
    tasks = {
        stem: replace(task, saved=replace(task.saved, settings=task.saved.settings | how))
        for stem, task in plan.tasks.items()
    }
    show = driver.Show(list(tasks.values()), done, options.quiet)
    work = driver.Sweep(folder, spec, plan.cells, plan.stems, plan.results, tasks, show)
    for stem, cell in dict(zip(plan.stems, plan.cells, strict=True)).items():
        if plan.results[stem].status == "failed":
            show.warn(f"{cell.label} failed: {plan.results[stem].error}")
    if tasks:
        show.say(f"{runs(len(tasks))} to be made, {done} done; {layout}")
    try:
        if tasks:
            with contextlib.closing(makers_of(options, plan, device, layout)) as makers:
                work.make(makers)
    finally:
        show.close()
        with uninterrupted():
            written = work.write_pages(sheets=True)
    failed = sorted(stem for stem, result in plan.results.items() if result.status == "failed")
    show.say(f"wrote {', '.join(map(str, written))}")
    if failed:
        print(f"neural-style-sweep: {runs(len(failed))} failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def makers_of(
    options: argparse.Namespace, plan: "Plan", device: str | None, layout: "Layout"
) -> "Pool | Cluster":
    """What makes the runs: processes of this machine, or the cluster that was joined."""
    from styling.sweeps.pool import Pool, Setup

    every = options.save_state_iterations
    setup = Setup(device, layout.threads, plan.pixels, plan.networks, every)
    count = min(layout.workers, len(plan.tasks))
    if options.cluster:
        from styling.sweeps.cluster import Cluster

        return Cluster(setup, count)
    return Pool(setup, count)


def write_record(folder: Path, spec: Spec, plan: "Plan", layout: "Layout") -> None:
    """Write sweep.toml: what sweep the folder has, and with what it is computed."""
    record = {"title": spec.title, "spec": str(spec.path), **dataclasses.asdict(layout)}
    record["count"] = len(plan.results)
    record["runs"] = sorted(stem for stem, result in plan.results.items() if result.status != "failed")
    text = tomli_w.dumps(record).encode(errors="replace")  # a name of a file need not be text
    write_whole(folder / "sweep.toml", lambda file: file.write(text))


if __name__ == "__main__":
    sys.exit(main())
