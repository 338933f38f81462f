"""Time the command line: seconds to the first iteration, seconds an iteration, and peak memory.

    python benchmarks/start_and_step.py NETWORK CONTENT STYLE [--width 512] [--iterations 8] [--repeats 3]

Each repeat starts the program twice with a cache folder of its own, so that the first start reads the .mat
file and the second the cache. Printed are medians over the repeats, and over the iterations after the first.
"""

import argparse
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROGRAM = Path(__file__).resolve().parent.parent / "neural_style.py"


def main() -> None:
    """Measure, and print one line for the first starts and one for the second ones."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("network", "content", "style"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--iterations", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()

    measured = {"first start": [], "second start": []}
    for _ in range(options.repeats):
        with tempfile.TemporaryDirectory() as folder:
            for values in measured.values():
                values.append(run(options, Path(folder)))
    print(f"{'':14}{'to iteration 1':>16}{'an iteration':>14}{'peak memory':>14}")
    for start, values in measured.items():
        first, step, memory = (statistics.median(column) for column in zip(*values, strict=True))
        print(f"{start:14}{first:14.2f} s{step:12.3f} s{memory:10.0f} MiB")


def run(options: argparse.Namespace, folder: Path) -> tuple[float, float, float]:
    """Run the program once: seconds to the first iteration, median seconds of the others, peak MiB."""
    files = ["--network", options.network, "--content", options.content, "--styles", options.style]
    sizes = ["--width", options.width, "--iterations", options.iterations]
    output = ["--output", folder / "picture.png", "--overwrite", "--print-iterations", 1]
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, PROGRAM, *map(str, [*files, *sizes, *output])],
        env=os.environ | {"XDG_CACHE_HOME": str(folder)},
        stdout=subprocess.PIPE,
        text=True,
    )
    times = [time.perf_counter() - started for line in process.stdout if line.startswith("iteration")]
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit("the program failed; its own message is above")
    # The line of iteration k comes once update k + 1 has been made, and the last line once there is no other.
    steps = [after - before for before, after in itertools.pairwise(times[:-1])]
    return times[0], statistics.median(steps), usage.ru_maxrss / 1024


if __name__ == "__main__":
    main()
