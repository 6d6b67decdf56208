"""Starts gateways and proxies, Martlet's and etcd's, in front of members."""

import os
import signal
import socket
import subprocess
import tempfile
import time

from harness import START_SECONDS, STOP_SECONDS, etcd_program, free_port, martlet_binary


def command_of(kind: str) -> list[str]:
    return [martlet_binary() if kind == "martlet" else etcd_program("etcd")]


class Sidecar:
    """`gateway start` or `grpc-proxy start` as a process on a loopback address."""

    # What etcdctl has to be told to reach it, besides the endpoint.
    ctl_flags: tuple[str, ...] = ()

    def __init__(self, kind: str, role: str, flags: list[str], host: str = "127.0.0.1",
                 prefix: list[str] | None = None):
        self.kind = kind
        self.role = role
        self.flags = flags
        self.host = host
        self.port = free_port()
        # Put before the command: another network, say.
        self.prefix = prefix or []
        self.process: subprocess.Popen | None = None
        self.output = tempfile.TemporaryFile()

    @property
    def endpoint(self) -> str:
        return f"{self.host}:{self.port}"

    def start(self, wait: bool = True) -> "Sidecar":
        environment = {k: v for k, v in os.environ.items() if not k.startswith("ETCD")}
        self.process = subprocess.Popen(
            [*self.prefix, *command_of(self.kind), self.role, "start",
             f"--listen-addr={self.endpoint}", *self.flags],
            stdout=self.output, stderr=self.output, stdin=subprocess.DEVNULL, env=environment)
        if wait:
            self.wait_for_log("ready to proxy client requests" if self.kind == "martlet"
                              or self.role == "gateway" else "listening for gRPC proxy")
        return self

    def log(self) -> str:
        # Through a file of its own: the process goes on writing at the end of this one.
        with open(f"/proc/self/fd/{self.output.fileno()}", errors="replace") as file:
            return file.read()

    def wait_for_log(self, text: str, count: int = 1) -> None:
        deadline = time.monotonic() + START_SECONDS
        while self.log().count(text) < count:
            if self.process.poll() is not None:
                raise AssertionError(f"exited with {self.process.returncode}:\n{self.log()}")
            if time.monotonic() > deadline:
                raise AssertionError(f"no {text!r} in {START_SECONDS} s:\n{self.log()}")
            time.sleep(0.01)

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def wait(self) -> int:
        """The exit code."""
        return self.process.wait(STOP_SECONDS)

    def resident_bytes(self) -> int:
        with open(f"/proc/{self.process.pid}/status") as file:
            for line in file:
                if line.startswith("VmRSS:"):
                    return int(line.split()[1]) * 1024
        raise AssertionError("no VmRSS")

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.output.close()

    def __enter__(self) -> "Sidecar":
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_) -> None:
        self.close()


def gateway(*endpoints: str, flags: list[str] | None = None, kind: str = "martlet",
            **options) -> Sidecar:
    return Sidecar(kind, "gateway", [f"--endpoints={','.join(endpoints)}", *(flags or [])],
                   **options)


def proxy(*endpoints: str, flags: list[str] | None = None, kind: str = "martlet",
          **options) -> Sidecar:
    return Sidecar(kind, "grpc-proxy", [f"--endpoints={','.join(endpoints)}", *(flags or [])],
                   **options)


def connect(endpoint: str) -> socket.socket:
    host, port = endpoint.rsplit(":", 1)
    connection = socket.create_connection((host, int(port)), timeout=START_SECONDS)
    connection.settimeout(START_SECONDS)
    return connection


def read_all(connection: socket.socket) -> bytes:
    """What comes until the other end has said its last."""
    parts = []
    while part := connection.recv(1 << 16):
        parts.append(part)
    return b"".join(parts)
