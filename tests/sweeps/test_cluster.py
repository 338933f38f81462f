"""Sweeps on a Ray cluster: two nodes on this machine, of which one is lost."""

import os
import subprocess
import sys
import time

import imageio.v3 as iio
import pytest
from conftest import random_image, run_sweep, words
from processes import Command

from styling.sweeps.__main__ import main

pytest.importorskip("ray", reason="Ray is not installed: pip install '.[cluster]'")

# Nodes of one machine that nobody else can reach; Ray means to be reached from elsewhere otherwise.
ENVIRONMENT = os.environ | {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0"}
NODES = """
import sys
from ray.cluster_utils import Cluster

here = {"node_ip_address": "127.0.0.1", "include_dashboard": False, "object_store_memory": 100 * 2**20}
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, **here})
node = cluster.add_node(num_cpus=1, **here)
print("at", cluster.address, flush=True)
for line in sys.stdin:
    cluster.remove_node(node, allow_graceful=False)
    print("one less", flush=True)
cluster.shutdown()
"""
SPEC = """
content = "content.png"
styles = "style.png"
rows = {{ style_weight = [100, 1000] }}
[settings]
width = 32
seed = 3
iterations = {iterations}
optimizer = "{optimizer}"
"""


class Nodes:
    """A cluster of two nodes with a CPU each, in a process of its own."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-c", NODES],
            env=ENVIRONMENT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.address = self._answer("at ")

    def kill_one(self):
        """End a node without warning."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        self._answer("one less")

    def close(self):
        self.process.communicate(timeout=60)

    def _answer(self, beginning):
        line = next(line for line in self.process.stdout if line.startswith(beginning))
        return line.removeprefix(beginning).strip()


@pytest.fixture(scope="module")
def nodes():
    """A cluster of two nodes; a test that loses one comes last."""
    cluster = Nodes()
    yield cluster
    cluster.close()


@pytest.fixture
def folder(tmp_path):
    """The test's folder, with the images of SPEC."""
    for name, seed in (("content", 1), ("style", 2)):
        iio.imwrite(tmp_path / f"{name}.png", random_image(24, 32, seed).astype("uint8"))
    return tmp_path


@pytest.fixture
def start(folder, network_file):
    """Starts a sweep in the test's folder, as a process."""

    def start(output, *arguments):
        flags = ["spec.toml", "--output", output, "--network", network_file, "--threads", "1", *arguments]
        return Command(main, folder, flags, ENVIRONMENT)

    return start


def pictures(folder):
    """The bytes of a sweep's pictures by name."""
    return {path.name: path.read_bytes() for path in (folder / "runs").glob("*.png")}


def wait_for_states(folder, after=0.0):
    """Wait until the states of both runs have been saved since then."""
    until = time.monotonic() + 120
    while time.monotonic() < until:
        states = [path for path in (folder / "runs").glob("*.state") if path.stat().st_mtime > after]
        if len(states) == 2:
            return
        time.sleep(0.05)
    raise AssertionError(f"{len(states)} states were saved in two minutes")


def test_what_no_node_can_compute_fails_and_what_is_no_cluster_is_refused(folder, network_file, start, nodes):
    (folder / "spec.toml").write_text(SPEC.format(iterations=5, optimizer="lbfgs"))
    process = start("large", "--cluster", nodes.address, "--threads", "3")
    flags = ["spec.toml", "--output", "out", "--network", network_file, "--cluster", "127.0.0.1:9"]
    _, errors = run_sweep(folder, *flags, check=2)
    assert errors.count("\n") == 1 and "--cluster: 127.0.0.1:9 cannot be joined" in errors
    _, errors = process.finish(1)
    assert errors.count("no node of the cluster has 3 CPUs") == 2


def compare(folder, network_file, there):
    """Check that the pictures of a sweep on a cluster are those of this machine."""
    flags = ["spec.toml", "--output", "here", "--network", network_file]
    run_sweep(folder, *flags, *words("--workers 2 --threads 1"))
    assert len(pictures(folder / "here")) == 2
    assert pictures(folder / there) == pictures(folder / "here")
    assert not list((folder / there / "runs").glob("[!.]*.state"))


@pytest.mark.slow
def test_a_sweep_on_a_cluster_continues_after_its_own_process_was_killed(folder, network_file, start, nodes):
    (folder / "spec.toml").write_text(SPEC.format(iterations=6000, optimizer="adam"))
    flags = ["--cluster", nodes.address, *words("--save-state-iterations 200")]
    driver = start("there", *flags)
    wait_for_states(folder / "there")
    driver.kill()
    driver.wait()
    killed = time.time()
    driver = start("there", *flags)
    wait_for_states(folder / "there", after=killed)
    assert driver.finish()[1] == ""
    compare(folder, network_file, "there")


def test_a_cluster_computes_the_pictures_of_one_machine_though_a_node_is_lost(
    folder, network_file, start, nodes
):
    (folder / "spec.toml").write_text(SPEC.format(iterations=600, optimizer="adam"))
    driver = start("there", "--cluster", nodes.address, *words("--save-state-iterations 50"))
    wait_for_states(folder / "there")
    nodes.kill_one()
    _, errors = driver.finish()
    assert errors.count("the run continues in another") == 1 and errors.count("\n") == 1, errors
    compare(folder, network_file, "there")
