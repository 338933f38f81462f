"""Which files of a folder are photographs."""

import numpy as np
import pytest
from image_files import encoded

from styling.pictures import folders
from styling.system.errors import SettingsError

NOISE = np.random.default_rng(5).integers(0, 256, (8, 8, 3), np.uint8)


def test_every_kind_that_is_read_is_taken_and_the_rest_is_counted(tmp_path, caplog):
    kinds = {
        "a.PNG": "PNG", "b.jpeg": "JPEG", "c.jfif": "JPEG", "d.webp": "WEBP", "e.tif": "TIFF", "f.gif": "GIF",
        "g.jp2": "JPEG2000", "h.tga": "TGA", "i.ppm": "PPM", "j.bmp": "BMP", "k": "PNG", "l.image": "JPEG",
    }  # fmt: skip
    for name, kind in kinds.items():
        (tmp_path / name).write_bytes(encoded(NOISE, kind))
    (tmp_path / "m.jpg").write_bytes(b"")  # damaged, which is said when it is read
    for name in (".hidden.jpg", "._a.PNG", ".DS_Store"):  # of other programs
        (tmp_path / name).write_bytes(encoded(NOISE, "PNG"))
    assert list(folders.expand("content", [tmp_path])) == [tmp_path / name for name in [*kinds, "m.jpg"]]
    assert not caplog.messages
    (tmp_path / "n.txt").write_text("a letter")
    (tmp_path / "o.mp4").write_bytes(b"\0\0\0\x18ftypisom")
    (tmp_path / "p.svg").write_text("<svg>")
    (tmp_path / "q").mkdir()
    assert len(list(folders.expand("content", [tmp_path, tmp_path / "n.txt"]))) == 14
    assert caplog.messages == [f"{tmp_path}: 13 images; 4 others are left out: n.txt, o.mp4, p.svg, ..."]


def test_a_folder_without_images_is_an_error(tmp_path):
    (tmp_path / "._a.png").write_bytes(b"\0\5\x16\7")
    with pytest.raises(SettingsError, match="is a folder without images"):
        list(folders.expand("content", [tmp_path]))
