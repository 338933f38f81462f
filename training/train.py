#!/usr/bin/env python3
"""Make the small VGG-16 that ships with the program: VGG-16 in low rank, then distilled from VGG-16 itself.

    train.py --teacher vgg16.npz --photos photos.tar --paintings FOLDER ... --out vgg16-small.mat

Each 3x3 convolution but the first becomes a chain: 1x1 to few channels, 3x3 among them, 1x1 back to VGG-16's
width (a Tucker-2 decomposition, Kim et al., arXiv 1511.06530). Layers that no loss looks at stay narrow. The
chain starts from least squares on the responses of the layers before (Zhang et al., arXiv 1505.06798). Narrow
layers start from the channels that are most useful to the next layer (He et al., arXiv 1707.06168).

Then all layers are trained together to give VGG-16's features and Gram matrices, on photographs, paintings
and noise, and above all on pictures that the small network itself is painting meanwhile. There an
optimisation has found what the network is blind to.

Everything random follows from the seed and the step. The state is written as a whole, so that a run that was
stopped goes on.
"""

import argparse
import io
import math
import os
import tarfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import scipy.io
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

MEAN = (123.68, 116.779, 103.939)  # of the RGB pixels that VGG-16 was trained on
CONTENT_LAYER = "4_2"
HELD_OUT = ("the-scream", "shipwreck", "great-wave", "tubingen", "golden-gate", "face", "stata", "sleeper")

# What each convolution becomes: (size, channels) in turn. Where the last one is narrower than VGG-16's layer,
# the layer is narrow.
CHAINS = {
    "1_1": ((3, 64),),
    "1_2": ((1, 12), (3, 32)),
    "2_1": ((3, 32), (1, 128)),
    "2_2": ((1, 32), (3, 64)),
    "3_1": ((3, 64), (1, 256)),
    "3_2": ((1, 64), (3, 64), (1, 256)),
    "3_3": ((1, 64), (3, 128)),
    "4_1": ((3, 192), (1, 512)),
    "4_2": ((1, 192), (3, 192), (1, 512)),
    "4_3": ((1, 160), (3, 256)),
    "5_1": ((3, 512),),
    "5_2": ((1, 128), (3, 128), (1, 512)),
}
# How much the features, and the Gram matrices, of a layer count.
FEATURES = {"2_1": 1.0, "3_1": 1.0, "3_2": 0.2, "4_1": 1.0, "4_2": 1.0, "5_1": 1.0, "5_2": 0.1}
GRAMS = {"2_1": 2.0, "3_1": 2.0, "4_1": 3.0, "5_1": 4.0}
# The recipe `best`, with which the small network paints.
STYLE_SHARES = {"1_1": 0.05, "2_1": 0.2, "3_1": 0.25, "4_1": 0.25, "5_1": 0.25}
STYLE_WEIGHT, SMOOTHNESS = 10, 13  # where the content weighs 1

CROP = 320
SCALES = (0.35, 1.1)
FRESH = 8  # crops of a step beside the pictures that are being painted, their contents and styles
PICTURES, PAINT_STEPS = 8, 200  # and steps that each is painted at half size, and at full size
SAVE_EVERY, SHOW_EVERY = 500, 50
FITTING_IMAGES, FITTING_POSITIONS = 72, 400  # for the start: images, and positions sampled of each

Features = dict[str, Tensor]
Weights = dict[str, Tensor]
Rng = np.random.Generator


# ---------------------------------------------------------------- networks


def run_layers(x: Tensor, layer: Callable[[str, Tensor], Tensor]) -> Features:
    """Features by name ("1_1": after its ReLU) of images [N, 3, H, W] minus the mean pixel."""
    features = {}
    for name in CHAINS:
        if name.endswith("_1") and name != "1_1":
            x = F.avg_pool2d(x, 2, ceil_mode=True)
        x = features[name] = F.relu(layer(name, x))
    return features


