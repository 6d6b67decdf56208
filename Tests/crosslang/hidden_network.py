"""Members in a network that clients cannot reach, and a machine with an address in both."""

import contextlib
import os
import subprocess

import pytest

from harness import Member


# What etcdctl and martletctl give up after; their own times are for machines that do nothing else.
CTL_SECONDS = 60


def client_environment() -> dict[str, str]:
    return {**os.environ, "ETCDCTL_API": "3", "ETCDCTL_DIAL_TIMEOUT": f"{CTL_SECONDS}s",
            "ETCDCTL_COMMAND_TIMEOUT": f"{CTL_SECONDS}s"}


class Networks:
    """Three networks of their own: members, a gateway between both, clients. Nothing is routed."""

    MEMBERS = "10.231.1"
    CLIENTS = "10.231.2"

    def __init__(self):
        mark = f"mt{os.getpid() % 100_000}"
        self.members, self.middle, self.clients = f"{mark}m", f"{mark}g", f"{mark}c"
        self.names = [self.members, self.middle, self.clients]

    @staticmethod
    def ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True, capture_output=True, timeout=60)

    def __enter__(self) -> "Networks":
        try:
            for name in self.names:
                self.ip("netns", "add", name)
                self.ip("-n", name, "link", "set", "lo", "up")
            self.link(self.members, [f"{self.MEMBERS}.{n}" for n in (11, 12, 13)],
                      f"{self.MEMBERS}.1")
            self.link(self.clients, [f"{self.CLIENTS}.2"], f"{self.CLIENTS}.1")
        except (OSError, subprocess.CalledProcessError):
            self.__exit__()
            pytest.skip("network namespaces are not allowed here")
        return self

    def link(self, outer: str, addresses: list[str], middle_address: str) -> None:
        """A wire between the middle and another network."""
        near, far = f"{outer}0", f"{outer}1"
        self.ip("link", "add", near, "netns", self.middle, "type", "veth", "peer", "name", far,
                "netns", outer)
        self.ip("-n", self.middle, "addr", "add", f"{middle_address}/24", "dev", near)
        self.ip("-n", self.middle, "link", "set", near, "up")
        for address in addresses:
            self.ip("-n", outer, "addr", "add", f"{address}/24", "dev", far)
        self.ip("-n", outer, "link", "set", far, "up")

    def __exit__(self, *_) -> None:
        for name in self.names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, timeout=60)

    @staticmethod
    def inside(name: str) -> list[str]:
        return ["ip", "netns", "exec", name]


class HiddenMember(Member):
    """A member in a network of its own."""

    def __init__(self, networks: Networks, number: int):
        super().__init__("martlet", name=f"m{number}")
        self.host = f"{networks.MEMBERS}.{10 + number}"
        self.prefix = networks.inside(networks.members)

    @property
    def endpoint(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def peer_url(self) -> str:
        return f"http://{self.host}:{self.peer_port}"

    def command(self) -> list[str]:
        words = super().command()
        plain = f"http://127.0.0.1:{self.port}"
        return [*self.prefix, *[word.replace(plain, f"http://{self.endpoint}") for word in words]]

    def is_healthy(self) -> bool:
        done = subprocess.run(
            [*self.prefix, "/usr/bin/etcdctl", f"--endpoints={self.endpoint}", "endpoint",
             "health"], capture_output=True, env={**os.environ, "ETCDCTL_API": "3"}, timeout=60)
        return done.returncode == 0


def start_members(networks: Networks, stack: contextlib.ExitStack) -> list[HiddenMember]:
    """Three of them, founded together, that end with the stack."""
    members = [HiddenMember(networks, number) for number in (1, 2, 3)]
    for member in members:
        stack.callback(member.close)
        member.initial_cluster = ",".join(f"{m.name}={m.peer_url}" for m in members)
    for member in members:
        member.start(wait=False)
    for member in members:
        member.wait_until_healthy()
    return members


def ctl(networks: Networks, endpoint: str, *words: str, check: bool = True):
    """Runs etcdctl in the clients' network."""
    done = subprocess.run(
        [*networks.inside(networks.clients), "/usr/bin/etcdctl", f"--endpoints={endpoint}", *words],
        capture_output=True, text=True, env=client_environment(), timeout=CTL_SECONDS)
    if check:
        assert done.returncode == 0, done.stdout + done.stderr
    return done
