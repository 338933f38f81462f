"""The network: what is read from a file, what is computed from it, and the cache."""

import copy
import dataclasses
import gzip
import io
import os
import pickle
import shutil
import zipfile

import numpy as np
import pytest
import reference
import scipy.io
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from image_files import encoded
from networks import MEAN_PIXEL, VGG16, VGG19, low_rank_layers, network_of, tiny_layers, write_mat

import vgg
from styling.network import networks
from styling.system import files
from styling.system.errors import DownloadError, NetworkError, SettingsError


@pytest.mark.parametrize("layout", ["old", "new"])
@pytest.mark.parametrize(
    ("convolutions", "older", "shape"),
    [(VGG16, False, None), (VGG19, False, (3,)), (VGG16, True, (1, 1, 3))],
)
def test_reads_every_layout_depth_width_and_shape_of_the_mean_pixel(
    tmp_path, layout, convolutions, older, shape
):
    layers = tiny_layers(convolutions, channels=(2, 3, 4, 2, 5))
    average = None if shape is None else MEAN_PIXEL.reshape(shape)
    options = {"compress": layout == "new", "older": older, "average": average}
    network = vgg.load(write_mat(tmp_path / "tiny.mat", layers, layout, **options))
    assert [(layer.name, layer.kind) for layer in network.layers] == [layer[:2] for layer in layers]
    assert np.allclose(network.mean_pixel, MEAN_PIXEL)
    for read, (_, _, kernel, bias) in zip(network.layers, layers, strict=True):
        if read.kind == "conv":
            assert np.array_equal(read.kernel, kernel) and np.array_equal(read.bias, bias)


def test_dropout_and_caffes_padding_of_poolings_change_nothing(tmp_path):
    layers = tiny_layers()
    pads = {f"pool{block}": {"pad": np.array([[0, 1, 0, 1]]), "method": "max"} for block in range(1, 6)}
    between = [*layers[:6], ("dropout1", "dropout", None, None), *layers[6:]]
    network = vgg.load(write_mat(tmp_path / "tiny.mat", between, fields=pads))
    assert [layer.name for layer in network.layers] == [layer[0] for layer in layers]


@pytest.mark.parametrize("pooling", ["avg", "max"])
@pytest.mark.parametrize("size", [(33, 17), (16, 32)])
def test_features_are_the_reference_models(network, pooling, size):
    image = np.random.default_rng(2).uniform(0, 255, (*size, 3)).astype(np.float32)
    names = ["relu1_1", "pool2", "conv3_4", "relu5_4"]
    features = network.features(network.preprocess(image), names, pooling)
    expected = reference.features(tiny_layers(), image.astype(np.float64) - MEAN_PIXEL, pooling)
    assert list(features) == names
    for name in names:
        scale = np.abs(expected[name]).max()
        assert np.abs(features[name][0] - expected[name]).max() < 1e-5 * scale


def test_a_low_rank_network_is_the_reference_models_and_its_gradient_the_slope(tmp_path):
    layers = low_rank_layers()
    network = vgg.load(write_mat(tmp_path / "low.mat", layers))
    assert [(layer.name, layer.kind) for layer in network.layers] == [layer[:2] for layer in layers]
    rng = np.random.default_rng(2)
    image, direction = rng.uniform(0, 255, (19, 17, 3)), rng.normal(size=(19, 17, 3))
    names = ["relu1_1", "conv1_2a", "conv3_3b", "relu4_1"]

    def features(image):
        return reference.features(layers, image - MEAN_PIXEL, "avg")

    weights = {name: rng.normal(size=F.shape) for name, F in features(image).items() if name in names}
    x = network.preprocess(image)
    with tf.GradientTape() as tape:
        tape.watch(x)
        found = network.features(x, names)
        total = sum(tf.reduce_sum(weights[name].astype(np.float32) * found[name][0]) for name in names)
    slope = np.sum(tape.gradient(total, x)[0] * direction)

    expected = features(image)
    for name in names:
        assert np.abs(found[name][0] - expected[name]).max() < 1e-5 * np.abs(expected[name]).max(), name
    ahead, behind = (features(image + step * direction) for step in (1e-6, -1e-6))
    rise = sum(np.sum(weights[name] * (ahead[name] - behind[name])) for name in names)
    assert slope == pytest.approx(rise / 2e-6, rel=1e-3)


