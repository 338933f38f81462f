"""Sweeps on a Ray cluster, whose nodes are on this machine; test_sweeps.py has workers that are lost."""

import os
import subprocess
import sys
import time

import pytest
from conftest import run_sweep, words
from processes import Command

from styling.sweeps.__main__ import main

pytest.importorskip("ray", reason="Ray is not installed: pip install '.[cluster]'")
pytestmark = pytest.mark.slow  # a node alone takes ten seconds to start

# Nodes of one machine that nobody else can reach; Ray means to be reached from elsewhere otherwise.
ENVIRONMENT = os.environ | {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0"}
NODES = """
import sys
from ray.cluster_utils import Cluster

here = {"node_ip_address": "127.0.0.1", "include_dashboard": False, "object_store_memory": 100 * 2**20}
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **here})
node = cluster.add_node(num_cpus=1, **here)
print("at", cluster.address, flush=True)
for line in sys.stdin:
    other = cluster.add_node(num_cpus=1, **here)
    cluster.remove_node(node, allow_graceful=False)
    node = other
cluster.shutdown()
"""
SPEC = """
content = "content.png"
styles = "style1.png"
[settings]
width = 32
seed = 3
"""


@pytest.fixture(scope="module")
def nodes():
    """The process of a cluster of one node with a CPU; at a line of input, another node takes its place."""
    command = [sys.executable, "-u", "-c", NODES]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, env=ENVIRONMENT, text=True, **pipes)
    process.address = next(line for line in process.stdout if line.startswith("at ")).split()[1]
    yield process
    process.communicate(timeout=60)


@pytest.fixture
def start(folder, nodes):
    """Starts a sweep of so many iterations on the cluster, as a process in the test's folder."""

    def start(iterations, *arguments):
        (folder / "spec.toml").write_text(SPEC + f"iterations = {iterations}")
        flags = words(f"spec.toml --output there --network tiny.mat --cluster {nodes.address}")
        return Command(main, folder, [*flags, *arguments], ENVIRONMENT)

    return start


def wait_for_state(folder, after=0.0):
    """Wait until a state of the run has been saved since then."""
    until, runs = time.monotonic() + 120, folder / "there" / "runs"
    while not any(path.stat().st_mtime > after for path in runs.glob("[!.]*.state")):
        assert time.monotonic() < until, "no state was saved in two minutes"
        time.sleep(0.05)


def compare(folder):
    """Check that the picture that was made on the cluster is that of this machine."""
    run_sweep(folder, *words("spec.toml --output here --network tiny.mat --workers 1 --threads 1"))
    [here], [there] = ([*(folder / name / "runs").glob("*.png")] for name in ("here", "there"))
    assert here.name == there.name and here.read_bytes() == there.read_bytes()
    assert not list((folder / "there" / "runs").glob("[!.]*.state"))


def test_a_cluster_computes_the_picture_of_one_machine_though_a_node_is_lost(folder, start, nodes):
    driver = start(600, *words("--save-state-iterations 50"))
    wait_for_state(folder)
    nodes.stdin.write("\n")
    nodes.stdin.flush()
    _, errors = driver.finish()
    assert errors.count("the run continues in another") == 1 and errors.count("\n") == 1, errors
    compare(folder)


def test_a_sweep_on_a_cluster_continues_after_its_own_process_was_killed(folder, start):
    driver = start(6000, *words("--save-state-iterations 200"))
    wait_for_state(folder)
    driver.kill()
    driver.wait()
    killed = time.time()
    driver = start(6000, *words("--save-state-iterations 200"))
    wait_for_state(folder, after=killed)
    assert driver.finish()[1] == ""
    compare(folder)


def test_what_no_node_can_compute_fails(start):
    _, errors = start(5, "--threads", "3").finish(1)
    assert errors.count("no node of the cluster has 3 CPUs") == 1
