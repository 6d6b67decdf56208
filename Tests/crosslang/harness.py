"""Starts members of Martlet and of etcd on loopback, and runs etcdctl against them."""

import importlib
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
START_SECONDS = 60
STOP_SECONDS = 30

# Where the programs of each release of etcd are: Debian's own, and that of Debian's next release,
# which Tests/install unpacks.
ETCD_FOLDERS = {"3.4": pathlib.Path("/usr/bin"), "3.5": ROOT / ".build/newer-etcd/usr/bin"}
# Which of them a test runs as the server when it does not say.
ETCD_RELEASE = os.environ.get("MARTLET_ETCD", "3.4")


def etcd_program(name: str, release: str = ETCD_RELEASE) -> str:
    """The path of `etcd`, `etcdctl` or, since 3.5, `etcdutl`."""
    return str(ETCD_FOLDERS[release] / name)


def martlet_binary() -> str:
    """The release build of `martlet`; MARTLET_BIN_DIR says where when it is not in .build."""
    folder = os.environ.get("MARTLET_BIN_DIR", str(ROOT / ".build/release"))
    return str(pathlib.Path(folder) / "martlet")


def free_port() -> int:
    """A port that the system chose and that nobody listens on right now. Test processes that run
    side by side never get the same one, and none gets one twice."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        # The system gives out the odd ones first.
        if port // 2 % workers == worker and port not in _given_ports:
            _given_ports.add(port)
            return port


_given_ports: set[int] = set()


class Member:
    """One server process in a temporary directory of its own."""

    # What etcdctl has to be told to reach it, besides the endpoint.
    ctl_flags: tuple[str, ...] | list[str] = ()

    def __init__(self, kind: str, flags: list[str] | None = None, data_dir: str | None = None,
                 name: str = "m1", release: str = ETCD_RELEASE):
        self.kind = kind
        # Which etcd it is, if it is one.
        self.release = release
        self.name = name
        self.flags = flags or []
        # What --initial-cluster says; this member alone when it is None.
        self.initial_cluster: str | None = None
        self.owns_directory = data_dir is None
        self.directory = data_dir or tempfile.mkdtemp(prefix=f"martlet-test-{kind}-")
        self.port = free_port()
        self.peer_port = free_port()
        self.log_name = "server.log"
        self.process: subprocess.Popen | None = None

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def log_path(self) -> str:
        return os.path.join(self.directory, self.log_name)

    @property
    def peer_url(self) -> str:
        return f"http://127.0.0.1:{self.peer_port}"

    def command(self) -> list[str]:
        binary = (martlet_binary() if self.kind == "martlet"
                  else etcd_program("etcd", self.release))
        peer = self.peer_url
        client = f"http://127.0.0.1:{self.port}"
        return [
            binary,
            f"--name={self.name}",
            f"--data-dir={self.directory}/data",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster={self.initial_cluster or f'{self.name}={peer}'}",
            *self.flags,
        ]

    def start(self, wait: bool = True) -> "Member":
        environment = {k: v for k, v in os.environ.items() if not k.startswith("ETCD")}
        log = open(self.log_path, "ab")
        self.process = subprocess.Popen(
            self.command(), stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment)
        log.close()
        if wait:
            self.wait_until_healthy()
        return self

    def predates(self, release: str) -> bool:
        """Whether this is an etcd of an older release; Martlet predates none."""
        return self.kind == "etcd" and self.release < release

    def is_healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self.endpoint}/health", timeout=1) as answer:
                return str(json.load(answer).get("health")) == "true"
        except (OSError, ValueError):
            return False

    def wait_until_healthy(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise AssertionError(
                    f"{self.kind} exited with {self.process.returncode}:\n{self.log()}")
            if self.is_healthy():
                return
            time.sleep(0.01)
        raise AssertionError(f"{self.kind} was not healthy in {START_SECONDS} s:\n{self.log()}")

    def log(self) -> str:
        with open(self.log_path, errors="replace") as file:
            return file.read()[-8000:]

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"{self.kind} did not stop in {STOP_SECONDS} s:\n{self.log()}")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()
        if self.owns_directory:
            shutil.rmtree(self.directory, ignore_errors=True)

    def resident_bytes(self) -> int:
        return self._status_bytes("VmRSS")

    def anonymous_bytes(self) -> int:
        """Resident memory without the pages of mapped files, which the kernel may drop."""
        return self._status_bytes("RssAnon")

    def _status_bytes(self, name: str) -> int:
        with open(f"/proc/{self.process.pid}/status") as file:
            for line in file:
                if line.startswith(name + ":"):
                    return int(line.split()[1]) * 1024
        raise AssertionError(f"no {name}")

    def __enter__(self) -> "Member":
        return self.start()

    def __exit__(self, *_) -> None:
        self.close()


class Cluster:
    """Members named m1, m2, ... in processes of their own, founded together."""

    def __init__(self, kind: str, size: int = 3, flags: list[str] | None = None,
                 release: str = ETCD_RELEASE):
        self.kind = kind
        self.release = release
        self.flags = flags or []
        self.members = [self._member(number) for number in range(1, size + 1)]
        self._made = size
        founders = ",".join(f"{member.name}={member.peer_url}" for member in self.members)
        for member in self.members:
            member.initial_cluster = founders
            member.flags.append(f"--initial-cluster-token=t{self.members[0].peer_port}")

    def _member(self, number: int) -> Member:
        return Member(self.kind, list(self.flags), name=f"m{number}", release=self.release)

    def start(self) -> "Cluster":
        for member in self.members:
            member.start(wait=False)
        for member in self.members:
            member.wait_until_healthy()
        return self

    @property
    def endpoints(self) -> str:
        """The client addresses of all members, as --endpoints takes them."""
        return ",".join(member.endpoint for member in self.members)

    def member_list(self, via: Member | None = None) -> list[dict]:
        """What `member list -w json` says: dictionaries with ID, name, peerURLs, clientURLs."""
        return json.loads(etcdctl(via or self.members[0], "member", "list", "-w", "json").stdout)[
            "members"]

    def id_of(self, member: Member, via: Member | None = None) -> str:
        """A member's ID in hex, as etcdctl takes it. It is found by its peer URL."""
        for row in self.member_list(via):
            if row["peerURLs"] == [member.peer_url]:
                return f"{row['ID']:x}"
        raise AssertionError(f"{member.name} is not in the member list")

    def leader(self) -> Member:
        """The member that leads, once the running ones agree on one."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            running = [m for m in self.members
                       if m.process is not None and m.process.poll() is None]
            claims = {}
            for member in running:
                done = etcdctl(member, "endpoint", "status", "-w", "json", check=False)
                if done.returncode == 0:
                    status = json.loads(done.stdout)[0]["Status"]
                    claims[status["header"]["member_id"]] = (status.get("leader"), member)
            leaders = {leader for leader, _ in claims.values()}
            if len(claims) == len(running) and len(leaders) == 1:
                leader = leaders.pop()
                if leader in claims:
                    return claims[leader][1]
            time.sleep(0.05)
        raise AssertionError(f"no leader in {START_SECONDS} s:\n{self.members[0].log()}")

    def joiner(self, flags: list[str] | None = None) -> Member:
        """A member that is not started and not in the cluster yet. `member add` its peer URL, and
        then start it. It belongs to the cluster's `members` from here on."""
        self._made += 1
        member = self._member(self._made)
        member.flags += [*(flags or []), "--initial-cluster-state=existing"]
        others = [f"{other.name}={other.peer_url}" for other in self.members]
        member.initial_cluster = ",".join([*others, f"{member.name}={member.peer_url}"])
        self.members.append(member)
        return member

    def __enter__(self) -> "Cluster":
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        for member in self.members:
            member.close()


