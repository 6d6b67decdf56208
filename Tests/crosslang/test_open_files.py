"""What happens when the system gives a process no more files: whoever is connected goes on, new
connections are refused or wait, the log says so, and it ends by itself."""

import contextlib
import http.client
import os
import resource
import time

import pytest

from harness import Member
from sidecars import gateway, proxy

# What they keep for themselves, and how many connections are then left.
FILES_MAX = 350
CONNECTIONS_MAX = {"server": 200, "gateway": 125, "proxy": 200}
ROLES = list(CONNECTIONS_MAX)
PROCESSOR_SECONDS = 3


class LimitedMember(Member):
    def command(self) -> list[str]:
        return [*limit(), *super().command()]


def limit() -> list[str]:
    return ["prlimit", f"--nofile={FILES_MAX}:{FILES_MAX}"]


@contextlib.contextmanager
def running(role: str, is_limited: bool = False):
    """A member, or what stands before one, that may have few files from its start if `is_limited`."""
    prefix = limit() if is_limited else []
    with contextlib.ExitStack() as stack:
        if role == "server":
            yield stack.enter_context((LimitedMember if is_limited else Member)("martlet"))
            return
        member = stack.enter_context(Member("martlet"))
        start = gateway if role == "gateway" else proxy
        yield stack.enter_context(start(member.endpoint, prefix=prefix))


class Client:
    """One connection, with HTTP/1.1 to /health."""

    def __init__(self, server):
        self.connection = http.client.HTTPConnection(server.endpoint, timeout=60)
        self.connection.connect()

    def ask(self) -> None:
        self.connection.putrequest("GET", "/health")
        self.connection.endheaders()

    def is_answered(self) -> bool:
        """Whether the question was answered; False when the connection is closed."""
        try:
            answer = self.connection.getresponse()
            answer.read()
            return answer.status == 200
        except (OSError, http.client.HTTPException):
            return False

    def is_served(self) -> bool:
        try:
            self.ask()
        except OSError:
            return False
        return self.is_answered()

    def close(self) -> None:
        self.connection.close()


def eventually_served(server, closing: contextlib.ExitStack) -> Client:
    """A new connection, once there is room for one."""
    deadline = time.monotonic() + 60
    while True:
        client = Client(server)
        if client.is_served():
            closing.callback(client.close)
            return client
        client.close()
        assert time.monotonic() < deadline, f"no room:\n{server.log()}"
        time.sleep(0.05)


def wait_for_log(server, text: str) -> None:
    deadline = time.monotonic() + 60
    while text not in server.log():
        assert time.monotonic() < deadline, f"no {text!r}:\n{server.log()}"
        time.sleep(0.05)


def processor_seconds(pid: int) -> float:
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("role", ROLES)
def test_more_connections_than_files_are_refused(role):
    count = CONNECTIONS_MAX[role]
    with running(role, is_limited=True) as server, contextlib.ExitStack() as closing:
        clients = [eventually_served(server, closing) for _ in range(count)]
        late = Client(server)
        closing.callback(late.close)
        assert not late.is_served()
        wait_for_log(server, "connections are refused")
        assert all(client.is_served() for client in clients)
        for client in clients[:10]:
            client.close()
        for _ in range(10):
            eventually_served(server, closing)
        assert all(client.is_served() for client in clients[10:])
        assert "deactivated" not in server.log()


@pytest.mark.parametrize("role", ROLES)
def test_connections_wait_while_the_system_has_no_files(role):
    """Their number says nothing: the process has none left to accept with."""
    with running(role) as server, contextlib.ExitStack() as closing:
        old = eventually_served(server, closing)
        pid = server.process.pid
        soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE,
                         (len(os.listdir(f"/proc/{pid}/fd")), hard))
        waiting = [Client(server) for _ in range(5)]
        for client in waiting:
            closing.callback(client.close)
            client.ask()
        wait_for_log(server, "Too many open files")
        used = processor_seconds(pid)
        time.sleep(PROCESSOR_SECONDS)
        used = processor_seconds(pid) - used
        assert used < PROCESSOR_SECONDS / 2, "it asks for files again and again"
        assert old.is_served()
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
        assert all(client.is_answered() for client in waiting)
        assert "deactivated" not in server.log()
