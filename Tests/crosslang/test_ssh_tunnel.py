"""Clients reach members of another network through ssh: -L from the clients' side, -R from the other,
to one member or to a gateway inside."""

import contextlib
import os
import pathlib
import signal
import subprocess
import time

import pytest

from harness import START_SECONDS, STOP_SECONDS, martlet_binary
from hidden_network import (CTL_SECONDS, Networks, client_environment, ctl,
                            start_members)
from sidecars import gateway

SERVER = "/usr/sbin/sshd"
SSH_PORT = 2222
TUNNEL_PORT = 2379
PRIVATE_DIRECTORY = pathlib.Path("/run/sshd")

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="networks of one's own need root")


class Process:
    """A process in a network, ended with its block."""

    def __init__(self, networks: Networks, network: str, command: list[str], log: pathlib.Path):
        self.command = [*networks.inside(network), *command]
        self.log = log

    def __enter__(self) -> "Process":
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, env=client_environment())
        return self

    def __exit__(self, *_) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_SECONDS)
        finally:
            self.process.kill()
            self.process.wait()

    def wait_for_output(self, text: str) -> None:
        deadline = time.monotonic() + START_SECONDS
        while text not in self.log.read_text():
            assert time.monotonic() < deadline, f"no {text!r} but:\n{self.log.read_text()}"
            time.sleep(0.05)


class Shell:
    """An sshd at an address of a network, and who may log in there: this test."""

    def __init__(self, networks: Networks, network: str, address: str, folder: pathlib.Path):
        self.networks, self.address, self.folder = networks, address, folder
        folder.mkdir()
        for name in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name],
                           check=True)
        (folder / "config").write_text(
            f"ListenAddress {address}\nPort {SSH_PORT}\nHostKey {folder}/host\nPidFile none\n"
            f"AuthorizedKeysFile {folder}/user.pub\nPermitRootLogin prohibit-password\n"
            "StrictModes no\nUsePAM no\n")
        host_key = (folder / "host.pub").read_text()
        (folder / "known").write_text(f"[{address}]:{SSH_PORT} {host_key}")
        PRIVATE_DIRECTORY.mkdir(exist_ok=True)
        self.server = Process(networks, network, [SERVER, "-D", "-e", "-f", folder / "config"],
                              folder / "server.log")

    def __enter__(self) -> "Shell":
        self.server.__enter__()
        self.server.wait_for_output("Server listening")
        return self

    def __exit__(self, *_) -> None:
        self.server.__exit__()

    def tunnel(self, network: str, *forward: str) -> Process:
        """An ssh without a command, as the guide has it, in a network. Once its block has begun the
        tunnel is there."""
        command = ["ssh", "-v", "-N", "-F", "none", "-p", str(SSH_PORT), "-i",
                   f"{self.folder}/user", "-o", f"UserKnownHostsFile={self.folder}/known", "-o",
                   "ExitOnForwardFailure=yes", *forward, f"root@{self.address}"]
        log = self.folder / f"tunnel{len(list(self.folder.glob('tunnel*')))}.log"
        return Tunnel(self.networks, network, command, log)


class Tunnel(Process):
    def __enter__(self) -> "Tunnel":
        super().__enter__()
        # Said once the forwarding asked for is in place.
        self.wait_for_output("Entering interactive session")
        if "-R" in self.command:
            self.wait_for_output("remote forward success")
        return self


@pytest.fixture
def networks():
    with Networks() as networks:
        yield networks


