"""Locks and elections: etcdctl against Martlet and etcd 3.4, and contenders over the gateway."""

import concurrent.futures
import subprocess
import time

import harness
from test_gateway import post


def wait_for_keys(member, count):
    """Until so many keys lie under the name `L`."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        found = post(member, "/v3/kv/range", {"key": "TC8=", "range_end": "TDA="})[1]
        if int(found.get("count", 0)) == count:
            return found.get("kvs", [])
        time.sleep(0.01)
    raise AssertionError(f"never {count} keys on {member.kind}: {found}")


def test_etcdctl_lock_and_elect(both):
    for member in both:
        done = harness.etcdctl(member, "lock", "L", "echo", "held")
        assert done.stdout.strip() == "held"
        wait_for_keys(member, 0)
        command = ["/usr/bin/etcdctl", f"--endpoints={member.endpoint}", "elect", "L", "me"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True,
                              env={"ETCDCTL_API": "3"}) as leader:
            key, value = leader.stdout.readline(), leader.stdout.readline()
            assert key.startswith("L/") and value.strip() == "me"
            leader.terminate()
            leader.wait(10)
        wait_for_keys(member, 0)


def test_a_waiter_gets_the_lock(both):
    for member in both:
        for lease in (1, 2):
            post(member, "/v3/lease/grant", {"TTL": 60, "ID": lease})
        held = post(member, "/v3/lock/lock", {"name": "TA==", "lease": 1})[1]["key"]
        with concurrent.futures.ThreadPoolExecutor() as pool:
            waiter = pool.submit(post, member, "/v3/lock/lock", {"name": "TA==", "lease": 2})
            wait_for_keys(member, 2)
            post(member, "/v3/lock/unlock", {"key": held})
            status, answer = waiter.result(10)
        assert status == 200 and answer["key"] == "TC8y"


def test_a_waiter_that_disconnects_leaves_nothing(both):
    for member in both:
        post(member, "/v3/lease/grant", {"TTL": 60, "ID": 1})
        post(member, "/v3/lock/lock", {"name": "TA==", "lease": 1})
        waiter = subprocess.Popen(
            ["curl", "-s", f"http://{member.endpoint}/v3/lock/lock", "-d", '{"name":"TA=="}'])
        wait_for_keys(member, 2)
        waiter.terminate()
        waiter.wait(10)
        assert wait_for_keys(member, 1)[0]["lease"] == "1"


def test_an_expired_waiter_does_not_get_the_lock(martlet):
    """Not compared: etcd 3.4 gives it the lock (J3)."""
    for lease in (1, 2):
        post(martlet, "/v3/lease/grant", {"TTL": 60, "ID": lease})
    post(martlet, "/v3/lock/lock", {"name": "TA==", "lease": 1})
    with concurrent.futures.ThreadPoolExecutor() as pool:
        waiter = pool.submit(post, martlet, "/v3/lock/lock", {"name": "TA==", "lease": 2})
        wait_for_keys(martlet, 2)
        post(martlet, "/v3/lease/revoke", {"ID": 2})
        post(martlet, "/v3/lease/revoke", {"ID": 1})
        assert waiter.result(10) == (500, {
            "error": "mutex: session is expired", "message": "mutex: session is expired",
            "code": 2})
