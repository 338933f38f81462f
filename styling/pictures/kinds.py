"""What kind of file this is, by its first bytes."""

import re
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from styling.system.errors import ImageError

HEIC = re.compile(rb"(?s)....ftyp(|(mif1|msf1|miaf).{4}(.{4}){0,20}?)he[iv][cxms]")
AVIF = re.compile(rb"(?s)....ftyp(|(mif1|msf1|miaf).{4}(.{4}){0,20}?)avi[fs]")
TIFF = re.compile(rb"II[*+]\0|MM\0[*+]")
RAW = "a camera's raw file", "develop it, and save it as JPEG or PNG"
EXPORT = "export it as PNG"
VIDEO = "a video", "name a video for --output as well, as painted.mp4, or save one of its frames as PNG"
# Files that people pass but that are not read here: how they begin, what they are, and what to do.
FOREIGN = [
    (re.compile(pattern, re.DOTALL | re.IGNORECASE), what, advice)
    for pattern, what, advice in (
        (rb"(\xef\xbb\xbf)?\s*<(!doctype html|html)", "a web page", "save the picture that it shows"),
        (rb"(\xef\xbb\xbf)?\s*<(svg|.*<svg)", "SVG, a drawing", EXPORT),
        (rb"%PDF", "a PDF", EXPORT),
        (rb"%!PS|\xc5\xd0\xd3\xc6", "PostScript, a drawing", EXPORT),
        (rb"....ftypcrx|II\*\0\x10\0\0\0CR|FUJIFILMCCD-RAW|IIR[OS]\x08|MMOR|IIU\0|FOVb|\0MRM", *RAW),
        (rb"....ftyp(qt|isom|iso\d|mp4|m4v|avc1|3g|dash)", *VIDEO),
        (rb"RIFF....AVI |\x1aE\xdf\xa3|\0\0\x01[\xba\xb3]|FLV\x01", *VIDEO),
        (rb"\xff\x0a|\0\0\0\x0cJXL ", "JPEG XL", "save it as PNG or JPEG"),
        (rb"v/1\x01|#\?RADIANCE", "an image of high dynamic range", "save it as PNG with 16 bits a colour"),
        (rb"gimp xcf", "GIMP's own XCF", EXPORT),
        (rb"PK\x03\x04", "an archive, or a document", "save the picture in it as PNG or JPEG"),
        (rb"\0\x05\x16\x07", "what macOS notes beside a file", "name the file itself, without ._ before it"),
    )
]
# Files of a folder with these endings count as images, so that a damaged one is named and not passed over.
ENDINGS = re.compile(
    r"\.(a?png|jpe?g|jpe|jfif|webp|tiff?|bmp|dib|gif|hei[cf]|avif|jp2|j2k|jpx|psd|tga|p[bgnp]m|ico|pcx|dds|qoi)",
    re.IGNORECASE,
)


def check(head: bytes) -> None:
    """Raise ImageError for a file with these first bytes if it is of a kind that is not read here."""
    if not head:
        raise ImageError("is empty")
    for pattern, what, advice in FOREIGN:
        if pattern.match(head):
            raise ImageError(f"is {what}; {advice}")


def unidentified(head: bytes) -> str:
    """The problem with a file that Pillow cannot identify, from its first bytes."""
    for pattern, what in ((TIFF, "TIFF"), (re.compile(b"8BPS"), "PSD"), (HEIC, "HEIC"), (AVIF, "AVIF")):
        if pattern.match(head):
            advice = "save it as PNG, with 8 or 16 bits a colour"
            return f"is {what}, damaged or of a kind that cannot be read; {advice}"
    return "is no image that can be read"


def is_video(head: bytes) -> bool:
    """Whether a file with these first bytes is a video."""
    return any((what, advice) == VIDEO for pattern, what, advice in FOREIGN if pattern.match(head))


def is_image(path: Path) -> bool:
    """Whether a file is meant as an image, by its ending or else by its first bytes.

    Names that begin with a dot are hidden: files of other programs, such as macOS's ._photo.jpg.
    """
    if path.name.startswith(".") or not path.is_file():
        return False
    if ENDINGS.fullmatch(path.suffix):
        return True
    try:
        with path.open("rb") as file:
            head = file.read(4096)
            check(head)
            Image.open(file).close()
    except UnidentifiedImageError:
        return bool(HEIC.match(head))
    except Exception:  # Pillow raises nearly anything for a file that is none
        return False
    return True
