"""Whole files or none: what a folder holds after success, after every kind of failure, and meanwhile."""

import errno
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from styling.system.files import write_whole


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def raises(error):
    def write(file):
        file.write(b"half")
        file.flush()
        raise error

    return write


@pytest.mark.parametrize("name", ["a.png", "no ending", ".hidden", "ü" * 125 + ".png"])
def test_a_file_is_made_or_replaced(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    for data in (b"first, which is longer", b"second"):
        write_whole(name, lambda file, data=data: file.write(data))
        assert contents(tmp_path) == {name: data}


def test_no_half_file_is_seen_while_it_is_written(tmp_path):
    path, seen = tmp_path / "a.png", []
    path.write_bytes(b"old")

    def write(file):
        file.write(b"new")
        file.flush()
        seen.append((path.read_bytes(), len(os.listdir(tmp_path))))

    write_whole(path, write)
    assert seen == [(b"old", 2)]  # the half file is in the same folder, so that a rename is all it takes
    assert contents(tmp_path) == {"a.png": b"new"}


@pytest.mark.parametrize("old", [{}, {"a.png": b"old"}], ids=["new", "existing"])
@pytest.mark.parametrize("error", [ValueError("x"), OSError(errno.EIO, "x"), KeyboardInterrupt()], ids=repr)
def test_a_failure_leaves_the_folder_as_it_was(tmp_path, old, error):
    for name, data in old.items():
        (tmp_path / name).write_bytes(data)
    with pytest.raises(type(error)) as raised:
        write_whole(tmp_path / "a.png", raises(error))
    assert raised.value is error or raised.value.filename == str(tmp_path / "a.png")
    assert contents(tmp_path) == old


def test_a_free_name_is_taken_where_nothing_may_be_replaced(tmp_path):
    for i in range(3):
        path = write_whole(tmp_path / "a.png", lambda file, i=i: file.write(b"%d" % i), overwrite=False)
    assert path == tmp_path / "a-2.png"
    assert contents(tmp_path) == {"a.png": b"0", "a-1.png": b"1", "a-2.png": b"2"}
    with pytest.raises(ValueError, match="x"):
        write_whole(tmp_path / "a.png", raises(ValueError("x")), overwrite=False)
    assert len(os.listdir(tmp_path)) == 3


def test_permissions_follow_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        write_whole(tmp_path / "a.png", lambda file: file.write(b"new"))
    finally:
        os.umask(before)
    assert (tmp_path / "a.png").stat().st_mode & 0o777 == 0o640


def test_a_place_that_cannot_be_written_is_named_and_stays(tmp_path):
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "folder").mkdir()
    for name, kind in (
        ("missing/a.png", FileNotFoundError),
        ("file/a.png", NotADirectoryError),
        ("folder", IsADirectoryError),
    ):
        with pytest.raises(kind) as error:
            write_whole(tmp_path / name, lambda file: file.write(b"new"))
        assert error.value.filename == str(tmp_path / name)
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


def test_of_many_that_write_at_once_none_is_lost(tmp_path):
    def write(i):
        return write_whole(tmp_path / "a.png", lambda file: file.write(b"%d" % i), overwrite=False)

    with ThreadPoolExecutor(8) as threads:
        names = list(threads.map(write, range(8)))
    assert sorted(names) == sorted(tmp_path.iterdir())
    assert [name.read_bytes() for name in names] == [b"%d" % i for i in range(8)]
