#!/usr/bin/env python3
"""Train the decoder that paints in one pass: it finishes a collage of the painting's own strokes.

    decoder.py --network vgg16-small.mat --photos photos.tar --paintings FOLDER ... --out decoder.npz

README.md beside this says how. Everything random follows from the seed and the step. The state is written
whole, so that a run that was stopped goes on.
"""

import argparse
import itertools
import math
import os
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from train import CHAINS, HELD_OUT, MEAN, painting_crop, random_crop, read_images, read_mat, respond, save

MAPS = ("1_1", "1_2", "2_1", "2_2", "3_1", "3_2", "3_3", "4_1", "4_2")  # of a hypercolumn
STROKES = ("1_1", "1_2", "2_1", "3_1", "4_1", "4_3")  # compared each at its own resolution
CONTENT = "4_2"
OTHERS = ("starry-night", "starry-night-wide", "golden-gate", "tubingen")  # held out too: nobody's training
DIRECTIONS, KEPT = 192, 64  # of the code, and those that tell of the searching image
FEATURES_SCALE = 4.0  # brings a code's numbers near to 1

WIDTH = 64
CONVOLUTIONS = {
    "first": (DIRECTIONS + 48 + KEPT + 1, WIDTH),
    **{f"block{i}{part}": (WIDTH, WIDTH) for i in (1, 2, 3) for part in "ab"},
    "second_a": (WIDTH + 12, 48),
    "second_b": (48, 32),
    "third_a": (32 + 3, 24),
    "third_b": (24, 24),
    "last": (24, 3),
}
ROUNDS = 8  # of neighbours' proposals
COHERENCE = 0.12  # at most, what a neighbour's consent is worth as likeness

SIDE, STYLE_SIDE = 128, 160
HALVES, HALF = 2, 2  # a step's batch is computed in halves, each in a thread of its own
PICTURE_SAMPLES, PAINTING_SAMPLES = 400, 1600
SHOW_EVERY, SAVE_MINUTES = 25, 5

Tensors = dict[str, Tensor]
Rng = np.random.Generator


class Seen(NamedTuple):
    """What the small network tells of images: its features, hypercolumns [n, C, h, w] and their codes."""

    features: Tensors
    columns: Tensor
    codes: Tensor


def features_of(network: Tensors, x: Tensor) -> Tensors:
    """Features by name, to conv4_3, of pictures [n, 3, H, W] in 0..1."""
    x = 255 * x - x.new_tensor(MEAN)[:, None, None]
    x, found = channels_last(x), {}
    for name in CHAINS:
        if name.endswith("_1") and name != "1_1":
            x = F.avg_pool2d(x, 2, ceil_mode=True)
        x = found[name] = F.relu(respond(network, name, x))
        if name == STROKES[-1]:
            return found


def channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x


def columns_of(scales: Tensor, features: Tensors) -> Tensor:
    """Hypercolumns: the nine maps at a quarter of the image's side, one after the other."""
    parts = []
    for scale, name in zip(scales, MAPS, strict=True):
        f, block = features[name] * scale, int(name[0])
        if block < 3:
            f = F.avg_pool2d(f, 8 >> block)
        parts.append(F.interpolate(f, scale_factor=2, mode="bilinear") if block == 4 else f)
    return torch.cat(parts, 1)


def look(network: Tensors, basis: Tensors, x: Tensor) -> Seen:
    features = features_of(network, x)
    columns = columns_of(basis["scales"], features)
    directions = FEATURES_SCALE * basis["directions"].T
    codes = F.conv2d(columns, directions[:, :, None, None], -directions @ basis["centre"])
    return Seen(features, columns, codes)


def find_basis(network: Tensors, x: Tensor) -> Tensors:
    """Each map to the same mean square, and the main directions of hypercolumns about their mean."""
    features = features_of(network, x)
    scales = torch.stack([1 / features[name].square().sum(1).mean().sqrt() for name in MAPS])
    rows = columns_of(scales, features).transpose(0, 1).flatten(1)[:, ::3].double()
    centre = rows.mean(1, keepdim=True)
    _, vectors = torch.linalg.eigh((rows - centre) @ (rows - centre).T)
    directions = vectors.flip(1)[:, :DIRECTIONS]
    return {"scales": scales, "centre": centre[:, 0].float(), "directions": directions.float().contiguous()}


