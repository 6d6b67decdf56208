"""Endpoints by DNS: etcdctl and martletctl in a network with a name server of the tests."""

import subprocess

import name_server
import pytest
from ctl_cases import alike, case
from harness import Cluster, Member, etcd_program
from test_martletctl import SECONDS_MAX, Outcome, martletctl_binary
from test_tls import Files, TLSMember

WHY_NOT = name_server.why_impossible()
pytestmark = pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))

NOWHERE = 9

CASES = [
    case("--discovery-srv=plain.test put k v"),
    case("-d plain.test get k"),
    case("-d=plain.test get k -w fields"),
    case("get k", ETCDCTL_DISCOVERY_SRV="plain.test"),
    # The records count, not --endpoints.
    case("--discovery-srv=plain.test --endpoints=127.0.0.1:1 get k"),
    case("--discovery-srv=plain.test --discovery-srv-name=blue get k"),
    case("get k", ETCDCTL_DISCOVERY_SRV="plain.test", ETCDCTL_DISCOVERY_SRV_NAME="blue"),
    # The newer one asks again by TCP, which the tests' name server does not speak.
    case("--discovery-srv=plain.test --discovery-srv-name=many get k", release="3.4"),
    # Secure and other endpoints; this one is asked by its certificate's name.
    case("--discovery-srv=secure.test --cacert={CA} get k"),
    case("--discovery-srv=localhost --insecure-discovery=false --cacert={CA} get k"),
    # Whoever owns the records has no certificate of the domain.
    case("--discovery-srv=secure.test --insecure-discovery=false --cacert={CA} "
         "--command-timeout=1s get k"),
]


class Setting:
    """A network where `plain.test`, `secure.test` and `localhost` are known, with their servers."""

    def __init__(self, folder):
        self.services: dict = {}
        self.network = name_server.NamedNetwork(folder, self.services)
        (folder / "certificates").mkdir()
        self.files = Files(folder / "certificates")
        self.plain = Cluster("martlet")
        self.blue = Member("etcd")
        self.secure = TLSMember("martlet", self.files)

    def start(self) -> None:
        for server in (self.plain, self.blue, self.secure):
            server.start()
        host = "localhost"
        secure = [(0, 0, self.secure.port, host)]
        plain = [(1, 1, member.port, f"{member.name}.plain.test") for member in self.plain.members]
        self.services.update({
            "_etcd-client._tcp.plain.test": [(1, 1, NOWHERE, "gone.plain.test"), *plain],
            "_etcd-client-all._tcp.plain.test": plain,
            # More than fits a plain answer.
            "_etcd-client-many._tcp.plain.test": [
                (1, 1, member.port, f"{member.name}.{'long-name.' * 4}{number}.plain.test")
                for number in range(4) for member in self.plain.members],
            "_etcd-client-blue._tcp.plain.test": [(0, 0, self.blue.port, "blue.plain.test")],
            "_etcd-client-ssl._tcp.secure.test": secure,
            "_etcd-client-ssl._tcp.localhost": secure,
            "_etcd-client._tcp.localhost": [(0, 0, NOWHERE, host)],
        })

    def run(self, binary: str, words, environment=()) -> Outcome:
        command = [binary, *[word.replace("{CA}", self.files.ca.certificate) for word in words]]

        def call():
            return subprocess.run(command, env=dict(environment), stdin=subprocess.DEVNULL,
                                  capture_output=True, timeout=SECONDS_MAX)
        done = self.network.run(call)
        return Outcome(done.stdout, done.stderr, done.returncode)

    def ctl(self, *words: str) -> Outcome:
        return self.run(martletctl_binary(), words)

    def close(self) -> None:
        for server in (self.plain, self.blue, self.secure):
            server.close()
        self.network.close()


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    made = Setting(tmp_path_factory.mktemp("names"))
    try:
        made.network.run(made.start)
        yield made
    finally:
        made.close()


@pytest.mark.parametrize("release", ["3.4", "3.5"])
def test_as_etcdctl_does(setting: Setting, release: str) -> None:
    for entry in alike(CASES, release):
        answers, asked = [], []
        for binary in (etcd_program("etcdctl", release), martletctl_binary()):
            setting.network.asked.clear()
            outcome = setting.run(binary, entry.words, entry.environment)
            answers.append((outcome.stdout if b"MemberID" not in outcome.stdout else b"",
                            outcome.errors, outcome.code))
            asked.append(list(setting.network.asked))
        assert answers[0] == answers[1], (entry, answers)
        assert asked[0] == asked[1], (entry, asked)


def test_insecure_endpoints_are_ignored_loudly(setting: Setting) -> None:
    words = ["--discovery-srv=localhost", "--insecure-discovery=false",
             f"--cacert={setting.files.ca.certificate}", "get", "k"]
    line = f'ignoring discovered insecure endpoint "http://localhost{{}}:{NOWHERE}"'
    theirs = setting.run(etcd_program("etcdctl", "3.5"), words).stderr.decode().splitlines()
    assert theirs == [line.format(".")]
    assert setting.ctl(*words).stderr.decode().splitlines() == [line.format("")]


def test_nothing_found(setting: Setting) -> None:
    for words in (["--discovery-srv=nothing.test", "get", "k"],
                  ["--discovery-srv=plain.test", "--discovery-srv-name=red", "get", "k"]):
        theirs, ours = setting.run(etcd_program("etcdctl", "3.5"), words), setting.ctl(*words)
        assert theirs.code == ours.code == 1
        assert theirs.errors[0].startswith("Error: dns lookup errors: lookup _etcd-client-ssl")
        # The reasons are in words of each tool's own.
        assert ours.errors[0].split(":")[:2] == theirs.errors[0].split(":")[:2]
    # etcdctl goes on with 127.0.0.1:2379.
    ours = setting.ctl("--discovery-srv=plain.test", "--insecure-discovery=false", "get", "k")
    assert (ours.code, ours.errors) == (1, ["Error: plain.test names no secure endpoint"])


def test_the_endpoints_themselves_are_asked(setting: Setting) -> None:
    """Where etcdctl asks 127.0.0.1:2379."""
    domain = ["--discovery-srv=plain.test", "--discovery-srv-name=all"]
    health = setting.ctl(*domain, "endpoint", "health")
    assert (health.code, health.stdout.count(b" is healthy: ")) == (0, 3), health
    status = setting.ctl(*domain, "endpoint", "status")
    assert [line.split(", ")[0] for line in status.stdout.decode().splitlines()] == [
        f"http://{member.name}.plain.test:{member.port}" for member in setting.plain.members]
    leader = next(line.split(", ")[1] for line in status.stdout.decode().splitlines()
                  if line.split(", ")[4] == "false")
    assert setting.ctl(*domain, "move-leader", leader).code == 0
