"""A process that makes one side's steps, a line of JSON for each line that it reads; run.py starts it.

    python benchmarks/worker.py SIDE FILE.mat WEIGHTS.npz WIDTH HEIGHT

The first answer comes when the network is loaded. The formula below is that of the program's default
objective, for any library, so that equal losses prove that all sides compute the same.
"""

import importlib
import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from styling.settings import Settings

SETTINGS = Settings()
CONTENT, STYLE = (SETTINGS.layer_weights(term) for term in ("content", "style"))
SIDES = {
    "ours": ("in_tensorflow", "ours"),
    "ours, fastest": ("in_tensorflow", "fastest"),
    "tf.function": ("in_tensorflow", "plain"),
    "eager": ("in_tensorflow", "eager"),
    "PyTorch": ("in_torch", "load"),
}
Layers = list[tuple[Any, ...]]
Maps = Mapping[str, Any]
Step = Callable[[], float]  # evaluates the losses and the gradient for the image; returns the total loss


def main() -> None:
    """Load the network, then make a step whenever a line comes."""
    side, network, weights, width, height = sys.argv[1:]
    module, function = SIDES[side]
    try:
        build = getattr(importlib.import_module(module), function)(Path(network), Path(weights))
    except ModuleNotFoundError as error:
        sys.exit(0 if error.name == "torch" else str(error))
    before, step = memory(), None
    print("ready", flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        step = step or build(*pictures(int(width), int(height)))
        loss = step()
        seconds = time.perf_counter() - began
        print(json.dumps({"seconds": seconds, "loss": loss, "bytes": memory("VmHWM") - before}), flush=True)


def pictures(width: int, height: int) -> list[np.ndarray]:
    """A content and a style of coloured squares, and a start of weak noise, so that no term dominates."""
    rng = np.random.default_rng(1)
    squares = [rng.uniform(0, 255, (height // 8 + 1, width // 8 + 1, 3)) for _ in "12"]
    content, style = (np.kron(part, np.ones((8, 8, 1)))[:height, :width] for part in squares)
    start = 128 + rng.uniform(-1, 1, (height, width, 3))
    return [image.astype(np.float32) for image in (content, style, start)]


def memory(field: str = "") -> int:
    """This process's memory in bytes (Linux): its peak (VmHWM), or what it has now, which resets the peak."""
    if not field:
        Path("/proc/self/clear_refs").write_text("5")
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field or "VmRSS"))


def read(weights: Path) -> tuple[Layers, np.ndarray]:
    """The layers up to the deepest in use, (name, kernel, bias) or (name,), and the mean pixel."""
    with np.load(weights) as file:
        names = file["layers"].tolist()
        names = names[: max(names.index(name) for name in CONTENT | STYLE) + 1]
        kernels = {name: (file[f"{name}/kernel"], file[f"{name}/bias"]) for name in names if "conv" in name}
        return [(name, *kernels.get(name, ())) for name in names], file["mean_pixel"]


def total_loss(
    features: Maps, contents: Maps, grams: Maps, differences: tuple, mean: Callable, gram: Callable
) -> Any:
    """The total loss; differences: of neighbouring pixels. contents, grams: the targets, by layer."""
    content = sum(weight * mean((features[name] - contents[name]) ** 2) for name, weight in CONTENT.items())
    style = sum(weight * mean((gram(features[name]) - grams[name]) ** 2) for name, weight in STYLE.items())
    smooth = sum(mean(difference**2) for difference in differences)
    return SETTINGS.content_weight * content + SETTINGS.style_weight * style + SETTINGS.tv_weight * smooth


if __name__ == "__main__":
    sys.modules["worker"] = sys.modules["__main__"]  # the sides import what is above from here
    main()
