"""VGG-16 and VGG-19 (Simonyan & Zisserman 2014), read from a MatConvNet .mat file and built by hand.

    network = vgg.load("imagenet-vgg-verydeep-19.mat")
    features = network.features(network.preprocess(image), ["relu4_2"])

The layers, their channels and the mean pixel are all read from the file. Nothing here knows losses,
optimisers or settings.
"""

import hashlib
import itertools
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io

from styling.network import foreign
from styling.network.cache import Arrays, cached
from styling.network.convolution import average_pool, convolve, flip
from styling.system.errors import MemoryLimitError, NetworkError, of_network
from styling.system.quiet import tf

RARELY_ACTIVE = 0.25  # of its layer's mean; over many photographs, 98 in 100 filters are more active
# A VGG's names. A letter marks convolutions without a ReLU between them, such as conv1_2a and conv1_2b.
NAMES = {"conv": r"conv\d+_\d+[a-z]?", "relu": r"relu\d+_\d+", "pool": r"pool\d+"}
# The fields of a .mat file's layers that change what they compute, and the values that are implemented here.
FIELDS = {"conv": {"stride": 1, "dilate": 1}, "relu": {"leak": 0}, "pool": {"pool": 2, "stride": 2, "pad": 0}}
Struct = Mapping[str, Any]  # a MATLAB struct's fields by name; sides of size 1 are left out of its arrays


# Of each 2x2 window, [1, h, w, C] -> [1, ceil(h/2), ceil(w/2), C].
POOLS = {"avg": average_pool, "max": partial(tf.nn.max_pool2d, ksize=2, strides=2, padding="SAME")}


@dataclass(frozen=True)
class Layer:
    """One layer, of kind conv, relu or pool; only a conv has a kernel and a bias.

    kernel: [3, 3, in, out] or [1, 1, in, out]. bias: [out]. dtype: the precision of a convolution, float32 or
    bfloat16.
    """

    name: str
    kind: str
    kernel: tf.Tensor = None
    bias: tf.Tensor = None
    dtype: tf.DType = tf.float32

    def convolve(self, x: tf.Tensor) -> tf.Tensor:
        """[1, h, w, in] -> [1, h, w, out]; it has a gradient for x only, since the weights are constants."""
        return convolve(x, self.kernel, self.bias, self.dtype, lambda: self._flipped)

    @cached_property
    def _flipped(self) -> tf.Tensor:
        return flip(self.kernel)


