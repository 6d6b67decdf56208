"""What an operator asks of a whole cluster with etcdctl: its state, another leader, other
addresses. What etcdctl prints is compared with what it prints of Debian's etcd, IDs, ports and
sizes aside."""

import json
import re

import pytest

from cluster_load import API, check_equal_stores, eventually, leader_among
from harness import Cluster, Member, etcdctl, free_port


@pytest.fixture(scope="module")
def api(stubs):
    return API()


def status_rows(cluster, via: Member) -> list[dict]:
    return json.loads(etcdctl(via, "endpoint", "status", "--cluster", "-w", "json").stdout)


def shape(value):
    """A JSON value with its numbers and texts replaced by their kinds."""
    if isinstance(value, dict):
        return {key: shape(each) for key, each in sorted(value.items())}
    if isinstance(value, list):
        return [shape(each) for each in value]
    return type(value).__name__


def plain(cluster, text: str) -> list[str]:
    """Lines without what differs from run to run."""
    for member in cluster.members:
        text = text.replace(str(member.port), "<port>")
        text = text.replace(str(member.peer_port), "<peer port>")
    text = re.sub(r"\b[0-9a-f]{13,16}\b", "<id>", text)
    text = re.sub(r"took = [0-9.µm]+s", "took = <time>", text)
    text = re.sub(r"\b\d+\.\d+\.\d+, [0-9.]+ [kM]?B", "<version>, <size>", text)
    text = re.sub(r", \d+$", ", <hash>", text, flags=re.M)
    return sorted(line for line in text.splitlines() if not line.startswith("{"))


def asked(kind: str, api) -> list:
    """A cluster with a learner, asked for all that etcdctl can ask of a cluster."""
    with Cluster(kind) as cluster:
        said = []
        leader = leader_among(api, cluster.members)
        followers = [member for member in cluster.members if member is not leader]

        def run(via, *words):
            done = etcdctl(via, *words, check=False)
            said.append((plain(cluster, " ".join(words)), done.returncode,
                         plain(cluster, done.stdout),
                         plain(cluster, done.stderr)))
        etcdctl(leader, "put", "a", "b")
        leader_id = cluster.id_of(leader)
        target_id = cluster.id_of(followers[0])
        # Fields by their kinds; who leads by all members' word.
        rows = eventually("all are as far", lambda: (lambda rows: rows if len(
            {row["Status"]["raftIndex"] for row in rows}) == 1 else None)(
                status_rows(cluster, followers[0])))
        said.append(("status", len(rows), len({row["Status"]["leader"] for row in rows}),
                     len({row["Status"]["header"]["cluster_id"] for row in rows}),
                     [row["Status"].get("errors") for row in rows],
                     [row["Status"].get("isLearner") for row in rows],
                     sorted(row["Status"]["header"]["revision"] for row in rows)))
        said.append(("status lines", sorted(
            line.split(", ")[4:6] for line in etcdctl(
                leader, "endpoint", "status", "--cluster").stdout.splitlines())))
        run(followers[1], "endpoint", "health", "--cluster")
        run(followers[1], "endpoint", "hashkv", "--cluster")
        hashes = json.loads(etcdctl(
            leader, "endpoint", "hashkv", "--cluster", "-w", "json").stdout)
        said.append(("hashes", len(hashes), len({row["HashKV"]["hash"] for row in hashes})))
        # Refused: nobody's ID, no ID, and by who does not lead.
        run(leader, "move-leader", "abcdef")
        run(leader, "move-leader", "nothing")
        run(followers[0], "move-leader", target_id)
        run(leader, "move-leader", leader_id)
        # And done.
        leader = leader_among(api, cluster.members)
        target = next(member for member in cluster.members if member is not leader)
        run(leader, "move-leader", cluster.id_of(target))
        said.append(("moved", leader_among(api, cluster.members) is target))
        etcdctl(leader, "put", "after", "the move")
        # A learner is in the status, leads nothing, and takes no leadership.
        learner = cluster.joiner()
        eventually("member add", lambda: etcdctl(
            leader, "member", "add", learner.name, f"--peer-urls={learner.peer_url}",
            "--learner", check=False).returncode == 0)
        learner.start(wait=False)
        learner_id = cluster.id_of(learner)
        rows = eventually("the learner", lambda: (lambda rows: rows if len(rows) == 4 and len(
            {row["Status"]["raftIndex"] for row in rows}) == 1 else None)(
                status_rows(cluster, leader)))
        said.append(("with a learner", sorted(
            row["Status"].get("isLearner", False) for row in rows)))
        run(target, "move-leader", learner_id)
        eventually("the promotion", lambda: etcdctl(
            leader, "member", "promote", learner_id, check=False).returncode == 0)
        run(leader, "member", "promote", learner_id)
        etcdctl(learner, "put", "by", "the new one")
        said.append(("promoted", len(cluster.member_list()),
                     any(row.get("isLearner") for row in cluster.member_list())))
        return said


def test_answers_are_those_of_etcd(api):
    ours, theirs = asked("martlet", api), asked("etcd", api)
    for mine, other in zip(ours, theirs):
        assert mine == other
    assert len(ours) == len(theirs)


def test_a_member_moves_to_another_peer_address(api):
    """`member update` and a start with another --listen-peer-urls: it is the same member there."""
    with Cluster("martlet") as cluster:
        leader = leader_among(api, cluster.members)
        moving, other = [member for member in cluster.members if member is not leader]
        identity = cluster.id_of(moving)
        moving.stop()
        moving.peer_port = free_port()
        etcdctl(other, "member", "update", identity, f"--peer-urls={moving.peer_url}")
        etcdctl(other, "put", "while", "it was away")
        moving.start()
        assert cluster.id_of(moving, other) == identity
        eventually("it has what it missed", lambda: etcdctl(
            moving, "get", "while", "--print-value-only", "--consistency=s",
            check=False).stdout == "it was away\n")
        # It is heard at its new address: with the third one dead, the two are a majority.
        other.kill()
        eventually("a write", lambda: etcdctl(
            leader, "put", "with", "it", check=False).returncode == 0)
        other.start()
        check_equal_stores(api, cluster.members)
