"""martlet gateway start: byte for byte to one of the endpoints, whatever those do."""

import contextlib
import os
import resource
import selectors
import socket
import subprocess
import sys
import threading
import time

import pytest

from harness import START_SECONDS, Cluster, etcdctl, free_port
from hidden_network import Networks, ctl, start_members
from sidecars import command_of, connect, gateway, read_all

LONG = os.environ.get("MARTLET_LONG") == "1"
# What the gateway keeps for itself.
FILES_BESIDE = 100
LONG_CONNECTIONS = 10_000
CONNECTIONS_AT_ONCE = 100


@contextlib.contextmanager
def serving(answer, port: int = 0, host: str = "127.0.0.1"):
    """A server whose connections are answered by a function, each on a thread of its own."""
    listener = socket.create_server((host, port))
    open_sockets = []

    def accept():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connection.settimeout(START_SECONDS)
            open_sockets.append(connection)
            threading.Thread(target=run, args=(connection,), daemon=True).start()

    def run(connection):
        try:
            answer(connection)
        except OSError:
            pass
        finally:
            connection.close()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield f"{host}:{listener.getsockname()[1]}"
    finally:
        # A thread in accept keeps the socket alive, and its port taken, until that returns.
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
        for connection in open_sockets:
            connection.close()


def echo(connection):
    while part := connection.recv(1 << 16):
        connection.sendall(part)


def named(name: bytes):
    """Says its name before it echoes."""
    def answer(connection):
        connection.sendall(name)
        echo(connection)
    return answer


# The command line


@pytest.mark.parametrize("flags", [
    ["--bogus"], ["--retry-delay=x"], ["--retry-delay"], ["--insecure-discovery=x"],
])
def test_errors_are_etcds(flags):
    texts = {}
    for kind in ["etcd", "martlet"]:
        done = subprocess.run([*command_of(kind), "gateway", "start", *flags],
                              capture_output=True, text=True, timeout=60)
        assert done.returncode == 1
        texts[kind] = done.stderr.splitlines()[0]
    assert texts["martlet"] == texts["etcd"]


def test_help_has_etcds_flags():
    flags = {}
    for kind in ["etcd", "martlet"]:
        done = subprocess.run([*command_of(kind), "gateway", "start", "--help"],
                              capture_output=True, text=True, check=True, timeout=60)
        flags[kind] = [line.strip() for line in done.stdout.splitlines() if "  --" in line]
    assert flags["martlet"] == flags["etcd"]


