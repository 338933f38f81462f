#!/usr/bin/env python3
"""How near the small network's features and Gram matrices come to VGG-16's, on images held out of training.

    evaluate.py vgg16-small.mat --teacher vgg16.npz --images FOLDER

By layer, 384 pixels wide, average pooling, mean over the images: the share of the features' variance that is
explained, channel by channel with no map between, and the relative squared error of the Gram matrix. Also the
multiplications that a pixel takes to relu5_1, and the numbers in the file.
"""

import argparse
from pathlib import Path

import torch
from PIL import Image
from train import (
    CHAINS,
    FEATURES,
    HELD_OUT,
    distances,
    load_teacher,
    read_mat,
    student_features,
    teacher_features,
    to_tensor,
)

WIDTH = 384


def load_image(folder: Path, name: str) -> torch.Tensor:
    image = Image.open(next(folder.glob(f"{name}.*"))).convert("RGB")
    size = WIDTH, image.height * WIDTH // image.width
    return to_tensor(image.resize(size, Image.Resampling.BICUBIC))[None]


def multiplications(weights: dict[str, torch.Tensor]) -> float:
    """Of a pixel, up to relu5_1."""
    sizes = {name: w.numel() for name, w in weights.items() if w.dim() == 4 and not name.startswith("5_2")}
    return sum(size / 4 ** (int(name[0]) - 1) for name, size in sizes.items())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("network", type=Path, help="the small network (.mat)")
    parser.add_argument("--teacher", type=Path, required=True, help="vgg16.npz")
    parser.add_argument("--images", type=Path, required=True, help="folder with the held-out images")
    options = parser.parse_args()

    teacher, weights = load_teacher(options.teacher, "cpu"), read_mat(options.network)
    images = [load_image(options.images, name) for name in HELD_OUT]
    with torch.no_grad():
        found = [distances(student_features(weights, x), teacher_features(teacher, x)) for x in images]
    print("layer    explained  Gram error")
    for name in (name for name in CHAINS if name in FEATURES):
        explained = 1 - sum(float(features[name]) for features, _ in found) / len(found)
        errors = [float(grams[name]) for _, grams in found if name in grams]
        shown = f"{sum(errors) / len(errors):10.4f}" if errors else ""
        print(f"relu{name} {explained:10.3f}  {shown}")
    numbers = sum(w.numel() for w in weights.values())
    print(
        f"{multiplications(weights) / 1e3:.1f} thousand multiplications a pixel, {numbers / 1e6:.2f} million"
    )


if __name__ == "__main__":
    main()