def unit(codes: Tensor) -> Tensor:
    """Centred rows of length 1 [positions, D]."""
    rows = codes.flatten(1).T
    return F.normalize(rows - rows.mean(0), dim=1)


def proposals(place: Tensor, height: int, width: int) -> Tensor:
    """For each position its own place, and where its four neighbours' would go on, or -1: [5, h, w]."""
    y, x = (F.pad(v, (1, 1, 1, 1), value=-9) for v in (place // width, place % width))
    found = []
    for down, right in ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)):
        parts = slice(1 - down, y.shape[0] - 1 - down), slice(1 - right, y.shape[1] - 1 - right)
        row, column = y[parts] + down, x[parts] + right
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        found.append(torch.where(inside, row * width + column, -1))
    return torch.stack(found)


def match(codes: Tensor, painting: Tensor, coherence: float) -> Tensor:
    """For each position of an image [D, h, w], the painting's most alike by centred cosine: [h * w].

    Then each goes on where a neighbour's would, if likeness plus coherence times the number of neighbours
    that agree is more.
    """
    h, w = codes.shape[1:]
    a, b = unit(codes), unit(painting)
    place = (a @ b.T).argmax(1).view(h, w)
    even = (torch.arange(h)[:, None] + torch.arange(w)).to(place.device) % 2
    for i in range(ROUNDS if coherence else 0):  # the black and the white fields of a chessboard in turn
        offers = proposals(place, *painting.shape[1:])
        score = (a.view(h, w, -1) * b[offers.clamp_min(0)]).sum(3)
        score = score + coherence * (offers[:, None] == offers[None, 1:]).sum(1)
        best = score.masked_fill(offers < 0, -9).argmax(0) * (even == i % 2)
        place = offers.gather(0, best[None])[0]
    return place.flatten()


def collage_of(pixels: Tensor, places: Tensor, size: tuple[int, int]) -> Tensor:
    """Patches of 8 x 8 pixels of a painting [3, H, W], overlapping by half, each fading out."""
    cut = F.unfold(F.pad(pixels[None], (2, 2, 2, 2), mode="reflect"), 8, stride=4)[:, :, places]
    ramp = torch.tensor([1, 3, 5, 7, 7, 5, 3, 1], device=pixels.device) / 8
    fade = (ramp[:, None] * ramp).flatten().repeat(3)[None, :, None]
    fade, canvas = fade.expand_as(cut), (4 * size[0] + 4, 4 * size[1] + 4)
    both = [F.fold(patch.contiguous(), canvas, 8, stride=4) for patch in (cut * fade, fade)]
    return (both[0] / both[1])[0, :, 2:-2, 2:-2]


