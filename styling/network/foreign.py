"""Recognise a file that was given as a network but is not a .mat file, by its first and last bytes."""

import os
import re
from pathlib import Path

from styling.system.errors import NetworkError

HEAD_BYTES = 512
# Bytes 124 to 127 of a MATLAB 5 or 7 file: the version and the byte order (MAT-File Format, MathWorks).
VERSIONS = b"\x00\x01IM", b"\x01\x00MI"
HDF5_VERSIONS = b"\x00\x02IM", b"\x02\x00MI"
# Patterns of a file's first bytes, what the file is then, and what the user can do; the first match counts.
FETCH, UNPACK = "fetch it again", "unpack it, and name the .mat file that is in it"
WANTED = "a VGG-19 or VGG-16 as a MatConvNet .mat file is wanted"
BEGINNINGS = (
    (rb"(\xef\xbb\xbf)?\s*<(!doctype|html|head|\?xml)", "a web page, as a failed download leaves it", FETCH),
    (rb"version https://git-lfs", "a Git LFS pointer to one", "fetch it with git lfs pull"),
    (rb"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras writes them", WANTED),
    (rb"PK\x03\x04.{26}[^/]*/(\.format|data\.pkl|\.data|byteorder)", "a PyTorch file", WANTED),
    (rb"PK\x03\x04.{26}(metadata\.json|config\.json|model\.weights)", "a Keras file", WANTED),
    (rb"PK\x03\x04.{26}[^\0]+\.npy", "a NumPy .npz file", WANTED),
    (rb"PK\x03\x04", "a zip archive", UNPACK),
    (rb"\x1f\x8b|BZh|\xfd7zXZ\0|7z\xbc\xaf|Rar!|\x28\xb5\x2f\xfd|.{257}ustar", "an archive", UNPACK),
    (rb"\x93NUMPY", "a NumPy .npy file", WANTED),
    (rb"\x80[\x02-\x05].", "a Python pickle, as PyTorch and others write them", WANTED),
    (rb"\x04\0\0\0.{8}V \d|4\n\d+\n\d+\nV \d", "a Torch .t7 file", WANTED),
    (rb".{8}\{\"", "a safetensors file", WANTED),
    (rb"\n[\x01-\x7f][ -~]+(\x12|\xa2\x06|\x1a)", "a Caffe model", WANTED),
    (rb"\s*(#[^\n]*\s*)*name:\s*[\"']", "the text of a Caffe model, without its weights", WANTED),
    (rb"\n..?\n[\x01-\x7f][ -~]+\x12", "a TensorFlow graph", WANTED),
    (rb"model_checkpoint_path:", "the list of TensorFlow checkpoints", WANTED),
    (rb"\x08[\x01-\x0f]\x12", "an ONNX or TensorFlow model", WANTED),
    (rb"\x89PNG|\xff\xd8\xff|GIF8|RIFF.{4}WEBP|II\*\0|MM\0\*|BM.{4}\0{4}", "an image", WANTED),
)
CHECKPOINT = "a TensorFlow checkpoint", WANTED
TABLE_END = bytes.fromhex("57fb808b247547db")  # of a TensorFlow checkpoint's index, a LevelDB table
SHARD = re.compile(r"\.data-\d+-of-\d+$")


def check_is_mat(path: Path) -> None:
    """Raise NetworkError, naming the kind of file if it is recognised, unless this begins like a .mat file.

    Only MATLAB's versions 5 to 7.2 can hold a network that is read here. Raises OSError if it cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
        file.seek(-min(len(TABLE_END), len(head)), os.SEEK_END)
        tail = file.read()
    if not head:
        raise NetworkError("is empty; fetch it again")
    if head[124:128] in VERSIONS:
        return
    if head[124:128] in HDF5_VERSIONS:
        raise NetworkError("is a MATLAB 7.3 (HDF5) file; save it with MATLAB's save -v7")
    if head.startswith(b"MATLAB ") and len(head) < 128:
        raise NetworkError("is truncated; fetch it again")
    found = [kind for begins, *kind in BEGINNINGS if re.match(begins, head, re.DOTALL | re.IGNORECASE)]
    if tail == TABLE_END or SHARD.search(path.name):
        found = [CHECKPOINT]
    what, advice = found[0] if found else (None, WANTED)
    raise NetworkError(f"is no .mat file{f' but {what}' if what else ''}; {advice}")
