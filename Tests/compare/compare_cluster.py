"""Three members of Martlet against three of Debian's etcd on this machine, in turn.

Prints ratios within this run, as compare.py does for one member. The members and the load share the
machine. `--smoke` runs everything once and briefly.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
import urllib.request

from compare import (KINDS, PUT, RANGE_LINEARIZABLE, RANGE_SERIALIZABLE, H2Load, Table, bench,
                     harness)

GOALS = {
    "put at the leader, calls/s": "5", "put at all members, calls/s": "5",
    "p99 of puts at half of etcd's peak, ms": "0.5",
    "snapshot of 1 GB beside load, until level, s": "1", "the load's p99 meanwhile, ms": "1",
}
# The cluster is as it was when the backlog is this small.
CAUGHT_UP_ENTRIES = 100
WAIT_SECONDS = 900


def throughput(table, sizes, rounds):
    """Closed loops at the leader, at a follower and spread over all members."""
    peaks = []
    with tempfile.TemporaryDirectory() as folder:
        load = H2Load(folder)
        for _ in range(rounds):
            for kind in KINDS:
                with harness.Cluster(kind) as cluster:
                    leader = cluster.leader()
                    follower = next(m for m in cluster.members if m is not leader)
                    load.run(leader, "KV/Put", PUT, max(sizes["calls"] // 10, 1000))
                    put, _ = load.run(leader, "KV/Put", PUT, sizes["calls"])
                    table.add("put at the leader, calls/s", kind, put)
                    if kind == "etcd":
                        peaks.append(put)
                    table.add("put at a follower, calls/s", kind, load.run(
                        follower, "KV/Put", PUT, sizes["calls"])[0])
                    table.add("put at all members, calls/s", kind, spread(cluster, sizes)["rate"])
                    for name, member, message in (
                            ("get linearizable at the leader, calls/s", leader,
                             RANGE_LINEARIZABLE),
                            ("get linearizable at a follower, calls/s", follower,
                             RANGE_LINEARIZABLE),
                            ("get serializable, calls/s", follower, RANGE_SERIALIZABLE)):
                        table.add(name, kind, load.run(
                            member, "KV/Range", message, sizes["calls"])[0])
                    for name, method, message in (
                            ("one client, put, ms", "KV/Put", PUT),
                            ("one client, get linearizable, ms", "KV/Range", RANGE_LINEARIZABLE)):
                        table.add(name, kind, load.run(
                            leader, method, message, sizes["single"], clients=1, streams=1)[1])
    return statistics.median(peaks)


def spread(cluster, sizes, *more):
    return bench(cluster.members[0], "put", "--connections=33", "--clients=1024",
                 f"--total={sizes['calls']}", "--key-size=8", "--val-size=256",
                 "--key-space-size=100000", f"--endpoints={cluster.endpoints}", *more)


def latency(table, sizes, rounds, peak):
    """p99 at a fixed rate: half of what etcd does at most in this run."""
    for _ in range(rounds):
        for kind in KINDS:
            with harness.Cluster(kind) as cluster:
                report = bench(
                    cluster.leader(), "put", "--connections=32", "--clients=1024",
                    f"--rate={int(peak / 2)}", f"--total={int(peak / 2 * sizes['seconds'])}",
                    "--key-size=8", "--val-size=256", "--key-space-size=100000")
                table.add("p99 of puts at half of etcd's peak, ms", kind,
                          report["latencyMilliseconds"]["p99"])


def applied_index(member):
    """By the JSON gateway: starting etcdctl takes a tenth of a second of a busy machine."""
    request = urllib.request.Request(
        f"http://{member.endpoint}/v3/maintenance/status", data=b"{}")
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return int(json.load(answer).get("raftAppliedIndex", 0))
    except (OSError, ValueError):
        return 0


def wait_until_caught_up(member, leader):
    """Until the member has what the leader had a moment ago."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        goal = applied_index(leader) - CAUGHT_UP_ENTRIES
        if 0 < goal <= applied_index(member):
            return
        if time.monotonic() > deadline:
            raise AssertionError(f"{member.kind} does not catch up:\n{member.log()}")
        time.sleep(0.02)