@pytest.mark.parametrize("flags, text", [
    (["--endpoints="], "no endpoints found"),
    (["--endpoints=127.0.0.1"], 'error parsing endpoint "127.0.0.1"'),
    (["--retry-delay=0s"], "--retry-delay must be more than 0"),
    (["--listen-addr=here"], 'error parsing listen address "here"'),
    (["word"], 'unknown command "word"'),
])
def test_bad_settings_are_refused(flags, text):
    done = subprocess.run([*command_of("martlet"), "gateway", "start", *flags],
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert text in done.stderr


def test_one_dash_and_a_blank_are_as_good():
    with serving(echo) as endpoint:
        with gateway(endpoint, flags=["-retry-delay", "30s", "-insecure-discovery"]) as ours:
            with connect(ours.endpoint) as connection:
                connection.sendall(b"x")
                assert connection.recv(1) == b"x"


def test_an_address_in_use_is_said():
    with serving(echo) as endpoint:
        ours = gateway(endpoint)
        ours.port = int(endpoint.split(":")[1])
        try:
            ours.start(wait=False)
            assert ours.wait() == 1
            assert "in use" in ours.log()
        finally:
            ours.close()


# Bytes


def test_ends_are_passed_on_both_ways():
    def count_then_answer(connection):
        total = len(read_all(connection))
        connection.sendall(b"a" * 3_000_000 + str(total).encode())

    with serving(count_then_answer) as endpoint, gateway(endpoint) as ours:
        with connect(ours.endpoint) as connection:
            connection.sendall(b"q" * 2_000_000)
            connection.shutdown(socket.SHUT_WR)
            assert read_all(connection) == b"a" * 3_000_000 + b"2000000"


def test_a_server_may_end_first():
    received = {}

    def end_first(connection):
        connection.sendall(b"bye")
        connection.shutdown(socket.SHUT_WR)
        received["bytes"] = read_all(connection)
        received["done"].set()

    received["done"] = threading.Event()
    with serving(end_first) as endpoint, gateway(endpoint) as ours:
        with connect(ours.endpoint) as connection:
            assert read_all(connection) == b"bye"
            connection.sendall(b"z" * 1_000_000)
            connection.shutdown(socket.SHUT_WR)
            assert received["done"].wait(START_SECONDS)
    assert received["bytes"] == b"z" * 1_000_000


def test_a_reset_is_the_other_sides_end():
    ended = threading.Event()

    def wait_for_end(connection):
        connection.sendall(b"here")
        with contextlib.suppress(ConnectionResetError):
            read_all(connection)
        ended.set()

    with serving(wait_for_end) as endpoint, gateway(endpoint) as ours:
        connection = connect(ours.endpoint)
        assert connection.recv(4) == b"here"
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        connection.close()
        assert ended.wait(START_SECONDS)


def push(connection, bytes_max: int) -> int:
    """Writes until nothing is taken for a while, or all is written."""
    sent = 0
    block = os.urandom(1 << 16)
    connection.setblocking(False)
    selector = selectors.DefaultSelector()
    selector.register(connection, selectors.EVENT_WRITE)
    while sent < bytes_max and selector.select(timeout=2):
        with contextlib.suppress(BlockingIOError):
            sent += connection.send(block[:bytes_max - sent])
    selector.close()
    connection.settimeout(START_SECONDS)
    return sent


@pytest.mark.parametrize("direction", ["to the server", "to the client"])
def test_a_slow_reader_stops_the_other_side(direction):
    """What a gateway holds for somebody who does not read is bounded, and none of it is lost."""
    server_side = {}
    accepted = threading.Event()
    go_on = threading.Event()

    def hold(connection):
        server_side["socket"] = connection
        accepted.set()
        go_on.wait(START_SECONDS)

    offered = 256 << 20
    with serving(hold) as endpoint, gateway(endpoint) as ours:
        with connect(ours.endpoint) as connection:
            assert accepted.wait(START_SECONDS)
            writer, reader = connection, server_side["socket"]
            if direction == "to the client":
                writer, reader = reader, writer
            before = ours.resident_bytes()
            sent = push(writer, offered)
            grown = ours.resident_bytes() - before
            # Most of what was taken lies in the system's own buffers.
            assert sent < offered
            assert grown < 8 << 20
            writer.shutdown(socket.SHUT_WR)
            count = 0
            while part := reader.recv(1 << 16):
                count += len(part)
            assert count == sent
            go_on.set()


# Endpoints


def test_an_endpoint_that_fails_is_dropped_and_comes_back():
    port = free_port()
    late = f"127.0.0.1:{port}"
    with serving(named(b"1")) as one:
        with gateway(late, one, flags=["--retry-delay=100ms"]) as ours:
            # Every connection is served, whoever's turn it would be, and keeps its first bytes.
            for _ in range(4):
                with connect(ours.endpoint) as connection:
                    connection.sendall(b"hello")
                    connection.shutdown(socket.SHUT_WR)
                    assert read_all(connection) == b"1hello"
            ours.wait_for_log("deactivated endpoint")
            with serving(named(b"2"), port=port):
                ours.wait_for_log('"activated"')
                names = set()
                for _ in range(4):
                    with connect(ours.endpoint) as connection:
                        names.add(connection.recv(1))
                assert names == {b"1", b"2"}
            with connect(ours.endpoint) as connection:
                assert connection.recv(1) == b"1"


def test_nobody_there_closes_the_connection_and_the_next_one_is_served():
    port = free_port()
    with gateway(f"127.0.0.1:{port}", flags=["--retry-delay=1h"]) as ours:
        with connect(ours.endpoint) as connection:
            assert connection.recv(1) == b""
        # Thought to have failed, and tried nevertheless: there is no other.
        with serving(echo, port=port), connect(ours.endpoint) as connection:
            connection.sendall(b"x")
            assert connection.recv(1) == b"x"


def test_connections_are_spread():
    with serving(named(b"1")) as one, serving(named(b"2")) as two, serving(named(b"3")) as three:
        with gateway(one, two, f"http://{three}/") as ours:
            names = []
            for _ in range(6):
                with connect(ours.endpoint) as connection:
                    names.append(connection.recv(1))
    assert sorted(names) == [b"1", b"1", b"2", b"2", b"3", b"3"]


# The end


def test_a_drain_lets_connections_finish():
    with serving(echo) as endpoint, gateway(endpoint) as ours:
        with connect(ours.endpoint) as connection:
            connection.sendall(b"a")
            assert connection.recv(1) == b"a"
            ours.terminate()
            ours.wait_for_log("draining")
            with pytest.raises(OSError):
                connect(ours.endpoint)
            connection.sendall(b"b")
            connection.shutdown(socket.SHUT_WR)
            assert read_all(connection) == b"b"
        assert ours.wait() == 0


def test_a_drain_closes_what_does_not_finish():
    with serving(echo) as endpoint, gateway(endpoint) as ours:
        with connect(ours.endpoint) as connection:
            connection.sendall(b"a")
            assert connection.recv(1) == b"a"
            ours.terminate()
            assert connection.recv(1) == b""
        assert ours.wait() == 0


# Many


ECHO_SERVER = """
import resource, selectors, socket, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]),) * 2)
listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
print(listener.getsockname()[1], flush=True)
selector = selectors.DefaultSelector()
selector.register(listener, selectors.EVENT_READ)
while True:
    for key, _ in selector.select():
        if key.fileobj is listener:
            selector.register(listener.accept()[0], selectors.EVENT_READ)
        elif part := key.fileobj.recv(4096):
            key.fileobj.sendall(part)
        else:
            selector.unregister(key.fileobj)
            key.fileobj.close()
"""


def connection_count() -> int:
    """What MARTLET_CONNECTIONS says; else as many as the long form wants and the system allows."""
    asked = os.environ.get("MARTLET_CONNECTIONS")
    if asked:
        return int(asked)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return min(LONG_CONNECTIONS, (hard - FILES_BESIDE) // 2) if LONG else 2_000


def check_echo(connections: list[socket.socket]) -> None:
    """Asks all of them, and then looks at the answers."""
    for number, connection in enumerate(connections):
        connection.sendall(number.to_bytes(4, "big"))
    for number, connection in enumerate(connections):
        assert connection.recv(4, socket.MSG_WAITALL) == number.to_bytes(4, "big")


def test_it_carries_many_connections():
    """All at once; each is asked for an answer while all the others are there. Then they are drained."""
    count = connection_count()
    # The gateway has two for each.
    files = 2 * count + FILES_BESIDE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max(soft, files)
    try:
        # The gateway inherits it.
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(hard, wanted)))
    except (ValueError, PermissionError):
        pytest.skip(f"{files} open files are not allowed here")
    server = subprocess.Popen([sys.executable, "-c", ECHO_SERVER, str(wanted)],
                              stdout=subprocess.PIPE, text=True)
    connections = []
    try:
        endpoint = f"127.0.0.1:{int(server.stdout.readline())}"
        with gateway(endpoint) as ours:
            idle = ours.resident_bytes()
            began = time.monotonic()
            while len(connections) < count:
                # No faster than the server accepts: a full queue there would be no fault of ours.
                several = [connect(ours.endpoint)
                           for _ in range(min(CONNECTIONS_AT_ONCE, count - len(connections)))]
                connections += several
                check_echo(several)
            check_echo(connections)
            grown = ours.resident_bytes() - idle
            print(f"{count} connections: {time.monotonic() - began:.1f} s, "
                  f"{idle >> 20} MiB idle, {grown / count / 1024:.1f} KiB each")
            assert grown < count * (32 << 10)
            ours.terminate()
            assert ours.wait() == 0
            assert all(connection.recv(1) == b"" for connection in connections)
    finally:
        for connection in connections:
            connection.close()
        server.kill()
        server.wait()
        server.stdout.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, max(hard, wanted)))


