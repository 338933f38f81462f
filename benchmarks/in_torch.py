"""The side in PyTorch: the loop as in tutorials, with the same interface as in in_tensorflow.py."""

from pathlib import Path

import numpy as np
import torch
from objective import CONTENT, STYLE, Step, read, total_loss
from torch.nn import functional


class Torch:
    """PyTorch's own operations and gradients."""

    def __init__(self, network: Path, weights: Path) -> None:
        layers, self.mean_pixel = read(weights)
        self.layers = [
            (name, *(_tensor(part.transpose(3, 2, 0, 1) if part.ndim == 4 else part) for part in parts))
            for name, *parts in layers
        ]

    def build(self, content: np.ndarray, style: np.ndarray, start: np.ndarray) -> Step:
        """Compute the targets; returns the step that compares with them."""
        images = ((image - self.mean_pixel).transpose(2, 0, 1)[None] for image in (content, style, start))
        content, style, x = map(_tensor, images)
        with torch.no_grad():
            contents = {name: y for name, y in self.features(content).items() if name in CONTENT}
            grams = {name: gram(y) for name, y in self.features(style).items() if name in STYLE}
        x.requires_grad_()

        def step() -> float:
            x.grad = None
            differences = x[:, :, 1:] - x[:, :, :-1], x[..., 1:] - x[..., :-1]
            total = total_loss(self.features(x), contents, grams, differences, torch.mean, gram)
            total.backward()
            return total.item()

        return step

    def features(self, y: torch.Tensor) -> dict[str, torch.Tensor]:
        """The outputs of the layers in use for x [1, 3, H, W]."""
        features = {}
        for name, *parts in self.layers:
            if parts:
                y = functional.conv2d(y, *parts, padding="same")
            elif "relu" in name:
                y = functional.relu(y)
            else:
                y = functional.avg_pool2d(y, 2, ceil_mode=True, count_include_pad=False)
            if name in CONTENT | STYLE:
                features[name] = y
        return features


def gram(y: torch.Tensor) -> torch.Tensor:
    """F F^T of a feature map [1, C, h, w], divided by its number of values."""
    flat = y.flatten(2)[0]
    return flat @ flat.T / y.numel()


def _tensor(array: np.ndarray) -> torch.Tensor:
    # A transposed view would make the convolutions slower.
    return torch.from_numpy(np.ascontiguousarray(array))
