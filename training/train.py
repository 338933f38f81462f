#!/usr/bin/env python3
"""Train the compact VGG-19 that ships with the program, and write it as a MatConvNet file.

The student has VGG-19's layer names to conv5_2, narrow channels, plain convolution + ReLU, zero padding and
average pooling. Its features, mapped linearly, are matched to those of two teachers:

- VGG-19's own conv1_1..conv3_4 (Simonyan & Zisserman, arXiv 1409.1556), for blocks 1 to 3;
- a quarter-width VGG-19 distilled from it by Wang et al. (Collaborative Distillation, CVPR 2020), for
  conv4_1..conv5_1.

relu5_2 has no teacher: it is asked for relu5_1 and for the four relu4_2 positions beneath it, so that it goes
one layer further without losing what lies below.

The linear maps are not learned but solved: least squares on running moments of the features, which is the
optimum for the student as it is (variable projection, Golub & Pereyra 1973). Batch normalisation
(Ioffe & Szegedy, arXiv 1502.03167) is used while training and folded into the convolutions at the end.

Everything random follows from the seed and the step's number, and the state is written as a whole, so that a
run that was stopped continues as if it had not been.
"""

import argparse
import io
import math
import os
import tarfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import scipy.io
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

MEAN = (123.68, 116.779, 103.939)  # of the RGB pixels that VGG-19 was trained on
COUNTS = (2, 2, 4, 4, 2)  # convolutions per block
TEACHER_CHANNELS = (64, 128, 256, 512, 512)  # VGG-19's own
STYLE_LAYERS = ("1_1", "2_1", "3_1", "4_1", "5_1")
HELD_OUT = ("the-scream", "shipwreck", "great-wave", "tubingen", "golden-gate", "face", "stata", "sleeper")
NOT_PAINTINGS = ("face-mask",)

CROP = 128
SCALES = (0.45, 1.3)
PHOTOS, PAINTINGS, NOISY, PAINTED = 7, 2, 1, 2  # crops per step
PAINT_EVERY, PAINT_BATCH, PAINT_POOL = 100, 4, 200
SAVE_EVERY = 100

# How much each layer's unexplained variance counts, at first and later: the shallow layers are learned first,
# and the layers that painting looks at count most.
WEIGHTS = {
    "1_1": (1.0, 0.5),
    "1_2": (0.3, 0.2),
    "2_1": (1.0, 0.5),
    "2_2": (0.3, 0.2),
    "3_1": (1.0, 0.7),
    "3_2": (0.2, 0.1),
    "3_4": (0.3, 0.3),
    "4_1": (1.0, 1.5),
    "4_2": (1.0, 3.0),
    "4_4": (0.3, 0.5),
    "5_1": (1.0, 4.0),
    "5_2": (0.3, 0.5),
}
LATER = 0.38  # of all steps
MOMENT_DECAY = 0.9
RIDGE = 1e-4
RELU5_2_SIZE = 0.4  # of relu5_1's mean activation

Weights = dict[str, tuple[Tensor, Tensor]]
Features = dict[str, Tensor]


# ---------------------------------------------------------------- networks


def layer_names(counts: Iterable[int] = COUNTS) -> list[str]:
    return [f"{block}_{i}" for block, count in enumerate(counts, 1) for i in range(1, count + 1)]


def run_layers(x: Tensor, names: Iterable[str], layer: Callable[[str, Tensor], Tensor]) -> Features:
    """Features by name ("1_1": after its ReLU) of images [N, 3, H, W] minus the mean pixel."""
    features = {}
    for name in names:
        if name.endswith("_1") and name != "1_1":
            x = F.avg_pool2d(x, 2, ceil_mode=True)
        x = features[name] = F.relu(layer(name, x))
    return features


def plain_features(weights: Weights, x: Tensor, padding: str = "zeros") -> Features:
    """A network of plain convolutions; padding is "zeros" or "reflect"."""

    def layer(name: str, x: Tensor) -> Tensor:
        kernel, bias = weights[name]
        if padding == "zeros":
            return F.conv2d(x, kernel, bias, padding=1)
        return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), kernel, bias)

    return run_layers(x, weights, layer)


