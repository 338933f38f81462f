#!/usr/bin/env python3
"""How much of its teachers' features the compact network explains, on images held out of training.

The share of the variance, all channels pooled, that a linear map from the compact features explains, at a
width of 384 pixels with average pooling; fitted on half of the images, scored on the other half, and the
other way round. The distilled teacher is shown with zero padding, as the program would run it, and with
reflection padding, as it was trained.
"""

import argparse
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from train import HELD_OUT, Teachers, load_npz, mean_activations, plain_features, read_mat, to_tensor

LAYERS = ("1_1", "2_1", "3_1", "4_1", "4_2", "5_1")
WIDTH = 384


def load_image(folder: Path, name: str) -> Tensor:
    image = Image.open(next(folder.glob(f"{name}.*"))).convert("RGB")
    size = WIDTH, image.height * WIDTH // image.width
    return to_tensor([image.resize(size, Image.Resampling.BICUBIC)])


def moments(student: Tensor, teacher: Tensor) -> dict[str, Tensor]:
    """Sums over positions, in float64: all that fitting and scoring a linear map with an offset needs."""
    s, t = (f[0].flatten(1).T.double() for f in (student, teacher))  # (positions, channels)
    s = torch.cat([s, torch.ones_like(s[:, :1])], 1)
    n = torch.tensor(float(len(s)))
    return {"ss": s.T @ s, "st": s.T @ t, "tt": t.square().sum(), "t": t.sum(0), "n": n}


def total(parts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {key: torch.stack([part[key] for part in parts]).sum(0) for key in parts[0]}


def explained(fitted: dict[str, Tensor], scored: dict[str, Tensor]) -> float:
    matrix = torch.linalg.lstsq(fitted["ss"], fitted["st"], driver="gelsd").solution
    residual = scored["tt"] - 2 * (matrix * scored["st"]).sum() + (matrix * (scored["ss"] @ matrix)).sum()
    variance = scored["tt"] - scored["t"].square().sum() / scored["n"]
    return 1 - float(residual / variance)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("network", type=Path, help="the compact network (.mat), or a teacher (.npz)")
    parser.add_argument(
        "--teachers", type=Path, required=True, help="folder of vgg19-conv1-3.npz and vgg19-16x.npz"
    )
    parser.add_argument("--images", type=Path, required=True, help="folder with the held-out images")
    options = parser.parse_args()

    teachers = Teachers(options.teachers)
    weights = load_npz(options.network) if options.network.suffix == ".npz" else read_mat(options.network)
    images = [load_image(options.images, name) for name in HELD_OUT]
    with torch.no_grad():
        features = [plain_features(weights, image) for image in images]
    sizes = [mean_activations(f) for f in features]
    table = {}
    for padding in ("zeros", "reflect"):
        taught = [teachers.features(image, padding) for image in images]
        for name in LAYERS:
            parts = [moments(f[name], t[name]) for f, t in zip(features, taught, strict=True)]
            halves = total(parts[::2]), total(parts[1::2])
            table[name, padding] = explained(*halves), explained(*halves[::-1])

    print("layer     zero padding             reflection padding       mean activation")
    for name in LAYERS:
        zeros, reflect = (
            f"{sum(both) / 2:.3f} ({both[0]:.3f} {both[1]:.3f})"
            for both in (table[name, p] for p in ("zeros", "reflect"))
        )
        size = sum(s[name] for s in sizes) / len(sizes)
        print(f"relu{name}   {zeros:24s} {reflect:24s} {size:.1f}")


if __name__ == "__main__":
    main()