@pytest.mark.parametrize(("pooling", "size"), [("avg", (33, 17)), ("max", (16, 32))])
def test_in_bfloat16_all_but_the_first_convolution_is_rounded_a_little(network, pooling, size):
    names = ["relu1_1", "pool2", "conv3_4", "relu5_4"]
    x = network.preprocess(np.random.default_rng(2).uniform(0, 255, (*size, 3)).astype(np.float32))
    shapes = network.shapes(*size, names)
    weights = {name: tf.random.stateless_normal([1, *shapes[name]], [1, 2]) for name in names}

    def features_and_gradient(network):
        with tf.GradientTape() as tape:
            tape.watch(x)
            features = network.features(x, names, pooling)
            total = sum(tf.reduce_sum(weights[name] * features[name]) for name in names)
        return features, tape.gradient(total, x)

    (features, gradient), (expected, expected_gradient) = map(
        features_and_gradient, (network.in_bfloat16, network)
    )
    assert np.array_equal(features["relu1_1"], expected["relu1_1"])
    for name in names[1:]:
        assert features[name].dtype == tf.float32
        assert 1e-4 < distance(features[name], expected[name]) < 0.03, name
    assert distance(gradient, expected_gradient) < 0.2  # rounding decides which value is the largest


def distance(a, b):
    """How far a is from b, relative to b's own length."""
    return np.linalg.norm(np.subtract(a, b)) / np.linalg.norm(b)


@settings(deadline=None, max_examples=6)
@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([VGG16, VGG19]))
def test_shapes_are_those_of_the_features(height, width, convolutions):
    layers = tiny_layers(convolutions)
    network = network_of(layers)
    names = [layer[0] for layer in layers]
    features = network.features(tf.zeros([1, height, width, 3]), names)
    assert network.shapes(height, width, names) == {name: F.shape[1:] for name, F in features.items()}
    assert network.shapes(height, width, ["conv3_1"]).keys() == {"conv3_1"}


def test_a_layer_and_its_gradient_are_the_models_whichever_way_and_graph_asks_first():
    # The first and the last are large enough for Winograd's way, the one between is not.
    rng = np.random.default_rng(1)
    kernel, bias = rng.normal(size=(3, 3, 128, 192)) / 34, rng.normal(size=192)
    layer = vgg.Layer("conv", "conv", tf.constant(kernel, tf.float32), tf.constant(bias, tf.float32))

    def output_and_gradient(x, upstream):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer.convolve(x)
        return y, tape.gradient(y, x, upstream)

    compiled = tf.function(output_and_gradient)
    for height, width, call in ((29, 27, compiled), (5, 3, compiled), (3, 4, output_and_gradient)):
        x, upstream = rng.normal(size=(height, width, 128)), rng.normal(size=(height, width, 192))
        y, gradient = call(*(tf.constant(part[None], tf.float32) for part in (x, upstream)))
        np.testing.assert_allclose(y[0], reference.conv(x, kernel, bias), atol=2e-5)
        np.testing.assert_allclose(gradient[0], reference.conv_gradient(kernel, upstream), atol=4e-5)


def test_in_bfloat16_a_layer_that_winograds_way_is_for_stays_exact():
    kernel = tf.random.stateless_normal([3, 3, 128, 256], [1, 2], stddev=1 / 34)
    layer = vgg.Layer("conv", "conv", kernel, tf.zeros([256]))
    rounded = dataclasses.replace(layer, dtype=tf.bfloat16)
    for height, width, dtype in ((40, 38, tf.float32), (5, 3, tf.bfloat16)):
        x = tf.random.stateless_normal([1, height, width, 128], [3, 4])
        found, expected = rounded.convolve(x), layer.convolve(x)
        assert found.dtype == dtype
        assert np.array_equal(found, expected) == (dtype == tf.float32)
        assert distance(tf.cast(found, tf.float32), expected) < 0.01


@pytest.mark.parametrize(("pooling", "layers"), [("avg", tiny_layers()), ("max", low_rank_layers())])
def test_a_normalized_network_is_the_reference_models(pooling, layers):
    layers = copy.deepcopy(layers)
    dead = next(bias for name, *_, bias in layers if name in ("conv2_1", "conv2_1b"))
    dead[1] = -1e6  # a filter that no image activates
    rng = np.random.default_rng(3)
    seen = [rng.uniform(0, 255, (h, w, 3)) - MEAN_PIXEL for h, w in ((21, 18), (30, 9))]
    x = rng.uniform(0, 255, (17, 23, 3)) - MEAN_PIXEL
    inputs = [tf.constant(image[None], tf.float32) for image in seen]
    deepest = [name for name, kind, *_ in layers if kind == "conv"][-1]
    names = ["relu1_2", "relu2_1", "pool3", deepest]
    network = network_of(layers)
    relus = network.relus(names)
    maps = [network.features(x, relus, pooling) for x in inputs]
    rows = {
        name: np.concatenate([each[name].numpy().reshape(-1, each[name].shape[3]) for each in maps])
        for name in relus
    }
    means = {name: values.mean(0) for name, values in rows.items()}
    found = network.normalized(means, names)
    features = found.features(tf.constant(x[None], tf.float32), names, pooling)
    expected = reference.features(reference.normalized(layers, seen, pooling), x, pooling)
    for name in names:
        scale = np.abs(expected[name]).max()
        np.testing.assert_allclose(features[name][0], expected[name], rtol=1e-3, atol=1e-4 * scale)