def teacher_features(teacher: Weights, x: Tensor) -> Features:
    """VGG-16's features."""
    return run_layers(x, partial(teacher_responds, teacher))


def student_features(weights: Weights, x: Tensor) -> Features:
    """The small network's features."""
    return run_layers(x, partial(respond, weights))


def teacher_responds(teacher: Weights, name: str, x: Tensor) -> Tensor:
    """A convolution's output before the ReLU."""
    return F.conv2d(x, teacher[f"{name}/kernel"], teacher[f"{name}/bias"], padding=1)


def respond(weights: Weights, name: str, x: Tensor) -> Tensor:
    """A chain's output before the ReLU."""
    chain = CHAINS[name]
    for i, (size, _) in enumerate(chain):
        bias = weights[f"{name}/bias"] if i == len(chain) - 1 else None
        x = F.conv2d(x, weights[f"{name}/{i}"], bias, padding=size // 2)
    return x


def load_teacher(path: Path, device: str) -> Weights:
    """Kernels [h, w, in, out] become [out, in, h, w]."""
    with np.load(path) as file:
        weights = {}
        for name in CHAINS:
            kernel = torch.from_numpy(file[f"conv{name}/kernel"].transpose(3, 2, 0, 1).astype(np.float32))
            weights[f"{name}/kernel"] = kernel.to(device).contiguous(memory_format=torch.channels_last)
            weights[f"{name}/bias"] = torch.from_numpy(file[f"conv{name}/bias"].astype(np.float32)).to(device)
    return weights


# ---------------------------------------------------------------- data


def read_images(
    folders: Iterable[Path], photos: Path, held_out: Iterable[str] = HELD_OUT
) -> dict[str, list[Image.Image]]:
    """Paintings that are not held out, and photographs."""
    paths = [path for folder in folders for path in sorted(folder.glob("*.jpg"))]
    paintings = [Image.open(path).convert("RGB") for path in paths if path.stem not in held_out]
    with tarfile.open(photos) as tar:
        members = sorted((m for m in tar if m.name.endswith(".jpg")), key=lambda m: m.name)
        files = [io.BytesIO(tar.extractfile(member).read()) for member in members]
    return {"paintings": paintings, "photos": [Image.open(file).convert("RGB") for file in files]}


def to_tensor(image: Image.Image) -> Tensor:
    array = np.asarray(image, np.float32) - np.array(MEAN, np.float32)
    return torch.from_numpy(array.transpose(2, 0, 1).copy())


def random_crop(images: list[Image.Image], rng: Rng, side: int = CROP) -> Tensor:
    """A crop [3, side, side] at a random scale, flipped by chance."""
    image = images[rng.integers(len(images))]
    scale = math.exp(rng.uniform(*map(math.log, SCALES))) * 500 / max(image.size)
    width = min(side / scale, *image.size)
    left, top = rng.uniform(0, image.width - width), rng.uniform(0, image.height - width)
    crop = image.resize((side, side), Image.Resampling.BICUBIC, box=(left, top, left + width, top + width))
    return to_tensor(crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else crop)


def painting_crop(data: dict[str, list], rng: Rng, side: int = CROP) -> Tensor:
    """A crop of a painting, or now and then of a photograph, its colours exchanged by chance."""
    crop = random_crop(data["paintings" if rng.random() < 0.8 else "photos"], rng, side)
    if rng.random() < 0.5:
        mean = torch.tensor(MEAN)[:, None, None]
        crop = (crop + mean)[rng.permutation(3).tolist()]
        crop = (255 - crop if rng.random() < 0.3 else crop) - mean
    return crop


def noisy(x: Tensor, rng: Rng) -> Tensor:
    """Noise of a random grain and strength over a faded picture: what an optimisation begins with."""
    grain = int(rng.choice([1, 1, 2, 4]))
    noise = torch.from_numpy(rng.standard_normal((1, 3, CROP // grain, CROP // grain), np.float32))
    strength = math.exp(rng.uniform(math.log(2), math.log(40)))
    return x * rng.uniform(0, 1) + strength * F.interpolate(noise, scale_factor=grain, mode="nearest")[0]


def fresh_crop(data: dict[str, list], rng: Rng) -> Tensor:
    kind = rng.random()
    if kind < 0.45:
        return random_crop(data["photos"], rng)
    crop = painting_crop(data, rng)
    return crop if kind < 0.85 else noisy(crop, rng)


# ---------------------------------------------------------------- losses


def gram(f: Tensor) -> Tensor:
    f = f.flatten(2)
    return f @ f.transpose(1, 2) / f.shape[2]  # (n, c, c)


def per_image(x: Tensor) -> Tensor:
    return x.flatten(1).sum(1)


def relative(a: Tensor, b: Tensor) -> Tensor:
    """Squared difference by image, relative to the second's square, [n]."""
    return per_image((a - b) ** 2) / per_image(b**2).clamp_min(1e-8)


def unexplained(a: Tensor, b: Tensor) -> Tensor:
    """Squared difference relative to the variance of the second about its channels' means, a scalar."""
    return ((a - b) ** 2).sum() / ((b - b.mean((0, 2, 3), keepdim=True)) ** 2).sum().clamp_min(1e-8)


def distances(student: Features, taught: Features) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What is unexplained of the features, and the Gram matrices' relative errors, by layer."""
    return (
        {name: unexplained(f, taught[name]) for name, f in student.items() if name in FEATURES},
        {name: relative(gram(f), gram(taught[name])).mean() for name, f in student.items() if name in GRAMS},
    )


# ---------------------------------------------------------------- the network's own pictures


class Easel:
    """Pictures that the small network is painting by the program's relative losses, with Adam.

    x, contents, styles: [n, 3, size, size]. Each picture is begun at another step than the others, so that
    pictures of every age are there.
    """

    def __init__(self, contents: Tensor, styles: Tensor) -> None:
        self.contents, self.styles, self.x = contents, styles, contents.clone()
        self.moments = torch.zeros_like(self.x), torch.zeros_like(self.x)
        n = len(self.x)
        self.ages = torch.arange(n, device=self.x.device) * PAINT_STEPS // n
        self.style_weights = torch.full((n,), float(STYLE_WEIGHT), device=self.x.device)
        self.smoothness = torch.full((n,), float(SMOOTHNESS), device=self.x.device)

    def begin(self, i: int, content: Tensor, style: Tensor, x: Tensor, weights: tuple[float, float]) -> None:
        """Another picture in place of the i-th."""
        self.contents[i], self.styles[i], self.x[i] = content, style, x
        self.style_weights[i], self.smoothness[i] = weights
        self.ages[i] = 0
        for moment in self.moments:
            moment[i] = 0

    def loss(self, x: Tensor, f: Features, contents: Features, styles: Features) -> Tensor:
        """The sum of the pictures' losses."""
        style = sum(s * relative(gram(f[n]), gram(styles[n])) for n, s in STYLE_SHARES.items())
        tv = (x[..., 1:] - x[..., :-1]).square().mean((1, 2, 3))
        tv = tv + (x[..., 1:, :] - x[..., :-1, :]).square().mean((1, 2, 3))
        content = relative(f[CONTENT_LAYER], contents[CONTENT_LAYER])
        return (content + self.style_weights * style + self.smoothness * tv / 255**2).sum()

    @torch.no_grad()
    def step(self, gradient: Tensor) -> None:
        """A step of Adam, by each picture's own age."""
        first, second = self.moments
        first.lerp_(gradient, 0.1)
        second.lerp_(gradient.square(), 0.001)
        ages = (self.ages + 1).float()[:, None, None, None]
        change = first / (1 - 0.9**ages) / ((second / (1 - 0.999**ages)).sqrt() + 1e-8)
        self.x -= 8 * (1 - 0.8 * ages / PAINT_STEPS) * change
        self.ages += 1


class Studio:
    """Pictures at half size, and at full size those that were at half size before."""

    def __init__(self, data: dict[str, list], rng: Rng, device: str) -> None:
        self.data, self.device = data, device
        crops = [self.pair(rng) for _ in range(2 * PICTURES)]
        contents, styles = (torch.stack(images).to(device) for images in zip(*crops, strict=True))
        self.fine = Easel(contents[:PICTURES], styles[:PICTURES])
        self.waiting = contents[PICTURES:], styles[PICTURES:]  # those of the coarse ones, at full size
        self.coarse = Easel(*(resized(images, 0.5) for images in self.waiting))

    def pair(self, rng: Rng) -> tuple[Tensor, Tensor]:
        """A content and a style."""
        content = random_crop(self.data["photos" if rng.random() < 0.8 else "paintings"], rng)
        return content, painting_crop(self.data, rng)

    def renew(self, step: int, rng: Rng) -> None:
        """The picture whose time is over gives its place to the one at half size, and that to a new one."""
        turn, left = divmod(step, PAINT_STEPS // PICTURES)
        if left:
            return
        i = -turn % PICTURES
        coarse, (contents, styles) = self.coarse, self.waiting
        weights = float(coarse.style_weights[i]), float(coarse.smoothness[i])
        self.fine.begin(i, contents[i], styles[i], resized(coarse.x[i : i + 1], 2)[0], weights)
        contents[i], styles[i] = (image.to(self.device) for image in self.pair(rng))
        content, style = (resized(images[i : i + 1], 0.5)[0] for images in self.waiting)
        x = content
        if rng.random() < 0.2:
            x = torch.from_numpy(20 * rng.standard_normal(content.shape, np.float32)).to(self.device)
        weights = STYLE_WEIGHT * math.exp(rng.normal(0, 0.7)), SMOOTHNESS * math.exp(rng.normal(0, 0.7))
        coarse.begin(i, content, style, x, weights)

    def paint_coarse(self, weights: Weights) -> None:
        """A step of those at half size."""
        with torch.no_grad():
            contents = student_features(weights, self.coarse.contents)
            styles = student_features(weights, self.coarse.styles)
        x = self.coarse.x.clone().requires_grad_()
        loss = self.coarse.loss(x, student_features(weights, x), contents, styles)
        self.coarse.step(*torch.autograd.grad(loss, x))


def resized(x: Tensor, factor: float) -> Tensor:
    return F.interpolate(x, scale_factor=factor, mode="bicubic", antialias=factor < 1)


# ---------------------------------------------------------------- the start: least squares on responses


def patches(x: Tensor, size: int, places: np.ndarray) -> np.ndarray:
    """Inputs of a convolution at some places of one map [C, h, w], float64 [places, C * size * size]."""
    columns = F.unfold(x[None], size, padding=size // 2)[0]
    return columns[:, places].double().numpy().T


def at(x: Tensor, places: np.ndarray) -> np.ndarray:
    return x.flatten(1)[:, places].double().numpy().T


def solve(xx: np.ndarray, xy: np.ndarray) -> np.ndarray:
    return np.linalg.solve(xx + 1e-6 * np.trace(xx) / len(xx) * np.eye(len(xx)), xy)


def choose_channels(covariance: np.ndarray, importance: np.ndarray, count: int) -> list[int]:
    """The channels from which a linear map gives all others best, as far as the next layer looks at them."""
    residual, chosen = covariance.copy(), []
    for _ in range(count):
        power = np.einsum("ij,ik,kj->j", residual, importance, residual)
        left = np.diag(residual) > 1e-9 * np.trace(covariance)
        gains = np.divide(power, np.diag(residual), out=np.full(len(power), -1.0), where=left)
        gains[chosen] = -1
        best = int(np.argmax(gains))
        chosen.append(best)
        residual -= np.outer(residual[best], residual[best]) / residual[best, best]
    return chosen


def initial_weights(teacher: Weights, images: list[Tensor], rng: Rng) -> Weights:
    """The small network by least squares, layer after layer."""
    weights: Weights = {}
    small, true = list(images), list(images)
    names = list(CHAINS)
    for index, (name, chain) in enumerate(CHAINS.items()):
        if name.endswith("_1") and name != "1_1":
            small, true = ([F.avg_pool2d(x, 2, ceil_mode=True) for x in xs] for xs in (small, true))
        kernel, bias = teacher[f"{name}/kernel"], teacher[f"{name}/bias"]
        true = [teacher_responds(teacher, name, x[None])[0] for x in true]
        if name == "1_1":
            weights[f"{name}/0"], weights[f"{name}/bias"] = kernel.clone(), bias.clone()
        else:
            channels = list(range(len(bias)))
            if chain[-1][1] < len(bias):
                after = [F.relu(x) for x in true]
                if names[index + 1].endswith("_1"):
                    after = [F.avg_pool2d(x, 2, ceil_mode=True) for x in after]
                rows = np.concatenate(
                    [x.flatten(1).double().numpy().T[:: 1 + x[0].numel() // 2000] for x in after]
                )
                following = teacher[f"{names[index + 1]}/kernel"].double().numpy()
                importance = np.einsum("oihw,ojhw->ij", following, following)
                channels = choose_channels(np.cov(rows.T), importance, chain[-1][1])
            weights |= fit(name, chain, kernel, small, [x[channels] for x in true], rng)
        small = [F.relu(respond(weights, name, x[None]))[0] for x in small]
        true = [F.relu(x) for x in true]
        if small[0].shape == true[0].shape:
            wrong = sum(float(((a - b) ** 2).sum()) for a, b in zip(small, true, strict=True))
            spread = sum(float(((b - b.mean((1, 2), keepdim=True)) ** 2).sum()) for b in true)
            print(f"relu{name}: {1 - wrong / spread:.3f} explained at the start", flush=True)
    return weights


def fit(
    name: str, chain: tuple, kernel: Tensor, inputs: list[Tensor], wanted: list[Tensor], rng: Rng
) -> Weights:
    """A chain's kernels by least squares from the inputs to the wanted responses."""
    c = len(inputs[0])
    weights: Weights = {}
    # The whole 3x3 map from samples; its offset goes with a column of ones.
    places = [rng.choice(x[0].numel(), min(FITTING_POSITIONS, x[0].numel()), replace=False) for x in inputs]
    y = np.concatenate([at(t, p) for t, p in zip(wanted, places, strict=True)])
    projected = inputs
    chain = list(chain)
    if chain[0][0] == 1:  # the input's directions that VGG-16's own kernel looks at most
        center = np.concatenate([at(a, p) for a, p in zip(inputs, places, strict=True)])
        root = np.linalg.cholesky(center.T @ center / len(center) + 1e-6 * center.var() * np.eye(c))
        looked_at = kernel.double().numpy().transpose(1, 0, 2, 3).reshape(c, -1)
        left, _, _ = np.linalg.svd(root.T @ looked_at, full_matrices=False)
        down = np.linalg.solve(root.T, left[:, : chain[0][1]])
        down /= np.linalg.norm(down, axis=0)
        weights[f"{name}/0"] = torch.from_numpy(down.T[:, :, None, None].copy()).float()
        projected = [F.conv2d(x[None], weights[f"{name}/0"])[0] for x in inputs]
        chain = chain[1:]
    first = len(weights)
    x = np.concatenate([patches(a, 3, p) for a, p in zip(projected, places, strict=True)])
    x = np.c_[x, np.ones(len(x))]
    xx, xy = x.T @ x, x.T @ y
    solution = solve(xx, xy)
    narrow = len(projected[0]), 3, 3
    if len(chain) == 1:
        weights[f"{name}/{first}"] = torch.from_numpy(solution[:-1].T.reshape(-1, *narrow).copy()).float()
    else:
        centred = xx - np.outer(xx[-1], xx[-1]) / xx[-1, -1]
        _, directions = np.linalg.eigh(solution.T @ centred @ solution)
        directions = directions[:, ::-1][:, : chain[0][1]]
        taps = (solution[:-1] @ directions).T.reshape(-1, *narrow)
        weights[f"{name}/{first}"] = torch.from_numpy(taps.copy()).float()
        weights[f"{name}/{first + 1}"] = torch.from_numpy(directions[:, :, None, None].copy()).float()
        # The offset that the cut directions take away is given back.
        mean = xx[-1] / xx[-1, -1]
        mean_y = mean @ solution
        offset = mean_y - (mean[:-1] @ solution[:-1] @ directions) @ directions.T
        weights[f"{name}/bias"] = torch.from_numpy(offset.copy()).float()
        return weights
    weights[f"{name}/bias"] = torch.from_numpy(solution[-1].copy()).float()
    return weights


# ---------------------------------------------------------------- training


class Crops:
    """New crops for each step, made in other threads meanwhile."""

    def __init__(self, data: dict[str, list], seed: int, first: int, device: str) -> None:
        self.data, self.seed, self.device, self.next = data, seed, device, first
        self.executor = ThreadPoolExecutor()
        self.waiting: list[Future] = []

    def make(self, step: int) -> Tensor:
        rng = np.random.default_rng((self.seed, 1, step))
        return torch.stack([fresh_crop(self.data, rng) for _ in range(FRESH)])

    def draw(self) -> Tensor:
        while len(self.waiting) < 32:
            self.waiting.append(self.executor.submit(self.make, self.next))
            self.next += 1
        return self.waiting.pop(0).result().to(self.device)


def learning_rate(step: int, options: argparse.Namespace) -> float:
    share = min(1, step / options.steps)
    return (
        options.learning_rate * min(1, (step + 1) / 100) * (0.01 + 0.99 * (1 + math.cos(math.pi * share)) / 2)
    )


def save(path: Path, **state: object) -> None:
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    os.replace(temporary, path)


def parts(features: Features, counts: tuple[int, ...]) -> list[Features]:
    """The features of a batch, a part of it at a time."""
    split = {name: f.split(counts) for name, f in features.items()}
    return [{name: f[i] for name, f in split.items()} for i in range(len(counts))]


def detached(features: Features) -> Features:
    return {name: f.detach() for name, f in features.items()}


def training_loss(student: Features, taught: Features) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of a batch that begins with PICTURES pictures and their styles, and its parts.

    How far the Gram matrices of a picture are from its style's is what painting looks at. So the error of
    that difference counts beside the error of each.
    """
    features, grams = distances(student, taught)
    n, missing = PICTURES, {}
    for name in GRAMS:
        small, true = gram(student[name][: 2 * n]), gram(taught[name][: 2 * n])
        error = per_image((small[:n] - small[n:] - true[:n] + true[n:]).square())
        missing[name] = (error / per_image(true[n:].square()).clamp_min(1e-8)).mean()
    loss = sum(FEATURES[name] * v for name, v in features.items())
    loss = loss + sum(GRAMS[name] * (grams[name] + missing[name]) for name in GRAMS)
    seen = {f"F{n}": 1 - v for n, v in features.items()}
    seen |= {f"G{n}": v for n, v in grams.items()} | {f"D{n}": v for n, v in missing.items()}
    return loss, {name: value.detach() for name, value in seen.items()}


def start(options: argparse.Namespace, teacher: Weights, data: dict[str, list]) -> Weights:
    """The weights to begin with, by least squares."""
    rng = np.random.default_rng((options.seed, 0))
    fitting = [
        random_crop(data["photos"] if i % 3 else data["paintings"], rng, 224) for i in range(FITTING_IMAGES)
    ]
    with torch.no_grad():
        return initial_weights({k: v.cpu() for k, v in teacher.items()}, fitting, rng)


def train(options: argparse.Namespace) -> None:
    torch.manual_seed(options.seed)
    torch.set_float32_matmul_precision("high")  # TensorFloat-32 where there is a GPU
    torch.backends.cudnn.benchmark = True
    device = options.device
    teacher = load_teacher(options.teacher, device)
    data = read_images(options.paintings, options.photos)
    first, adam_state = 0, None
    if options.checkpoint.exists():
        state = torch.load(options.checkpoint)
        weights, adam_state, first = state["weights"], state["adam"], state["step"]
    else:
        weights = start(options, teacher, data)
    weights = {
        name: w.to(device).contiguous(memory_format=torch.channels_last) if w.dim() == 4 else w.to(device)
        for name, w in weights.items()
    }
    trained = [w.requires_grad_() for name, w in weights.items() if not name.startswith("1_1/")]
    # Each tensor's rate follows its own size.
    groups = [{"params": [w], "size": float(w.detach().square().mean().sqrt())} for w in trained]
    adam = torch.optim.Adam(groups, betas=(0.9, 0.98))
    if adam_state:
        adam.load_state_dict(adam_state)
    studio = Studio(data, np.random.default_rng((options.seed, 2, first)), device)
    crops = Crops(data, options.seed, first, device)

    began, recent = time.monotonic(), {}
    for step in range(first, options.steps):
        studio.renew(step, np.random.default_rng((options.seed, 3, step)))
        studio.paint_coarse(weights)
        fine = studio.fine
        x = fine.x.clone().requires_grad_()
        batch = torch.cat([x, fine.styles, fine.contents, crops.draw()])
        batch = batch.contiguous(memory_format=torch.channels_last)
        with torch.no_grad():
            taught = teacher_features(teacher, batch.detach())
        student = student_features(weights, batch)
        # The same features tell the picture's gradient, and the weights'.
        pictures, styles, contents, _ = parts(student, (PICTURES, PICTURES, PICTURES, FRESH))
        painting = fine.loss(x, pictures, detached(contents), detached(styles))
        (gradient,) = torch.autograd.grad(painting, x, retain_graph=True)
        loss, seen = training_loss(student, taught)
        rate = learning_rate(step, options)
        for group in adam.param_groups:
            group["lr"] = rate * group["size"]
        adam.zero_grad()
        loss.backward(inputs=trained)
        adam.step()
        fine.step(gradient)
        for name, value in seen.items():
            recent[name] = 0.98 * recent.get(name, value) + 0.02 * value
        if (step + 1) % SHOW_EVERY == 0:
            text = "  ".join(f"{name} {float(value):.3f}" for name, value in recent.items())
            print(f"{step + 1:6d}  {time.monotonic() - began:6.0f} s  {text}", flush=True)
        if (step + 1) % SAVE_EVERY == 0 or step + 1 == options.steps:
            kept = {name: w.detach() for name, w in weights.items()}
            save(options.checkpoint, step=step + 1, weights=kept, adam=adam.state_dict())
            write_mat(options.out, {name: w.float().cpu().contiguous() for name, w in kept.items()})


# ---------------------------------------------------------------- MatConvNet's file


def struct(**fields: object) -> np.ndarray:
    """A MATLAB struct: 1x1, with its fields in this order."""
    value = np.empty((1, 1), [(name, object) for name in fields])
    value[0, 0] = tuple(fields.values())
    return value


def cell(*items: object) -> np.ndarray:
    value = np.empty((1, len(items)), object)
    value[0, :] = items
    return value


def row(*numbers: float) -> np.ndarray:
    return np.array([numbers], np.float64)


def rounded(values: Tensor) -> np.ndarray:
    """Float32 of 13 bits of precision, which compress to two thirds."""
    bits = values.float().numpy().view(np.uint32)
    return ((bits + (1 << 10)) & np.uint32(0xFFFFF800)).view(np.float32)


def conv_struct(name: str, kernel: Tensor, bias: Tensor) -> np.ndarray:
    stored = np.ascontiguousarray(rounded(kernel).transpose(3, 2, 1, 0))  # [width, height, in, out]
    return struct(
        name=f"conv{name}",
        type="conv",
        weights=cell(stored, bias.numpy()[:, None]),
        size=row(*stored.shape),
        pad=row(*[stored.shape[0] // 2] * 4),
        stride=row(1, 1),
        precious=row(0),
        dilate=row(1),
        opts=cell(),
    )


def relu_struct(name: str) -> np.ndarray:
    return struct(name=f"relu{name}", type="relu", leak=row(0), weights=cell(), precious=row(0))


def pool_struct(block: str) -> np.ndarray:
    return struct(
        name=f"pool{block}",
        type="pool",
        method="avg",
        pool=row(2, 2),
        stride=row(2, 2),
        pad=row(0, 0, 0, 0),
        weights=cell(),
        precious=row(0),
        opts=cell(),
    )


def write_mat(path: Path, weights: Weights) -> None:
    """The network in MatConvNet's newer layout (the mean pixel under meta.normalization)."""
    layers = []
    for name, chain in CHAINS.items():
        if name.endswith("_1") and name != "1_1":
            layers.append(pool_struct(str(int(name[0]) - 1)))
        for i in range(len(chain)):
            kernel, last = weights[f"{name}/{i}"], i == len(chain) - 1
            bias = weights[f"{name}/bias"] if last else torch.zeros(len(kernel))
            part = "abc"[i] if len(chain) > 1 else ""
            layers.append(conv_struct(f"{name}{part}", kernel, bias))
        layers.append(relu_struct(name))
    normalization = struct(
        imageSize=row(224, 224, 3, 10),
        keepAspect=row(1),
        averageImage=np.array(MEAN, np.float32).reshape(1, 1, 3),
        border=row(32, 32),
        cropSize=row(0.875, 0.875),
        interpolation="bicubic",
    )
    meta = struct(inputSize=row(224, 224, 3), normalization=normalization)
    temporary = path.with_suffix(".tmp")
    with open(temporary, "wb") as file:
        scipy.io.savemat(file, {"layers": cell(*layers), "meta": meta}, do_compression=True)
    os.replace(temporary, path)


def read_mat(path: Path) -> Weights:
    """The weights of a file that write_mat wrote."""
    convolutions = {}
    for layer in scipy.io.loadmat(path)["layers"][0]:
        fields = layer[0, 0]
        if fields["type"][0] == "conv":
            convolutions[str(fields["name"][0]).removeprefix("conv")] = fields["weights"][0]
    weights = {}
    for name, chain in CHAINS.items():
        parts = [f"{name}{part}" for part in "abc"[: len(chain)]] if len(chain) > 1 else [name]
        for i, part in enumerate(parts):
            kernel, bias = convolutions[part]
            kernel = kernel.reshape(*kernel.shape, *[1] * (4 - kernel.ndim))  # MATLAB drops trailing ones
            weights[f"{name}/{i}"] = torch.from_numpy(kernel.transpose(3, 2, 1, 0).copy())
        weights[f"{name}/bias"] = torch.from_numpy(bias[:, 0].copy())
    return weights


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--teacher", type=Path, required=True, help="vgg16.npz: kernels [h, w, in, out], RGB")
    parser.add_argument("--photos", type=Path, required=True, help="tar of photographs (.jpg)")
    parser.add_argument(
        "--paintings", type=Path, nargs="+", required=True, help="folders of paintings (.jpg)"
    )
    parser.add_argument("--out", type=Path, default=Path("vgg16-small.mat"))
    parser.add_argument("--checkpoint", type=Path, default=Path("small.pt"), help="goes on from there")
    parser.add_argument("--steps", type=int, default=6300)
    parser.add_argument("--learning-rate", type=float, default=2.5e-3, help="of each tensor's own size")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    return parser.parse_args()


if __name__ == "__main__":
    train(parse_options())
