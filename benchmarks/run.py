"""Measure the program and others that do the same, and write tables that compare them.

    python benchmarks/run.py [step] [memory] [start] [profile] [tiles] [yardstick] [--output FILE.md] [flags]

    step       seconds of a step (losses and gradient) of the default objective: ours, ours in bfloat16 if
               the processor has it (--precision fastest), and three others
    memory     memory of three such steps and of the objective, in bytes for each pixel
    start      the first step, which includes compilation; and the command line, with and without its cache
    profile    the parts of our step, and the time of its multiplications alone at the rate below
    tiles      an evaluation of a picture, whole and in tiles, with Adam, and the process's peak memory
    yardstick  the time that a recipe needs to reach athalye2015's loss after 1000 iterations, divided by the
               time of these 1000 iterations; yardsticks.toml has the losses

By default all sections run, in about eight minutes on two cores. Everything runs on the CPU, each side in its
own process. The sides take turns, so that other load affects all equally, and the tables show medians. Beside
them is the rate of multiplication of 2048 x 2048 float32 matrices at that time, in GFLOP/s. Memory can be
measured on Linux only. The stand-in is a tf.function over the bare weights; PyTorch is optional.

    python benchmarks/run.py --yardsticks --networks FILE

measures a network's yardsticks, 1000 iterations each.
"""

import argparse
import contextlib
import itertools
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import tomli_w

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from styling.network import networks
from styling.settings import recipes
from styling.system.errors import StyleError

HERE = Path(__file__).resolve().parent
SECTIONS = ("step", "memory", "start", "profile", "tiles", "yardstick")
SIDES = ("ours", "ours, fastest", "tf.function", "eager", "PyTorch")
STAND_IN = "tf.function"
YARDSTICKS = HERE / "yardsticks.toml"
YARDSTICKS_HEAD = (
    "# Total losses of the recipe athalye2015 after 1000 iterations, by network: see run.py --yardsticks.\n"
    "# quarter and full are networks of VGG-19's layout, of a quarter of its width and of all of it.\n\n"
)
TITLES = {
    "step": "A step: losses and gradient",
    "memory": "Memory of three steps, with the objective",
    "start": "Start: the objective and the first step",
    "profile": "Profile: where our step goes",
    "tiles": "Whole and in tiles",
    "yardstick": "Time to the yardstick",
}
WARM_UP, START_ITERATIONS, ADAM_ITERATIONS = 3, 2, 1000
Row = Sequence[object]


class Case(NamedTuple):
    """A row of a table: a network's name and file, and the width and height of an image."""

    name: str
    network: Path
    width: int
    height: int

    @property
    def size(self) -> str:
        """The size as text."""
        return f"{self.width} x {self.height}"


@dataclass
class Turns:
    """Measurements of a side; seconds for the objective, the first step, and the steps in turns."""

    prepared: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)
    steps: list[float] = field(default_factory=list)
    bytes: list[int] = field(default_factory=list)
    loss: float = math.nan
    missing: str | None = None


class Worker:
    """A process of worker.py, which measures when it is asked, and otherwise waits."""

    def __init__(self, command: str, python: str = sys.executable, **arguments: object) -> None:
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115, since close() closes it
        self.process = subprocess.Popen(
            [python, HERE / "worker.py", command, json.dumps(arguments, default=str)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
        )

    def ask(self) -> dict[str, Any]:
        """The next answer; exits if the process has failed."""
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write("\n")
            self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            self.errors.seek(0)
            sys.exit(f"{self.errors.read()[-2000:]}\nrun.py: a process failed; its own message is above")
        return json.loads(line)

    def close(self) -> None:
        """Let the process end."""
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()
        self.errors.close()

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *ignored: object) -> None:
        self.close()


