"""A long mixed load on one member: puts, gets, lists, txns, deletes, streams, compactions, defrags.

    MARTLET_BIN_DIR=... python soak.py [--minutes 10] [--threads 6] [--sample-seconds 15]

Each worker knows what its own keys must be and checks every answer. Prints the resident memory and
the size of the store over time. Exits 1 on any unexpected error or wrong answer, when the member
does not end by itself with 0, or when memory keeps growing: the median of the last third of the
samples may exceed that of the middle third by 10 % and 16 MiB.
"""

import argparse
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import grpc

from harness import ROOT, Member

MEBIBYTE = 1 << 20
KEYS_PER_WORKER = 400
GROWTH_FACTOR_MAX = 1.10
GROWTH_BYTES_MAX = 16 * MEBIBYTE
COMPACTION_SECONDS = 10
DEFRAG_SECONDS = 120
PROBLEMS_MAX = 20


def make_stubs():
    """As conftest.py does it for pytest."""
    out = tempfile.mkdtemp(prefix="martlet-soak-stubs-")
    folder = ROOT / "proto"
    subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", f"-I{folder}", f"--python_out={out}",
         f"--grpc_python_out={out}",
         *sorted(str(p.relative_to(folder)) for p in folder.rglob("*.proto"))],
        check=True, cwd=folder)
    sys.path.insert(0, out)
    import rpc_pb2
    import rpc_pb2_grpc
    return rpc_pb2, rpc_pb2_grpc


class Soak:
    def __init__(self, api, member):
        self.pb, self.grpc = api
        self.member = member
        self.stopped = threading.Event()
        self.problems = []
        self.done = {}
        self.revision = 0
        self.lock = threading.Lock()

    def problem(self, text):
        with self.lock:
            self.problems.append(text)
            if len(self.problems) >= PROBLEMS_MAX:
                self.stopped.set()

    def count(self, name):
        with self.lock:
            self.done[name] = self.done.get(name, 0) + 1


class Worker(threading.Thread):
    """Owns the keys under its prefix, so it knows what each read must answer."""

    def __init__(self, soak, number, seed):
        super().__init__(name=f"worker {number}")
        self.soak, self.pb = soak, soak.pb
        self.prefix = b"soak/%03d/" % number
        self.end = self.prefix[:-1] + b"0"
        self.random = random.Random(seed * 1000 + number)
        self.expected = {}

    def run(self):
        kinds = [(self.put, 40), (self.get, 25), (self.txn, 12), (self.delete, 8),
                 (self.list, 6), (self.stream, 3), (self.failing_txn, 3), (self.delete_many, 1),
                 (self.cancelled, 2)]
        choices = [kind for kind, weight in kinds for _ in range(weight)]
        while not self.soak.stopped.is_set():
            # A fresh connection now and then, as clients come and go.
            with grpc.insecure_channel(
                    self.soak.member.endpoint, options=[
                        ("grpc.use_local_subchannel_pool", 1),
                        ("grpc.max_receive_message_length", -1)]) as channel:
                self.kv = self.soak.grpc.KVStub(channel)
                for _ in range(2000):
                    if self.soak.stopped.is_set():
                        return
                    kind = self.random.choice(choices)
                    try:
                        kind()
                    except grpc.RpcError as error:
                        self.soak.problem(f"{self.name} {kind.__name__}: {error}")
                        return
                    self.soak.count(kind.__name__)

    def key(self):
        return self.prefix + b"%05d" % self.random.randrange(KEYS_PER_WORKER)

    def value(self):
        size = self.random.choice([0, 10, 100, 256, 256, 1000, 8000])
        return self.random.randbytes(size)

    def check(self, condition, text):
        if not condition:
            self.soak.problem(f"{self.name}: {text}")

    def put(self):
        key, value = self.key(), self.value()
        answer = self.kv.Put(self.pb.PutRequest(key=key, value=value, prev_kv=True), timeout=60)
        previous = answer.prev_kv.value if answer.HasField("prev_kv") else None
        self.check(previous == self.expected.get(key), f"put of {key}: wrong prev_kv")
        self.expected[key] = value
        self.soak.revision = answer.header.revision

    def get(self):
        key = self.key()
        answer = self.kv.Range(self.pb.RangeRequest(
            key=key, serializable=self.random.random() < 0.3), timeout=60)
        value = answer.kvs[0].value if answer.kvs else None
        self.check(value == self.expected.get(key), f"get of {key}: wrong value")

    def txn(self):
        keys = sorted({self.key() for _ in range(self.random.randrange(1, 20))})
        values = {key: self.value() for key in keys}
        answer = self.kv.Txn(self.pb.TxnRequest(success=[
            self.pb.RequestOp(request_put=self.pb.PutRequest(key=key, value=value))
            for key, value in values.items()]), timeout=60)
        self.check(answer.succeeded and len(answer.responses) == len(keys), "txn: wrong answer")
        self.expected.update(values)

    def failing_txn(self):
        answer = self.kv.Txn(self.pb.TxnRequest(
            compare=[self.pb.Compare(key=self.key(), target=0, version=1 << 40)],
            success=[self.pb.RequestOp(request_put=self.pb.PutRequest(key=self.prefix))],
            failure=[self.pb.RequestOp(request_range=self.pb.RangeRequest(key=self.prefix))]),
            timeout=60)
        self.check(not answer.succeeded, "a compare that cannot hold held")

    def delete(self):
        key = self.key()
        answer = self.kv.DeleteRange(self.pb.DeleteRangeRequest(key=key), timeout=60)
        self.check(answer.deleted == (key in self.expected), f"delete of {key}: wrong count")
        self.expected.pop(key, None)

    def delete_many(self):
        first, last = sorted((self.key(), self.key()))
        answer = self.kv.DeleteRange(
            self.pb.DeleteRangeRequest(key=first, range_end=last), timeout=60)
        gone = [key for key in self.expected if first <= key < last]
        self.check(first == last or answer.deleted == len(gone), "delete of a range: wrong count")
        if first != last:
            for key in gone:
                del self.expected[key]
        elif answer.deleted:
            self.soak.problem(f"{self.name}: an empty range deleted {answer.deleted}")

    def everything(self):
        return self.pb.RangeRequest(key=self.prefix, range_end=self.end)

    def check_list(self, pairs, count):
        found = {pair.key: pair.value for pair in pairs}
        self.check(count == len(self.expected) and found == self.expected, "list: wrong content")

    def list(self):
        answer = self.kv.Range(self.everything(), timeout=60)
        self.check_list(answer.kvs, answer.count)

    def stream(self):
        pairs = []
        for message in self.kv.RangeStream(self.everything(), timeout=60):
            pairs += message.range_response.kvs
        self.check_list(pairs, message.range_response.count)

    def cancelled(self):
        self.kv.Range.future(self.everything()).cancel()
        self.kv.RangeStream(self.everything()).cancel()
        try:
            self.kv.Range(self.everything(), timeout=0.0005)
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.DEADLINE_EXCEEDED:
                raise


