"""Members that find each other by etcd's v3 discovery: with Debian's etcd as the discovery service, and
with a member of Martlet."""

import json
import time

import pytest

from harness import Member, etcdctl

SECONDS = 60


def founder(service: Member, number: int, token: str) -> Member:
    member = Member("martlet", name=f"m{number}")
    # The harness names the founders; whoever is discovered must not.
    plain = member.command
    member.command = lambda: [word for word in plain() if not word.startswith("--initial-cluster=")]
    member.flags = [f"--discovery-endpoints=http://127.0.0.1:9,{service.endpoint}",
                    f"--discovery-token={token}", "--discovery-dial-timeout=10s",
                    "--discovery-request-timeout=20s"]
    return member


def close(members: list[Member]) -> None:
    for member in members:
        member.close()


def wait_for_line(member: Member, text: str) -> None:
    deadline = time.monotonic() + SECONDS
    while text not in member.log():
        assert time.monotonic() < deadline, f"no {text!r} in {member.log()}"
        time.sleep(0.05)


@pytest.mark.parametrize("kind", ["etcd", "martlet"])
def test_three_find_each_other(kind):
    token = f"token-{kind}"
    service = Member(kind)
    members = [founder(service, number, token) for number in (1, 2, 3)]
    late = founder(service, 4, token)
    try:
        service.start()
        etcdctl(service, "put", f"/_etcd/registry/{token}/_config/size", "3")
        # A service that is away is waited for.
        service.stop()
        members[0].start(wait=False)
        wait_for_line(members[0], "the discovery service does not answer; trying on")
        service.start()
        for member in members[1:]:
            member.start(wait=False)
        for member in members:
            member.wait_until_healthy()
        rows = json.loads(etcdctl(members[2], "member", "list", "-w", "json").stdout)["members"]
        assert {row["name"] for row in rows} == {"m1", "m2", "m3"}
        found = etcdctl(service, "get", "--prefix", f"/_etcd/registry/{token}/members/").stdout
        for row, member in ((r, m) for r in rows for m in members if m.name == r["name"]):
            assert f"/_etcd/registry/{token}/members/{row['ID']:x}\n{member.name}={member.peer_url}" \
                in found
        etcdctl(members[0], "put", "a", "b")
        assert etcdctl(members[1], "get", "a", "--print-value-only").stdout == "b\n"
        late.start(wait=False)
        assert late.process.wait(SECONDS) == 1
        assert "discovery: cluster is full" in late.log()
        # A restart needs no service.
        service.kill()
        assert members[1].stop() == 0
        members[1].start()
        assert etcdctl(members[1], "get", "a", "--print-value-only").stdout == "b\n"
    finally:
        close([*members, late, service])


def test_a_lone_member_registers_as_etcds_would_read_it():
    """Debian's etcd has no v3 discovery itself; what is written is compared with the protocol's text."""
    with Member("etcd") as service:
        etcdctl(service, "put", "/_etcd/registry/one/_config/size", "1")
        member = founder(service, 1, "one")
        second = f"http://127.0.0.1:{member.port + 1}"
        member.flags += [f"--initial-advertise-peer-urls={member.peer_url},{second}"]
        try:
            member.start()
            row = json.loads(etcdctl(member, "member", "list", "-w", "json").stdout)["members"][0]
            assert sorted(row["peerURLs"]) == sorted([member.peer_url, second])
            value = etcdctl(service, "get", f"/_etcd/registry/one/members/{row['ID']:x}",
                            "--print-value-only").stdout.strip()
            assert sorted(value.split(",")) == sorted(
                [f"m1={member.peer_url}", f"m1={second}"])
        finally:
            member.close()


def test_a_size_that_is_missing_is_said():
    with Member("etcd") as service:
        member = founder(service, 1, "none")
        try:
            member.start(wait=False)
            assert member.process.wait(SECONDS) == 1
            assert "discovery: size key not found" in member.log()
        finally:
            member.close()
