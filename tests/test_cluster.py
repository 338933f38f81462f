"""Sweeps on a Ray cluster: several nodes on this machine, of which some are lost."""

import os
import signal
import subprocess
import sys
import time

import imageio.v3 as iio
import pytest
from conftest import ROOT, random_image, words

pytest.importorskip("ray", reason="Ray is not installed: pip install '.[cluster]'")

# Nodes of one machine that nobody else can reach; Ray means to be reached from elsewhere otherwise.
ENVIRONMENT = os.environ | {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0"}
NODES = """
import sys
from ray.cluster_utils import Cluster

here = {"node_ip_address": "127.0.0.1", "include_dashboard": False, "object_store_memory": 100 * 2**20}
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **here})
nodes = [cluster.add_node(num_cpus=1, **here) for _ in range(2)]
print("at", cluster.address, flush=True)
for line in sys.stdin:
    cluster.remove_node(nodes.pop(), allow_graceful=False)
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
    """A cluster of a head without CPUs and two nodes with one each, in a process of its own."""

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
        """Have a node go, without a word to anybody."""
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
    """A cluster, of which the last test loses some."""
    cluster = Nodes()
    yield cluster
    cluster.close()


@pytest.fixture
def sweep(tmp_path, network_file):
    """Starts a sweep in the test's own folder, as a process."""
    for name, seed in (("content", 1), ("style", 2)):
        iio.imwrite(tmp_path / f"{name}.png", random_image(24, 32, seed).astype("uint8"))

    def start(spec, output, *arguments):
        (tmp_path / "spec.toml").write_text(spec)
        command = [sys.executable, "-m", "styling.sweeps", "spec.toml", "--output", output]
        command += ["--network", str(network_file), "--threads", "1", *arguments]
        environment = ENVIRONMENT | {"PYTHONPATH": str(ROOT)}
        return subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    return start


def finish(process):
    """The end of a sweep that is to come to a good one."""
    out, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    return out, errors


def pictures(folder):
    """The bytes of a sweep's pictures by name."""
    return {path.name: path.read_bytes() for path in (folder / "runs").glob("*.png")}


def await_states(folder, count, after=0.0):
    """Wait until so many runs have been kept since then."""
    until = time.monotonic() + 120
    while time.monotonic() < until:
        states = [path for path in (folder / "runs").glob("*.state") if path.stat().st_mtime > after]
        if len(states) >= count:
            return
        time.sleep(0.05)
    raise AssertionError(f"{len(states)} runs were kept in two minutes")


def test_what_no_node_can_do_fails_and_what_is_no_cluster_is_refused(tmp_path, sweep, nodes):
    spec = SPEC.format(iterations=5, optimizer="lbfgs")
    process = sweep(spec, "large", "--cluster", nodes.address, "--threads", "3")
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1 and errors.count("no node of the cluster has 3 CPUs") == 2

    process = sweep(spec, "stopped", "--cluster", "127.0.0.1:9")
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 2
    assert errors.count("\n") == 1 and "--cluster: 127.0.0.1:9 cannot be joined" in errors


def test_a_cluster_makes_the_pictures_of_one_machine_whatever_is_lost_meanwhile(tmp_path, sweep, nodes):
    spec = SPEC.format(iterations=6000, optimizer="adam")
    finish(sweep(spec, "here", "--workers", "2"))
    there = ["--cluster", nodes.address, *words("--save-state-iterations 200")]

    driver = sweep(spec, "there", *there)
    await_states(tmp_path / "there", 2)
    driver.send_signal(signal.SIGKILL)
    driver.communicate()

    killed = time.time()
    driver = sweep(spec, "there", *there)
    await_states(tmp_path / "there", 2, after=killed)
    nodes.kill_one()
    _, errors = finish(driver)

    assert errors.count("has gone; it goes on elsewhere") == 1 and len(errors.splitlines()) == 1, errors
    assert len(pictures(tmp_path / "here")) == 2
    assert pictures(tmp_path / "there") == pictures(tmp_path / "here")
    assert not list((tmp_path / "there" / "runs").glob("[!.]*.state"))