def main() -> None:
    """Run the sections that the command line names."""
    options = read_options()
    # For all processes. By default PyTorch's waiting threads spin, which slows the other processes down.
    os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "", "OMP_WAIT_POLICY": "PASSIVE"}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder  # an empty cache, independent of earlier runs
        if options.yardsticks:
            measure_yardsticks(options)
            return
        lines = []
        for part in report(options, Path(folder)):
            print(part, end="\n\n", flush=True)
            lines.append(part)
            if options.output:
                options.output.write_text("\n\n".join(lines) + "\n", encoding="utf-8")


def read_options() -> argparse.Namespace:
    """The parsed command line; networks become {name: file}, and sizes become numbers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sections", nargs="*", metavar="SECTION", help="one of the above (default: all)")
    network_help = "small, .mat files, or folders of them (default: small)"
    parser.add_argument("--networks", nargs="+", default=["small"], metavar="NETWORK", help=network_help)
    sizes = ["256x192", "512x384", "1024x768"]
    parser.add_argument(
        "--sizes", nargs="+", default=sizes, metavar="WxH", help="default: " + " ".join(sizes)
    )
    parser.add_argument("--repeats", type=int, default=3, help="processes of each side (default 3)")
    parser.add_argument("--rounds", type=int, default=5, help="steps in turns of each process (default 5)")
    parser.add_argument("--tile", type=int, default=512, help="for the section tiles (default 512)")
    parser.add_argument(
        "--start-width", type=int, default=512, help="for the command line's start (default 512)"
    )
    parser.add_argument("--recipe", default="best", help="for the yardstick (default: best)")
    parser.add_argument(
        "--images", type=Path, help="folder of the yardsticks' images (default: those that ship)"
    )
    parser.add_argument("--torch-python", default=sys.executable, help="a Python interpreter with PyTorch")
    parser.add_argument("--output", type=Path, help="also write the tables to this file")
    parser.add_argument("--yardsticks", action="store_true", help="only measure yardsticks.toml again")
    options = parser.parse_args()
    options.sections = options.sections or SECTIONS
    try:
        if unknown := set(options.sections) - set(SECTIONS):
            parser.error(f"there is no section {', '.join(unknown)}")
        options.networks = dict(find_networks(options.networks))
        options.sizes = [tuple(map(int, size.split("x"))) for size in options.sizes]
        if "yardstick" in options.sections and not options.yardsticks:
            recipes.read(options.recipe)
    except (StyleError, ValueError, OSError) as error:
        parser.error(str(error))
    return options


def find_networks(given: Sequence[str]) -> Iterator[tuple[str, Path]]:
    """The names and files of networks, which are given as names, files or folders."""
    for word in given:
        for path in sorted(Path(word).glob("*.mat")) or [networks.find(word)]:
            if not path.is_file():
                raise FileNotFoundError(f"{path} is no network")
            yield "small" if networks.is_small(path) else path.stem, path.resolve()


def report(options: argparse.Namespace, folder: Path) -> Iterator[str]:
    """The parts of the report, each as soon as it is measured."""
    with Worker("rate") as rates:
        yield f"{machine()}; matrix multiplication at {rates.ask()['gflops']:.0f} GFLOP/s"
        chosen = set(options.sections)
        if chosen & {"step", "memory", "start"}:
            yield from report_sides(options, folder, rates)
        if "start" in chosen:
            yield report_command_line(options)
        if "profile" in chosen:
            yield report_profile(options, rates)
        if "tiles" in chosen:
            yield report_tiles(options, rates)
        if "yardstick" in chosen:
            yield report_yardsticks(options, rates)
        yield f"matrix multiplication at the end: {rates.ask()['gflops']:.0f} GFLOP/s"


def machine() -> str:
    """The processor's name, if Linux gives it, and the number of cores."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {len(os.sched_getaffinity(0))} cores"


# Steps, memory and first calls are measured in the same processes.