def test_unprocess_undoes_preprocess_and_clips(network):
    image = np.array([[[-5, 0, 255], [300, 1.5, 128]]], np.float32)
    expected = np.clip(image, 0, 255)
    assert np.allclose(network.unprocess(network.preprocess(image)), expected, atol=1e-4)


def test_builds_nothing_deeper_than_asked_for(network):
    names = [layer.name for layer in network.built(["relu1_2", "relu1_1"])]
    assert names == ["conv1_1", "relu1_1", "conv1_2", "relu1_2"]
    function = tf.function(lambda x: network.features(x, ["relu2_1"]))
    graph = function.get_concrete_function(tf.TensorSpec([1, 8, 8, 3])).graph
    assert sum(operation.type == "Conv2D" for operation in graph.get_operations()) == 3


def test_a_missing_layer_is_named(network):
    with pytest.raises(NetworkError, match=r"no layer relu9_1; it has .*relu5_4"):
        network.features(tf.zeros([1, 8, 8, 3]), ["relu1_1", "relu9_1"])


# Files that are no network.


HDF5 = (
    b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM" + bytes(384) + b"\x89HDF\r\n\x1a\n"
)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (lambda whole: b"", "is empty"),
        (lambda whole: b"no network\n" * 50, "is no .mat file;"),
        (lambda whole: whole[:9000], "is truncated"),
        (lambda whole: whole[:100], "is truncated"),
        (lambda whole: whole[:128], "no MatConvNet network"),
        (lambda whole: HDF5, "save -v7"),
    ],
    ids=["empty", "text", "half", "half a header", "header", "hdf5"],
)
def test_a_damaged_file_is_refused(refused, network_file, content, problem):
    refused.path.write_bytes(content(network_file.read_bytes()))
    refused(problem)


def zipped(*names):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, b"x" * 99)
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"\n<!DOCTYPE html>\n<html><title>404", "a web page.*fetch it again"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "git lfs pull"),
        (b"\x89HDF\r\n\x1a\n" + bytes(900), "an HDF5 file, as Keras"),
        (zipped("config.json", "model.weights.h5"), "a Keras file"),
        (zipped("vgg19/data.pkl", "vgg19/version"), "a PyTorch file"),
        (pickle.dumps(0x1950A86A20F9469CFC6C, 2), "a Python pickle, as PyTorch"),
        (b"\n\x14VGG_ILSVRC_19_layers\x12\x07conv1_1", "a Caffe model"),  # a protocol buffer
        (zipped("a.npy"), "a NumPy file"),
        (zipped("imagenet-vgg-verydeep-19.mat"), "an archive; unpack it"),
        (gzip.compress(b"x" * 99, mtime=0), "an archive; unpack it"),
        (encoded(np.zeros((9, 9, 3)), "JPEG"), "an image"),
    ],
)
def test_another_programs_file_is_called_what_it_is_and_not_damaged(refused, content, problem):
    refused.path.write_bytes(content)
    refused(f"is no .mat file but {problem}" if "lfs" not in problem else problem)


@pytest.mark.parametrize("within", [False, True])
def test_a_dagnn_is_called_one(refused, within):
    parts = np.zeros((1, 2), [("name", object), ("block", object)])
    contents = {"vars": {"name": "input"}, "params": {"name": "conv1_1f"}, "layers": parts}
    scipy.io.savemat(refused.path, {"net": contents} if within else contents)
    refused("is a DagNN; a SimpleNN is wanted")


def test_a_network_that_does_not_start_at_the_image_is_refused(refused):
    write_mat(refused.path, tiny_layers()[2:])
    refused("no layer conv1_1")


@pytest.mark.parametrize(
    ("size", "pad", "problem"),
    [
        (5, 2, r"conv2_1 has a kernel \[5, 5, 3, 4\]"),
        (3, 0, "conv2_1 has a pad of .*, where 1 is wanted"),
        (1, 1, "conv2_1 has a pad of .*, where 0 is wanted"),
    ],
)
def test_a_convolution_that_changes_the_size_or_is_of_another_is_refused(refused, size, pad, problem):
    layers = tiny_layers()
    (at,) = (i for i, layer in enumerate(layers) if layer[0] == "conv2_1")
    layers[at] = ("conv2_1", "conv", np.ones((size, size, 3, 4), np.float32), layers[at][3])
    write_mat(refused.path, layers, fields={"conv2_1": {"pad": np.full((1, 4), pad)}})
    refused(problem)


