"""A program that reads a MatConvNet network with scipy and writes it to stdout as plain arrays (numpy.savez).

    python -P styling/matconvnet.py FILE.mat BYTES

vgg.py runs it as a process of its own, since scipy's reader crashes over some damaged files, and believes the
sizes that they claim: BYTES is the memory that it may take. Arrays are as in the file: `layers`, the names up
to the fully connected ones, `averageImage`, and NAME/FIELD of each convolution, with `kernel` and `bias` for
its weights. What is wrong goes to stderr in a line, with exit status 1.
"""

import contextlib
import os
import re
import sys
from collections.abc import Iterator

import numpy as np
import scipy.io

GEOMETRY = ("stride", "pad", "dilate")


def main() -> None:
    """Read the file that the command line names."""
    path, most = sys.argv[1:]
    limit_memory(int(most))
    try:
        arrays = dict(network(load(path)))
    except MemoryError:
        sys.exit("is damaged: it claims to hold far more than it has bytes")
    np.savez(sys.stdout.buffer, **arrays)


def limit_memory(more: int) -> None:
    """Let this process have no more than so many bytes beside those that it has, where that is possible."""
    with contextlib.suppress(ImportError, OSError):  # only Linux tells what is used, and limits it
        import resource

        with open("/proc/self/statm") as file:
            used = int(file.read().split()[0]) * os.sysconf("SC_PAGESIZE")
        resource.setrlimit(resource.RLIMIT_AS, (used + more, used + more))


def load(path: str) -> dict[str, np.ndarray]:
    """The file's variables; ends the program where it is no .mat file that scipy reads."""
    try:
        return scipy.io.loadmat(path, variable_names=["layers", "normalization", "meta"])
    except MemoryError:
        raise
    except NotImplementedError:
        sys.exit("is a MATLAB 7.3 (HDF5) file; save it with MATLAB's save -v7")
    except Exception as error:  # what loadmat raises for a damaged file is not documented, and varies
        sys.exit(f"is truncated or no .mat file ({' '.join(str(error).split()) or type(error).__name__})")


def network(contents: dict[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    """The network's arrays by name; ends the program where there is none."""
    try:
        layers = [struct(cell) for cell in contents["layers"].flat]
        normalization = contents.get("normalization")
        if normalization is None:
            normalization = struct(contents["meta"])["normalization"]
        yield "averageImage", plain(struct(normalization)["averageImage"])
        names = []
        for layer in layers:
            name = str(layer["name"].item())
            # The fully connected layers begin at the first name that is not block_index's. The letter is of
            # convolutions in a row, as conv1_2a and conv1_2b, with no ReLU between them.
            if not re.fullmatch(r"conv\d+_\d+[a-z]?|relu\d+_\d+|pool\d+", name):
                break
            names.append(name)
            if name.startswith("conv"):
                kernel, bias = layer["weights"].flat
                yield f"{name}/kernel", plain(kernel)
                yield f"{name}/bias", plain(bias)
                for field in GEOMETRY:
                    if field in layer:
                        yield f"{name}/{field}", plain(layer[field])
        yield "layers", np.array(names, str)
    except (KeyError, ValueError, TypeError, IndexError, AttributeError) as error:
        sys.exit(f"holds no MatConvNet network (reading it failed at {error!r})")


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
