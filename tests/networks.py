"""Writes tiny networks in both of MatConvNet's layouts, and gives the same weights as plain arrays."""

import numpy as np
import scipy.io

MEAN_PIXEL = np.array([123.68, 116.779, 103.939], np.float32)
VGG19 = (2, 2, 4, 4, 4)
VGG16 = (2, 2, 3, 3, 3)


def tiny_layers(convolutions=VGG19, channels=(3, 4, 5, 6, 7), seed=0):
    """Layers (name, kind, kernel [h, w, in, out], bias) of a VGG with seeded random weights."""
    rng = np.random.default_rng(seed)
    layers, before = [], 3
    for block, (count, width) in enumerate(zip(convolutions, channels, strict=True), 1):
        for index in range(1, count + 1):
            kernel = rng.standard_normal((3, 3, before, width), np.float32) * np.sqrt(2 / (9 * before))
            bias = rng.standard_normal(width, np.float32)
            layers.append((f"conv{block}_{index}", "conv", kernel.astype(np.float32), bias))
            layers.append((f"relu{block}_{index}", "relu", None, None))
            before = width
        layers.append((f"pool{block}", "pool", None, None))
    return layers


def low_rank_layers(rank=2, seed=0):
    """The layers of a VGG-16 whose convolutions except the first have low rank: a narrow 3x3 and a 1x1."""
    rng, layers = np.random.default_rng(seed), []
    for name, kind, kernel, bias in tiny_layers(VGG16, seed=seed):
        if kind != "conv" or name == "conv1_1":
            layers.append((name, kind, kernel, bias))
            continue
        narrow = rng.standard_normal((3, 3, kernel.shape[2], rank), np.float32) / np.sqrt(9 * kernel.shape[2])
        wide = rng.standard_normal((1, 1, rank, len(bias)), np.float32) * np.float32(np.sqrt(2 / rank))
        layers.append((f"{name}a", "conv", narrow.astype(np.float32), np.zeros(rank, np.float32)))
        layers.append((f"{name}b", "conv", wide, bias))
    return layers


def network_of(layers):
    """These layers as a network without a file."""
    import tensorflow as tf

    import vgg

    tensors = [
        vgg.Layer(name, kind, *(None if part is None else tf.constant(part) for part in weights))
        for name, kind, *weights in layers
    ]
    return vgg.Network(tuple(tensors), MEAN_PIXEL, "")


def write_mat(
    path, layers, layout="new", fully_connected=True, compress=False, fields=None, average=None, older=False
):
    """Write layers as a .mat file: layout "old" has `normalization` at the top, "new" has it under `meta`.

    fields: by a layer's name, fields that replace its own or are added. average: averageImage. older: like
    VGG-Face's file, with everything in a struct and the weights in two fields.
    """
    cells = [_layer(*layer, layout, older, (fields or {}).get(layer[0], {})) for layer in layers]
    if fully_connected:
        kernel = np.ones((2, 2, layers[-2][2].shape[3] if layers[-2][2] is not None else 1, 2), np.float32)
        cells += [
            _layer("fc6", "conv", kernel, np.zeros(2, np.float32), layout, older, {}),
            _struct(name="prob", type="softmax"),
        ]
    if average is None and layout == "old":
        around = np.random.default_rng(1).normal(0, 9, (4, 4, 3)).astype(np.float32)
        average = MEAN_PIXEL + around - around.mean(axis=(0, 1))
    normalization = _struct(
        averageImage=MEAN_PIXEL.reshape(1, 1, 3) if average is None else average, border=np.zeros((1, 2))
    )
    contents = {"normalization": normalization}
    if layout == "new":
        contents = {"meta": _struct(inputSize=np.ones((1, 3)), normalization=normalization)}
    contents |= {"layers": _cell(cells)}
    scipy.io.savemat(path, {"net": _struct(**contents)} if older else contents, do_compression=compress)
    return path


def _layer(name, kind, kernel, bias, layout, older, fields):
    parts = {"type": kind, "name": name}
    if kind == "conv":
        weights = kernel.transpose(1, 0, 2, 3), bias.reshape((1, -1) if layout == "old" else (-1, 1))
        parts |= (
            dict(zip(("filters", "biases"), weights, strict=True)) if older else {"weights": _cell(weights)}
        )
        parts |= {"pad": np.full((1, 4), len(kernel) // 2)}
    elif layout == "new":
        parts |= {"weights": _cell([])}
    if kind == "conv" and layout == "new":
        parts |= {"size": np.array([kernel.shape], float)}
    return _struct(**parts | fields)


def _struct(**fields):
    value = np.empty((1, 1), [(name, object) for name in fields])
    for name, field in fields.items():
        value[name][0, 0] = field
    return value


def _cell(values):
    cell = np.empty((1, len(values)), object)
    for i, value in enumerate(values):
        cell[0, i] = value
    return cell
