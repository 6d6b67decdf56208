"""Martlet against Debian's etcd on this machine: the same loads on both in turn, several times.

Prints the table of DESIGN.md's goals as ratios within this run; absolute figures mean little on a
shared machine. `--smoke` runs everything once and briefly: it shows that the loads run, no more.
"""

import argparse
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "crosslang"))

import harness  # noqa: E402

KINDS = ("etcd", "martlet")


def varint(value):
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def field(number, content):
    return varint(number << 3 | 2) + varint(len(content)) + content


def grpc_body(message):
    return b"\0" + len(message).to_bytes(4, "big") + message


PUT = field(1, b"keykey08") + field(2, b"v" * 256)
RANGE_LINEARIZABLE = field(1, b"keykey08")
RANGE_SERIALIZABLE = RANGE_LINEARIZABLE + b"\x38\x01"
TXN_PUT = field(2, field(2, PUT))


class H2Load:
    """Runs h2load with one gRPC request as the body of every call."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)

    def run(self, member, method, message, requests, clients=32, streams=32):
        body = self.folder / "body"
        body.write_bytes(grpc_body(message))
        done = subprocess.run(
            ["h2load", f"-n{requests}", f"-c{clients}", f"-m{streams}", "-t1", f"-d{body}",
             "-H", "content-type: application/grpc", "-H", "te: trailers",
             f"http://{member.endpoint}/etcdserverpb.{method}"],
            capture_output=True, text=True, check=True, timeout=600)
        succeeded = int(re.search(r"(\d+) succeeded", done.stdout)[1])
        if succeeded != requests:
            raise AssertionError(done.stdout)
        rate = float(re.search(r"([\d.]+) req/s", done.stdout)[1])
        mean = re.search(r"time for request:\s+\S+\s+\S+\s+(\S+)", done.stdout)[1]
        return rate, milliseconds(mean)


def milliseconds(text):
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s)", text).groups()
    return float(number) * {"us": 0.001, "ms": 1, "s": 1000}[unit]


def bench(member, *arguments):
    """One run of martlet-bench; returns its JSON report."""
    binary = os.path.join(os.path.dirname(harness.martlet_binary()), "martlet-bench")
    done = subprocess.run(
        [binary, *arguments, f"--endpoints={member.endpoint}", "--json"],
        capture_output=True, text=True, timeout=1200)
    if done.returncode != 0:
        raise AssertionError(f"martlet-bench {arguments}: {done.stdout}{done.stderr}")
    return json.loads(done.stdout.strip().splitlines()[-1])


class Table:
    """Figures by row and kind, over several rounds."""

    def __init__(self):
        self.rows = {}

    def add(self, row, kind, value):
        self.rows.setdefault(row, {}).setdefault(kind, []).append(value)

    def print(self, goals):
        print("| what | etcd | martlet | martlet / etcd | goal |")
        print("|---|---|---|---|---|")
        for row, kinds in self.rows.items():
            middle = {kind: statistics.median(values) for kind, values in kinds.items()}
            if "etcd" not in middle:
                print(f"| {row} | - | {number(middle['martlet'])} | - | |")
                continue
            ratio = middle["martlet"] / middle["etcd"]
            print(f"| {row} | {number(middle['etcd'])} | {number(middle['martlet'])} "
                  f"| {ratio:.2f} | {goals.get(row, '')} |")


def number(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


GOALS = {
    "put, calls/s": "5", "get linearizable, calls/s": "4", "get serializable, calls/s": "4",
    "one client, put, ms": "0.6", "p99 of puts at half of etcd's peak, ms": "0.5",
    "list of 100k keys, unary, ms": "0.3", "list of 100k keys, extra memory, MB": "0.1",
    "1M keys, resident, MB": "0.5", "1M keys, restart to healthy, s": "0.5",
    "1,000 watchers on one key, events/s": "5",
    "10 slow of 1,010 watchers on one key, events/s": "5",
    "watch latency p99 under write load, ms": "0.5",
    "keepalives, calls/s": "5",
    "100k watchers on their own keys, resident, MB": "0.5",
    "idle connection with a watch, kB": "0.5", "idle watch stream, kB": "0.5",
    "idle watch, B": "0.5",
}


def throughput(table, sizes, rounds):
    """The closed-loop loads, alternately on both servers, each freshly started."""
    with tempfile.TemporaryDirectory() as folder:
        load = H2Load(folder)
        peaks = []
        for _ in range(rounds):
            for kind in KINDS:
                with harness.Member(kind) as member:
                    load.run(member, "KV/Put", PUT, max(sizes["calls"] // 10, 1000))
                    put, _ = load.run(member, "KV/Put", PUT, sizes["calls"])
                    table.add("put, calls/s", kind, put)
                    if kind == "etcd":
                        peaks.append(put)
                    for name, message in (("get linearizable, calls/s", RANGE_LINEARIZABLE),
                                          ("get serializable, calls/s", RANGE_SERIALIZABLE)):
                        table.add(name, kind, load.run(
                            member, "KV/Range", message, sizes["calls"])[0])
                    table.add("txn with one put, calls/s", kind, load.run(
                        member, "KV/Txn", TXN_PUT, sizes["calls"] // 2)[0])
                    for name, method, message in (
                            ("one client, put, ms", "KV/Put", PUT),
                            ("one client, get linearizable, ms", "KV/Range", RANGE_LINEARIZABLE)):
                        table.add(name, kind, load.run(
                            member, method, message, sizes["single"], clients=1, streams=1)[1])
        return statistics.median(peaks)


def latency(table, sizes, rounds, peak):
    """p99 at a fixed rate: half of what etcd does at most in this run."""
    for _ in range(rounds):
        for kind in KINDS:
            with harness.Member(kind) as member:
                report = bench(
                    member, "put", "--connections=32", "--clients=1024",
                    f"--rate={int(peak / 2)}", f"--total={int(peak / 2 * sizes['seconds'])}",
                    "--key-size=8", "--val-size=256", "--key-space-size=100000")
                table.add("p99 of puts at half of etcd's peak, ms", kind,
                          report["latencyMilliseconds"]["p99"])


def listing(table, sizes, rounds):
    """A list of many keys in one answer, and what it adds to the server's memory."""
    import grpc
    every = b"\0"
    for kind in KINDS:
        with harness.Member(kind) as member:
            bench(member, "put", "--connections=4", "--clients=256", f"--total={sizes['listed']}",
                  "--key-size=64", "--val-size=256", "--sequential-keys",
                  f"--key-space-size={sizes['listed']}")
            options = [("grpc.max_receive_message_length", -1)]
            with grpc.insecure_channel(member.endpoint, options=options) as channel:
                identity = dict(request_serializer=lambda m: m, response_deserializer=len)
                unary = channel.unary_unary("/etcdserverpb.KV/Range", **identity)
                stream = channel.unary_stream("/etcdserverpb.KV/RangeStream", **identity)
                request = field(1, every) + field(2, every)
                before = member.anonymous_bytes()
                peak = before
                for _ in range(rounds * 3):
                    start = time.monotonic()
                    size = unary(request)
                    table.add("list of 100k keys, unary, ms", kind,
                              (time.monotonic() - start) * 1000)
                    peak = max(peak, member.anonymous_bytes())
                assert size > sizes["listed"] * 320
                table.add("list of 100k keys, extra memory, MB", kind,
                          max((peak - before) / 1e6, 0.1))
                if kind == "martlet":
                    for _ in range(rounds * 3):
                        start = time.monotonic()
                        assert sum(stream(request)) > sizes["listed"] * 320
                        table.add("list of 100k keys, RangeStream, ms", kind,
                                  (time.monotonic() - start) * 1000)


