"""Flags whose effect shows only in running members: what each one changes, and what is said of those
that change nothing."""

import json
import time

import pytest

from harness import START_SECONDS, Cluster, Member, etcdctl
from test_membership import eventually

COMPACTION = '"msg":"automatic compaction"'


def whole_log(member: Member) -> str:
    with open(member.log_path, errors="replace") as file:
        return file.read()


def test_automatic_compaction_is_the_leaders():
    flags = ["--auto-compaction-mode=periodic", "--auto-compaction-retention=1s"]
    with Cluster("martlet", flags=flags) as cluster:
        leader = cluster.leader()

        def compactions():
            etcdctl(leader, "put", "k", "v")
            return whole_log(leader).count(COMPACTION) >= 3
        eventually("three compactions", compactions)
        # Who has led meanwhile may have compacted as well.
        led = [m for m in cluster.members if '"role":"leader"' in whole_log(m)]
        assert leader in led
        for member in cluster.members:
            if member not in led:
                assert COMPACTION not in whole_log(member)
        done = etcdctl(leader, "get", "k", "--rev=1", check=False)
        assert "required revision has been compacted" in done.stderr


@pytest.mark.parametrize("most", [1, 3])
def test_max_learners(most):
    with Cluster("martlet", size=1, flags=[f"--max-learners={most}"]) as cluster:
        for number in range(most + 1):
            done = etcdctl(cluster.members[0], "member", "add", f"l{number}", "--learner",
                           f"--peer-urls=http://127.0.0.1:{number + 1}", check=False)
            if number < most:
                assert done.returncode == 0, done.stderr
        assert "too many learner members in cluster" in done.stderr


def test_a_port_is_shared_only_when_that_is_asked_for():
    with Member("martlet", ["--socket-reuse-port"]) as first:
        for flags, starts in ((["--socket-reuse-port"], True), ([], False)):
            second = Member("martlet", flags)
            # Its own client port, and the first one's peer port.
            second.peer_port = first.peer_port
            try:
                second.start(wait=False)
                if starts:
                    second.wait_until_healthy()
                else:
                    assert second.process.wait(START_SECONDS) == 1
                    assert "cannot listen" in second.log()
            finally:
                second.close()


def test_gates_and_flags_without_effect_are_said_once():
    flags = ["--feature-gates=CompactHashCheck=true,InitialCorruptCheck=true,LeaseCheckpoint=false",
             "--experimental-enable-lease-checkpoint=true",
             "--experimental-stop-grpc-service-on-defrag", "--max-wals=7", "--snapshot-count=50",
             "--raft-read-timeout=7s", "--corrupt-check-time=1m", "--compact-hash-check-time=2m",
             "--log-rotation-config-json={\"compress\": true}"]
    with Member("martlet", flags) as member:
        lines = [json.loads(line) for line in member.log().splitlines()]
        said = [(line.get("setting"), line["msg"]) for line in lines if "setting" in line]
        assert len(said) == len(set(said))
        gates = [text for setting, text in said if setting == "--feature-gates"]
        # The word of the new flag is the last one, and takes nothing from the old one's other gates.
        assert [text.split(" ")[1] for text in gates] == ["StopGRPCServiceOnDefrag"]
        without = {setting for setting, text in said if text == "setting has no effect yet"}
        assert without == {"--max-wals"}


def test_rotated_log_files(tmp_path):
    """A file that is full when the member starts is put aside with what it has."""
    path = tmp_path / "member.log"
    path.write_text("x" * (1 << 20))
    member = Member("martlet", [f"--log-outputs={path}", "--enable-log-rotation",
                                '--log-rotation-config-json={"maxsize": 1, "maxbackups": 1}'])
    with member:
        etcdctl(member, "put", "a", "b")
    aside = [file for file in tmp_path.iterdir() if file != path]
    assert len(aside) == 1 and aside[0].name.startswith("member-2")
    assert aside[0].read_text() == "x" * (1 << 20)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert any(line["msg"] == "serving clients" for line in lines)


def test_a_member_far_behind_gets_a_snapshot():
    """--snapshot-count and --snapshot-catchup-entries, seen from the log."""
    flags = ["--snapshot-count=20", "--snapshot-catchup-entries=5"]
    with Cluster("martlet", flags=flags) as cluster:
        leader = cluster.leader()
        lagging = next(m for m in cluster.members if m is not leader)
        lagging.kill()
        for number in range(60):
            etcdctl(leader, "put", "k", str(number))
        lagging.start()
        eventually("the newest value", lambda: etcdctl(
            lagging, "get", "k", "--print-value-only", "--consistency=s", check=False
        ).stdout == "59\n")
        assert "the leader's snapshot is installed" in whole_log(lagging)
        deadline = time.monotonic() + START_SECONDS
        while "a snapshot was sent" not in "".join(whole_log(m) for m in cluster.members):
            assert time.monotonic() < deadline
            time.sleep(0.05)
