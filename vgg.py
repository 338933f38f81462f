"""VGG-16 and VGG-19 (Simonyan & Zisserman 2014), read from a MatConvNet .mat file and built by hand.

    network = vgg.load("imagenet-vgg-verydeep-19.mat")
    features = network.features(network.preprocess(image), ["relu4_2"])

The layers, their channels and the mean pixel are all read from the file. Most of the published file's 550 MB
are fully connected layers, which are not used here. So the convolutions are kept in the user's cache folder
after the first load.
"""

import hashlib
import io
import itertools
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from styling.network import foreign, matconvnet, winograd
from styling.system.errors import MemoryLimitError, NetworkError
from styling.system.files import cache_folder, write_whole
from styling.system.quiet import tf

CACHE_FORMAT = 3
# If reading a file takes more memory than these allow for its size, or more time, it is damaged.
MOST_TIMES_SIZE, LEAST_BYTES, MOST_SECONDS = 16, 2**28, 300
SAMPLES, SAMPLE_BYTES = 64, 4096
RARELY_ACTIVE = 0.25  # of its layer's mean; over many photographs, 98 in 100 filters are more active


@dataclass(frozen=True)
class Layer:
    """One layer, of kind conv, relu or pool; only a conv uses the other fields.

    kernel: [3, 3, in, out] or [1, 1, in, out]. bias: [out]. dtype: the precision of the computation, float32
    or bfloat16. padding: what the layer sees beyond the border, "zero" for zeros or, in the first layer,
    "edge" for the nearest pixels.
    """

    name: str
    kind: str
    kernel: tf.Tensor | None = None
    bias: tf.Tensor | None = None
    dtype: tf.DType = tf.float32
    padding: str = "zero"

    @cached_property
    def turned(self) -> tf.Tensor:
        """The kernel of the convolution that carries gradients back, [k, k, out, in]."""
        with tf.init_scope():  # it is cached, so it must not be part of the graph that asks for it first
            return tf.transpose(tf.reverse(self.kernel, [0, 1]), [0, 1, 3, 2])

    def convolve(self, x: tf.Tensor) -> tf.Tensor:
        """[1, h, w, in] -> [1, h, w, out]; it has a gradient for x only, since the weights are constants."""
        if self.padding == "edge":
            x = tf.pad(x, self._around(1), "SYMMETRIC")  # the mirrored image; its first pixel is the edge
        # On a GPU, cuDNN chooses the algorithm by itself.
        wide = winograd.pays(x.shape, self.kernel.shape) and not tf.config.list_logical_devices("GPU")

        @tf.custom_gradient
        def convolve(x: tf.Tensor) -> tuple[tf.Tensor, Callable]:
            # The gradient is a convolution too, which is faster than TensorFlow's own gradient.
            product = partial(winograd.convolve, kernel=self.kernel) if wide else self._direct
            return tf.nn.bias_add(product(x), tf.cast(self.bias, x.dtype)), partial(product, back=True)

        # Winograd's algorithm in float32 is no slower than a direct convolution in bfloat16.
        return convolve(tf.cast(x, tf.float32 if wide else self.dtype))

    def _direct(self, x: tf.Tensor, back: bool = False) -> tf.Tensor:
        """The layer without its bias, [1, h, w, in] -> [1, h, w, out]; back: for a gradient, out -> in."""
        kernel, padding = self.turned if back else self.kernel, "SAME"
        if self.padding == "edge":  # x is padded already, and has a gradient there too
            padding = self._around(2) if back else "VALID"
        if back and kernel.shape[0] == 3 and kernel.shape[3] <= 3:
            return self._back_to_pixels(x)
        return tf.nn.conv2d(x, tf.cast(kernel, x.dtype), strides=1, padding=padding)

    def _back_to_pixels(self, dy: tf.Tensor) -> tf.Tensor:
        """The gradient for an image, [1, h, w, C] -> [1, h, w, 3].

        Each of the kernel's three rows is first applied along the rows; then a second convolution adds the
        three results. A single convolution with three outputs takes nearly twice as long.
        """
        beyond = [2, 2] if self.padding == "edge" else [1, 1]
        filters, channels = dy.shape[3], self.kernel.shape[2]
        kernel = tf.reshape(tf.transpose(self.turned, [1, 2, 0, 3]), [1, 3, filters, 3 * channels])
        kernel = tf.cast(kernel, dy.dtype)
        rows = tf.nn.conv2d(dy, kernel, strides=1, padding=[[0, 0], [0, 0], beyond, [0, 0]])
        # Row i of the second kernel takes the results of row i of the first one.
        thirds = np.eye(3 * channels).reshape(3 * channels, 3, channels).transpose(1, 0, 2)
        adding = tf.constant(thirds[:, None], dy.dtype)  # (3, 1, 9, 3)
        return tf.nn.conv2d(rows, adding, strides=1, padding=[[0, 0], beyond, [0, 0], [0, 0]])

    def _around(self, times: int) -> list[list[int]]:
        """A padding of a map's height and width, `times` as wide as the kernel's reach."""
        width = times * (self.kernel.shape[0] // 2)
        return [[0, 0], [width, width], [width, width], [0, 0]]


@dataclass(frozen=True)
class Network:
    """A network's layers in order, its mean pixel (float32 [3], RGB) and the SHA-256 of its file."""

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

        The first takes little time. It stays in float32, since bfloat16 would round pixels to a grey level.
        """
        first, *others = self.layers
        others = [replace(layer, dtype=tf.bfloat16) if layer.kind == "conv" else layer for layer in others]
        return replace(self, layers=(first, *others))

    @cached_property
    def edge_padded(self) -> "Network":
        """This network with its first convolution padded by the image's edge pixels instead of zeros."""
        first, *others = self.layers
        return replace(self, layers=(replace(first, padding="edge"), *others))

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

        means: of relus(names), from mean_activations(). The next convolution's kernel undoes each factor, so
        the outputs change by the factors only (Gatys et al. 2016, section 2). A convolution without a ReLU
        after it keeps its filters. A filter's mean counts as at least a quarter of its layer's mean: the few
        images of a run leave some filters nearly idle, which would then outweigh all others and paint dots.
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


def mean_activations(activations: Iterable[dict[str, tf.Tensor]]) -> dict[str, np.ndarray]:
    """The mean [C] of each filter over all positions of maps [1, h, w, C] by name, given in parts."""
    sums, positions = Counter(), Counter()
    for maps in activations:
        for name, features in maps.items():
            sums[name] += tf.reduce_sum(features, axis=(0, 1, 2)).numpy()
            positions[name] += features.shape[1] * features.shape[2]
    return {name: sums[name] / positions[name] for name in sums}


@tf.custom_gradient
def _avg_pool(x: tf.Tensor) -> tuple[tf.Tensor, Callable]:
    _, height, width, channels = x.shape

    def gradient(dy: tf.Tensor) -> tf.Tensor:
        if height % 2 or width % 2:
            return tf.raw_ops.AvgPoolGrad(
                orig_input_shape=x.shape, grad=dy, ksize=[1, 2, 2, 1], strides=[1, 2, 2, 1], padding="SAME"
            )
        # If all windows are whole, repeating each value gives the same, and is faster.
        windows = (dy / 4)[:, :, None, :, None]  # (1, h/2, 1, w/2, 1, C)
        return tf.reshape(
            tf.broadcast_to(windows, [1, height // 2, 2, width // 2, 2, channels]),
            [1, height, width, channels],
        )

    return tf.nn.avg_pool2d(x, ksize=2, strides=2, padding="SAME"), gradient


def _max_pool(x: tf.Tensor) -> tf.Tensor:
    return tf.nn.max_pool2d(x, ksize=2, strides=2, padding="SAME")


POOLS = {"avg": _avg_pool, "max": _max_pool}


def load(path: str | os.PathLike, folder: str | os.PathLike | None = None) -> Network:
    """The network in a MatConvNet .mat file, of either layout (www.vlfeat.org/matconvnet/pretrained).

    The convolutions are kept in `folder` (the user's cache folder by default) and read from there next
    time, unless the file has changed. A cache that is damaged or cannot be written is ignored.
    Raises NetworkError if the file is no such network, FileNotFoundError if there is none, MemoryLimitError
    if memory runs out.
    """
    path, folder = Path(path).resolve(), folder or cache_folder()
    cache = folder and Path(folder, f"network-{hashlib.sha256(os.fsencode(path)).hexdigest()[:16]}.npz")
    try:
        key = _key(path)
        arrays = _read_cache(cache, key) if cache else None
        if arrays is None:
            with np.errstate(all="ignore"):  # _check() finds infinite values
                arrays = _read_mat(path)
            arrays |= {"sha256": np.array(_sha256(path))}
            if cache:
                _write_cache(cache, key, arrays)
        return _network(arrays)
    except NetworkError as error:
        raise NetworkError(f"{path}: {error}") from None
    except MemoryError:
        raise MemoryLimitError(f"{path}: memory ran out as the network was read") from None


def _network(arrays: dict[str, np.ndarray]) -> Network:
    layers = []
    for name in arrays["layers"].tolist():
        kind = name[:4]  # conv, relu or pool
        weights = (
            [tf.constant(arrays[f"{name}/{part}"]) for part in ("kernel", "bias")] if kind == "conv" else []
        )
        layers.append(Layer(name, kind, *weights))
    return Network(tuple(layers), arrays["mean_pixel"], str(arrays["sha256"]))


# Reading the .mat file.


def _read_mat(path: Path) -> dict[str, np.ndarray]:
    """The file's layer names, mean pixel, and each convolution's kernel and bias, as arrays by name."""
    foreign.check_is_mat(path)
    contents = _contents(path)
    average = contents["averageImage"].astype(np.float32)
    if not average.size:
        raise NetworkError("has an averageImage without pixels")
    try:
        # It is an image [H, W, 3], or its mean pixel alone, in whatever shape.
        mean_pixel = (average if average.size == 3 else average.mean(axis=(0, 1))).reshape(3)
        arrays = {"layers": contents["layers"], "mean_pixel": mean_pixel}
        for name in arrays["layers"].tolist():
            _check_fields(name, contents)
            if name.startswith("conv"):
                kernel, bias = contents[f"{name}/kernel"], contents[f"{name}/bias"]
                arrays[f"{name}/kernel"] = np.ascontiguousarray(kernel.transpose(1, 0, 2, 3), np.float32)
                arrays[f"{name}/bias"] = np.asarray(bias, np.float32).reshape(-1)
    except ValueError as error:
        raise NetworkError(f"holds no MatConvNet network (its arrays have odd shapes: {error})") from None
    _check(arrays)
    return arrays


def _contents(path: Path) -> dict[str, np.ndarray]:
    """The network's arrays as scipy reads them, in a process of its own, which a damaged file may crash."""
    most = MOST_TIMES_SIZE * path.stat().st_size + LEAST_BYTES
    try:
        result = subprocess.run(
            [sys.executable, "-P", matconvnet.__file__, os.fspath(path), str(most)],
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},  # its threads count as memory
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=MOST_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise NetworkError(f"is damaged (reading it takes more than {MOST_SECONDS} seconds)") from None
    if result.returncode == 1:
        raise NetworkError(result.stderr.decode(errors="replace").strip().splitlines()[-1])
    if result.returncode:
        raise NetworkError("is damaged (reading it crashes)")
    with np.load(io.BytesIO(result.stdout), allow_pickle=False) as file:
        return dict(file)


def _check_fields(name: str, contents: dict[str, np.ndarray]) -> None:
    """Raise NetworkError if a layer computes something that is not implemented here."""
    kind = name[:4]
    if kind == "conv":
        wanted = {"stride": 1, "dilate": 1, "pad": contents[f"{name}/kernel"].shape[0] // 2}
    else:
        wanted = {"pool": 2, "stride": 2, "pad": 0, "leak": 0}
    for field in matconvnet.FIELDS[kind]:
        values = contents.get(f"{name}/{field}", np.array([])).ravel().tolist()
        # Caffe pads one row and one column at the end, which is the same as rounding sizes up.
        rounds_up = (kind, field, values) == ("pool", "pad", [0, 1, 0, 1])
        if not (rounds_up or all(value == wanted[field] for value in values)):
            raise NetworkError(f"{name} has a {field} of {values}, where {wanted[field]} is wanted")


def _check(arrays: dict[str, np.ndarray]) -> None:
    names = arrays["layers"].tolist()
    if "conv1_1" not in names:
        raise NetworkError("holds no VGG network: there is no layer conv1_1")
    if not np.isfinite(arrays["mean_pixel"]).all():
        raise NetworkError("has a mean pixel that is NaN or infinite")
    channels = 3
    for name in names:
        if not name.startswith("conv"):
            continue
        kernel, bias = arrays[f"{name}/kernel"], arrays[f"{name}/bias"]
        sizes = (3, 3, channels), (1, 1, channels)
        if kernel.shape[:3] not in sizes or bias.shape != kernel.shape[3:] or not bias.size:
            raise NetworkError(
                f"{name} has a kernel {list(kernel.shape)} and a bias {list(bias.shape)}, "
                f"where [3, 3, {channels}, C] or [1, 1, {channels}, C], and [C] are wanted"
            )
        if not (np.isfinite(kernel).all() and np.isfinite(bias).all()):
            raise NetworkError(f"{name} holds NaN or infinite weights")
        channels = len(bias)


# The cache: one .npz for each .mat file, with the key of that file.


def _key(path: Path) -> str:
    """A hash of path, size, modification time and blocks sampled evenly over the file."""
    status = path.stat()
    digest = hashlib.sha256(os.fsencode(path))
    digest.update(f" {CACHE_FORMAT} {status.st_size} {status.st_mtime_ns}".encode())
    with path.open("rb") as file:
        for i in range(SAMPLES):
            file.seek(i * max(status.st_size - SAMPLE_BYTES, 0) // (SAMPLES - 1))
            digest.update(file.read(SAMPLE_BYTES))
    return digest.hexdigest()


def _read_cache(cache: Path, key: str) -> dict[str, np.ndarray] | None:
    try:
        with np.load(cache, allow_pickle=False) as file:
            if str(file["key"]) != key:
                return None
            arrays = {name: file[name] for name in file.files}
        _check(arrays)
        return arrays if arrays["mean_pixel"].shape == (3,) and "sha256" in arrays else None
    except Exception:  # whatever is wrong with a cache, the .mat file can still be read
        return None


def _write_cache(cache: Path, key: str, arrays: dict[str, np.ndarray]) -> None:
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        write_whole(cache, lambda file: np.savez(file, key=np.array(key), **arrays))
    except OSError:
        pass


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
