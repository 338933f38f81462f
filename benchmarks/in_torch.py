"""The side in PyTorch: the loop as in tutorials, with the same interface as in in_tensorflow.py."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional
from worker import CONTENT, STYLE, Layers, Step, read, total_loss


def load(network: Path, weights: Path) -> Callable[..., Step]:
    """PyTorch's own operations and gradients."""
    layers, mean_pixel = read(weights)
    layers = [
        (name, *(tensor(part.transpose(3, 2, 0, 1) if part.ndim == 4 else part) for part in parts))
        for name, *parts in layers
    ]

    def build(*images: np.ndarray) -> Step:
        content, style, x = (tensor((image - mean_pixel).transpose(2, 0, 1)[None]) for image in images)
        with torch.no_grad():
            contents = {name: y for name, y in features(layers, content).items() if name in CONTENT}
            grams = {name: gram(y) for name, y in features(layers, style).items() if name in STYLE}
        x.requires_grad_()

        def step() -> float:
            x.grad = None
            differences = x[:, :, 1:] - x[:, :, :-1], x[..., 1:] - x[..., :-1]
            total = total_loss(features(layers, x), contents, grams, differences, torch.mean, gram)
            total.backward()
            return total.item()

        return step

    return build


def features(layers: Layers, y: torch.Tensor) -> dict[str, torch.Tensor]:
    """The outputs of the layers in use for y [1, 3, H, W]."""
    outputs = {}
    for name, *parts in layers:
        if parts:
            y = functional.conv2d(y, *parts, padding="same")
        elif "relu" in name:
            y = functional.relu(y)
        else:
            y = functional.avg_pool2d(y, 2, ceil_mode=True, count_include_pad=False)
        if name in CONTENT | STYLE:
            outputs[name] = y
    return outputs


def gram(y: torch.Tensor) -> torch.Tensor:
    """F F^T of a feature map [1, C, h, w], divided by its number of values."""
    flat = y.flatten(2)[0]
    return flat @ flat.T / y.numel()


def tensor(array: np.ndarray) -> torch.Tensor:
    """A contiguous tensor, since a transposed view would make the convolutions slower."""
    return torch.from_numpy(np.ascontiguousarray(array))