def report_sides(options: argparse.Namespace, folder: Path, rates: Worker) -> Iterator[str]:
    """The tables of the sections that compare sides."""
    kinds = {
        "step": (step_cells, ("least s", "median s", "ratio of least", "ratio of medians", "losses apart")),
        "memory": (memory_cells, ("bytes a pixel", "ratio")),
        "start": (first_cells, ("objective s", "first step s", "ratio of both")),
    }
    rows: dict[str, list[Row]] = {name: [] for name in kinds if name in options.sections}
    for case in cases(options):
        found, rate = take_turns(case, options, folder, rates)
        for name, side in itertools.product(rows, SIDES):
            turns = found[side]
            cells = (turns.missing,) if turns.missing else kinds[name][0](turns, found[STAND_IN], case)
            rows[name].append((case.name, case.size, rate, side, *cells))
    for name, own in rows.items():
        yield table(TITLES[name], ("network", "size", "GFLOP/s", "side", *kinds[name][1]), own)


def take_turns(
    case: Case, options: argparse.Namespace, folder: Path, rates: Worker
) -> tuple[dict[str, Turns], float]:
    """Start the sides one after the other, then time their steps in turns; returns the times and the rate."""
    weights = folder / f"{case.name}.npz"
    if not weights.exists():
        ask_once("weights", network=case.network, output=weights)
    found, measured = {side: Turns() for side in SIDES}, []
    for repeat in range(options.repeats):
        say(f"{case.name} {case.size}, repeat {repeat + 1} of {options.repeats}")
        measured.append(rates.ask()["gflops"])
        with contextlib.ExitStack() as stack:
            ready = {}
            for side, turns in found.items():
                python = options.torch_python if side == "PyTorch" else sys.executable
                sizes = {"width": case.width, "height": case.height}
                worker = Worker("side", python, name=side, network=case.network, weights=weights, **sizes)
                stack.enter_context(worker)
                if begin(worker, turns):
                    ready[side] = worker
            for _ in range(options.rounds if "step" in options.sections else 0):
                for side, worker in ready.items():
                    found[side].steps.append(worker.ask()["seconds"])
    return found, statistics.median(measured)


def begin(worker: Worker, turns: Turns) -> bool:
    """Let a side build its objective and warm up; False if a package that it needs is missing."""
    answer = worker.ask()
    turns.missing = answer.get("missing")
    if turns.missing:
        return False
    turns.prepared.append(answer["seconds"])
    answers = [worker.ask() for _ in range(WARM_UP)]
    turns.first.append(answers[0]["seconds"])
    turns.bytes.append(answers[-1]["bytes"])
    turns.loss = answers[-1]["loss"]
    return True


def step_cells(turns: Turns, stand_in: Turns, case: Case) -> Row:
    """Minimum and median, their ratios to the stand-in's, and the relative difference of the losses."""
    both = [(function(turns.steps), function(stand_in.steps)) for function in (min, statistics.median)]
    apart = f"{abs(turns.loss / stand_in.loss - 1):.1e}"
    return *(own for own, _ in both), *(own / other for own, other in both), apart


def memory_cells(turns: Turns, stand_in: Turns, case: Case) -> Row:
    """Bytes a pixel, and their ratio to the stand-in's."""
    own, other = (statistics.median(part.bytes) / (case.width * case.height) for part in (turns, stand_in))
    return own, own / other


def first_cells(turns: Turns, stand_in: Turns, case: Case) -> Row:
    """The objective's and the first step's seconds, and the ratio of their sum to the stand-in's."""
    (*own,), (*other,) = (map(statistics.median, (part.prepared, part.first)) for part in (turns, stand_in))
    return *own, sum(own) / sum(other)


# The command line.


def report_command_line(options: argparse.Namespace) -> str:
    """The command line's first start, which reads the .mat file, and its second, which reads the cache."""
    rows = []
    for name, network in options.networks.items():
        starts: dict[str, list[tuple[float, float]]] = {"first": [], "second": []}
        for repeat in range(options.repeats):
            say(f"{name}, command line, repeat {repeat + 1} of {options.repeats}")
            with tempfile.TemporaryDirectory() as folder:
                for values in starts.values():
                    values.append(start(network, options.start_width, Path(folder)))
        for which, values in starts.items():
            seconds, mebibytes = map(statistics.median, zip(*values, strict=True))
            rows.append((name, options.start_width, which, seconds, mebibytes))
    return table(
        "Start: the command line", ("network", "width", "start", "s to iteration 1", "peak MiB"), rows
    )