def fill(member, count, key_bytes, value_bytes):
    bench(member, "put", "--connections=8", "--clients=512", f"--total={count}",
          f"--key-size={key_bytes}", f"--val-size={value_bytes}", "--sequential-keys",
          f"--key-space-size={count}")


def catching_up(table, sizes):
    """A member that missed many writes."""
    for kind in KINDS:
        with harness.Cluster(kind, flags=["--quota-backend-bytes=8589934592"]) as cluster:
            leader = cluster.leader()
            follower = next(m for m in cluster.members if m is not leader)
            follower.kill()
            fill(leader, sizes["missed"], 16, 256)
            follower.start(wait=False)
            start = time.monotonic()
            wait_until_caught_up(follower, leader)
            table.add("a member that missed 1M writes, until level, s", kind,
                      time.monotonic() - start)


def snapshot(table, sizes, rounds):
    """An empty member that needs the whole store while the leader goes on taking writes. Each round
    takes the kinds in the other order: whoever writes on a part of the disk first may pay for it."""
    for turn in range(rounds):
        for kind in KINDS if turn % 2 == 0 else reversed(KINDS):
            with harness.Cluster(kind, flags=["--quota-backend-bytes=8589934592"]) as cluster:
                leader = cluster.leader()
                fill(leader, sizes["large"], 16, sizes["large_value"])
                joiner = cluster.joiner()
                time.sleep(sizes["settle"])
                harness.etcdctl(leader, "member", "add", joiner.name,
                                f"--peer-urls={joiner.peer_url}")
                rate = sizes["load_rate"]
                load = bench_in_background(leader, rate, sizes)
                start = time.monotonic()
                joiner.start(wait=False)
                wait_until_caught_up(joiner, leader)
                level = time.monotonic() - start
                p99 = load.result()["latencyMilliseconds"]["p99"]
                table.add("snapshot of 1 GB beside load, until level, s", kind, level)
                table.add("the load's p99 meanwhile, ms", kind, p99)
                print(f"{kind}: level after {level:.1f} s, the load's p99 {p99:.0f} ms",
                      file=sys.stderr)


def bench_in_background(member, rate, sizes):
    from concurrent.futures import ThreadPoolExecutor
    return ThreadPoolExecutor(1).submit(
        bench, member, "put", f"--rate={rate}", f"--total={rate * sizes['load_seconds']}",
        "--connections=8", "--clients=512", "--key-size=32", "--val-size=256",
        "--key-space-size=100000")


SMOKE = {"calls": 2_000, "single": 50, "seconds": 1, "missed": 2_000, "large": 200,
         "large_value": 1_000, "settle": 6, "load_rate": 200, "load_seconds": 2}
FULL = {"calls": 200_000, "single": 3_000, "seconds": 10, "missed": 1_000_000, "large": 100_000,
        "large_value": 10_000, "settle": 6, "load_rate": 1_000, "load_seconds": 30}
PARTS = ["throughput", "latency", "catching-up", "snapshot"]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=PARTS, action="append")
    options = parser.parse_args()
    sizes, rounds = (SMOKE, 1) if options.smoke else (FULL, options.rounds)
    chosen = options.only or PARTS
    table = Table()
    peak = 1_000 if options.smoke else 20_000
    if "throughput" in chosen:
        peak = throughput(table, sizes, rounds)
    if "latency" in chosen:
        latency(table, sizes, rounds, peak)
    if "catching-up" in chosen:
        catching_up(table, sizes)
    if "snapshot" in chosen:
        snapshot(table, sizes, rounds)
    table.print(GOALS)


if __name__ == "__main__":
    main()