class Keeper(threading.Thread):
    """Compacts and defragments beside the load."""

    def __init__(self, soak):
        super().__init__(name="keeper")
        self.soak = soak

    def run(self):
        pb, begin, number = self.soak.pb, time.monotonic(), 0
        defrag = begin + DEFRAG_SECONDS
        with grpc.insecure_channel(self.soak.member.endpoint) as channel:
            kv = self.soak.grpc.KVStub(channel)
            maintenance = self.soak.grpc.MaintenanceStub(channel)
            while not self.soak.stopped.wait(COMPACTION_SECONDS):
                number += 1
                try:
                    kv.Compact(pb.CompactionRequest(
                        revision=max(self.soak.revision - 100, 1), physical=number % 3 == 0),
                        timeout=120)
                    self.soak.count("compact")
                    maintenance.HashKV(pb.HashKVRequest(), timeout=60)
                    maintenance.Status(pb.StatusRequest(), timeout=60)
                    if time.monotonic() >= defrag:
                        defrag += DEFRAG_SECONDS
                        maintenance.Defragment(pb.DefragmentRequest(), timeout=120)
                        self.soak.count("defragment")
                        size = sum(len(part.blob) for part in maintenance.Snapshot(
                            pb.SnapshotRequest(), timeout=120))
                        self.soak.count("snapshot")
                        if size < 4096:
                            self.soak.problem(f"a snapshot of {size} bytes")
                except grpc.RpcError as error:
                    if "has been compacted" not in (error.details() or ""):
                        self.soak.problem(f"keeper: {error}")


def file_bytes(member):
    total = 0
    for path in pathlib.Path(member.directory).rglob("*"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            pass
    return total


def keeps_growing(samples):
    third = len(samples) // 3
    if third < 2:
        return False
    middle = statistics.median(samples[third:2 * third])
    last = statistics.median(samples[2 * third:])
    return last > middle * GROWTH_FACTOR_MAX and last > middle + GROWTH_BYTES_MAX


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--minutes", type=float, default=10)
    options.add_argument("--threads", type=int, default=6)
    options.add_argument("--sample-seconds", type=float, default=15)
    options.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    options = options.parse_args()
    print(f"seed {options.seed}", flush=True)
    samples = []
    with Member("martlet") as member:
        soak = Soak(make_stubs(), member)
        threads = [Worker(soak, n, options.seed) for n in range(options.threads)] + [Keeper(soak)]
        begin = time.monotonic()
        for thread in threads:
            thread.start()
        while time.monotonic() < begin + options.minutes * 60 and not soak.stopped.is_set():
            soak.stopped.wait(options.sample_seconds)
            if member.process.poll() is not None:
                soak.problem(f"the member ended with {member.process.returncode}")
                soak.stopped.set()
                break
            samples.append(member.resident_bytes())
            print(f"{time.monotonic() - begin:6.0f} s  resident {samples[-1] / MEBIBYTE:7.1f} MiB  "
                  f"files {file_bytes(member) / MEBIBYTE:7.1f} MiB  revision {soak.revision}",
                  flush=True)
        soak.stopped.set()
        for thread in threads:
            thread.join()
        if member.process.poll() is None:
            code = member.stop()
            if code != 0:
                soak.problem(f"SIGTERM ended with {code}")
        if soak.problems:
            print(member.log())
    if keeps_growing(samples):
        soak.problems.append("memory keeps growing")
    print("done:", ", ".join(f"{name} {count}" for name, count in sorted(soak.done.items())))
    print(f"problems: {len(soak.problems)}")
    for text in soak.problems:
        print(" ", text)
    return 1 if soak.problems else 0


if __name__ == "__main__":
    sys.exit(main())