@pytest.mark.parametrize(
    ("layer", "field", "value"),
    [
        ("relu2_1", "leak", 0.1),
        ("pool1", "pool", [[3.0, 3.0]]),
        ("pool1", "stride", 1),
        ("pool1", "pad", [[1.0, 1, 1, 1]]),
        ("conv2_1", "stride", [[2.0, 2.0]]),
        ("conv2_1", "dilate", 2),
    ],
)
def test_a_layer_that_computes_something_else_is_refused(refused, layer, field, value):
    write_mat(refused.path, tiny_layers(), fields={layer: {field: np.array(value)}})
    refused(f"{layer} has a {field} of .*, where . is wanted")


@pytest.mark.parametrize(
    ("place", "kind", "problem"),
    [
        (1, "bnorm", r"odd \(of type bnorm\), after conv1_1;"),
        (0, "conv", r"odd \(of type conv\), its first;"),
        (len(tiny_layers()) - 2, "custom", r"odd \(of type custom\), after conv5_4;"),
    ],
)
def test_the_first_layer_that_is_not_understood_is_named(refused, place, kind, problem):
    layers = tiny_layers()
    weights = layers[0][2:] if kind == "conv" else (None, None)
    write_mat(refused.path, [*layers[:place], ("odd", kind, *weights), *layers[place:]])
    refused(f"not understood, {problem}")


def test_weights_that_are_no_numbers_are_refused(refused):
    layers = tiny_layers()
    layers[-3][3][0] = np.nan
    write_mat(refused.path, layers)
    refused("conv5_4 holds NaN")


@pytest.fixture
def refused(tmp_path, cache_folder):
    """Holds vgg.load() to refusing `refused.path` in one line that names it, and to keeping nothing."""

    def check(problem):
        with pytest.raises(NetworkError, match=problem) as error:
            vgg.load(check.path)
        assert "damaged.mat: " in str(error.value) and "\n" not in str(error.value)
        assert not cache_folder.exists(), "what is no network must not be kept"

    check.path = tmp_path / "damaged.mat"
    return check


# The cache.


def kernel_of(network):
    return network.layers[0].kernel.numpy()


def only_file(folder):
    (file,) = folder.iterdir()
    return file


def test_the_second_load_reads_the_cache_and_not_the_file(network_file, cache_folder):
    first = vgg.load(network_file)
    cache = only_file(cache_folder)
    with np.load(cache) as file:
        arrays = dict(file)
    arrays["conv1_1/kernel"] = arrays["conv1_1/kernel"] + 1
    with cache.open("wb") as file:
        np.savez(file, **arrays)
    second = vgg.load(network_file)
    assert np.allclose(kernel_of(second), kernel_of(first) + 1)
    assert second.sha256 == first.sha256
    assert not any("fc" in name for name in arrays)


def flipped_bit(data):
    at = len(data) // 4
    return data[:at] + bytes([data[at] ^ 64]) + data[at + 1 :]


@pytest.mark.parametrize(
    "damage", [lambda data: b"", lambda data: data[: len(data) // 2], lambda data: b"x" + data, flipped_bit]
)
def test_a_damaged_cache_costs_only_time(network_file, cache_folder, damage):
    first = vgg.load(network_file)
    cache = only_file(cache_folder)
    whole = cache.read_bytes()
    cache.write_bytes(damage(whole))
    found = vgg.load(network_file)
    for layer, expected in zip(found.layers, first.layers, strict=True):
        assert layer.kernel is None or np.array_equal(layer.kernel, expected.kernel)
    assert len(cache.read_bytes()) == len(whole), "the cache is made again"


def test_a_changed_file_is_read_again(tmp_path, network_file, cache_folder):
    path = shutil.copy2(network_file, tmp_path / "network.mat")
    before = vgg.load(path)
    write_mat(path, tiny_layers(seed=5))
    assert not np.array_equal(kernel_of(vgg.load(path)), kernel_of(before))
    assert only_file(cache_folder), "one cache a path, however often the file changes"


@pytest.mark.skipif(os.name == "nt", reason="Windows tells a home by itself")
def test_without_a_home_there_is_no_cache_and_nothing_else_is_missing(tmp_path, network_file, monkeypatch):
    for variable in ("XDG_CACHE_HOME", "HOME"):
        monkeypatch.setenv(variable, "relative")
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)  # a user whom the system does not know
    monkeypatch.chdir(tmp_path)
    assert files.cache_folder() is None
    assert vgg.load(network_file).layers and networks.find("small").is_file()
    with pytest.raises(SettingsError, match=r"put .*16.mat into the working directory$"):
        networks.find("vgg16")
    with pytest.raises(DownloadError, match=r"no home .*by hand into the working directory$"):
        networks.download()
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_cannot_be_written_is_done_without(network_file, cache_folder):
    cache_folder.parent.touch()
    assert vgg.load(network_file).layers