@dataclass(frozen=True, eq=False)
class Network:
    """A network's layers in order, its mean pixel (float32 [3], RGB) and the SHA-256 of its file.

    Two networks are the same if they are the same object.
    """

    layers: tuple[Layer, ...]
    mean_pixel: np.ndarray
    sha256: str

    def preprocess(self, image: np.ndarray) -> tf.Tensor:
        """Image [H, W, 3], RGB 0..255 -> [1, H, W, 3], minus the mean pixel."""
        return tf.constant(image[None] - self.mean_pixel, tf.float32)

    def unprocess(self, x: tf.Tensor) -> np.ndarray:
        """[1, H, W, 3] minus the mean pixel -> float32 [H, W, 3], RGB, clipped to 0..255."""
        image = x.numpy()[0] + self.mean_pixel
        return np.clip(image, 0, 255, out=image)

    def built(self, names: Iterable[str]) -> tuple[Layer, ...]:
        """The layers up to the deepest one named, in order; raises NetworkError if one is missing."""
        names = set(names)
        places = {layer.name: i for i, layer in enumerate(self.layers)}
        missing = sorted(names - places.keys())
        if missing:
            relus = ", ".join(layer.name for layer in self.layers if layer.kind == "relu")
            raise NetworkError(f"the network has no layer {', '.join(missing)}; it has {relus} and others")
        return self.layers[: max((places[name] + 1 for name in names), default=0)]

    def features(
        self,
        x: tf.Tensor,
        names: Iterable[str],
        pooling: str = "avg",
        trim: Callable[[tf.Tensor, int], tf.Tensor] | None = None,
    ) -> dict[str, tf.Tensor]:
        """The named layers' outputs, each float32 [1, h, w, C], for a preprocessed image [1, H, W, 3].

        Convolutions have stride 1 and are padded so that they keep sizes; pooling ("avg", or "max" as VGG
        was trained) is 2x2, stride 2, rounding sizes up. Nothing deeper than the deepest layer named is
        built. `trim` is called with the output of each pooling and the number of poolings so far; the next
        layer gets its result. Raises NetworkError if the network lacks a layer.
        """
        names = set(names)
        features, poolings = {}, 0
        for layer in self.built(names):
            if layer.kind == "conv":
                x = layer.convolve(x)
            elif layer.kind == "relu":
                x = tf.nn.relu(x)
            else:
                x, poolings = POOLS[pooling](x), poolings + 1
                x = x if trim is None else trim(x, poolings)
            if layer.name in names:
                features[layer.name] = tf.cast(x, tf.float32)
        return features

    def shapes(self, height: int, width: int, names: Iterable[str]) -> dict[str, tuple[int, int, int]]:
        """The (h, w, C) of the named layers' outputs for an image of this size, without computing them."""
        names, shapes, channels = set(names), {}, 3
        for layer in self.built(names):
            if layer.kind == "conv":
                channels = layer.bias.shape[0]
            elif layer.kind == "pool":
                height, width = -(-height // 2), -(-width // 2)
            if layer.name in names:
                shapes[layer.name] = height, width, channels
        return shapes

    @cached_property
    def in_bfloat16(self) -> "Network":
        """This network with all convolutions but the first in bfloat16: 8 bits of precision.

        The first takes little time. It stays in float32, since bfloat16 would round pixels to a gray level.
        """
        first, *others = self.layers
        others = [replace(layer, dtype=tf.bfloat16) if layer.kind == "conv" else layer for layer in others]
        return replace(self, layers=(first, *others))

    def relus(self, names: Iterable[str]) -> list[str]:
        """The ReLUs whose mean activations normalized() needs."""
        return [self._relu_after[layer.name] for layer in self.built(names) if layer.name in self._relu_after]

    @cached_property
    def _relu_after(self) -> dict[str, str]:
        """The ReLU that directly follows a convolution, by the convolution's name."""
        pairs = itertools.pairwise(self.layers)
        kinds = "conv", "relu"
        return {layer.name: after.name for layer, after in pairs if (layer.kind, after.kind) == kinds}

    def normalized(self, means: Mapping[str, np.ndarray], names: Iterable[str]) -> "Network":
        """This network up to the deepest layer named, with every filter scaled so that its mean activation
        after the ReLU is 1.

        means: [C] of each of relus(names), over the images' positions. The next convolution's kernel undoes
        each factor, so the outputs change by the factors only (Gatys et al. 2016, section 2). A convolution
        without a ReLU after it keeps its filters. A filter's mean counts as at least a quarter of its layer's
        mean: the few images of a run leave some filters nearly idle, which would then outweigh all others and
        paint dots.
        """
        scaled, before = [], np.ones(3, np.float32)
        for layer in self.built({*names, *self.relus(names)}):
            if layer.kind == "conv":
                relu = self._relu_after.get(layer.name)
                mean = np.asarray(means[relu] if relu else np.ones(layer.bias.shape))
                mean = np.maximum(mean, RARELY_ACTIVE * mean.mean())
                mean = np.where(mean > 0, mean, 1).astype(np.float32)
                kernel, bias = layer.kernel * before[:, None] / mean, layer.bias / mean
                layer, before = replace(layer, kernel=kernel, bias=bias), mean
            scaled.append(layer)
        return replace(self, layers=tuple(scaled))


def load(path: str | os.PathLike) -> Network:
    """The network in a MatConvNet .mat file, of either layout (www.vlfeat.org/matconvnet/pretrained).

    Raises NetworkError if the file is no such network, FileNotFoundError if there is none, MemoryLimitError
    if memory runs out.
    """
    path = Path(path).resolve()
    with of_network(path):
        arrays = cached(path, read)
    layers = []
    for name in arrays["layers"].tolist():
        weights = (tf.constant(arrays[key]) for key in (f"{name}/kernel", f"{name}/bias") if key in arrays)
        layers.append(Layer(name, name[:4], *weights))
    return Network(tuple(layers), arrays["mean_pixel"], str(arrays["sha256"]))


def read(path: Path) -> Arrays:
    """What a .mat file has up to the fully connected layers, as arrays; raises the same errors as load().

    layers: the names in order. mean_pixel: float32 [3], RGB. NAME/kernel [k, k, in, out] and NAME/bias [out],
    float32, of each convolution. sha256: of the file.
    """
    foreign.check_is_mat(path)
    variables = ["layers", "normalization", "meta", "net"]
    try:
        contents = scipy.io.loadmat(path, variable_names=variables, simplify_cells=True)
    except MemoryError:
        raise MemoryLimitError(f"{path}: memory ran out as the network was read") from None
    except Exception as error:  # what loadmat raises for a damaged file is not documented, and varies
        reason = " ".join(str(error).split()) or type(error).__name__
        raise NetworkError(f"is truncated or damaged ({reason})") from None
    try:
        arrays = dict(_arrays(contents.get("net", contents)))  # VGG-Face's file has everything in one struct
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise NetworkError(f"holds no MatConvNet network (reading it failed at {error!r})") from None
    with path.open("rb") as file:
        return arrays | {"sha256": np.array(hashlib.file_digest(file, "sha256").hexdigest())}


def _arrays(contents: Struct) -> Iterator[tuple[str, np.ndarray]]:
    """The arrays of read() from the variables of a file; raises KeyError and the like for unknown layouts."""
    if "block" in contents["layers"][0]:
        raise NetworkError("is a DagNN; a SimpleNN is wanted, as MatConvNet's VGG-19 and VGG-16 are")
    layout = contents if "normalization" in contents else contents["meta"]  # the older and the newer one
    average = np.asarray(layout["normalization"]["averageImage"], np.float32)  # [H, W, 3], or its mean pixel
    mean_pixel = average if average.size == 3 else average.mean(axis=(0, 1))
    if not np.isfinite(mean_pixel).all():
        raise NetworkError("has a mean pixel that is NaN or infinite")
    yield "mean_pixel", mean_pixel.reshape(3)
    layers = _vgg_layers(contents["layers"])
    if "conv1_1" not in [layer["name"] for layer in layers]:
        raise NetworkError("holds no VGG network: there is no layer conv1_1")
    yield "layers", np.array([layer["name"] for layer in layers])
    channels = 3
    for layer in layers:
        name, wanted = layer["name"], dict(FIELDS[layer["type"]])
        if layer["type"] == "conv":
            # Older versions of MatConvNet have the weights in two fields instead of one.
            weights = layer["weights"] if "weights" in layer else (layer["filters"], layer["biases"])
            kernel, bias = (np.asarray(part, np.float32) for part in weights)
            kernel = kernel.reshape((1, 1, *kernel.shape)[-4:])  # of 1x1, the sides were left out
            kernel = np.ascontiguousarray(kernel.transpose(1, 0, 2, 3))  # MATLAB stores columns first
            _check_weights(name, kernel, bias, channels)
            yield f"{name}/kernel", kernel
            yield f"{name}/bias", bias
            channels, wanted["pad"] = len(bias), len(kernel) // 2
        for field, value in wanted.items():
            _check_field(name, field, np.ravel(layer.get(field, [])).tolist(), value)


def _vgg_layers(layers: list[Struct]) -> list[Struct]:
    """The layers before the fully connected ones, without dropout and the like, which change no features.

    Raises NetworkError if one of them is not a VGG's.
    """
    layers = [layer for layer in layers if layer["type"] not in ("dropout", "softmax")]
    is_vgg = [bool(re.fullmatch(NAMES.get(layer["type"], "-"), layer["name"])) for layer in layers]
    end = is_vgg.index(False) if False in is_vgg else len(layers)
    # Fully connected layers come after a pooling. Layers that come after a convolution, or that VGG layers
    # follow, are a part of the network that is not understood.
    if end < len(layers) and (any(is_vgg[end:]) or not end or layers[end - 1]["type"] == "conv"):
        place = f"after {layers[end - 1]['name']}" if end else "its first"
        problem = f"{layers[end]['name']} (of type {layers[end]['type']}), {place}"
        wanted = "a plain VGG-19 or VGG-16 is wanted"
        raise NetworkError(f"has a layer that is not understood, {problem}; {wanted}")
    return layers[:end]


def _check_weights(name: str, kernel: np.ndarray, bias: np.ndarray, channels: int) -> None:
    """Raise NetworkError unless a convolution of so many input channels can have this kernel and bias."""
    sizes = (3, 3, channels), (1, 1, channels)
    if kernel.shape[:3] not in sizes or bias.shape != kernel.shape[3:] or not bias.size:
        raise NetworkError(
            f"{name} has a kernel {list(kernel.shape)} and a bias {list(bias.shape)}, "
            f"where [3, 3, {channels}, C] or [1, 1, {channels}, C], and [C] are wanted"
        )
    if not (np.isfinite(kernel).all() and np.isfinite(bias).all()):
        raise NetworkError(f"{name} holds NaN or infinite weights")


def _check_field(name: str, field: str, values: list[float], wanted: int) -> None:
    """Raise NetworkError if a layer's field says that it computes something that is not implemented here."""
    # Caffe pads poolings by one row and one column at the end, which is the same as rounding sizes up.
    rounds_up = name.startswith("pool") and field == "pad" and values == [0, 1, 0, 1]
    if not rounds_up and any(value != wanted for value in values):
        raise NetworkError(f"{name} has a {field} of {values}, where {wanted} is wanted")