# Across networks


def test_members_of_another_network_are_reached_through_gateways():
    """The documented way: three members without public addresses behind a gateway on another one,
    and the same through a second hop, another gateway."""
    with Networks() as networks, contextlib.ExitStack() as stack:
        members = start_members(networks, stack)
        front = stack.enter_context(gateway(
            *[member.endpoint for member in members], host=f"{networks.CLIENTS}.1",
            prefix=networks.inside(networks.middle), flags=["--retry-delay=100ms"]))
        tunnel = stack.enter_context(gateway(
            front.endpoint, prefix=networks.inside(networks.clients)))

        assert ctl(networks, members[0].endpoint, "--dial-timeout=1s", "get", "a",
                   check=False).returncode != 0, "the members are hidden"
        for number, endpoint in enumerate([front.endpoint, tunnel.endpoint]):
            rows = ctl(networks, endpoint, "member", "list").stdout.splitlines()
            assert {row.split(", ")[2] for row in rows} == {"m1", "m2", "m3"}
            assert {row.split(", ")[4] for row in rows} == {f"http://{m.endpoint}" for m in members}
            assert ctl(networks, endpoint, "put", f"key{number}", "value").stdout == "OK\n"
            assert ctl(networks, endpoint, "get", f"key{number}").stdout.split() == [
                f"key{number}", "value"]

        # One of the members dies, and comes back.
        members[0].kill()
        for number in range(6):
            ctl(networks, tunnel.endpoint, "put", f"without{number}", "value")
        front.wait_for_log("deactivated endpoint")
        members[0].start()
        front.wait_for_log('"activated"')
        assert len(ctl(networks, tunnel.endpoint, "get", "without", "--prefix",
                       "--keys-only").stdout.split()) == 6


def test_a_cluster_of_etcds_is_served_as_well():
    with Cluster("etcd") as cluster, gateway(*[m.endpoint for m in cluster.members]) as ours:
        member = cluster.members[0]
        assert etcdctl(member, "put", "a", "b", endpoint=ours.endpoint).stdout == "OK\n"
        assert etcdctl(member, "get", "a", endpoint=ours.endpoint).stdout == "a\nb\n"
        assert len(etcdctl(member, "member", "list", endpoint=ours.endpoint).stdout.splitlines()
                   ) == 3
