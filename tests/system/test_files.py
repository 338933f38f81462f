"""Whole files or none: what a folder holds after success, after every kind of failure, and meanwhile."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from styling.system.files import check_writable, write_whole

ROOT = Path(__file__).parents[2]


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def raises(error):
    def write(file):
        file.write(b"half")
        file.flush()
        raise error

    return write


@pytest.mark.parametrize("name", ["a.png", "no ending", ".hidden", "ü" * 125 + ".png"])
def test_a_file_is_made_or_replaced(tmp_path, name):
    for data in (b"first, which is longer", b"second"):
        write_whole(tmp_path / name, lambda file, data=data: file.write(data))
        assert contents(tmp_path) == {name: data}


def test_a_bare_name_is_in_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check_writable("bare.png")
    write_whole("bare.png", lambda file: file.write(b"new"))
    assert contents(tmp_path) == {"bare.png": b"new"}


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


def test_a_full_disk_leaves_the_existing_file_and_is_told_with_its_name(tmp_path):
    (tmp_path / "a.png").write_bytes(b"old")
    # A limit on the size of files fails as a full disk does, in the middle of the writing.
    program = (
        "import resource, sys; from styling.system.files import write_whole\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))\n"
        "try: write_whole(sys.argv[1], lambda file: file.write(bytes(100_000)))\n"
        "except OSError as error: print(error.errno, error.filename)"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "a.png")]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert found.stdout.strip() == f"{errno.EFBIG} {tmp_path / 'a.png'}"
    assert contents(tmp_path) == {"a.png": b"old"}


def test_a_free_name_is_taken_where_nothing_may_be_replaced(tmp_path):
    for i in range(3):
        path = write_whole(tmp_path / "a.png", lambda file, i=i: file.write(b"%d" % i), overwrite=False)
    assert path == tmp_path / "a-2.png"
    assert contents(tmp_path) == {"a.png": b"0", "a-1.png": b"1", "a-2.png": b"2"}
    with pytest.raises(ValueError, match="x"):
        write_whole(tmp_path / "a.png", raises(ValueError("x")), overwrite=False)
    assert len(os.listdir(tmp_path)) == 3


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_permissions_follow_the_umask(tmp_path, mask):
    before = os.umask(mask)
    try:
        write_whole(tmp_path / "a.png", lambda file: file.write(b"new"))
        assert os.umask(mask) == mask
    finally:
        os.umask(before)
    assert (tmp_path / "a.png").stat().st_mode & 0o777 == 0o666 & ~mask


def test_a_place_that_cannot_be_written_is_found_out_first_and_named(tmp_path):
    (tmp_path / "file").write_bytes(b"old")
    for name, kind in (("missing/a.png", FileNotFoundError), ("file/a.png", NotADirectoryError)):
        path = tmp_path / name
        with pytest.raises(kind):
            check_writable(path)
        with pytest.raises(kind) as error:
            write_whole(path, lambda file: file.write(b"new"))
        assert error.value.filename == str(path)
    assert os.listdir(tmp_path) == ["file"]


def test_a_folder_is_not_replaced(tmp_path):
    (tmp_path / "a.png").mkdir()
    with pytest.raises(IsADirectoryError) as error:
        write_whole(tmp_path / "a.png", lambda file: file.write(b"new"))
    assert error.value.filename == str(tmp_path / "a.png")
    assert os.listdir(tmp_path) == ["a.png"]


def test_checking_leaves_nothing_behind(tmp_path):
    check_writable(tmp_path / "a.png")
    assert contents(tmp_path) == {}


def test_of_many_that_write_at_once_none_is_lost(tmp_path):
    program = (
        "import sys; from styling.system.files import write_whole\n"
        "print(write_whole(sys.argv[1], lambda file: file.write(sys.argv[2].encode()), overwrite=False))"
    )
    command = [sys.executable, "-c", program, tmp_path / "a.png"]
    pipes = {"stdout": subprocess.PIPE, "text": True, "env": os.environ | {"PYTHONPATH": str(ROOT)}}
    processes = [subprocess.Popen([*map(str, [*command, i])], **pipes) for i in range(8)]
    names = [process.communicate()[0].strip() for process in processes]
    assert sorted(names) == sorted(map(str, tmp_path.iterdir()))
    assert [Path(name).read_bytes() for name in names] == [b"%d" % i for i in range(8)]
