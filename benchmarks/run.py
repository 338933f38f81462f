"""Measure a step, its memory and the start, of this program and of others that do the same.

    python benchmarks/run.py [--networks small FILE.mat ...] [--sizes 512x384 ...] [flags]

The first table has the sides: this program; the same in bfloat16 if the processor has it (--precision
fastest); TensorFlow's own operations in a tf.function and, as in tutorials, one by one; and PyTorch, if there
is one. A step is the losses and the gradient of the default objective. The first step includes the targets
and compilation; memory is the peak of three steps, without the network. The second table has the command
line's start, with an empty cache and with the network in it.

Everything runs on the CPU, each side in a process of its own. The sides take turns, so that other load
affects all equally; the figures are medians. Memory is measured on Linux only.
"""

import argparse
import contextlib
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from subprocess import PIPE
from typing import Any

import numpy as np

import vgg
from styling.network import networks
from styling.system.files import data_folder

HERE, DATA = Path(__file__).resolve().parent, data_folder()
SIDES = ("ours", "ours, fastest", "tf.function", "eager", "PyTorch")
STAND_IN, WARM_UP = "tf.function", 3


def main() -> None:
    """Measure what the command line names, and print the tables."""
    options = read_options()
    # By default PyTorch's waiting threads spin, which slows the other processes down.
    os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "", "OMP_WAIT_POLICY": "PASSIVE"}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder  # an empty cache, independent of earlier runs
        steps, starts = [], []
        for name, network in options.networks.items():
            weights = Path(folder) / "weights.npz"  # for the sides that cannot read the network's format
            np.savez(weights, **vgg.read(network))
            for size in options.sizes:
                steps += [(name, size, *row) for row in compare(network, weights, size, options)]
            starts += [(name, *row) for row in command_line(network, options)]
    head = ("network", "size", "side", "step s", "ratio", "first step s", "bytes a pixel", "losses apart")
    start_head = ("network", "start", "s to iteration 1", "peak MiB")
    print(table("A step", head, steps), table("Start of the command line", start_head, starts), sep="\n\n")


def read_options() -> argparse.Namespace:
    """The parsed command line; networks become {name: file}."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", default=["small"], help=".mat files (default: small)")
    parser.add_argument("--sizes", nargs="+", default=["256x192", "512x384"], metavar="WxH")
    parser.add_argument("--repeats", type=int, default=3, help="processes of each side (default 3)")
    parser.add_argument("--rounds", type=int, default=5, help="steps in turns of each process (default 5)")
    parser.add_argument("--torch-python", default=sys.executable, help="a Python interpreter with PyTorch")
    options = parser.parse_args()
    options.networks = {networks.name(path): path for path in map(networks.find, options.networks)}
    return options


def compare(network: Path, weights: Path, size: str, options: argparse.Namespace) -> Iterator[Sequence]:
    """A row for each side: medians, the step's ratio to the stand-in's, and the losses' difference to its."""
    found: dict[str, list[Sequence[float]]] = {side: [] for side in SIDES}
    pixels = math.prod(map(int, size.split("x")))
    for _ in range(options.repeats):
        with contextlib.ExitStack() as stack:
            workers, warm = {}, {}
            for side in SIDES:
                python = options.torch_python if side == "PyTorch" else sys.executable
                command = [python, HERE / "worker.py", side, network, weights, *size.split("x")]
                worker = subprocess.Popen(command, stdin=PIPE, stdout=PIPE, text=True)
                stack.enter_context(worker)
                if worker.stdout.readline():
                    workers[side], warm[side] = worker, [ask(worker) for _ in range(WARM_UP)]
            turns = [[ask(worker)["seconds"] for worker in workers.values()] for _ in range(options.rounds)]
            for side, step in zip(workers, np.median(turns, axis=0), strict=True):
                first, *_, last = warm[side]
                found[side].append((step, first["seconds"], last["bytes"] / pixels, first["loss"]))
    medians = {side: np.median(rows, axis=0) for side, rows in found.items() if rows}
    other_step, *_, other_loss = medians[STAND_IN]
    for side, (step, first, bytes_a_pixel, loss) in medians.items():
        yield side, step, step / other_step, first, bytes_a_pixel, f"{abs(loss / other_loss - 1):.0e}"


def ask(worker: subprocess.Popen) -> dict[str, Any]:
    """The next answer of a worker; its error, if it failed, is on stderr."""
    worker.stdin.write("\n")
    worker.stdin.flush()
    line = worker.stdout.readline()
    return json.loads(line) if line else sys.exit("run.py: a process failed; its own message is above")


def command_line(network: Path, options: argparse.Namespace) -> Iterator[Sequence]:
    """A row for the command line's first start, which reads the .mat file, and one for its second."""
    starts: dict[str, list[tuple[float, float]]] = {"first": [], "with its cache": []}
    for _ in range(options.repeats):
        with tempfile.TemporaryDirectory() as folder:
            for values in starts.values():
                values.append(start(network, options.sizes[-1].split("x")[0], Path(folder)))
    for which, values in starts.items():
        yield which, *map(statistics.median, zip(*values, strict=True))


def start(network: Path, width: str, folder: Path) -> tuple[float, float]:
    """Run the program once, with its cache in a folder; returns seconds to iteration 1, and peak MiB."""
    flags = f"--width {width} --iterations 2 --print-iterations 1 --overwrite".split()
    files = {
        "network": network,
        "content": DATA / "harbour.jpg",
        "styles": DATA / "woodcut.jpg",
        "output": folder / "a.png",
    }
    flags += [f"--{flag}={file}" for flag, file in files.items()]
    command = [sys.executable, "-m", "neural_style", *flags]
    environment = os.environ | {"XDG_CACHE_HOME": str(folder)}
    began = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=PIPE, text=True)
    times = [time.perf_counter() - began for line in process.stdout if line.startswith("iteration 1 ")]
    _, status, usage = os.wait4(process.pid, 0)  # only this gives the peak memory of a single process
    process.returncode = os.waitstatus_to_exitcode(status)
    return (times[0], usage.ru_maxrss / 1024) if times else sys.exit("run.py: the program failed, see above")


def table(title: str, head: Sequence[str], rows: Sequence[Sequence]) -> str:
    """A Markdown table under a heading; floats with three digits."""
    cells = [[f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows]
    lines = (" | ".join(line) for line in (head, ["---"] * len(head), *cells))
    return f"## {title}\n\n" + "\n".join(f"| {line} |" for line in lines)


if __name__ == "__main__":
    main()
