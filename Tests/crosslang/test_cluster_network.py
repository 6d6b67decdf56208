"""Clusters whose network is cut, one way or both, and loses, delays, repeats and reorders packets:
what the clients saw is linearizable, and whoever reaches a majority goes on.

The gate runs a short form of each; MARTLET_LONG=1 the long one.
"""

import random
import os
import subprocess
import time

import grpc
import pytest

from cluster_load import (API, Load, check_equal_stores, check_linearizable,
                          leader_among, make_seed, status)
from cluster_network import NetworkCluster, why_impossible

LONG = os.environ.get("MARTLET_LONG") == "1"
QUICK = ["--heartbeat-interval=50", "--election-timeout=500"]


@pytest.fixture(scope="module")
def api(stubs):
    reason = why_impossible()
    if reason:
        pytest.skip(reason)
    return API()


def check_end(api, cluster, load, path):
    """The network is whole again: everybody goes on, and what they saw has an order."""
    cluster.switch.heal()
    load.wait_for_progress("writes with a healed network")
    history = load.stop()
    print(load.failures())
    check_linearizable(api, history, cluster.members[0], path)
    check_equal_stores(api, cluster.members)


def clients_of(load, members):
    return [client for client in load.clients if client.members[client.at] in members]


@pytest.mark.parametrize("way", ["both", "deaf", "mute"])
def test_leader_cut_off(api, tmp_path, way):
    """The leader hears nobody, is heard by nobody, or both. The others go on with another one, and
    the old one, as long as it is cut off, neither takes a write nor answers a read that is not
    serializable. The deaf one has heartbeats that still arrive: it must notice by itself."""
    if way == "mute" and not LONG:
        pytest.skip("MARTLET_LONG=1 runs it; it is half of what `both` does")
    rounds = 6 if LONG else 1
    with NetworkCluster(flags=QUICK) as cluster:
        with Load(api, cluster.members) as load:
            load.wait_for_progress("the first writes")
            for _ in range(rounds):
                old = leader_among(api, cluster.members)
                others = [member for member in cluster.members if member is not old]
                rest = cluster.numbers(others)
                if way != "mute":
                    cluster.switch.cut(rest, [old.number], both_ways=False)
                if way != "deaf":
                    cluster.switch.cut([old.number], rest, both_ways=False)
                leader_among(api, others, but=old)
                load.wait_for_progress("writes without the old leader", [
                    client for client in load.clients if client.members[client.at] is not old])
                with api.patient(old) as channel:
                    kv = api.grpc.KVStub(channel)
                    with pytest.raises(grpc.RpcError):
                        kv.Put(api.pb.PutRequest(key=b"cut", value=b"off"), timeout=1)
                    with pytest.raises(grpc.RpcError):
                        kv.Range(api.pb.RangeRequest(key=b"cut"), timeout=1)
                    kv.Range(api.pb.RangeRequest(key=b"cut", serializable=True), timeout=60)
                cluster.switch.heal()
                load.wait_for_progress("writes with all members")
            check_end(api, cluster, load, tmp_path / "history")


def test_two_that_do_not_hear_each_other(api, tmp_path):
    """Of three, the leader and a follower are cut off from each other and both reach the third: the
    cluster goes on, for the clients of the third at least, and does not change leaders for ever."""
    with NetworkCluster(flags=QUICK) as cluster:
        with Load(api, cluster.members) as load:
            load.wait_for_progress("the first writes")
            leader = leader_among(api, cluster.members)
            cut, third = [member for member in cluster.members if member is not leader]
            cluster.switch.cut([leader.number], [cut.number])
            load.wait_for_progress("writes of those at the third", clients_of(load, [third]))
            term = status(api, third).raftTerm
            time.sleep(20 if LONG else 2)
            load.wait_for_progress("writes of those at the third", clients_of(load, [third]))
            terms = status(api, third).raftTerm - term
            print(f"{terms} terms later")
            assert terms <= 2, "the leaders change for ever"
            check_end(api, cluster, load, tmp_path / "history")


def test_bad_links(api, tmp_path):
    """Loss, delay, repetition and another order on all links at once."""
    with NetworkCluster(flags=[], seed=make_seed()) as cluster:
        cluster.switch.all_links(loss=0.05, delay=0.01, jitter=0.01, duplicate=0.05)
        with Load(api, cluster.members) as load:
            for _ in range(20 if LONG else 2):
                load.wait_for_progress("writes over bad links")
            cluster.switch.all_links(loss=0.2, delay=0.02, jitter=0.02)
            for _ in range(10 if LONG else 1):
                load.wait_for_progress("writes over worse links")
            check_end(api, cluster, load, tmp_path / "history")
        print(cluster.switch.counts)
        assert all(cluster.switch.counts.values()), "a fault was not there"


def test_bad_links_of_the_kernel(api, tmp_path):
    """The same by netem, which sees what this kernel's TCP does about it."""
    with NetworkCluster(flags=[]) as cluster:
        try:
            for member in cluster.members:
                member.netem("delay", "50ms", "20ms", "25%", "loss", "5%", "duplicate", "1%",
                             "reorder", "25%", "50%")
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no netem in this kernel: {error.stderr}")
        with Load(api, cluster.members) as load:
            for _ in range(20 if LONG else 2):
                load.wait_for_progress("writes over bad links")
            dropped = [member.dropped_packets() for member in cluster.members]
            print(f"dropped packets: {dropped}")
            for member in cluster.members:
                member.netem()
            check_end(api, cluster, load, tmp_path / "history")
        assert all(dropped), "a fault was not there"


@pytest.mark.parametrize("size", [3, 5])
def test_random_cuts(api, tmp_path, size):
    """Groups and single links, cut at random for short times."""
    if size == 5 and not LONG:
        pytest.skip("MARTLET_LONG=1 runs it")
    seed = make_seed()
    rng = random.Random(seed)
    with NetworkCluster(size, flags=QUICK, seed=seed) as cluster:
        numbers = cluster.numbers(cluster.members)
        with Load(api, cluster.members, seed=seed) as load:
            load.wait_for_progress("the first writes")
            for _ in range(40 if LONG else 4):
                group = rng.sample(numbers, rng.randrange(1, size))
                rest = [number for number in numbers if number not in group]
                kind = rng.choice(["group", "one way", "links", "slow"])
                if kind in ("group", "one way"):
                    cluster.switch.cut(group, rest, both_ways=kind == "group")
                elif kind == "links":
                    for source in numbers:
                        for target in numbers:
                            if source != target and rng.random() < 0.4:
                                cluster.switch.link(source, target, loss=1)
                else:
                    cluster.switch.all_links(loss=0.1, delay=0.05, jitter=0.05)
                time.sleep(rng.uniform(0.1, 2.0 if LONG else 1.2))
                if rng.random() < 0.6:
                    cluster.switch.heal()
                    time.sleep(rng.uniform(0, 0.5))
            check_end(api, cluster, load, tmp_path / "history")
