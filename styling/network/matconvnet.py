"""A program that reads a MatConvNet network with scipy and writes it to stdout as plain arrays (numpy.savez).

    python -P styling/matconvnet.py FILE.mat BYTES

vgg.py runs it as a separate process, since scipy's reader crashes on some damaged files, and allocates any
size that they claim; BYTES limits its memory. Arrays are as in the file: `layers` has the names up to the
fully connected ones, then `averageImage`, and NAME/FIELD for each layer, with `kernel` and `bias` for a
convolution's weights. An error is one line on stderr, with exit status 1.
"""

import contextlib
import os
import re
import sys
from collections.abc import Iterator

import numpy as np
import scipy.io

# The fields of each type of layer that change what it computes.
FIELDS = {"conv": ("stride", "pad", "dilate"), "relu": ("leak",), "pool": ("pool", "stride", "pad")}
# A VGG's names. A letter marks convolutions without a ReLU between them, such as conv1_2a and conv1_2b.
NAMES = re.compile(r"(conv)\d+_\d+[a-z]?|(relu)\d+_\d+|(pool)\d+")
PASSED_OVER = "dropout", "softmax"  # they do not change features


def main() -> None:
    """Read the file that the command line names."""
    path, most = sys.argv[1:]
    limit_memory(int(most))
    try:
        arrays = dict(network(load(path)))
    except MemoryError:
        sys.exit("is damaged, or memory ran out: it claims to hold more than there is room for")
    np.savez(sys.stdout.buffer, **arrays)


def limit_memory(more: int) -> None:
    """Limit this process to so many more bytes than it uses now, on systems that can."""
    with contextlib.suppress(ImportError, OSError):  # only Linux shows the memory in use, and limits it
        import resource

        with open("/proc/self/statm") as file:
            most = more + int(file.read().split()[0]) * os.sysconf("SC_PAGESIZE")
        old = resource.getrlimit(resource.RLIMIT_AS)
        most = min([most, *(limit for limit in old if limit != resource.RLIM_INFINITY)])  # no limit is raised
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def load(path: str) -> dict[str, np.ndarray]:
    """The file's variables; ends the program if scipy cannot read the file."""
    try:
        return scipy.io.loadmat(path, variable_names=["layers", "normalization", "meta", "net"])
    except MemoryError:
        raise
    except Exception as error:  # what loadmat raises for a damaged file is not documented, and varies
        sys.exit(f"is truncated or damaged ({' '.join(str(error).split()) or type(error).__name__})")


def network(contents: dict[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    """The network's arrays by name; ends the program if the file has no network."""
    try:
        if "layers" not in contents and "net" in contents:  # VGG-Face's file has everything in a struct
            contents = struct(contents["net"])
        if "block" in (contents["layers"].dtype.names or ()):
            sys.exit("is a DagNN; a SimpleNN is wanted, as MatConvNet's VGG-19 and VGG-16 are")
        normalization = contents.get("normalization")
        if normalization is None:
            normalization = struct(contents["meta"])["normalization"]
        yield "averageImage", plain(struct(normalization)["averageImage"])
        names = []
        for layer in vgg_layers([struct(cell) for cell in contents["layers"].flat]):
            name, kind = text(layer, "name"), text(layer, "type")
            names.append(name)
            if kind == "conv":
                # Older versions of MatConvNet have the weights in two fields instead of one.
                parts = layer["weights"].flat if "weights" in layer else (layer["filters"], layer["biases"])
                kernel, bias = parts
                yield f"{name}/kernel", plain(kernel)
                yield f"{name}/bias", plain(bias)
            for field in FIELDS[kind]:
                if field in layer:
                    yield f"{name}/{field}", plain(layer[field])
        yield "layers", np.array(names, str)
    except (KeyError, ValueError, TypeError, IndexError, AttributeError) as error:
        sys.exit(f"holds no MatConvNet network (reading it failed at {error!r})")


def vgg_layers(layers: list[dict[str, np.ndarray]]) -> list[dict[str, np.ndarray]]:
    """The layers before the fully connected ones; ends the program if one of them is not a VGG's."""
    layers = [layer for layer in layers if text(layer, "type") not in PASSED_OVER]
    understood = [is_vgg(layer) for layer in layers]
    end = understood.index(False) if False in understood else len(layers)
    # Fully connected layers come after a pooling. Layers that come after a convolution, or that VGG layers
    # follow, are a part of the network that is not understood.
    if end < len(layers) and (any(understood[end:]) or not end or text(layers[end - 1], "type") == "conv"):
        place = f"after {text(layers[end - 1], 'name')}" if end else "its first"
        layer = f"{text(layers[end], 'name')} (of type {text(layers[end], 'type')}), {place}"
        sys.exit(f"has a layer that is not understood, {layer}; a plain VGG-19 or VGG-16 is wanted")
    return layers[:end]


def is_vgg(layer: dict[str, np.ndarray]) -> bool:
    """Whether this is a convolution, ReLU or pooling that is named as VGG's are, by its block and number."""
    named = NAMES.fullmatch(text(layer, "name"))
    return named is not None and text(layer, "type") in named.groups()


def text(layer: dict[str, np.ndarray], field: str) -> str:
    """A field's text; empty if there is none."""
    return str(layer[field].item()) if field in layer and layer[field].size == 1 else ""


def struct(value: np.ndarray) -> dict[str, np.ndarray]:
    """A 1x1 MATLAB struct's fields by name."""
    while value.dtype == object:
        value = value.item()
    return {name: value[name].item() for name in value.dtype.names}


def plain(value: object) -> np.ndarray:
    """An array of numbers; raises TypeError for anything else."""
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiub":
        raise TypeError(f"an array of numbers is wanted, not {type(value).__name__}")
    return value


if __name__ == "__main__":
    main()