def memory_and_restart(table, sizes):
    """Resident memory with many keys, and how long a restart takes until it is healthy."""
    for kind in KINDS:
        with harness.Member(kind) as member:
            bench(member, "put", "--connections=8", "--clients=512", f"--total={sizes['keys']}",
                  "--key-size=64", "--val-size=256", "--sequential-keys",
                  f"--key-space-size={sizes['keys']}")
            time.sleep(sizes["settle"])
            table.add("1M keys, resident, MB", kind, member.resident_bytes() / 1e6)
            member.stop()
            start = time.monotonic()
            member.start()
            table.add("1M keys, restart to healthy, s", kind, time.monotonic() - start)
            time.sleep(sizes["settle"])
            table.add("1M keys, resident after restart, MB", kind, member.resident_bytes() / 1e6)


class Held:
    """Watches that stand while the block runs, made by martlet-bench."""

    def __init__(self, member, *arguments):
        binary = os.path.join(os.path.dirname(harness.martlet_binary()), "martlet-bench")
        self.process = subprocess.Popen(
            [binary, "watch", "--hold", *arguments, f"--endpoints={member.endpoint}"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self):
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(f"martlet-bench watch --hold: exit {self.process.wait()}")
        self.watchers = json.loads(line)["watchers"]
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(60)


def watching(table, sizes, rounds):
    """Events delivered, alone, beside slow readers and under a load of writes."""
    one_key = ["--connections=10", "--streams=100", "--watchers-per-stream=10",
               "--put-clients=8", "--val-size=64"]
    for _ in range(rounds):
        for kind in KINDS:
            with harness.Member(kind) as member:
                puts = f"--total={sizes['watched_puts'] * (1 if kind == 'etcd' else 4)}"
                bench(member, "watch", *one_key, f"--total={sizes['watched_puts'] // 5 + 1}")
                report = bench(member, "watch", *one_key, puts)
                table.add("1,000 watchers on one key, events/s", kind, report["eventRate"])
                table.add("1,000 watchers on one key, puts/s", kind, report["putRate"])
                report = bench(member, "watch", *one_key, puts, "--slow-streams=10")
                table.add("10 slow of 1,010 watchers on one key, events/s", kind,
                          report["eventRate"])
                loading = background_puts(member, sizes)
                report = bench(
                    member, "watch-latency", "--connections=10", "--streams=100",
                    "--put-rate=100", f"--total={sizes['seconds'] * 100}", "--put-clients=100")
                loading.wait(600)
                table.add("watch latency p99 under write load, ms", kind,
                          report["latencyMilliseconds"]["p99"])
                report = bench(
                    member, "watch", "--connections=10", "--streams=100", "--put-clients=64",
                    f"--watchers-per-stream={sizes['watchers'] // 100}",
                    f"--watched-keys={sizes['watchers']}", f"--total={sizes['distinct_puts']}")
                table.add("100k watchers on their own keys, puts/s", kind, report["putRate"])
                table.add("100k watchers on their own keys, event p99, ms", kind,
                          report["latencyMilliseconds"]["p99"])


def background_puts(member, sizes):
    """A load of writes at a quarter of what etcd takes, on keys that nobody watches."""
    binary = os.path.join(os.path.dirname(harness.martlet_binary()), "martlet-bench")
    rate = sizes["load_rate"]
    return subprocess.Popen(
        [binary, "put", f"--rate={rate}", f"--total={int(rate * (sizes['seconds'] + 1))}",
         "--connections=8", "--clients=512", "--key-size=32", "--val-size=256",
         "--key-space-size=100000", f"--endpoints={member.endpoint}"],
        stdout=subprocess.DEVNULL)


def renewals(table, sizes, rounds):
    """Keepalives, each client on a stream of its own."""
    for _ in range(rounds):
        for kind in KINDS:
            with harness.Member(kind) as member:
                report = bench(
                    member, "lease-keepalive", "--connections=16", "--clients=512",
                    "--leases=10000", f"--total={sizes['calls']}")
                table.add("keepalives, calls/s", kind, report["rate"])
                table.add("keepalives, p99, ms", kind, report["latencyMilliseconds"]["p99"])


def idle(table, sizes):
    """What a connection, a stream and a watch cost while nothing happens."""
    count = sizes["idle"]
    shapes = [
        ("idle connection with a watch, kB", 1e3, count,
         [f"--connections={count}", f"--streams={count}"]),
        ("idle watch stream, kB", 1e3, 5 * count, ["--connections=10", f"--streams={5 * count}"]),
        ("idle watch, B", 1, sizes["watchers"],
         ["--streams=10", f"--watchers-per-stream={sizes['watchers'] // 10}"]),
    ]
    for row, unit, number_of, arguments in shapes:
        for kind in KINDS:
            with harness.Member(kind) as member:
                with Held(member, "--watched-keys=10"):
                    before = member.resident_bytes()
                    with Held(member, f"--watched-keys={number_of}", *arguments) as held:
                        time.sleep(sizes["settle"] / 2)
                        after = member.resident_bytes()
                        assert held.watchers == number_of
                table.add(row, kind, (after - before) / number_of / unit)
                if row == "idle watch, B":
                    table.add("100k watchers on their own keys, resident, MB", kind, after / 1e6)


SMOKE = {"calls": 5_000, "single": 200, "seconds": 1, "listed": 5_000, "keys": 10_000, "settle": 0,
         "watched_puts": 50, "distinct_puts": 500, "watchers": 2_000, "idle": 100,
         "load_rate": 500}
FULL = {"calls": 200_000, "single": 5_000, "seconds": 10, "listed": 100_000, "keys": 1_000_000,
        "settle": 8, "watched_puts": 2_000, "distinct_puts": 50_000, "watchers": 100_000,
        "idle": 1_000, "load_rate": 5_000}


PARTS = ["throughput", "latency", "listing", "memory", "watch", "lease", "idle"]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--only", choices=PARTS, action="append")
    options = parser.parse_args()
    sizes, rounds = (SMOKE, 1) if options.smoke else (FULL, options.rounds)
    chosen = options.only or PARTS
    table = Table()
    peak = 2_000 if options.smoke else 40_000
    if "throughput" in chosen:
        peak = throughput(table, sizes, rounds)
    if "latency" in chosen:
        latency(table, sizes, rounds, peak)
    if "listing" in chosen:
        listing(table, sizes, rounds)
    if "memory" in chosen:
        memory_and_restart(table, sizes)
    if "watch" in chosen:
        watching(table, sizes, rounds)
    if "lease" in chosen:
        renewals(table, sizes, rounds)
    if "idle" in chosen:
        idle(table, sizes)
    table.print(GOALS)


if __name__ == "__main__":
    main()