def start(network: Path, width: int, folder: Path) -> tuple[float, float]:
    """Run the program once, with its cache in a folder; returns seconds to iteration 1, and peak MiB."""
    data = HERE.parent / "data"
    files = ["--network", network, "--content", data / "harbour.jpg", "--styles", data / "woodcut.jpg"]
    sizes = ["--width", width, "--iterations", START_ITERATIONS, "--print-iterations", 1]
    output = ["--output", folder / "picture.png", "--overwrite"]
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, HERE.parent / "neural_style.py", *map(str, [*files, *sizes, *output])],
        env=os.environ | {"XDG_CACHE_HOME": str(folder)},
        stdout=subprocess.PIPE,
        text=True,
    )
    times = [time.perf_counter() - began for line in process.stdout if line.startswith("iteration 1 ")]
    # Only wait4 gives the peak memory of a single process.
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = status
    if status:
        sys.exit("run.py: the program failed; its own message is above")
    return times[0], usage.ru_maxrss / 1024


# The profile.


def report_profile(options: argparse.Namespace, rates: Worker) -> str:
    """The parts of our step, and the time that its multiplications alone would take."""
    rows = []
    for case in cases(options):
        say(f"{case.name} {case.size}, profile")
        rate = rates.ask()["gflops"]
        rounds = options.repeats * options.rounds
        parts = ask_once("profile", network=case.network, width=case.width, height=case.height, rounds=rounds)
        own = [parts[name] for name in ("forward", "backward", "losses")]
        floor = parts["flops"] / rate / 1e9
        rest = parts["step"] - sum(own)
        ends = parts["adam"], parts["lbfgs"], parts["flops"] / 1e9, floor, parts["step"] / floor
        rows.append((case.name, case.size, rate, parts["step"], *own, rest, *ends))
    seconds = ("step s", "forward", "backward", "losses", "rest", "+ adam", "+ lbfgs")
    head = ("network", "size", "GFLOP/s", *seconds, "GFLOP", "floor s", "step / floor")
    return table(TITLES["profile"], head, rows)


# Tiles.


def report_tiles(options: argparse.Namespace, rates: Worker) -> str:
    """Evaluations of whole pictures, if memory allows, and in tiles; with the ratio to the first row."""
    rows, least = [], {}
    for case, tile in itertools.product(cases(options), (0, options.tile)):
        name = f"tiles of {tile}" if tile else "whole"
        say(f"{case.name} {case.size}, {name}")
        rate = rates.ask()["gflops"]
        sizes = {"width": case.width, "height": case.height}
        found = ask_once("evaluations", network=case.network, tile=tile, count=options.rounds, **sizes)
        if "missing" in found:
            rows.append((case.name, case.size, rate, name, found["missing"]))
            continue
        megapixels = case.width * case.height / 1e6
        each = found["seconds"] / megapixels
        least.setdefault(case.name, each)
        cells = found["seconds"], each, each / least[case.name], found["bytes"] / 2**20
        rows.append((case.name, case.size, rate, name, *cells))
    head = ("network", "size", "GFLOP/s", "how", "s", "s a megapixel", "over the first", "peak MiB")
    return table(TITLES["tiles"], head, rows)


# The yardstick.