class Student(nn.Module):
    """The compact network while it is trained: convolution, batch normalisation, ReLU."""

    def __init__(self, channels: Iterable[int]) -> None:
        super().__init__()
        self.conv, self.norm = nn.ModuleDict(), nn.ModuleDict()
        width_in = 3
        for name, width in zip(layer_names(), np.repeat(channels, COUNTS).tolist(), strict=True):
            self.conv[name] = nn.Conv2d(width_in, width, 3, padding=1, bias=False)
            self.norm[name] = nn.BatchNorm2d(width, momentum=0.02)
            nn.init.kaiming_normal_(self.conv[name].weight, nonlinearity="relu")
            width_in = width

    def forward(self, x: Tensor) -> Features:
        return run_layers(x, self.conv, lambda name, x: self.norm[name](self.conv[name](x)))

    @torch.no_grad()
    def folded(self) -> Weights:
        """The same function as plain convolutions, from the running statistics."""
        weights = {}
        for name, norm in self.norm.items():
            factor = norm.weight / torch.sqrt(norm.running_var + norm.eps)
            kernel = self.conv[name].weight * factor[:, None, None, None]
            weights[name] = kernel.contiguous(), norm.bias - norm.running_mean * factor
        return weights


def load_npz(path: Path) -> Weights:
    """A teacher: kernels [h, w, in, out] become [out, in, h, w]."""
    with np.load(path) as file:
        names = sorted(
            key.removeprefix("conv").removesuffix("/kernel") for key in file if key.endswith("kernel")
        )
        return {
            name: (
                torch.from_numpy(file[f"conv{name}/kernel"].transpose(3, 2, 0, 1).copy()).contiguous(
                    memory_format=torch.channels_last
                ),
                torch.from_numpy(file[f"conv{name}/bias"]),
            )
            for name in names
        }


class Teachers:
    """VGG-19's first three blocks, and the distilled network from conv4_1 on."""

    def __init__(self, folder: Path) -> None:
        self.vgg = load_npz(folder / "vgg19-conv1-3.npz")
        self.distilled = load_npz(folder / "vgg19-16x.npz")

    @torch.no_grad()
    def features(self, x: Tensor, distilled_padding: str = "zeros") -> Features:
        """Zero padding is what the program runs; the distilled network itself was trained with reflection."""
        deep = plain_features(self.distilled, x, distilled_padding)
        return plain_features(self.vgg, x) | {name: deep[name] for name in deep if name[0] in "45"}


# ---------------------------------------------------------------- data


def read_photos(path: Path) -> list[Image.Image]:
    with tarfile.open(path) as tar:
        members = sorted((m for m in tar if m.name.endswith(".jpg")), key=lambda m: m.name)
        return [Image.open(io.BytesIO(tar.extractfile(m).read())).convert("RGB") for m in members]


def read_paintings(folder: Path) -> list[Image.Image]:
    paths = [p for p in sorted(folder.iterdir()) if p.suffix in (".jpg", ".png")]
    images = []
    for path in paths:
        if path.stem not in HELD_OUT + NOT_PAINTINGS:
            image = Image.open(path).convert("RGB")
            image.thumbnail((640, 640), Image.Resampling.BICUBIC)
            images.append(image)
    return images


def to_tensor(images: Iterable[Image.Image]) -> Tensor:
    """Images of one size to [N, 3, H, W], RGB 0..255 minus the mean pixel."""
    pixels = np.stack([np.asarray(image, np.float32) for image in images]) - np.float32(MEAN)
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)  # channels last in memory


def random_crop(images: list[Image.Image], rng: np.random.Generator) -> Image.Image:
    image = images[rng.integers(len(images))]
    scale = math.exp(rng.uniform(math.log(SCALES[0]), math.log(SCALES[1])))
    side = min(CROP / scale, *image.size)
    left, top = rng.uniform(0, image.width - side), rng.uniform(0, image.height - side)
    box = (left, top, left + side, top + side)
    crop = image.resize((CROP, CROP), Image.Resampling.BICUBIC, box=box)
    return crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else crop