def martletctl(networks: Networks, *words: str) -> str:
    binary = pathlib.Path(martlet_binary()).parent / "martletctl"
    done = subprocess.run(
        [*networks.inside(networks.clients), binary, f"--endpoints=localhost:{TUNNEL_PORT}",
         *words], capture_output=True, text=True, env=client_environment(), timeout=CTL_SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def use(networks: Networks, tmp_path: pathlib.Path) -> None:
    """Everything that a client does, at the tunnel's end."""
    here = f"localhost:{TUNNEL_PORT}"
    rows = ctl(networks, here, "member", "list").stdout.splitlines()
    assert {row.split(", ")[2] for row in rows} == {"m1", "m2", "m3"}
    watches = [["/usr/bin/etcdctl"], [pathlib.Path(martlet_binary()).parent / "martletctl"]]
    for number, program in enumerate(watches):
        key = f"watched{number}"
        assert ctl(networks, here, "put", key, "old").stdout == "OK\n"
        watch = Process(networks, networks.clients,
                        [*program, f"--endpoints={here}", "watch", "--rev=1", key],
                        tmp_path / key)
        with watch:
            watch.wait_for_output(f"{key}\nold\n")
            assert martletctl(networks, "put", key, "new") == "OK\n"
            watch.wait_for_output(f"PUT\n{key}\nnew\n")
        assert ctl(networks, here, "get", key).stdout == f"{key}\nnew\n"
        assert martletctl(networks, "get", key) == f"{key}\nnew\n"
    value = "v" * 100_000
    assert ctl(networks, here, "put", "large", value).stdout == "OK\n"
    assert ctl(networks, here, "get", "large", "--print-value-only").stdout == value + "\n"


@pytest.mark.parametrize("way", ["-L", "-R"])
def test_one_member_through_a_tunnel(networks, tmp_path, way):
    with contextlib.ExitStack() as stack:
        member = start_members(networks, stack)[0]
        hidden = ctl(networks, member.endpoint, "--dial-timeout=1s", "get", "a", check=False)
        assert hidden.returncode != 0, "the members are hidden"
        forward = [way, f"{TUNNEL_PORT}:{member.endpoint}"]
        if way == "-L":
            shell = stack.enter_context(Shell(networks, networks.middle, f"{networks.CLIENTS}.1",
                                              tmp_path / "shell"))
            stack.enter_context(shell.tunnel(networks.clients, *forward))
        else:
            shell = stack.enter_context(Shell(networks, networks.clients, f"{networks.CLIENTS}.2",
                                              tmp_path / "shell"))
            stack.enter_context(shell.tunnel(networks.middle, *forward))
        use(networks, tmp_path)


def test_a_gateway_behind_the_tunnel_survives_a_member(networks, tmp_path):
    """And a watch survives the tunnel's end: it goes on where it was."""
    with contextlib.ExitStack() as stack:
        members = start_members(networks, stack)
        inside = stack.enter_context(gateway(
            *[member.endpoint for member in members], host=f"{networks.MEMBERS}.1",
            prefix=networks.inside(networks.middle), flags=["--retry-delay=100ms"]))
        shell = stack.enter_context(Shell(networks, networks.middle, f"{networks.CLIENTS}.1",
                                          tmp_path / "shell"))
        forward = ["-L", f"{TUNNEL_PORT}:{inside.endpoint}"]
        here = f"localhost:{TUNNEL_PORT}"
        with shell.tunnel(networks.clients, *forward):
            use(networks, tmp_path)
            members[0].kill()
            for number in range(6):
                ctl(networks, here, "put", f"without{number}", "value")
            members[0].start()
            watch = stack.enter_context(Process(
                networks, networks.clients,
                ["/usr/bin/etcdctl", f"--endpoints={here}", "watch", "resumed"],
                tmp_path / "resumed"))
            # Until the watch is there; it starts at the present.
            deadline = time.monotonic() + START_SECONDS
            while "before" not in watch.log.read_text():
                assert time.monotonic() < deadline
                ctl(networks, here, "put", "resumed", "before")
        subprocess.run(
            [*networks.inside(networks.members), "/usr/bin/etcdctl",
             f"--endpoints={members[1].endpoint}", "put", "resumed", "meanwhile"], check=True,
            capture_output=True, env=client_environment(), timeout=CTL_SECONDS)
        with shell.tunnel(networks.clients, *forward):
            watch.wait_for_output("PUT\nresumed\nmeanwhile\n")
