"""martletctl beside etcdctl of each release: the same calls, the same output, errors and codes."""

import concurrent.futures
import dataclasses
import json
import os
import pathlib
import re
import select
import signal
import subprocess
import time

import ctl_cases
import pytest
from harness import ETCD_FOLDERS, Member, etcd_program, etcdctl

SECONDS_MAX = 60


def martletctl_binary() -> str:
    folder = os.environ.get("MARTLET_BIN_DIR")
    root = pathlib.Path(__file__).resolve().parents[2]
    return str(pathlib.Path(folder or root / ".build/release") / "martletctl")


BINARIES = {"martletctl": martletctl_binary(),
            **{f"etcdctl {release}": etcd_program("etcdctl", release) for release in ETCD_FOLDERS}}


@dataclasses.dataclass
class Outcome:
    stdout: bytes
    stderr: bytes
    code: int

    @property
    def errors(self) -> list[str]:
        """What is behind `Error: `, each text once: etcdctl repeats what cobra said."""
        lines = self.stderr.decode(errors="replace").splitlines()
        return list(dict.fromkeys(line for line in lines if line.startswith("Error: ")))


def run(tool: str, endpoint: str, case: ctl_cases.Case, words: list[str]) -> Outcome:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ETCD")}
    environment.update(case.environment)
    # Flags add up: a case with endpoints of its own is to ask only those.
    names_its_own = any(word.startswith("--endpoints") for word in words)
    command = [BINARIES[tool], *([] if names_its_own else [f"--endpoints={endpoint}"]), *words]
    if case.lines:
        return until_lines(command, environment, case)
    done = subprocess.run(command, env=environment, input=case.stdin.encode(),
                          capture_output=True, timeout=SECONDS_MAX)
    return Outcome(done.stdout, done.stderr, done.returncode)


def until_lines(command: list[str], environment: dict[str, str], case: ctl_cases.Case) -> Outcome:
    """Interrupted when the lines have come."""
    with subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            text = b""
            deadline = time.monotonic() + SECONDS_MAX
            while text.count(b"\n") < case.lines:
                ready, _, _ = select.select([process.stdout], [], [],
                                            max(0, deadline - time.monotonic()))
                piece = os.read(process.stdout.fileno(), 65536) if ready else b""
                if not piece:
                    break
                text += piece
            process.send_signal(signal.SIGINT)
            rest, errors = process.communicate(timeout=SECONDS_MAX)
        finally:
            if process.poll() is None:
                process.kill()
    return Outcome(text + rest, errors, process.returncode)


class Run:
    """One tool at one server of its own."""

    def __init__(self, tool: str, member: Member):
        self.tool = tool
        self.member = member
        self.lease = "none"
        listed = json.loads(etcdctl(member, "member", "list", "-w", "json").stdout)
        self.cluster_id = listed["header"]["cluster_id"]
        self.member_id = listed["header"]["member_id"]

    def other_member(self) -> str:
        rows = json.loads(etcdctl(self.member, "member", "list", "-w", "json").stdout)["members"]
        others = [row["ID"] for row in rows if row["ID"] != self.member_id]
        return f"{others[-1]:x}" if others else "none"

    def __call__(self, case: ctl_cases.Case) -> Outcome:
        words = []
        for word in case.words:
            if "{N}" in word:
                word = word.replace("{N}", self.other_member())
            for name, value in (("{L}", self.lease), ("{M}", f"{self.member_id:x}"),
                                ("{D}", self.member.directory), ("{EP}", self.member.endpoint)):
                word = word.replace(name, value)
            words.append(word)
        outcome = run(self.tool, self.member.endpoint, case, words)
        granted = re.search(rb"^lease ([0-9a-f]{16}) granted with TTL\(\d+s\)$|\"ID\":(\d+),\"TTL\"",
                            outcome.stdout)
        if granted and case.words[:2] == ("lease", "grant"):
            self.lease = granted[1].decode() if granted[1] else f"{int(granted[2]):016x}"
        return outcome

    def masked(self, text: bytes) -> str:
        """Without what differs from server to server: IDs, ports, paths, durations, sizes."""
        shown = text.decode(errors="surrogateescape")
        for value, name in ((self.member.endpoint, "ENDPOINT"), (self.member.peer_url, "PEER"),
                            (self.member.directory, "DIRECTORY")):
            shown = shown.replace(value, name)
        for value, name in ((self.cluster_id, "CLUSTER"), (self.member_id, "MEMBER")):
            for written in (str(value), f"{value:x}"):
                shown = shown.replace(written, name)
            # Sentences and tables pad short IDs.
            shown = re.sub(f" +{name}", f" {name}", shown)
        # Members are in the order of their IDs.
        shown = re.sub(r'(?<=ETCD_INITIAL_CLUSTER=")[^"]*',
                       lambda found: ",".join(sorted(found[0].split(","))), shown)
        shown = re.sub(r" *\b[0-9a-f]{13,16}\b", " ID", shown)
        shown = re.sub(r" *\b[0-9]{15,20}\b", " ID", shown)
        shown = re.sub(r"\b[0-9.]+(?:ms|µs|s)\b(?!\))", "DURATION", shown)
        shown = re.sub(r"remaining\(\d+s\)", "remaining", shown)
        shown = re.sub(r'"(ttl|TTL)"(:| : )\d+', r'"\1"\2N', shown)
        shown = re.sub(r"\d+(?:\.\d+)? [kM]B", "SIZE", shown)
        return re.sub(r"[ -]{2,}", " ", shown) if "+--" in shown or " : " in shown else shown


