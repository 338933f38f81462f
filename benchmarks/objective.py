"""The default objective as a formula for any library, shared by the stand-ins.

It uses neither TensorFlow nor PyTorch, and only the default settings of the project, so that equal losses
prove that all sides are right.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from styling.settings import Settings

SETTINGS = Settings()
CONTENT, STYLE = (SETTINGS.layer_weights(term) for term in ("content", "style"))
Step = Callable[[], float]


def read(weights: Path) -> tuple[list[tuple[Any, ...]], np.ndarray]:
    """The layers up to the deepest in use, (name, kernel, bias) or (name,), and the mean pixel."""
    with np.load(weights) as file:
        names = file["layers"].tolist()
        names = names[: max(names.index(name) for name in CONTENT | STYLE) + 1]
        kernels = {name: (file[f"{name}/kernel"], file[f"{name}/bias"]) for name in names if "conv" in name}
        return [(name, *kernels.get(name, ())) for name in names], file["mean_pixel"]


def total_loss(
    features: dict[str, Any],
    contents: dict[str, Any],
    grams: dict[str, Any],
    differences: tuple[Any, Any],
    mean: Callable[[Any], Any],
    gram: Callable[[Any], Any],
) -> Any:
    """The total loss; differences: of neighbouring pixels. contents, grams: the targets, by layer."""
    content = sum(weight * mean((features[name] - contents[name]) ** 2) for name, weight in CONTENT.items())
    style = sum(weight * mean((gram(features[name]) - grams[name]) ** 2) for name, weight in STYLE.items())
    smooth = sum(mean(difference**2) for difference in differences)
    return SETTINGS.content_weight * content + SETTINGS.style_weight * style + SETTINGS.tv_weight * smooth