def etcdctl(member: Member, *arguments: str, stdin: str | None = None, check: bool = True,
            timeout: float = 30, endpoint: str | None = None,
            release: str = "3.4") -> subprocess.CompletedProcess:
    """Runs etcdctl of a release against a member, at another of its addresses if one is given."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ETCD")}
    environment["ETCDCTL_API"] = "3"
    done = subprocess.run(
        [etcd_program("etcdctl", release), f"--endpoints={endpoint or member.endpoint}",
         *member.ctl_flags, *arguments],
        input=stdin, capture_output=True, text=True, env=environment, timeout=timeout)
    if check and done.returncode != 0:
        raise AssertionError(
            f"etcdctl {' '.join(arguments)} on {member.kind}: exit {done.returncode}\n"
            f"{done.stdout}{done.stderr}\n{member.log()}")
    return done


def load(stubs: pathlib.Path, folder: str, name: str):
    """The modules of proto/grpc/<folder>/<name>.proto. grpcio owns the package `grpc`, so its
    search path gets our folder too."""
    import grpc
    ours = str(stubs / "grpc")
    if ours not in grpc.__path__:
        grpc.__path__.append(ours)
    dotted = folder.replace("/", ".")
    return (importlib.import_module(f"grpc.{dotted}.{name}_pb2"),
            importlib.import_module(f"grpc.{dotted}.{name}_pb2_grpc"))
