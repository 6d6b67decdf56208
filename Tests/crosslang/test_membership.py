"""Clusters as processes: how they start, and how their membership changes. What etcdctl prints is
compared with what it prints of Debian's etcd, IDs and ports aside."""

import json
import re
import shutil
import time
import urllib.request

import pytest

from harness import Cluster, Member, etcdctl

# A member counts as healthy, for --strict-reconfig-check, once it was connected for five seconds.
HEALTHY_SECONDS = 5.5
EXIT_SECONDS = 60


def eventually(what: str, body, seconds: float = 60):
    """The first result of `body` that is true; exceptions count as false until time is up."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            result = body()
            if result:
                return result
            last = result
        except (AssertionError, OSError) as error:
            last = error
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not in {seconds} s: {last}")
        time.sleep(0.1)


class Transcript:
    """What etcdctl said, with IDs, ports and what it logs taken out."""

    def __init__(self, cluster: Cluster):
        self.cluster = cluster
        self.lines: list[tuple] = []

    def run(self, via: Member, *arguments: str) -> str:
        done = etcdctl(via, *arguments, check=False)
        errors = "\n".join(line for line in done.stderr.splitlines() if not line.startswith("{"))
        self.lines.append((arguments[:2], done.returncode, self.plain(done.stdout),
                           self.plain(errors)))
        return done.stdout

    def plain(self, text: str) -> str:
        for member in self.cluster.members:
            text = text.replace(str(member.peer_port), f"<peer {member.name}>")
            text = text.replace(str(member.port), f"<client {member.name}>")
        # etcdctl fills a short ID up with blanks.
        text = re.sub(r" *\b[0-9a-f]{13,16}\b", " <id>", text)
        # Which of the founders leads, and so which one goes, is chance.
        text = re.sub(r"\bm[123]\b", "<founder>", text)
        lines = text.splitlines()
        # Members are listed by ID, and the variable names them in no order.
        lines = [",".join(sorted(line.split("=", 1)[1].strip('"').split(",")))
                 if line.startswith("ETCD_INITIAL_CLUSTER=") else line for line in lines]
        return "\n".join(sorted(lines))


def changes(kind: str) -> list[tuple]:
    """One life of a cluster of three: refused changes, a learner that comes and goes."""
    with Cluster(kind) as cluster:
        said = Transcript(cluster)
        leader = cluster.leader()
        follower, other = [m for m in cluster.members if m is not leader]
        leader_id, other_id = cluster.id_of(leader), cluster.id_of(other)
        time.sleep(HEALTHY_SECONDS)
        joiner = cluster.joiner()
        new = f"--peer-urls={joiner.peer_url}"
        said.run(follower, "member", "list")
        said.run(follower, "member", "add", "m4", f"--peer-urls={leader.peer_url}")
        said.run(follower, "member", "add", "m4", new, "--learner")
        said.run(leader, "member", "add", "m5", "--peer-urls=http://127.0.0.1:1", "--learner")
        joiner_id = cluster.id_of(joiner)
        said.run(follower, "member", "promote", joiner_id)
        said.run(leader, "member", "promote", joiner_id)
        said.run(leader, "member", "promote", leader_id)
        said.run(follower, "member", "promote", "abcd")
        said.run(leader, "member", "remove", "abcd")
        said.run(leader, "member", "update", "abcd", "--peer-urls=http://127.0.0.1:1")
        said.run(leader, "member", "update", joiner_id, f"--peer-urls={leader.peer_url}")
        said.run(follower, "member", "update", joiner_id, new)
        said.run(leader, "member", "remove", joiner_id)
        said.run(leader, "member", "list")
        # A voter that goes while all are healthy.
        said.run(follower, "member", "remove", other_id)
        said.lines.append(("exit", other.process.wait(EXIT_SECONDS)))
        said.lines.append(("why", "the member has been permanently removed from the cluster"
                           in other.log()))
        other.start(wait=False)
        said.lines.append(("exit of a second start", other.process.wait(EXIT_SECONDS)))
        said.run(leader, "member", "list")
        said.run(leader, "put", "a", "b")
        return said.lines


def test_changes_are_those_of_etcd():
    assert changes("martlet") == changes("etcd")


def test_three_members_and_two_networks():
    """The documented case: peers on one network, clients told an inner and an outer address."""
    cluster = Cluster("martlet")
    for number, member in enumerate(cluster.members, 1):
        member.flags.append(f"--advertise-client-urls=http://127.0.0.1:{member.port},"
                            f"http://198.51.100.{number}:2379")
    with cluster:
        rows = cluster.member_list(cluster.members[2])
        assert len(rows) == 3
        for number, member in enumerate(cluster.members, 1):
            row = next(r for r in rows if r["name"] == member.name)
            assert row["peerURLs"] == [member.peer_url]
            assert sorted(row["clientURLs"]) == sorted(
                [f"http://127.0.0.1:{member.port}", f"http://198.51.100.{number}:2379"])
        # All members say the same, and their peers' port says it as JSON.
        assert all(cluster.member_list(m) == rows for m in cluster.members)
        with urllib.request.urlopen(cluster.members[0].peer_url + "/members") as answer:
            shown = json.load(answer)
        assert {m["id"] for m in shown} == {row["ID"] for row in rows}
        with urllib.request.urlopen(cluster.members[0].peer_url + "/version") as answer:
            assert json.load(answer)["etcdserver"]
        eventually("the cluster's version", lambda: cluster_version(cluster.members[1]) != "not_decided")


def cluster_version(member: Member) -> str:
    with urllib.request.urlopen(f"http://{member.endpoint}/version") as answer:
        return json.load(answer)["etcdcluster"]


def test_a_restart_ignores_the_bootstrap_flags():
    with Cluster("martlet") as cluster:
        member = cluster.members[1]
        identity = cluster.id_of(member)
        assert member.stop() == 0
        member.initial_cluster = f"{member.name}=http://127.0.0.1:9,x=http://127.0.0.1:10"
        member.flags += ["--initial-cluster-state=existing", "--initial-cluster-token=other"]
        member.start()
        assert cluster.id_of(member, via=member) == identity


@pytest.mark.parametrize("state", ["new", "existing"])
def test_a_founder_without_its_data_does_not_begin_anew(state):
    with Cluster("martlet") as cluster:
        member = cluster.members[0]
        cluster.leader()
        member.kill()
        shutil.rmtree(f"{member.directory}/data")
        member.flags.append(f"--initial-cluster-state={state}")
        member.start(wait=False)
        assert member.process.wait(EXIT_SECONDS) == 1
        assert "has already been bootstrapped" in member.log()


def test_a_joiner_that_nobody_added_is_told_so():
    with Cluster("martlet") as cluster:
        joiner = cluster.joiner()
        joiner.start(wait=False)
        assert joiner.process.wait(EXIT_SECONDS) == 1
        assert "member count is unequal" in joiner.log()
        joiner.initial_cluster = ",".join(
            [f"{m.name}={m.peer_url}" for m in cluster.members[:2]]
            + [f"{joiner.name}={joiner.peer_url}"])
        joiner.start(wait=False)
        assert joiner.process.wait(EXIT_SECONDS) == 1
        assert "unmatched member while checking PeerURLs" in joiner.log()
        for member in cluster.members[:3]:
            member.kill()
        joiner.start(wait=False)
        assert joiner.process.wait(EXIT_SECONDS) == 1
        assert "could not retrieve cluster information from the given URLs" in joiner.log()


def test_a_lost_disk_by_the_documented_commands():
    """member remove, member add, start with --initial-cluster-state=existing and no data."""
    with Cluster("martlet") as cluster:
        cluster.leader()
        etcdctl(cluster.members[0], "put", "kept", "value")
        lost = cluster.members.pop()
        old = cluster.id_of(lost)
        lost.kill()
        lost.close()
        time.sleep(HEALTHY_SECONDS)
        etcdctl(cluster.members[0], "member", "remove", old)
        joiner = cluster.joiner()
        eventually("member add", lambda: etcdctl(
            cluster.members[0], "member", "add", joiner.name, f"--peer-urls={joiner.peer_url}",
            check=False).returncode == 0)
        joiner.start()
        assert cluster.id_of(joiner) != old
        got = eventually("the data", lambda: etcdctl(
            joiner, "get", "kept", "--print-value-only", "--consistency=s", check=False).stdout)
        assert got == "value\n"
        etcdctl(joiner, "put", "through", "the joiner")
        # It is a full member: with one of the others dead, the two that are left go on.
        cluster.members[0].kill()
        eventually("a write with one founder dead", lambda: etcdctl(
            joiner, "put", "a", "b", check=False).returncode == 0)


def test_a_learner_catches_up_and_is_promoted():
    with Cluster("martlet", size=1) as cluster:
        first = cluster.members[0]
        for number in range(20):
            etcdctl(first, "put", f"k{number}", "v")
        joiner = cluster.joiner()
        etcdctl(first, "member", "add", joiner.name, f"--peer-urls={joiner.peer_url}", "--learner")
        joiner.start(wait=False)
        eventually("the learner's data", lambda: etcdctl(
            joiner, "get", "k19", "--print-value-only", "--consistency=s", check=False
        ).stdout == "v\n")
        learner = cluster.id_of(joiner)
        eventually("the promotion", lambda: etcdctl(
            first, "member", "promote", learner, check=False).returncode == 0)
        etcdctl(joiner, "put", "a", "b")
        assert not any(row.get("isLearner") for row in cluster.member_list(joiner))


def test_a_learner_is_promoted_by_itself():
    with Cluster("martlet", size=1, flags=["--auto-promote-learners"]) as cluster:
        first = cluster.members[0]
        joiner = cluster.joiner()
        etcdctl(first, "member", "add", joiner.name, f"--peer-urls={joiner.peer_url}", "--learner")
        joiner.start(wait=False)
        eventually("the promotion", lambda: not any(
            row.get("isLearner") for row in cluster.member_list()))
        etcdctl(joiner, "put", "a", "b")


def test_the_last_member_left_goes_on_by_force():
    with Cluster("martlet") as cluster:
        cluster.leader()
        survivor = cluster.members[0]
        etcdctl(survivor, "put", "kept", "value")
        for member in cluster.members[1:]:
            member.kill()
        survivor.stop()
        survivor.flags.append("--force-new-cluster")
        survivor.start()
        assert etcdctl(survivor, "get", "kept", "--print-value-only").stdout == "value\n"
        etcdctl(survivor, "put", "after", "value")
        assert len(cluster.member_list()) == 1
        # It is in the log, not in the flag.
        survivor.kill()
        survivor.flags.remove("--force-new-cluster")
        survivor.start()
        assert etcdctl(survivor, "get", "after", "--print-value-only").stdout == "value\n"
        assert len(cluster.member_list()) == 1
