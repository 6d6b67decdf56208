"""The client library beside Python's grpcio and martlet-bench: the same calls to one server, in turn.

Prints calls per second and latencies as a table. Only figures of one run compare: the machine is
shared, and server and clients share its cores. `--smoke` runs everything once and briefly.
"""

import argparse
import asyncio
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "crosslang"))

import harness  # noqa: E402

KEY = b"00000000"
VALUE = b"v" * 256
WORKERS = (1, 64)
KINDS = ("martlet-bench", "library", "grpcio")


def make_stubs(folder):
    """What grpcio-tools makes of proto/; returns the modules of the messages and of the calls."""
    protos = sorted(str(path.relative_to(harness.ROOT / "proto"))
                    for path in (harness.ROOT / "proto").rglob("*.proto"))
    subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", f"-I{harness.ROOT / 'proto'}",
         f"--python_out={folder}", f"--grpc_python_out={folder}", *protos],
        check=True, cwd=harness.ROOT / "proto")
    sys.path.insert(0, str(folder))
    import rpc_pb2
    import rpc_pb2_grpc
    return rpc_pb2, rpc_pb2_grpc


def bench(member, arguments):
    """A run of martlet-bench: calls per second, and the latencies at 50 and 99 per cent in ms."""
    binary = pathlib.Path(harness.martlet_binary()).parent / "martlet-bench"
    done = subprocess.run(
        [binary, *arguments, f"--endpoints={member.endpoint}", "--json"],
        capture_output=True, text=True, timeout=600)
    if done.returncode != 0:
        raise AssertionError(f"martlet-bench {arguments}: {done.stdout}{done.stderr}")
    report = json.loads(done.stdout.strip().splitlines()[-1])
    latency = report["latencyMilliseconds"]
    return report["rate"], latency["p50"], latency["p99"]


async def grpcio(member, stubs, operation, workers, total):
    """The same with grpcio, as many calls under way as there are workers."""
    import grpc
    messages, calls = stubs
    latencies = []
    left = iter(range(total))
    async with grpc.aio.insecure_channel(member.endpoint) as channel:
        stub = calls.KVStub(channel)
        await stub.Put(messages.PutRequest(key=KEY, value=VALUE))

        async def work():
            for _ in left:
                start = time.perf_counter()
                if operation == "put":
                    await stub.Put(messages.PutRequest(key=KEY, value=VALUE))
                else:
                    await stub.Range(messages.RangeRequest(key=KEY))
                latencies.append(time.perf_counter() - start)

        begin = time.perf_counter()
        await asyncio.gather(*(work() for _ in range(workers)))
        seconds = time.perf_counter() - begin
    latencies.sort()
    return (total / seconds, 1000 * latencies[len(latencies) // 2],
            1000 * latencies[len(latencies) * 99 // 100])


def run(kind, member, stubs, operation, workers, total):
    sizes = [f"--clients={workers}", f"--total={total}", "--val-size=256"]
    match kind:
        case "martlet-bench":
            return bench(member, ["put" if operation == "put" else "range", *sizes])
        case "library":
            return bench(member, ["library", operation, *sizes])
        case "grpcio":
            return asyncio.run(grpcio(member, stubs, operation, workers, total // 4))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--server", choices=("martlet", "etcd"), default="martlet")
    options = parser.parse_args()
    rounds = 1 if options.smoke else options.rounds
    figures = {}
    with tempfile.TemporaryDirectory() as folder, harness.Member(options.server) as member:
        stubs = make_stubs(folder)
        for _ in range(rounds):
            for operation in ("put", "get"):
                for workers in WORKERS:
                    total = 200 if options.smoke else 5_000 if workers == 1 else 100_000
                    for kind in KINDS:
                        result = run(kind, member, stubs, operation, workers, total)
                        figures.setdefault((operation, workers), {}).setdefault(
                            kind, []).append(result)
    print("| calls at a time | with | calls/s | of martlet-bench | p50, ms | p99, ms |")
    print("|---|---|---|---|---|---|")
    for (operation, workers), kinds in figures.items():
        middle = {kind: [statistics.median(values) for values in zip(*results)]
                  for kind, results in kinds.items()}
        for kind, (rate, half, most) in middle.items():
            share = rate / middle["martlet-bench"][0]
            print(f"| {operation}, {workers} | {kind} | {rate:,.0f} | {share:.2f} "
                  f"| {half:.3f} | {most:.3f} |")


if __name__ == "__main__":
    main()
