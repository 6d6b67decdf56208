"""Members in network namespaces of their own, joined by a switch that loses, delays, repeats and
reorders packets, link by link and way by way.

The switch is a program (network_switch.py) at the other end of the namespaces' tun devices, not
netem, which many kernels are built without; where there is one, `NetworkMember.netem` adds that.
The namespaces have no name and no way out: they are gone with their last process. Clients reach a
member by its unix socket, so only members are cut off.
"""

import ctypes
import fcntl
import http.client
import json
import os
import pathlib
import socket
import struct
import subprocess
import sys
import threading

from harness import Cluster, Member

CLONE_NEWNET = 0x40000000
TUNSETIFF = 0x400454CA
IFF_TUN_WITHOUT_INFO = 0x0001 | 0x1000
SUBNET = "10.77.0"
DEVICE = "mt0"
PEER_PORT = 2380
CLIENT_PORT = 2379
libc = ctypes.CDLL(None, use_errno=True)


def check(result: int, what: str) -> None:
    if result != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")


def in_thread(body):
    """Runs `body` in a thread of its own, whose namespace it may change; its result."""
    outcome = []

    def run():
        try:
            outcome.append((True, body()))
        except BaseException as error:
            outcome.append((False, error))
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    succeeded, result = outcome[0]
    if not succeeded:
        raise result
    return result


class Namespace:
    """A network namespace with loopback and one tun device, whose other end is `port`."""

    def __init__(self, number: int):
        self.address = f"{SUBNET}.{number}"

        def make():
            check(libc.unshare(CLONE_NEWNET), "a network namespace")
            self.handle = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
            self.port = os.open("/dev/net/tun", os.O_RDWR)
            fcntl.ioctl(self.port, TUNSETIFF,
                        struct.pack("16sH22x", DEVICE.encode(), IFF_TUN_WITHOUT_INFO))
            for command in (["link", "set", "lo", "up"],
                            ["addr", "add", f"{self.address}/24", "dev", DEVICE],
                            ["link", "set", DEVICE, "up"]):
                subprocess.run(["ip", *command], check=True, capture_output=True, text=True)
        in_thread(make)

    def run(self, body):
        """Runs `body`, in a thread, within the namespace. Its child processes stay there."""
        def enter():
            check(libc.setns(self.handle, CLONE_NEWNET), "setns")
            return body()
        return in_thread(enter)

    def close(self) -> None:
        os.close(self.port)
        os.close(self.handle)


def why_impossible() -> str | None:
    """Why namespaces cannot be had here; None if they can."""
    try:
        Namespace(250).close()
    except (OSError, subprocess.CalledProcessError) as error:
        return f"no network namespace with a tun device: {error}"
    return None


class Switch:
    """The process between the namespaces."""

    def __init__(self, namespaces: list[Namespace], seed: int = 1):
        ports = [namespace.port for namespace in namespaces]
        self.numbers = range(1, len(ports) + 1)
        self.process = subprocess.Popen(
            [sys.executable, str(pathlib.Path(__file__).parent / "network_switch.py"), str(seed),
             *map(str, ports)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=ports)
        # How many packets came, were lost, delayed and repeated, as of the latest change.
        self.counts: dict[str, int] = {}

    def link(self, source: int, target: int, **faults) -> None:
        """Sets what is wrong with the packets from one member to another; with nothing, all is
        well. `loss=1` cuts."""
        rule = {"from": source, "to": target, **faults}
        self.process.stdin.write(json.dumps(rule).encode() + b"\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, "the switch has ended"
        self.counts = json.loads(answer)

    def all_links(self, **faults) -> None:
        for source in self.numbers:
            for target in self.numbers:
                if source != target:
                    self.link(source, target, **faults)

    def heal(self) -> None:
        self.all_links()

    def cut(self, sources: list[int], targets: list[int], both_ways: bool = True) -> None:
        """Nothing gets from these members to those, nor back if `both_ways`."""
        for source in sources:
            for target in targets:
                self.link(source, target, loss=1)
                if both_ways:
                    self.link(target, source, loss=1)

    def isolate(self, number: int) -> None:
        self.cut([number], [other for other in self.numbers if other != number])

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait(30)
        self.process.stdout.close()


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str):
        super().__init__("localhost", timeout=1)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class NetworkMember(Member):
    """A member in a namespace."""

    def __init__(self, number: int, flags: list[str]):
        super().__init__("martlet", flags, name=f"m{number}")
        self.number = number
        self.namespace = Namespace(number)
        self.socket_path = os.path.join(self.directory, "client.sock")

    @property
    def endpoint(self) -> str:
        return f"unix:{self.socket_path}"

    @property
    def peer_url(self) -> str:
        return f"http://{self.namespace.address}:{PEER_PORT}"

    def command(self) -> list[str]:
        inner = f"http://{self.namespace.address}:{CLIENT_PORT}"
        replaced = {"--listen-client-urls": f"unix://{self.socket_path},{inner}",
                    "--advertise-client-urls": inner}
        return [f"{name}={replaced.get(name, value)}" if equals else name
                for name, equals, value in (word.partition("=") for word in super().command())]

    def start(self, wait: bool = True) -> "NetworkMember":
        self.namespace.run(lambda: super(NetworkMember, self).start(wait=False))
        if wait:
            self.wait_until_healthy()
        return self

    def is_healthy(self) -> bool:
        connection = UnixConnection(self.socket_path)
        try:
            connection.request("GET", "/health")
            return str(json.load(connection.getresponse()).get("health")) == "true"
        except (OSError, ValueError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def netem(self, *faults: str) -> None:
        """Has the kernel spoil what the member sends, as tc-netem(8) takes it; with nothing, not any
        more."""
        change = ["replace", "dev", DEVICE, "root", "netem", *faults] if faults else [
            "del", "dev", DEVICE, "root"]
        self.namespace.run(lambda: subprocess.run(
            ["tc", "qdisc", *change], check=True, capture_output=True, text=True))

    def dropped_packets(self) -> int:
        """How many packets the kernel has lost since `netem` was asked for faults."""
        shown = self.namespace.run(lambda: subprocess.run(
            ["tc", "-s", "-j", "qdisc", "show", "dev", DEVICE], check=True, capture_output=True,
            text=True))
        return sum(row["drops"] for row in json.loads(shown.stdout) if row["kind"] == "netem")

    def close(self) -> None:
        super().close()
        self.namespace.close()


class NetworkCluster(Cluster):
    """A cluster whose members are joined by `switch` alone."""

    def __init__(self, size: int = 3, flags: list[str] | None = None, seed: int = 1):
        super().__init__("martlet", size, flags)
        self.switch = Switch([member.namespace for member in self.members], seed)

    def _member(self, number: int) -> Member:
        return NetworkMember(number, list(self.flags))

    def numbers(self, members: list) -> list[int]:
        return [member.number for member in members]

    def close(self) -> None:
        super().close()
        self.switch.close()
