"""Measure the flicker, style loss and time of a painted film, on a drawn clip whose motion is known exactly.

    python benchmarks/film.py --output FOLDER --judge vgg16.mat [--frames 24] [--width 320] [--network small]

A camera moves over data/harbour.jpg while a part of data/still_life.jpg moves in front. The clip is painted
twice: as a film, and frame by frame, like photographs with the same number of iterations. The temporal error
is the mean squared difference between a frame and the frame before it, warped by the true motion, in grey
levels squared, where both show the same thing. The style loss is the sum of the relative losses of relu1_1
to relu5_1, in the painting network or, better, in another network, the judge.
"""

import argparse
import statistics
import sys
import time
from collections import deque
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))


class Scene:
    """The clip: frame(t) gives a frame, and motion(t) where each pixel was in the frame before."""

    def __init__(self, width: int, height: int) -> None:
        from styling.pictures import images

        self.size = height, width
        self.behind = images.read(ROOT / "data" / "harbour.jpg")
        front = images.read(ROOT / "data" / "still_life.jpg")
        high, wide = front.shape[:2]
        self.front = front[high // 4 : 3 * high // 4, wide // 4 : 3 * wide // 4]
        rows, columns = np.mgrid[:height, :width].astype(np.float32)
        self.rows, self.columns = rows / height, columns / width  # 0..1

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
        fine = 4
        rows, columns = np.mgrid[: height * fine, : width * fine].astype(np.float32)
        rows, columns = (rows + 0.5) / (height * fine), (columns + 0.5) / (width * fine)
        left, top, part = self.camera(t)
        behind = _sample(self.behind, top + part * rows, left + part * columns)
        front_left, front_top, size = self.place(t)
        front = _sample(self.front, (rows - front_top) / size, (columns - front_left) / size)
        seen = np.where(self.in_front(t, rows, columns)[..., None], front, behind)
        return cv2.resize(seen, (width, height), interpolation=cv2.INTER_AREA)

    def motion(self, t: int) -> tuple[np.ndarray, np.ndarray]:
        """The exact flow [H, W, 2] from frame t to the one before; bool [H, W], where both show the same."""
        height, width = self.size
        rows, columns = self.rows + 0.5 / height, self.columns + 0.5 / width
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
        edge = cv2.dilate((_edges(front) | ~same).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
        return flow, inside & same & ~edge


def _edges(mask: np.ndarray) -> np.ndarray:
    return cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0


def _sample(image: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    places = columns * width - 0.5, rows * height - 0.5
    return cv2.remap(
        image, *(p.astype(np.float32) for p in places), cv2.INTER_LINEAR, None, cv2.BORDER_REFLECT
    )


def paint(
    frames: list[np.ndarray], style: np.ndarray, network, settings, is_film: bool
) -> tuple[list[np.ndarray], list[float]]:
    """Paint the frames; returns the pictures, and the seconds that each took."""
    import stylize
    from styling.films import frames as films
    from styling.pictures.images import Images
    from styling.run import runs

    pictures, seconds, kept = [], [], {}
    before = deque(maxlen=max(settings.frames_back))
    each = replace(settings, iterations=films.iterations_between(settings))
    for content in frames:
        began = time.monotonic()
        if is_film:
            run = films.resolve(content, Images(styles=(style,)), before, network, settings)
        else:
            run = runs.resolve(Images(content, (style,)), network, each)
        pictures.append(deque(stylize.follow(run, kept=kept), maxlen=1).pop().result())
        before.append(films.Frame(content, np.rint(pictures[-1])))
        seconds.append(time.monotonic() - began)
    return pictures, seconds


def style_losses(pictures: list[np.ndarray], style: np.ndarray, judge) -> list[float]:
    """The style loss of each picture, in the network `judge`."""
    import stylize
    from styling.pictures import images
    from styling.settings import Settings, style_size

    layers = dict.fromkeys(("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"), 1.0)
    settings = Settings(
        content_weight=0, style_weight=1, tv_weight=0, style_layers=layers, style_reduction="relative"
    )
    height, width = pictures[0].shape[:2]
    style = images.resize(style, *style_size(*style.shape[:2], 1.0, width))
    objective = stylize.build_objective(None, [style], judge, settings, (height, width))
    return [float(objective(judge.preprocess(picture))["style"]) for picture in pictures]


def temporal_errors(scene: Scene, pictures: list[np.ndarray]) -> list[float]:
    """The mean squared difference of each picture to the one before it, warped by the true motion."""
    from styling.films import flow

    found = []
    for t in range(1, len(pictures)):
        motion, same = scene.motion(t)
        found.append(float(np.mean((pictures[t] - flow.warp(pictures[t - 1], motion))[same] ** 2)))
    return found


def main() -> None:
    """Paint the clip in both ways, write the pictures, and print the measurements."""
    from styling.system.device import configure

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="a folder for the pictures")
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--width", type=int, default=320)
    parser.add_argument("--iterations", type=int, default=None, help="for a frame, instead of the recipe's")
    parser.add_argument("--network", default="small")
    parser.add_argument("--judge", default=None, help="network for the style loss (default: --network)")
    parser.add_argument("--style", type=Path, default=ROOT / "data" / "mosaic.jpg")
    options = parser.parse_args()
    configure("cpu", None, deterministic=True)
    import vgg
    from styling.network import networks
    from styling.pictures import images
    from styling.settings import Settings

    network = vgg.load(networks.find(options.network))
    judge = vgg.load(networks.find(options.judge)) if options.judge else network
    scene = Scene(options.width, options.width * 9 // 16)
    frames, style = [scene.frame(t) for t in range(options.frames)], images.read(options.style)
    settings = Settings.from_recipe("best", network, seed=1)
    if options.iterations:
        settings = replace(settings, frame_iterations=options.iterations)
    options.output.mkdir(exist_ok=True)
    print("| | temporal error | style loss | seconds a frame (median) |\n| --- | --- | --- | --- |")
    found = []
    for name in ("frame by frame", "film"):
        pictures, seconds = paint(frames, style, network, settings, name == "film")
        for i, picture in enumerate(pictures):
            images.write(options.output / f"{name.replace(' ', '-')}-{i:03}.png", picture, overwrite=True)
        error = np.mean(temporal_errors(scene, pictures))
        loss = np.mean(style_losses(pictures[1:], style, judge))  # a film starts with a photograph, too
        found.append((error, loss))
        print(f"| {name} | {error:.1f} | {loss:.4f} | {statistics.median(seconds[1:]):.1f} |", flush=True)
    (error, loss), (film_error, film_loss) = found
    print(f"| film / frame by frame | {film_error / error:.3f} | {film_loss / loss:.3f} | |")


if __name__ == "__main__":
    main()