def report_yardsticks(options: argparse.Namespace, rates: Worker) -> str:
    """The measurements of the recipe for each pair of images, with each network."""
    rows = []
    for pair, (name, network) in itertools.product(read_pairs(), options.networks.items()):
        labels = name, f"{pair['content']}, {pair['style']}", pair["width"]
        run = arguments(pair, network, options.images)
        if run is None or name not in pair["loss"]:
            rows.append(
                (*labels, "its images are not here" if run is None else "no yardstick: see --yardsticks")
            )
            continue
        run |= {"loss": pair["loss"][name], "recipe": options.recipe}
        found, measured = [], []
        for repeat in range(options.repeats):
            say(f"{', '.join(map(str, labels))}, yardstick, repeat {repeat + 1} of {options.repeats}")
            measured.append(rates.ask()["gflops"])
            found.append(ask_once("yardstick", **run))
        rows.append((*labels, statistics.median(measured), run["loss"], *yardstick_cells(found)))
    parts = ("iterations", "evaluations", "seconds", "targets s", "compiling s", "1000 x adam s", "ratio")
    head = ("network", "images", "width", "GFLOP/s", "yardstick", "least total", *parts)
    return table(f"{TITLES['yardstick']}, recipe {options.recipe}", head, rows)


def yardstick_cells(found: Sequence[dict[str, Any]]) -> Row:
    """Medians over the repeats, and the ratio if all repeats reached the yardstick."""
    names = ("least", "iterations", "evaluations", "seconds", "prepared", "compiled")
    medians = [statistics.median(part[name] for part in found) for name in names]
    adam = statistics.median(ADAM_ITERATIONS * part["adam"] for part in found)
    ratio = statistics.median(part["seconds"] / (ADAM_ITERATIONS * part["adam"]) for part in found)
    return *medians, adam, ratio if all(part["reached"] for part in found) else "not reached"


def measure_yardsticks(options: argparse.Namespace) -> None:
    """Write the losses of all pairs whose images are found, with the given networks, to yardsticks.toml."""
    pairs = read_pairs()
    for pair, (name, network) in itertools.product(pairs, options.networks.items()):
        run = arguments(pair, network, options.images)
        if run is None:
            say(f"{pair['content']} and {pair['style']} are not here")
            continue
        say(f"{name}, {pair['content']}, {pair['style']}")
        pair["loss"][name] = float(f"{ask_once('goal', **run)['loss']:.6g}")
        YARDSTICKS.write_text(YARDSTICKS_HEAD + tomli_w.dumps({"pair": pairs}), encoding="utf-8")


def read_pairs() -> list[dict[str, Any]]:
    """The pairs of yardsticks.toml: content, style, width, seed, and a loss for each network measured."""
    return tomllib.loads(YARDSTICKS.read_text(encoding="utf-8"))["pair"]


def arguments(pair: dict[str, Any], network: Path, folder: Path | None) -> dict[str, Any] | None:
    """The arguments to run a pair, with images from the folder or shipped ones; None if one is missing."""
    paths = {}
    for part in ("content", "style"):
        places = [place / pair[part] for place in (folder, HERE.parent / "data") if place]
        paths[part] = next((place.resolve() for place in places if place.is_file()), None)
    if None in paths.values():
        return None
    return {"network": network, "width": pair["width"], "seed": pair["seed"], **paths}


# All sections.


def cases(options: argparse.Namespace) -> Iterator[Case]:
    """Each network at each size."""
    for (name, network), (width, height) in itertools.product(options.networks.items(), options.sizes):
        yield Case(name, network, width, height)


def ask_once(command: str, **arguments: object) -> dict[str, Any]:
    """Start a process, and return its first answer."""
    with Worker(command, **arguments) as worker:
        return worker.ask()


def table(title: str, head: Sequence[str], rows: Sequence[Row]) -> str:
    """A Markdown table under a heading; short rows are padded."""
    cells = [[shown(cell) for cell in row] + [""] * (len(head) - len(row)) for row in rows]
    lines = (" | ".join(line) for line in (head, ["---"] * len(head), *cells))
    return f"## {title}\n\n" + "\n".join(f"| {line} |" for line in lines)


def shown(cell: object) -> str:
    """A float with at least three digits; other values as they are."""
    if not isinstance(cell, float):
        return str(cell)
    return f"{cell:.0f}" if abs(cell) >= 1000 else f"{cell:.3g}"


def say(line: str) -> None:
    """Print on stderr what is being measured."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
