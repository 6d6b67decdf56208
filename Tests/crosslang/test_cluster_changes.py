"""Members that come and go under load: what the clients saw is linearizable all the same.

The gate runs a short form; MARTLET_LONG=1 the long one.
"""

import os
import random

import pytest

from cluster_load import (API, Load, check_equal_stores, check_linearizable, eventually,
                          leader_among, make_seed)
from harness import Cluster, etcdctl

LONG = os.environ.get("MARTLET_LONG") == "1"
# The wait of five seconds before each change is in test_membership.py.
QUICK = ["--heartbeat-interval=50", "--election-timeout=500", "--strict-reconfig-check=false"]
EXIT_SECONDS = 60


@pytest.fixture(scope="module")
def api(stubs):
    return API()


def change(cluster, via, what: str, *words: str) -> None:
    """A change that is asked for until it is made: leaders come and go meanwhile."""
    done = []

    def ask():
        done.append(etcdctl(via, "member", *words, check=False))
        # A first one may have been made though its answer was lost.
        said = done[-1].stderr.strip().splitlines()
        return done[-1].returncode == 0 or len(done) > 1 and "".join(said[-1:]).endswith((
            "member not found", "Peer URLs already exists", "can only promote a learner member"))
    eventually(what, ask)


def another_leader(api, cluster, stays, target):
    """The leader; made to be `target` if it is the member that stays."""
    def look():
        leader = leader_among(api, cluster.members)
        if leader is not stays:
            return leader
        etcdctl(stays, "move-leader", cluster.id_of(target, stays), check=False)
        return None
    return eventually("another leads", look)


def test_members_come_and_go(api, tmp_path):
    """A joins as a learner and is promoted; a follower is removed; another one joins; the leader is
    removed. The clients know the first three only, of which one is left."""
    seed = make_seed()
    rng = random.Random(seed)
    with Cluster("martlet", flags=list(QUICK)) as cluster:
        founders = list(cluster.members)
        stays = rng.choice(founders)
        with Load(api, founders, seed=seed) as load:
            load.wait_for_progress("the first writes")
            for _ in range(6 if LONG else 1):
                learner = cluster.joiner()
                change(cluster, stays, "a learner joins", "add", learner.name,
                       f"--peer-urls={learner.peer_url}", "--learner")
                learner.start(wait=False)
                change(cluster, stays, "its promotion", "promote", cluster.id_of(learner, stays))
                learner.wait_until_healthy()
                load.wait_for_progress("writes with a fourth")

                followers = [member for member in cluster.members if member not in (
                    leader_among(api, cluster.members), stays)]
                goes = rng.choice(followers)
                change(cluster, stays, "a follower goes", "remove", cluster.id_of(goes, stays))
                goes.process.wait(EXIT_SECONDS)
                cluster.members.remove(goes)
                goes.close()
                load.wait_for_progress("writes without the follower")

                joiner = cluster.joiner()
                change(cluster, stays, "a voter joins", "add", joiner.name,
                       f"--peer-urls={joiner.peer_url}")
                joiner.start()
                load.wait_for_progress("writes with another")

                leader = another_leader(api, cluster, stays, joiner)
                change(cluster, stays, "the leader goes", "remove", cluster.id_of(leader, stays))
                leader.process.wait(EXIT_SECONDS)
                cluster.members.remove(leader)
                leader.close()
                load.wait_for_progress("writes without the leader")
            assert len(cluster.member_list(stays)) == 3
            history = load.stop()
        print(load.failures())
        check_linearizable(api, history, stays, tmp_path / "history")
        check_equal_stores(api, cluster.members)
