"""Compare pictures made with the compact network, the distilled teacher and random weights.

    python training/compare.py --networks DIR --images DIR --output DIR [--compact FILE]

Six pairs of images that training never saw are painted with each network at the program's default weights,
but with a style weight for the compact network that brings it to about the distilled teacher's content loss.
Each picture's style loss is then evaluated on the teachers: VGG-19 itself at relu1_1 to relu3_1, and
the distilled network at relu4_1 and relu5_1. Reported is the share of the distance between random weights and
the distilled teacher, of logarithms, that the compact network closes, and the content loss on the distilled
teacher beside it. The pictures go into the output folder, with a sheet of them all. Pictures that are there
are not made again.

DIR of --networks holds vgg19-conv1-3.npz and vgg19-16x.npz, that of --images the pictures by name.
"""

import argparse
import math
import sys
from collections import deque
from dataclasses import replace
from pathlib import Path

import numpy as np
import tensorflow as tf

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import vgg
from styling import images
from styling.settings import STYLE_LAYERS, Settings, content_size
from stylize import Objective, build_objective, stylize

PAIRS = (
    ("tubingen", "the-scream"),
    ("tubingen", "shipwreck"),
    ("golden-gate", "great-wave"),
    ("stata", "the-scream"),
    ("face", "shipwreck"),
    ("sleeper", "great-wave"),
)
PAINT = Settings(width=384, iterations=200, seed=0)
# The distilled teacher has VGG-19's activations in a quarter of its channels, so that its style counts more.
STYLE_WEIGHTS = {"random": 500, "distilled": 500, "compact": 2000}
MEAN_PIXEL = np.array([123.68, 116.779, 103.939], np.float32)


def main() -> None:
    """Paint, evaluate and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("networks", "images", "output"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    data = Path(__file__).resolve().parent.parent / "data"
    parser.add_argument("--compact", type=Path, default=data / "vgg19-compact.mat")
    options = parser.parse_args()

    teacher, distilled = (
        read_npz(options.networks / f"{name}.npz") for name in ("vgg19-conv1-3", "vgg19-16x")
    )
    photograph = sized(options.images / f"{PAIRS[0][0]}.jpg")
    networks = {
        "random": random_like(distilled, photograph),
        "distilled": distilled,
        "compact": vgg.load(options.compact),
    }
    options.output.mkdir(parents=True, exist_ok=True)
    rows, shares = [], []
    print("style loss / content loss on the teachers")
    print(f"{'pair':26}{'random':>20}{'distilled':>20}{'compact':>20}{'closed':>8}")
    for pair in PAIRS:
        content, style = (sized(options.images / f"{name}.jpg") for name in pair)
        pictures = {name: picture(options, name, network, pair) for name, network in networks.items()}
        teachers = judges(content, style, teacher, distilled)
        values = [losses(image, teachers) for image in pictures.values()]
        by_random, by_distilled, by_compact = (style_loss for style_loss, _ in values)
        shares.append(math.log(by_random / by_compact) / math.log(by_random / by_distilled))
        cells = "".join(f"{style_loss:11.3g} /{content_loss:8.3g}" for style_loss, content_loss in values)
        print(f"{' in '.join(pair):26}{cells}{shares[-1]:8.2f}", flush=True)
        rows.append([content, style, *pictures.values()])
    print(f"closed: mean {np.mean(shares):.2f}, least {min(shares):.2f}")
    images.write(options.output / "sheet.png", sheet(rows))


def picture(
    options: argparse.Namespace, name: str, network: vgg.Network, pair: tuple[str, str]
) -> np.ndarray:
    """The pair painted with a network, from its file if it was painted before."""
    path = options.output / f"{'-'.join(pair)}-{name}.png"
    if not path.exists():
        content, style = (images.read(options.images / f"{name}.jpg") for name in pair)
        settings = replace(PAINT, style_weight=STYLE_WEIGHTS[name])
        images.write(path, deque(stylize(content, [style], network, settings), maxlen=1).pop().result())
    return images.read(path)


def judges(
    content: np.ndarray, style: np.ndarray, teacher: vgg.Network, distilled: vgg.Network
) -> tuple[Objective, Objective]:
    """The style loss on VGG-19's shallow layers, and style and content loss on the distilled deep ones."""
    shallow = replace(PAINT, content_weight=0, style_layers=dict.fromkeys(STYLE_LAYERS[:3], 0.2))
    deep = replace(PAINT, style_layers=dict.fromkeys(STYLE_LAYERS[3:], 0.2))
    return build_objective(content, [style], teacher, shallow), build_objective(
        content, [style], distilled, deep
    )


def losses(image: np.ndarray, judges: tuple[Objective, Objective]) -> tuple[float, float]:
    """Style loss of an image on both teachers, and content loss on the distilled one, at default weights."""
    first, second = (judge(judge.network.preprocess(image)) for judge in judges)
    return float(first["style"] + second["style"]), float(second["content"])


def read_npz(path: Path) -> vgg.Network:
    """A network from an .npz of kernels [h, w, in, out] and biases, as far as it goes."""
    layers = []
    with np.load(path) as file:
        for block in range(1, 6):
            for index in range(1, 5):
                name = f"conv{block}_{index}"
                if f"{name}/kernel" in file:
                    weights = (tf.constant(file[f"{name}/{part}"], tf.float32) for part in ("kernel", "bias"))
                    layers.append(vgg.Layer(name, "conv", *weights))
                    layers.append(vgg.Layer(f"relu{block}_{index}", "relu"))
            layers.append(vgg.Layer(f"pool{block}", "pool"))
    return vgg.Network(tuple(layers), MEAN_PIXEL, sha256="")


def random_like(network: vgg.Network, image: np.ndarray) -> vgg.Network:
    """The network with random weights, each layer scaled to the mean activation of the network's own."""
    relus = [layer.name for layer in network.layers if layer.kind == "relu"]
    wanted = network.features(network.preprocess(image), relus)
    rng, layers = np.random.default_rng(0), []
    for layer in network.layers:
        if layer.kind == "conv":
            kernel = tf.constant(rng.standard_normal(layer.kernel.shape, np.float32))
            layers.append(vgg.Layer(layer.name, "conv", kernel, tf.zeros_like(layer.bias)))
        else:
            layers.append(layer)
        if layer.kind == "relu":
            so_far = vgg.Network(tuple(layers), network.mean_pixel, sha256="")
            mean = tf.reduce_mean(so_far.features(so_far.preprocess(image), [layer.name])[layer.name])
            layers[-2] = replace(layers[-2], kernel=kernel * tf.reduce_mean(wanted[layer.name]) / mean)
    return vgg.Network(tuple(layers), network.mean_pixel, sha256="")


def sized(path: Path) -> np.ndarray:
    """An image at the width of the comparison."""
    image = images.read(path)
    return images.resize(image, *content_size(*image.shape[:2], PAINT))


def sheet(rows: list[list[np.ndarray]], height: int = 200) -> np.ndarray:
    """Rows of images at the same height, one below another."""
    lines = [
        np.hstack([images.resize(image, height, image.shape[1] * height // image.shape[0]) for image in row])
        for row in rows
    ]
    width = max(line.shape[1] for line in lines)
    return np.vstack(
        [np.pad(line, ((0, 4), (0, width - line.shape[1]), (0, 0)), constant_values=255) for line in lines]
    )


if __name__ == "__main__":
    main()
