"""The memory that a container or a shell leaves, and the line that says so before TensorFlow fails in it."""

import os
import re
import subprocess
import sys

import pytest
from conftest import ROOT

from styling.system import limits
from styling.system.errors import MemoryLimitError

# A line of /proc/self/cgroup, the folder of such groups, a limit, the memory in use, a prefix in memory.stat.
V1 = "1:cpu:/\n4:memory:{}\n0::/\n", "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_"
MAX = "0::{}\n", "", "memory.max", "memory.current", ""
HIGH = "0::{}\n", "", "memory.high", "memory.current", ""


@pytest.mark.parametrize(
    ("kind", "path", "folder"),
    [
        (V1, "/", ""),  # a container that sees its own group as the outermost
        (MAX, "/docker/1", ""),  # one that is told its path from outside
        (V1, "/user/job", "user/job"),
        (HIGH, "/user/job", "user"),  # the limit of a group around it
    ],
)
def test_a_control_groups_limit_counts_without_what_was_read_from_files(
    tmp_path, monkeypatch, kind, path, folder
):
    line, controller, limit, used, prefix = kind
    (tmp_path / "cgroup").write_text(line.format(path))
    monkeypatch.setattr(limits, "OWN_GROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(limits, "GROUPS", tmp_path / "groups")
    assert limits.free_memory() > 3000
    group = tmp_path / "groups" / controller / folder
    group.mkdir(parents=True)
    stat = f"anon 5\n{prefix}active_file 700\n{prefix}inactive_file 1300\n"
    for name, text in ((limit, "9000\n"), (used, "8000\n"), ("memory.stat", stat)):
        (group / name).write_text(text)
    assert (limits.total_memory(), limits.free_memory()) == (9000, 3000)
    with pytest.raises(MemoryLimitError, match=r"TensorFlow needs .* 0 are free"):
        limits.check_tensorflow()
    (group / limit).write_text("max\n")
    assert limits.free_memory() > 3000


@pytest.mark.skipif(sys.platform != "linux", reason="ulimit limits memory there alone")
def test_a_shells_limit_is_told_before_tensorflow_fails_in_it(image_files, tmp_path):
    content, style, _ = image_files
    words = f"--content {content} --styles {style} --output {tmp_path}/o.png --iterations 1".split()
    # As little as Python and NumPy need, which tells whether the line comes before TensorFlow.
    command = ["sh", "-c", 'ulimit -v 400000; exec "$@"', "sh", sys.executable]
    command += [ROOT / "neural_style.py", *words]
    result = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    )
    assert result.returncode == 1
    assert re.fullmatch(r"neural-style: error: TensorFlow needs .* ulimit -v: .*\n", result.stderr)