def patches(x: Tensor, n: int) -> Tensor:
    """Space to depth: pixels of n x n patches as channels, in the order row, column, colour."""
    b, c, h, w = x.shape
    return x.view(b, c, h // n, n, w // n, n).permute(0, 3, 5, 1, 2, 4).reshape(b, -1, h // n, w // n)


def gathered(x: Tensor, places: Tensor, size: tuple[int, ...]) -> Tensor:
    """A painting's [1, c, h, w] at places [n, positions], as maps of this size."""
    return x[0].flatten(1)[:, places].transpose(0, 1).unflatten(2, size)


def new_weights(rng: Rng) -> Tensors:
    """He et al.'s sizes; the blocks, and what is added to the collage, begin near to nothing."""
    weights = {}
    for name, (inner, outer) in CONVOLUTIONS.items():
        size = math.sqrt(2 / (9 * inner))
        if name == "last" or (name.startswith("block") and name.endswith("b")):
            size /= 4 if name != "last" else 20
        values = size * rng.standard_normal((outer, inner, 3, 3))
        weights[f"{name}/kernel"] = torch.from_numpy(values).float()
        weights[f"{name}/bias"] = torch.zeros(outer)
    return weights


def convolved(weights: Tensors, name: str, x: Tensor) -> Tensor:
    x = F.pad(channels_last(x), (1, 1, 1, 1), "reflect")
    return F.conv2d(x, weights[f"{name}/kernel"], weights[f"{name}/bias"])


def decode(weights: Tensors, codes: Tensor, collage: Tensor, searching: Tensor, keep: Tensor) -> Tensor:
    """Pictures in 0..1 from the codes found, the pixels found and the searching images' codes.

    keep [n], 0..1: how much the forms of what was searched with count.
    """
    keep = keep[:, None, None, None]
    kept = torch.cat([keep * searching[:, :KEPT], keep.expand(-1, 1, *codes.shape[2:])], 1)
    x = F.relu(convolved(weights, "first", torch.cat([codes, patches(collage - 0.5, 4), kept], 1)))
    for i in (1, 2, 3):
        x = x + convolved(weights, f"block{i}b", F.relu(convolved(weights, f"block{i}a", x)))
    for name, n in (("second", 2), ("third", 1)):
        x = F.interpolate(x, scale_factor=2, mode="nearest")
        x = F.relu(convolved(weights, f"{name}_a", torch.cat([x, patches(collage - 0.5, n)], 1)))
        x = F.relu(convolved(weights, f"{name}_b", x))
    return collage + convolved(weights, "last", x)


def paint(
    weights: Tensors, search: Seen, painting: Seen, pixels: Tensor, keep: Tensor, coherence: float
) -> tuple[Tensor, Tensor]:
    """Pictures of one painting [1, 3, H, W], and the places [n, positions] that they are made of."""
    size = search.codes.shape[2:]
    with torch.no_grad():
        places = torch.stack([match(codes, painting.codes[0], coherence) for codes in search.codes])
        collage = torch.stack([collage_of(pixels[0], p, size) for p in places])
        codes = gathered(painting.codes, places, size)
    return decode(weights, codes, collage, search.codes, keep), places


def draw(data: dict[str, list], rng: Rng, own: bool) -> tuple[Tensor, Tensor]:
    """Photographs and a painting in 0..1. With own, the last photograph is a piece of the painting."""
    mean = torch.tensor(MEAN)[:, None, None]
    contents = [random_crop(data["photos"], rng, SIDE) for _ in range(HALF)]
    kind = {"paintings": data["paintings" if rng.random() < 0.6 else "photos"], "photos": data["photos"]}
    style = torch.rot90(painting_crop(kind, rng, STYLE_SIDE), int(rng.integers(4)), (1, 2))
    if own:  # a little smaller and beside the grid of patches: to blend seams is to find the painting again
        side = int(rng.integers(SIDE, STYLE_SIDE - 4))
        top, left = rng.integers(0, STYLE_SIDE - side, 2)
        piece = style[None, :, top : top + side, left : left + side]
        contents[-1] = F.interpolate(piece, SIDE, mode="bicubic", antialias=True)[0]
    return tuple(((x + mean) / 255).clamp(0, 1) for x in (torch.stack(contents), style[None]))


def halved(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=0.5, mode="bicubic", antialias=True).clamp(0, 1)


def farness(picture: Tensor, painting: Tensor, rng: Rng) -> Tensor:
    """Mean over sampled positions of the least centred cosine distance to a painting's features [c, h, w]."""
    chosen = []
    for f, most in ((picture.flatten(1), PICTURE_SAMPLES), (painting.flatten(1), PAINTING_SAMPLES)):
        places = rng.permutation(f.shape[1])[:most] if f.shape[1] > most else np.arange(f.shape[1])
        chosen.append(f[:, torch.from_numpy(places).to(f.device)])
    mean = chosen[1].mean(1, keepdim=True)
    a, b = (F.normalize(f - mean, dim=0) for f in chosen)
    return 1 - (a.T @ b).amax(1).mean()


def roughness(x: Tensor) -> Tensor:
    """The mean step from a pixel to the next ones, about each position: [n, 1, H / 4, W / 4]."""
    steps = F.pad(x.diff(dim=3).abs(), (0, 1)) + F.pad(x.diff(dim=2).abs(), (0, 0, 0, 1))
    return F.avg_pool2d(steps.mean(1, keepdim=True), 8, 4, 2)


def lattice(x: Tensor) -> Tensor:
    """How far steps between pixels depend on where in a patch they are: seams, and the enlargement's grid."""
    parts = []
    for way in (x, x.transpose(2, 3)):
        phases = way.diff(dim=3).abs().mean((1, 2))[:, :-3].unflatten(1, (-1, 4)).mean(1)
        mean = phases.mean(1, keepdim=True)
        parts.append(((phases - mean).abs() / mean.clamp_min(1e-4)).mean())
    return sum(parts) / 2


def training_loss(
    network: Tensors, basis: Tensors, weights: Tensors, data: dict[str, list], own: bool, rng: Rng
) -> dict[str, Tensor]:
    """The parts of the loss of a new batch, as they are weighted."""
    contents, style = batch = [x.to(weights["last/bias"].device) for x in draw(data, rng, own)]
    keep = torch.from_numpy(rng.random(len(contents), np.float32)).to(contents.device)
    coherence = COHERENCE * rng.random()
    with torch.no_grad():
        photo = search = look(network, basis, contents)
        painting = look(network, basis, style)
        if rng.random() < 0.5:  # as in a finer pass: half the picture of half the size
            small = [look(network, basis, halved(x)) for x in batch]
            picture, _ = paint(weights, *small, halved(style), keep, coherence)
            share = rng.uniform(0.3, 0.7)
            mixed = torch.lerp(
                contents, F.interpolate(picture.clamp(0, 1), scale_factor=2, mode="bilinear"), share
            )
            search = look(network, basis, mixed)
    picture, places = paint(weights, search, painting, style, keep, coherence)
    with torch.no_grad():
        wanted = gathered(painting.columns, places, search.codes.shape[2:])
        if own:
            wanted[-1] = photo.columns[-1]
        # Cosines do not see that a picture is too soft: its pixels are to differ as those of the painting do.
        rough = gathered(roughness(style), places, search.codes.shape[2:])
    got = features_of(network, picture)
    columns = columns_of(basis["scales"], got)
    aa, ab, bb = (a.sum(1) for a in (columns.square(), columns * wanted, wanted.square()))
    cosine = 1 - (ab / (aa * bb).sqrt()).mean()
    squares = (aa - 2 * ab + bb).mean() / bb.mean()
    strokes = [farness(f, painting.features[name][0], rng) for name in STROKES for f in got[name]]
    moved = (got[CONTENT] - photo.features[CONTENT]).square().mean((1, 2, 3))
    moved = moved / photo.features[CONTENT].square().mean((1, 2, 3))
    return {
        "cosine": cosine,
        "squares": 0.3 * squares,
        "strokes": 2 * sum(strokes) / len(strokes),
        "rough": 0.3 * (roughness(picture) - rough).abs().mean() / rough.mean(),
        "lattice": 0.5 * lattice(picture),
        "content": ((0.03 + 0.3 * keep) * moved).mean(),
        "pixels": 2 * own * (picture[-1] - contents[-1]).abs().mean(),
    }


def export(path: Path, basis: Tensors, weights: Tensors) -> None:
    """What the program reads: kernels [h, w, in, out], in half precision; see data/README.md."""
    arrays = {name: value.cpu().numpy() for name, value in basis.items()}
    arrays["directions"] = arrays["directions"].astype(np.float16)
    for name, value in weights.items():
        value = value.detach().cpu().numpy()
        arrays[name] = value.transpose(2, 3, 1, 0).astype(np.float16) if value.ndim == 4 else value
    temporary = path.with_suffix(".tmp")
    with open(temporary, "wb") as file:
        np.savez_compressed(file, **arrays)
    os.replace(temporary, path)


def begin(options: argparse.Namespace, network: Tensors, data: dict[str, list]) -> dict:
    """The state of the checkpoint, or of a new run."""
    if options.checkpoint.exists():
        return torch.load(options.checkpoint, map_location=options.device)
    crops = [draw(data, np.random.default_rng((options.seed, 0, i)), i % 2 == 0) for i in range(12)]
    crops = torch.cat([x[..., :SIDE, :SIDE] for pair in crops for x in pair])
    with torch.no_grad():
        basis = find_basis(network, crops.to(options.device))
    weights = new_weights(np.random.default_rng((options.seed, 1)))
    weights = {name: w.to(options.device) for name, w in weights.items()}
    return {"step": 0, "spent": 0.0, "basis": basis, "weights": weights, "mean": dict(weights), "adam": None}


def train(options: argparse.Namespace) -> None:
    torch.manual_seed(options.seed)
    network = {name: channels_last(w.to(options.device)) for name, w in read_mat(options.network).items()}
    data = read_images(options.paintings, options.photos, (*HELD_OUT, *OTHERS))
    state = begin(options, network, data)
    basis, first, mean = state["basis"], state["step"], {k: w.clone() for k, w in state["mean"].items()}
    weights = {name: w.requires_grad_() for name, w in state["weights"].items()}
    adam = torch.optim.Adam(weights.values(), betas=(0.9, 0.99))
    if state["adam"]:
        adam.load_state_dict(state["adam"])

    def half(step: int, i: int) -> tuple[list[Tensor], dict[str, float]]:
        """The gradients of half a batch's loss, and the loss's parts to show."""
        rng = np.random.default_rng((options.seed, 2, step, i))
        parts = training_loss(network, basis, weights, data, i == 0, rng)
        gradients = torch.autograd.grad(sum(parts.values()) / HALVES, list(weights.values()))
        return gradients, {name: float(part.detach()) for name, part in parts.items()}

    # Threads for half a batch each, not for each operation, meet once a step: that is fast on a busy machine.
    threads = ThreadPoolExecutor(HALVES, initializer=partial(torch.set_num_threads, 1))
    began, saved, recent = time.monotonic() - state["spent"], state["spent"], {}
    for step in itertools.count(first):
        spent = time.monotonic() - began
        share = spent / 60 / options.minutes
        halves = list(threads.map(half, [step] * HALVES, range(HALVES)))
        for w, *found in zip(weights.values(), *(g for g, _ in halves), strict=True):
            w.grad = sum(found)
        torch.nn.utils.clip_grad_norm_(weights.values(), 1.0)
        cosine = 0.01 + 0.99 * (1 + math.cos(math.pi * min(1, share))) / 2
        adam.param_groups[0]["lr"] = options.learning_rate * min(1, (step + 1) / 50) * cosine
        adam.step()
        with torch.no_grad():  # the mean of recent steps is better than the last one, and is what is shipped
            for name, w in weights.items():
                mean[name].lerp_(w, max(0.02, 1 / (step + 1)))
        for name in halves[0][1]:
            value = sum(parts[name] for _, parts in halves) / HALVES
            recent[name] = 0.98 * recent.get(name, value) + 0.02 * value
        done = share >= 1
        if (step + 1) % SHOW_EVERY == 0 or done:
            text = "  ".join(f"{name} {value:.3f}" for name, value in recent.items())
            print(f"{step + 1:6d}  {spent:6.0f} s  {text}  sum {sum(recent.values()):.3f}", flush=True)
        if done or spent - saved > 60 * SAVE_MINUTES:
            saved = spent
            kept = {name: w.detach() for name, w in weights.items()}
            state = {"basis": basis, "weights": kept, "mean": mean, "adam": adam.state_dict()}
            save(options.checkpoint, step=step + 1, spent=spent, **state)
            export(options.out, basis, mean)
        if done:
            return


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", type=Path, required=True, help="vgg16-small.mat")
    parser.add_argument("--photos", type=Path, required=True, help="tar of photographs (.jpg)")
    parser.add_argument("--paintings", type=Path, nargs="+", required=True, help="folders of .jpg files")
    parser.add_argument("--out", type=Path, default=Path("decoder.npz"))
    parser.add_argument("--checkpoint", type=Path, default=Path("decoder.pt"), help="goes on from there")
    parser.add_argument("--minutes", type=float, default=110, help="of training, whatever steps they allow")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    return parser.parse_args()


if __name__ == "__main__":
    train(parse_options())
