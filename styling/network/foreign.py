"""Files that are given as a network but are no .mat file, recognised by their first bytes."""

import re
from pathlib import Path

from styling.system.errors import NetworkError

# Bytes 124 to 127 of a MATLAB file: the version and the byte order (MAT-File Format, MathWorks).
MATLAB_5, MATLAB_7_3 = (b"\x00\x01IM", b"\x01\x00MI"), (b"\x00\x02IM", b"\x02\x00MI")
WANTED = "a VGG-19 or VGG-16 as a MatConvNet .mat file is wanted"
UNPACK = "unpack it, and name the .mat file that is in it"
AGAIN = "fetch it again"
# Patterns of a file's first bytes, what the file is then, and what the user can do; the first match counts.
BEGINNINGS = (
    (rb"(\xef\xbb\xbf)?\s*<(!doctype|html|head|\?xml)", "a web page, as a failed download leaves it", AGAIN),
    (rb"version https://git-lfs", "a Git LFS pointer to one", "fetch it with git lfs pull"),
    (rb"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras writes them", WANTED),
    (rb"PK\x03\x04.{26}[^/]*/(\.format|data\.pkl|\.data|byteorder)", "a PyTorch file", WANTED),
    (rb"PK\x03\x04.{26}(metadata\.json|config\.json|model\.weights)", "a Keras file", WANTED),
    (rb"PK\x03\x04.{26}[^\0]+\.npy|\x93NUMPY", "a NumPy file", WANTED),
    (rb"PK\x03\x04|\x1f\x8b|BZh|\xfd7zXZ\0|7z\xbc\xaf|\x28\xb5\x2f\xfd|.{257}ustar", "an archive", UNPACK),
    (rb"\x80[\x02-\x05].", "a Python pickle, as PyTorch and others write them", WANTED),
    (rb".{8}\{\"", "a safetensors file", WANTED),
    (rb"\n[\x01-\x7f][ -~]+(\x12|\xa2\x06|\x1a)", "a Caffe model", WANTED),
    (rb"\x89PNG|\xff\xd8\xff|GIF8|RIFF.{4}WEBP|II\*\0|MM\0\*|BM.{4}\0{4}", "an image", WANTED),
)


def check_is_mat(path: Path) -> None:
    """Raise NetworkError, naming the kind of file if it is recognised, unless this begins like a .mat file.

    Only MATLAB's versions 5 to 7.2 can hold a network that is read here. Raises OSError if it cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(512)
    if not head:
        raise NetworkError(f"is empty; {AGAIN}")
    if head[124:128] in MATLAB_5:
        return
    if head[124:128] in MATLAB_7_3:
        raise NetworkError("is a MATLAB 7.3 (HDF5) file; save it with MATLAB's save -v7")
    if head.startswith(b"MATLAB ") and len(head) < 128:
        raise NetworkError(f"is truncated; {AGAIN}")
    for pattern, kind, advice in BEGINNINGS:
        if re.match(pattern, head, re.DOTALL | re.IGNORECASE):
            raise NetworkError(f"is no .mat file but {kind}; {advice}")
    raise NetworkError(f"is no .mat file; {WANTED}")