def add_noise(x: Tensor, rng: np.random.Generator) -> Tensor:
    """Noise of a random grain and strength over a faded picture: what an optimisation begins with."""
    grain = int(rng.choice([1, 1, 2, 4]))
    noise = torch.from_numpy(rng.standard_normal((len(x), 3, CROP // grain, CROP // grain), np.float32))
    strength = math.exp(rng.uniform(math.log(2), math.log(50)))
    return x * rng.uniform(0, 1) + strength * F.interpolate(noise, scale_factor=grain, mode="nearest")


def make_batch(data: dict[str, list], pool: list[Tensor], rng: np.random.Generator) -> Tensor:
    """Crops [N, 3, CROP, CROP]; the painted ones are whole pictures, so that their borders are seen too."""
    photos = to_tensor([random_crop(data["photos"], rng) for _ in range(PHOTOS + NOISY)])
    paintings = to_tensor([random_crop(data["paintings"], rng) for _ in range(PAINTINGS)])
    painted = [pool[i].float() for i in rng.integers(len(pool), size=PAINTED)] if pool else []
    batch = [photos[:PHOTOS], add_noise(photos[PHOTOS:], rng), paintings, *(p[None] for p in painted)]
    return torch.cat(batch).contiguous(memory_format=torch.channels_last)


# ---------------------------------------------------------------- the program's own pictures


def gram(f: Tensor) -> Tensor:
    n, c, h, w = f.shape
    f = f.reshape(n, c, h * w)
    return f @ f.transpose(1, 2) / (h * w * c)  # (n, c, c)


def total_variation(x: Tensor) -> Tensor:
    return (x[..., 1:, :] - x[..., :-1, :]).square().mean() + (x[..., 1:] - x[..., :-1]).square().mean()


def paint(weights: Weights, content: Tensor, style: Tensor, start: Tensor, iterations: int) -> Tensor:
    """The program's default objective and optimiser, in small, on the network as it would be written now."""
    names = {name: weights[name] for name in layer_names() if name <= "5_1"}
    with torch.no_grad():
        content_target = plain_features(names, content)["4_2"]
        style_features = plain_features(names, style)
    style_targets = {name: gram(style_features[name]) for name in STYLE_LAYERS}
    share = torch.softmax(torch.arange(5.0), 0)
    x = start.clone().requires_grad_()
    adam = torch.optim.Adam([x], lr=10)
    for _ in range(iterations):
        features = plain_features(names, x)
        loss = 5 * (features["4_2"] - content_target).square().mean() + 100 * total_variation(x)
        for k, name in enumerate(STYLE_LAYERS):
            loss = loss + 500 * share[k] * (gram(features[name]) - style_targets[name]).square().mean()
        adam.zero_grad()
        (loss * len(x)).backward()
        adam.step()
    return x.detach()


def paint_some(
    student: Student, data: dict[str, list], sizes: dict[str, float], rng: np.random.Generator
) -> list[Tensor]:
    """New pictures for the pool, from the content or from noise, stopped anywhere on their way."""
    content = to_tensor([random_crop(data["photos"], rng) for _ in range(PAINT_BATCH)])
    style = to_tensor([random_crop(data["paintings"], rng) for _ in range(PAINT_BATCH)])
    noise = 30 * torch.from_numpy(rng.standard_normal(content.shape, np.float32))
    start = content if rng.random() < 0.5 else noise
    weights = resized(student.folded(), sizes, content)
    with torch.autocast("cpu", torch.bfloat16):
        pictures = paint(weights, content, style, start.contiguous(), int(rng.integers(5, 60)))
    low = -torch.tensor(MEAN)[:, None, None]
    return list(pictures.clamp(low - 20, low + 275).half())


# ---------------------------------------------------------------- sizes of activations


@torch.no_grad()
def mean_activations(features: Features) -> dict[str, float]:
    return {name: float(f.float().mean()) for name, f in features.items()}


def wanted_sizes(teachers: Teachers, x: Tensor, channels: Iterable[int]) -> dict[str, float]:
    """Mean activations that balance the default weights with this network as with the published one.

    A Gram matrix's mean square goes with activation^4 / channels^2: VGG-19's size times the square root of
    the channel ratio keeps it. relu4_2 and relu5_2, the content layers, keep VGG-19's size.
    """
    sizes = mean_activations(teachers.features(x))
    sizes["5_2"] = RELU5_2_SIZE * sizes["5_1"]
    ratios = [width / full for width, full in zip(channels, TEACHER_CHANNELS, strict=True)]
    return {
        name: size * (1 if name in ("4_2", "5_2") else math.sqrt(ratios[int(name[0]) - 1]))
        for name, size in sizes.items()
    }


def resized(weights: Weights, sizes: dict[str, float], x: Tensor) -> Weights:
    """The wanted mean activations on x, by a positive factor per layer that the next layer's input undoes."""
    with torch.no_grad():
        means = mean_activations(plain_features(weights, x))
    result, before = {}, 1.0
    for name, (kernel, bias) in weights.items():
        factor = sizes[name] / means[name]
        result[name] = kernel * (factor / before), bias * factor
        before = factor
    return result


# ---------------------------------------------------------------- objective


def rows(f: Tensor) -> Tensor:
    return f.permute(0, 2, 3, 1).reshape(-1, f.shape[1]).float()  # (positions, channels)


def thinned(features: Features, phase: Iterable[int]) -> Features:
    """A quarter of block 1's positions, which are plenty, to save time."""
    top, left = phase
    return {name: f[..., top::2, left::2] if name[0] == "1" else f for name, f in features.items()}


def relu5_2_target(teacher: Features) -> Tensor:
    """relu5_1 and the 2x2 positions of relu4_2 beneath it, each of unit variance: (N, 128 + 4 * 128, h, w)"""
    below = F.pixel_unshuffle(teacher["4_2"], 2)
    return torch.cat([teacher["5_1"] / teacher["5_1"].std(), below / below.std()], 1)


class LinearMap:
    """The best linear map from student to teacher features, from running moments of both."""

    def __init__(self) -> None:
        self.moments: dict[str, Tensor] = {}

    @torch.no_grad()
    def update(self, s: Tensor, t: Tensor) -> None:
        n = len(s)
        new = {
            "ss": s.T @ s / n,
            "st": s.T @ t / n,
            "tt": t.square().sum() / n,
            "t": t.mean(0),
            "one": torch.ones(()),
        }
        for key, value in new.items():
            old = self.moments.get(key, torch.zeros_like(value))
            self.moments[key] = MOMENT_DECAY * old + (1 - MOMENT_DECAY) * value

    def unexplained(self, s: Tensor, t: Tensor) -> Tensor:
        """Share of the variance of t (positions, Ct) that no linear map of s (positions, Cs) explains."""
        s = torch.cat([s, torch.ones_like(s[:, :1])], 1)
        self.update(s.detach(), t)
        m = self.moments
        ridge = RIDGE * m["ss"].diagonal().mean() * torch.eye(len(m["ss"]))
        matrix = torch.linalg.solve(m["ss"] + ridge, m["st"])
        variance = m["tt"] / m["one"] - (m["t"] / m["one"]).square().sum()
        return (s @ matrix - t).square().sum(1).mean() / variance


def unexplained(maps: dict[str, LinearMap], student: Features, teacher: Features) -> dict[str, Tensor]:
    return {name: maps[name].unexplained(rows(student[name]), rows(teacher[name])) for name in WEIGHTS}


# ---------------------------------------------------------------- training


def learning_rate(step: int, steps: int, peak: float, warm_up: int = 100) -> float:
    return peak * min(1, (step + 1) / warm_up) * 0.5 * (1 + math.cos(math.pi * step / steps))


def save(path: Path, **state: object) -> None:
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    os.replace(temporary, path)


def train(options: argparse.Namespace) -> None:
    torch.manual_seed(options.seed)
    teachers = Teachers(options.teachers)
    data = {"photos": read_photos(options.photos), "paintings": read_paintings(options.paintings)}
    sample_rng = np.random.default_rng(options.seed)
    sample = to_tensor([random_crop(data["photos"], sample_rng) for _ in range(64)])
    sizes = wanted_sizes(teachers, sample, options.channels)

    student = Student(options.channels).to(memory_format=torch.channels_last)
    adam = torch.optim.Adam(student.parameters(), lr=options.learning_rate)
    maps = {name: LinearMap() for name in WEIGHTS}
    pool: list[Tensor] = []
    first = 0
    if options.checkpoint.exists():
        state = torch.load(options.checkpoint)
        student.load_state_dict(state["student"])
        adam.load_state_dict(state["adam"])
        for name, moments in state["moments"].items():
            maps[name].moments = moments
        pool, first = state["pool"], state["step"]

    began, recent = time.monotonic(), {}
    for step in range(first, options.steps):
        rng = np.random.default_rng(
            (options.seed, step)
        )  # of the step alone: a resumed run sees the same data
        if step % PAINT_EVERY == PAINT_EVERY - 1:
            student.eval()
            pool = (pool + paint_some(student, data, sizes, rng))[-PAINT_POOL:]
            student.train()
        x = make_batch(data, pool, rng)
        with torch.autocast("cpu", torch.bfloat16):
            taught, learned = teachers.features(x), student(x)
        taught["5_2"] = relu5_2_target(taught)
        phase = rng.integers(2, size=2)
        losses = unexplained(maps, thinned(learned, phase), thinned(taught, phase))
        for group in adam.param_groups:
            group["lr"] = learning_rate(step, options.steps, options.learning_rate)
        adam.zero_grad()
        later = step >= LATER * options.steps
        sum(WEIGHTS[name][later] * loss for name, loss in losses.items()).backward()
        adam.step()

        for name, loss in losses.items():
            recent[name] = 0.95 * recent.get(name, loss.item()) + 0.05 * loss.item()
        if (step + 1) % SAVE_EVERY == 0 or step + 1 == options.steps:
            explained = "  ".join(f"{name} {1 - recent[name]:.3f}" for name in WEIGHTS)
            print(f"{step + 1:6d}  {time.monotonic() - began:7.0f} s  {explained}", flush=True)
            moments = {name: linear.moments for name, linear in maps.items()}
            save(
                options.checkpoint,
                step=step + 1,
                student=student.state_dict(),
                adam=adam.state_dict(),
                moments=moments,
                pool=pool,
            )
    student.eval()
    write_mat(options.out, resized(student.folded(), sizes, sample))


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


def conv_struct(name: str, kernel: Tensor, bias: Tensor) -> np.ndarray:
    stored = np.ascontiguousarray(kernel.numpy().transpose(3, 2, 1, 0))  # [width, height, in, out]
    return struct(
        name=f"conv{name}",
        type="conv",
        weights=cell(stored, bias.numpy()[:, None]),
        size=row(*stored.shape),
        pad=row(1, 1, 1, 1),
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
    for name, (kernel, bias) in weights.items():
        if name.endswith("_1") and name != "1_1":
            layers.append(pool_struct(str(int(name[0]) - 1)))
        layers += [conv_struct(name, kernel, bias), relu_struct(name)]
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
        scipy.io.savemat(file, {"layers": cell(*layers), "meta": meta})
    os.replace(temporary, path)


def read_mat(path: Path) -> Weights:
    """The convolutions of a file that write_mat wrote."""
    weights = {}
    for layer in scipy.io.loadmat(path)["layers"][0]:
        fields = layer[0, 0]
        if fields["type"][0] == "conv":
            kernel, bias = fields["weights"][0]
            kernel = np.ascontiguousarray(kernel.transpose(3, 2, 1, 0))
            weights[str(fields["name"][0]).removeprefix("conv")] = (
                torch.from_numpy(kernel),
                torch.from_numpy(bias[:, 0]),
            )
    return weights


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--teachers", type=Path, required=True, help="folder of vgg19-conv1-3.npz and vgg19-16x.npz"
    )
    parser.add_argument("--photos", type=Path, required=True, help="tar of photographs (.jpg)")
    parser.add_argument("--paintings", type=Path, required=True, help="folder of paintings (.jpg, .png)")
    parser.add_argument(
        "--checkpoint", type=Path, default=Path("compact.pt"), help="written every 100 steps, and resumed"
    )
    parser.add_argument("--out", type=Path, default=Path("vgg19-compact.mat"))
    parser.add_argument("--channels", type=int, nargs=5, default=(16, 48, 96, 128, 128), help="per block")
    parser.add_argument("--steps", type=int, default=6300)
    parser.add_argument("--learning-rate", type=float, default=4e-3)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    train(parse_options())