# Figures that servers count for themselves.
COUNTED = re.compile(
    r'"(dbSize|dbSizeInUse|raftIndex|raftAppliedIndex|hash|raft_term|raftTerm)":\d+'
    r'|"(DBSize|RaftIndex|RaftAppliedIndex|Hash|RaftTerm)" : \d+')


def is_counted(words: tuple[str, ...]) -> bool:
    return words[:2] in (("endpoint", "status"), ("endpoint", "hashkv"))


def without_counts(text: str) -> str:
    text = COUNTED.sub(lambda found: f"{found[1] or found[2]} N", text)
    return re.sub(r"(?<=[, |])\d+(?=[, |\n])", "N", text)


def compare(case: ctl_cases.Case, theirs: Outcome, ours: Outcome, masks) -> list[str]:
    """Every difference, as a line."""
    problems = []
    text_theirs, text_ours = masks[0](theirs.stdout), masks[1](ours.stdout)
    if is_counted(case.words):
        text_theirs, text_ours = without_counts(text_theirs), without_counts(text_ours)
    if text_theirs.startswith("NAME:\n"):
        # Help is in each tool's own words, but at the same place.
        text_theirs, text_ours = text_theirs[:5], text_ours[:5]
    if text_theirs != text_ours:
        problems.append(f"stdout {text_theirs!r} != {text_ours!r}")
    errors_theirs = [masks[0](line.encode()) for line in theirs.errors]
    errors_ours = [masks[1](line.encode()).replace("martletctl", "etcdctl") for line in ours.errors]
    if b"pkg/flags: conflicting" in theirs.stderr:
        errors_theirs = ["Error: " + masks[0](theirs.stderr).split("pkg/flags: ")[1].strip()]
    elif theirs.stderr.startswith(b"unsupported API version"):
        errors_theirs = ["Error: " + theirs.stderr.decode().strip()]
    if errors_theirs != errors_ours:
        problems.append(f"errors {errors_theirs} != {errors_ours}")
    expected = theirs.code if case.code is None else case.code
    if ours.code != expected and not case.lines:
        problems.append(f"exit code {expected} != {ours.code}")
    return [f"{' '.join(case.words)}: {problem}" for problem in problems]


# Every group at etcd, and at Martlet those whose answers are most the server's own.
RUNS = [("etcd", release, group) for release in ETCD_FOLDERS for group in ctl_cases.GROUPS] + [
    ("martlet", "3.5", group) for group in ("keys", "members", "watches", "locks")]


@pytest.mark.parametrize("kind,release,group", RUNS)
def test_same_as_etcdctl(kind: str, release: str, group: str) -> None:
    """Each tool at a fresh server of its own, of the same release where that is etcd."""
    problems = []
    flags = ["--bcrypt-cost=4"]
    with Member(kind, flags, release=release) as first, \
            Member(kind, flags, release=release) as second:
        theirs, ours = Run(f"etcdctl {release}", first), Run("martletctl", second)
        with concurrent.futures.ThreadPoolExecutor() as beside:
            for case in ctl_cases.alike(ctl_cases.GROUPS[group], release):
                answer = beside.submit(theirs, case)
                own = ours(case)
                problems += compare(case, answer.result(), own, (theirs.masked, ours.masked))
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("kind,release",
                         [("etcd", "3.4"), ("etcd", "3.5"), ("martlet", "3.4"), ("martlet", "3.5")])
def test_same_bytes(kind: str, release: str) -> None:
    """Both tools at one server: not a byte differs."""
    problems = []
    with Member(kind, release=release) as member:
        for words in (["put", "a", "1"], ["put", "b", "<&>"], ["put", "a", "2"], ["del", "b"],
                      ["put", "\udcff", "\udcfe"],
                      ["put", "ü", "\t"], ["lease", "grant", "1000"], ["user", "add", "u:p"],
                      ["role", "add", "r"], ["role", "grant-permission", "r", "write", "", "--prefix"],
                      ["role", "grant-permission", "r", "read", "k", "--prefix"],
                      ["member", "add", "l", "--learner", "--peer-urls=http://127.0.0.1:1"]):
            etcdctl(member, *words)
        reads = ctl_cases.alike(ctl_cases.READS, release)
        if kind == "etcd":
            path = f"{member.directory}/s.db"
            etcdctl(member, "snapshot", "save", path)
            reads += [ctl_cases.case(f"snapshot status {path} -w {format}")
                      for format in ("simple", "json", "fields", "table")]
        else:
            # Answers of 3.6 have fields that etcdctl 3.4 does not know.
            reads = [case for case in reads if case.words[0] != "endpoint" or "json" not in case.words]
        for case in reads:
            theirs = run(f"etcdctl {release}", member.endpoint, case, list(case.words))
            ours = run("martletctl", member.endpoint, case, list(case.words))
            if theirs.stdout != ours.stdout or (theirs.code != ours.code and not case.lines):
                problems.append(f"{' '.join(case.words)}: {theirs} != {ours}")
    assert not problems, "\n".join(problems)
