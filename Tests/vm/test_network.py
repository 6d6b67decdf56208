"""Tests of Tests/crosslang for which a machine of their own has more: root's limits, sshd, netem."""

import pathlib

import pytest

from machine import ROOT
from harness import martlet_binary

BIN = "/usr/lib/martlet"
TEST_SECONDS = 3600


@pytest.fixture(scope="module", autouse=True)
def programs(machine):
    """The package, and the checker of histories beside its programs."""
    machine.run("apt-get update -q && apt-get install -q -y --no-install-recommends ./martlet.deb")
    machine.send(pathlib.Path(martlet_binary()).parent / "martlet-sim", f"{BIN}/martlet-sim")
    machine.run(f"chmod +x {BIN}/martlet-sim")


def run(machine, tests: str, **environment) -> None:
    """Runs tests of Tests/crosslang in the machine, all of which must pass, none be skipped."""
    environment |= {"MARTLET_BIN_DIR": BIN, "LD_LIBRARY_PATH": BIN,
                    "PYTHONPATH": f"{ROOT}/.build/vm/python", "PYTHONDONTWRITEBYTECODE": "1"}
    words = " ".join(f"{name}={value}" for name, value in environment.items())
    done = machine.run(f"cd {ROOT} && {words} python3 -m pytest -q -s -rs -p no:cacheprovider "
                       f"Tests/crosslang/{tests}", check=False, timeout=TEST_SECONDS)
    print(done.stdout)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    assert " skipped" not in done.stdout


@pytest.mark.parametrize("count", [10_000, 25_000])
def test_a_gateway_carries(machine, count):
    # All go to one endpoint, and from half of the usual ports on the system looks long for a free one.
    machine.run("sysctl -q net.ipv4.ip_local_port_range='1024 65535'")
    run(machine, "test_tcp_gateway.py -k many", MARTLET_CONNECTIONS=count)


def test_files_run_out(machine):
    run(machine, "test_open_files.py")


def test_ssh_tunnels(machine):
    run(machine, "test_ssh_tunnel.py")


def test_netem(machine):
    machine.run("modprobe sch_netem && modprobe tun")
    run(machine, "test_cluster_network.py -k kernel")
