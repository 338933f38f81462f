"""Measure the flicker, style loss and time of a painted film, on a drawn clip whose motion is known exactly.

    python benchmarks/film.py [--frames 24] [--width 320] [--recipe best] [--judge vgg16.mat] [--alone 28]
    python benchmarks/film.py --frames 4 --width 192 --temporal-weights 3 30 300

A camera moves over data/harbour.jpg while a part of data/still_life.jpg moves in front. The temporal error is
the mean squared difference between a frame and the frame before it, warped by the true motion, in gray levels
squared, where both show the same thing. The style loss is the sum of the relative losses of relu1_1 to
relu5_1, in the painting network or, better, in another network, the judge. Specks are the pixels further than
70 levels from the median of their 3 x 3.
"""

import argparse
import statistics
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

import stylize
import vgg
from styling.films import flow, frames
from styling.network import networks
from styling.pictures import images
from styling.pictures.images import Images
from styling.run.memory import gradients_forgotten
from styling.run.sizes import style_size
from styling.settings import Settings
from styling.system.device import configure
from styling.system.files import data_folder

LAYERS = [f"relu{block}_1" for block in range(1, 6)]


class Scene:
    """The clip: frame(t) gives a frame, and motion(t) where each pixel was in the frame before."""

    def __init__(self, width: int, height: int) -> None:
        self.size = height, width
        self.behind = images.read(data_folder() / "harbour.jpg")
        front = images.read(data_folder() / "still_life.jpg")
        high, wide = front.shape[:2]
        self.front = front[high // 4 : 3 * high // 4, wide // 4 : 3 * wide // 4]

    def camera(self, t: float) -> tuple[float, float, float]:
        """The left, top and width of the camera's view, as fractions of the scene."""
        return 0.02 + 0.006 * t, 0.05 + 0.03 * np.sin(0.2 * t), 0.75 - 0.004 * t

    def place(self, t: float) -> tuple[float, float, float]:
        """The left, top and size of the object in front, as fractions of the frame."""
        return 0.05 + 0.022 * t, 0.45 + 0.08 * np.sin(0.35 * t), 0.3

    def in_front(self, t: float, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Whether these positions of a frame show the object in front, an ellipse."""
        left, top, size = self.place(t)
        x, y = (columns - left) / size - 0.5, (rows - top) / size - 0.5
        return x**2 + y**2 < 0.25

    def frame(self, t: float) -> np.ndarray:
        """A frame, float32 [H, W, 3]; averages 4 x 4 samples a pixel to avoid aliasing."""
        height, width = self.size
        rows, columns = np.mgrid[: 4 * height, : 4 * width].astype(np.float32) + 0.5
        rows, columns = rows / (4 * height), columns / (4 * width)
        left, top, part = self.camera(t)
        behind = _sample(self.behind, top + part * rows, left + part * columns)
        front_left, front_top, size = self.place(t)
        front = _sample(self.front, (rows - front_top) / size, (columns - front_left) / size)
        seen = np.where(self.in_front(t, rows, columns)[..., None], front, behind)
        return cv2.resize(seen, (width, height), interpolation=cv2.INTER_AREA)

    def motion(self, t: int) -> tuple[np.ndarray, np.ndarray]:
        """The exact flow [H, W, 2] from frame t to the one before; bool [H, W], where both show the same."""
        height, width = self.size
        rows, columns = np.mgrid[:height, :width].astype(np.float32) + 0.5
        rows, columns = rows / height, columns / width
        (left, top, part), (old_left, old_top, old_part) = self.camera(t), self.camera(t - 1)
        old_rows = (top + part * rows - old_top) / old_part
        old_columns = (left + part * columns - old_left) / old_part
        front = self.in_front(t, rows, columns)
        (now_left, now_top, _), (was_left, was_top, _) = self.place(t), self.place(t - 1)
        old_rows = np.where(front, rows + was_top - now_top, old_rows)
        old_columns = np.where(front, columns + was_left - now_left, old_columns)
        flow = np.stack([(old_columns - columns) * width, (old_rows - rows) * height], -1).astype(np.float32)
        same = self.in_front(t - 1, old_rows, old_columns) == front
        inside = (old_rows > 0) & (old_rows < 1) & (old_columns > 0) & (old_columns < 1)
        # A pixel at an edge is a mixture of both sides.
        edge = cv2.morphologyEx(front.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
        edge = cv2.dilate((edge | ~same).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
        return flow, inside & same & ~edge


def _sample(image: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    places = columns * width - 0.5, rows * height - 0.5
    return cv2.remap(
        image, *(p.astype(np.float32) for p in places), cv2.INTER_LINEAR, None, cv2.BORDER_REFLECT
    )


def paint(
    contents: Sequence[np.ndarray],
    style: np.ndarray,
    network: vgg.Network,
    settings: Settings,
    first: np.ndarray | None = None,
) -> tuple[list[np.ndarray], list[float]]:
    """The painted frames of a film, float32 [H, W, 3], and the seconds that each took; `first` is painted
    already. With a temporal weight of 0, each frame is painted alone."""
    given, seconds = Images(styles=(style,)), []
    before: list[frames.Painted] = []
    for content in contents:
        began = time.perf_counter()
        if first is None or before:
            run = frames.resolve(content, given, before, network, settings, first=next(iter(before), None))
            assert run is not None  # there are no masks
            with gradients_forgotten():
                picture = deque(stylize.follow(run), maxlen=1).pop().result()
        else:
            picture = first
        seconds.append(time.perf_counter() - began)
        before.append(frames.Painted(content, np.rint(picture)))
    return [painted.picture for painted in before], seconds


def specks(picture: np.ndarray) -> float:
    """The share of pixels that stand out of their neighbours, in percent."""
    levels = images.to_bytes(picture)
    apart = cv2.absdiff(levels, cv2.medianBlur(levels, 3)).max(axis=-1)
    return 100 * float((apart > 70).mean())


def style_loss(network: vgg.Network, picture: np.ndarray, style: np.ndarray) -> float:
    """The sum over the layers of the relative squared error of the Gram matrix."""
    maps = [network.features(network.preprocess(image), LAYERS) for image in (picture, style)]
    total = 0.0
    for name in LAYERS:
        flat = [features[name].numpy().reshape(-1, features[name].shape[-1]) for features in maps]
        G, A = (F.T @ F / len(F) for F in flat)  # noqa: N806
        total += float(np.sum((G - A) ** 2) / np.sum(A**2))
    return total


def temporal_error(scene: Scene, pictures: Sequence[np.ndarray]) -> float:
    """The mean over the frames of the mean squared difference to the frame before, along the true motion."""
    errors = []
    for t in range(1, len(pictures)):
        motion, same = scene.motion(t)
        errors.append(np.mean((pictures[t] - flow.warp(pictures[t - 1], motion))[same] ** 2))
    return float(np.mean(errors))


def main() -> None:
    """Paint the clip, and print the measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--output", type=Path, help="a folder for the pictures")
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--width", type=int, default=320)
    parser.add_argument("--recipe", default="best")
    parser.add_argument("--network", default="small")
    parser.add_argument("--judge", default=None, help="network for the style loss (default: --network)")
    parser.add_argument("--alone", type=int, help="also paint frames alone, with so many updates each")
    weights_help = "a film for each of these, all from the same first frame (default: the recipe's)"
    parser.add_argument("--temporal-weights", nargs="+", type=float, help=weights_help)
    parser.add_argument("--style", type=Path, default=data_folder() / "mosaic.jpg")
    options = parser.parse_args()
    configure("cpu")
    network, scene = vgg.load(networks.find(options.network)), Scene(options.width, options.width * 9 // 16)
    judge = vgg.load(networks.find(options.judge)) if options.judge else network
    contents, style = [scene.frame(t) for t in range(options.frames)], images.read(options.style)
    settings = Settings.from_recipe(options.recipe, network, seed=1)
    ways = {
        f"weight {weight:g}": replace(settings, temporal_weight=weight)
        for weight in options.temporal_weights or [settings.temporal_weight]
    }
    if options.alone:
        ways["frames alone"] = replace(settings, temporal_weight=0, iterations=options.alone)
    print("| | temporal error | style loss: first, then | specks, % | seconds: first, then (median) |")
    print("| --- | --- | --- | --- | --- |")
    seen, first, slow = (
        images.resize(style, *style_size(style.shape[0], style.shape[1], 1, options.width)),
        None,
        0.0,
    )
    for name, of_way in ways.items():
        pictures, seconds = paint(contents, style, network, of_way, None if name == "frames alone" else first)
        if first is None:
            first, slow = pictures[0], seconds[0]
        for number, picture in enumerate(pictures if options.output else (), 1):
            folder = options.output / name.replace(" ", "-")
            folder.mkdir(parents=True, exist_ok=True)
            images.write(folder / f"{number:04}.png", picture)
        figures = [f"{temporal_error(scene, pictures):.1f}"]
        losses = [style_loss(judge, picture, seen) for picture in pictures]
        for form, values in (("{:.4f}", losses), ("{:.2f}", [*map(specks, pictures)])):
            figures.append(", ".join(map(form.format, (values[0], np.mean(values[1:])))))
        figures.append(f"{slow:.1f}, {statistics.median(seconds[1:]):.1f}")
        print(f"| {name} | {' | '.join(figures)} |", flush=True)


if __name__ == "__main__":
    main()
