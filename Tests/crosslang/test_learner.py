"""What a learner answers and refuses, beside a learner of Debian's etcd."""

import json

from harness import Cluster, Member, etcdctl
from test_membership import eventually


def said(member: Member, *arguments: str, stdin: str | None = None) -> tuple:
    """Exit code, output without what differs from run to run, and the error's text."""
    done = etcdctl(member, *arguments, stdin=stdin, check=False, timeout=60)
    errors = [line for line in done.stderr.splitlines()
              if line.startswith("Error: ") or "rpc error" in line and not line.startswith("{")]
    return arguments[:3], done.returncode, done.stdout if done.returncode == 0 else "", errors


def learner_transcript(kind: str) -> tuple[list, dict]:
    with Cluster(kind, size=1) as cluster:
        first = cluster.members[0]
        etcdctl(first, "put", "a", "1")
        joiner = cluster.joiner()
        etcdctl(first, "member", "add", joiner.name, f"--peer-urls={joiner.peer_url}", "--learner")
        joiner.start(wait=False)
        eventually("the learner's data", lambda: etcdctl(
            joiner, "get", "a", "--print-value-only", "--consistency=s", check=False
        ).stdout == "1\n")
        lines = [
            said(joiner, "get", "a"),
            said(joiner, "get", "a", "--consistency=s"),
            said(joiner, "get", "", "--prefix", "--keys-only", "--consistency=s"),
            said(joiner, "put", "b", "2"),
            said(joiner, "del", "a"),
            said(joiner, "txn", stdin='\n\nput b 2\n\n\n\n'),
            said(joiner, "compact", "1"),
            said(joiner, "lease", "grant", "100"),
            said(joiner, "lease", "list"),
            said(joiner, "user", "list"),
            said(joiner, "alarm", "list"),
            said(joiner, "auth", "enable"),
            said(joiner, "defrag")[:2],
            said(joiner, "endpoint", "hashkv")[:2],
            said(joiner, "member", "add", "x", "--peer-urls=http://127.0.0.1:1"),
        ]
        done = etcdctl(joiner, "endpoint", "status", "-w", "json")
        status = json.loads(done.stdout)[0]["Status"]
        return lines, status


def test_a_learner_answers_as_etcds_does():
    theirs, their_status = learner_transcript("etcd")
    ours, our_status = learner_transcript("martlet")
    for mine, other in zip(ours, theirs):
        assert mine == other
    assert our_status["isLearner"] is True and their_status["isLearner"] is True
    assert our_status["leader"] != 0
    assert set(their_status) <= set(our_status), (their_status, our_status)
    for name in ("raftTerm", "raftIndex", "raftAppliedIndex"):
        assert our_status[name] > 0
