"""kill -9 at random points under load: every acknowledged write is there, nothing is half there,
and the store is the one that the same requests make without a kill.

MARTLET_KILL_ROUNDS sets how many times each test kills (the gate's default is small), MARTLET_SEED
repeats a run's choices.
"""

import os
import random
import threading
import time

import grpc
import pytest

from harness import Member

ROUNDS = int(os.environ.get("MARTLET_KILL_ROUNDS", "15"))


@pytest.fixture(scope="module")
def api(stubs):
    import rpc_pb2
    import rpc_pb2_grpc
    return rpc_pb2, rpc_pb2_grpc


def make_seed():
    seed = int(os.environ.get("MARTLET_SEED", time.time_ns() % 1_000_000))
    print(f"seed {seed}: rerun with MARTLET_SEED={seed}")
    return seed


class Writer(threading.Thread):
    """Writes pairs of keys that must always be equal, and remembers what was acknowledged."""

    def __init__(self, api, member, number, start, rng):
        super().__init__()
        self.pb, self.grpc = api
        self.member, self.number, self.rng = member, number, rng
        self.acknowledged = start
        self.attempted = start

    def run(self):
        pb = self.pb
        with grpc.insecure_channel(self.member.endpoint) as channel:
            kv = self.grpc.KVStub(channel)
            while True:
                value = self.attempted + 1
                text = str(value).encode()
                self.attempted = value
                ballast = b"x" * self.rng.choice([0, 10, 1000, 20_000])
                try:
                    kv.Txn(pb.TxnRequest(success=[
                        pb.RequestOp(request_put=pb.PutRequest(
                            key=b"left/%d" % self.number, value=text)),
                        pb.RequestOp(request_put=pb.PutRequest(
                            key=b"ballast/%d" % self.number, value=ballast)),
                        pb.RequestOp(request_put=pb.PutRequest(
                            key=b"right/%d" % self.number, value=text)),
                    ]), timeout=20)
                except grpc.RpcError:
                    return
                self.acknowledged = value


def test_acknowledged_writes_survive(api):
    pb, grpc_ = api
    rng = random.Random(make_seed())
    member = Member("martlet")
    writers = 8
    last = [0] * writers
    revision = 0
    try:
        member.start()
        for round_ in range(ROUNDS):
            threads = [Writer(api, member, n, last[n], random.Random(rng.random()))
                       for n in range(writers)]
            for thread in threads:
                thread.start()
            time.sleep(rng.uniform(0.02, 0.4))
            member.kill()
            for thread in threads:
                thread.join()
            member.start()
            with grpc.insecure_channel(member.endpoint) as channel:
                kv = grpc_.KVStub(channel)
                for thread in threads:
                    values = []
                    for side in (b"left/%d", b"right/%d"):
                        answer = kv.Range(pb.RangeRequest(key=side % thread.number))
                        values.append(int(answer.kvs[0].value) if answer.kvs else 0)
                    context = f"round {round_} writer {thread.number}: {values}, acknowledged " \
                              f"{thread.acknowledged}, attempted {thread.attempted}"
                    assert values[0] == values[1], context
                    assert thread.acknowledged <= values[0] <= thread.attempted, context
                    last[thread.number] = values[0]
                assert answer.header.revision >= revision
                revision = answer.header.revision
        assert revision > ROUNDS, "the load wrote next to nothing"
    finally:
        member.close()


def operation(pb, number):
    """The request with this number: the same one every time it is asked for."""
    rng = random.Random(number)
    key = b"k%d" % rng.randrange(50)
    kind = rng.random()
    if kind < 0.6:
        return "Put", pb.PutRequest(key=key, value=b"v" * rng.choice([0, 5, 300, 4000]))
    if kind < 0.8:
        # Writes in any case, so that each operation makes one revision.
        return "Txn", pb.TxnRequest(success=[
            pb.RequestOp(request_delete_range=pb.DeleteRangeRequest(key=b"k1", range_end=b"k3")),
            pb.RequestOp(request_put=pb.PutRequest(key=b"t%d" % rng.randrange(9), value=b"x")),
            pb.RequestOp(request_put=pb.PutRequest(key=b"last", value=b"%d" % number))])
    return "Txn", pb.TxnRequest(
        compare=[pb.Compare(result=1, target=0, key=key, version=2)],
        success=[pb.RequestOp(request_put=pb.PutRequest(key=b"last", value=b"%d" % number))],
        failure=[pb.RequestOp(request_put=pb.PutRequest(key=key, value=b"%d" % number))])


def test_recovered_store_is_that_of_a_clean_run(api):
    """One writer, so the operation behind each revision is known. A second member gets the same
    operations and is never killed: after every recovery both hash the same."""
    pb, grpc_ = api
    rng = random.Random(make_seed())
    member = Member("martlet")
    try:
        with Member("martlet") as reference:
            member.start()
            reference_channel = grpc.insecure_channel(reference.endpoint)
            reference_kv = grpc_.KVStub(reference_channel)
            reference_maintenance = grpc_.MaintenanceStub(reference_channel)
            applied = 1
            for round_ in range(ROUNDS):
                acknowledged = applied
                stop = threading.Timer(rng.uniform(0.02, 0.3), member.kill)
                with grpc.insecure_channel(member.endpoint) as channel:
                    kv = grpc_.KVStub(channel)
                    stop.start()
                    while True:
                        method, request = operation(pb, acknowledged + 1)
                        try:
                            answer = getattr(kv, method)(request, timeout=20)
                        except grpc.RpcError:
                            break
                        acknowledged += 1
                        assert answer.header.revision == acknowledged
                        if acknowledged % 97 == 0:
                            try:
                                kv.Compact(pb.CompactionRequest(revision=acknowledged - 20))
                            except grpc.RpcError:
                                break
                stop.join()
                member.start()
                with grpc.insecure_channel(member.endpoint) as channel:
                    hashed = grpc_.MaintenanceStub(channel).HashKV(pb.HashKVRequest())
                    revision = hashed.header.revision
                    assert acknowledged <= revision <= acknowledged + 1, f"round {round_}"
                    while applied < revision:
                        method, request = operation(pb, applied + 1)
                        assert getattr(reference_kv, method)(request).header.revision == applied + 1
                        applied += 1
                    if hashed.compact_revision > 0:
                        try:
                            reference_kv.Compact(
                                pb.CompactionRequest(revision=hashed.compact_revision))
                        except grpc.RpcError as error:
                            assert "has been compacted" in error.details()
                    expected = reference_maintenance.HashKV(pb.HashKVRequest())
                    assert (hashed.hash, hashed.compact_revision) == (
                        expected.hash, expected.compact_revision), f"round {round_}"
            reference_channel.close()
    finally:
        member.close()


def compact(kv, pb, revision):
    """Returns False when the member was killed meanwhile."""
    try:
        kv.Compact(pb.CompactionRequest(revision=revision))
    except grpc.RpcError as error:
        return "has been compacted" in (error.details() or "")
    return True


def test_kills_around_compactions(api):
    """Compactions follow one another closely and a kill falls among them. What a compaction removes
    and what it keeps must stay together: a deleted key must not come back."""
    pb, grpc_ = api
    rng = random.Random(make_seed())
    member = Member("martlet")
    try:
        with Member("martlet") as reference, grpc.insecure_channel(reference.endpoint) as channel_:
            reference_kv = grpc_.KVStub(channel_)
            member.start()
            applied = 1
            for round_ in range(ROUNDS):
                acknowledged, every = applied, rng.choice([7, 13, 31])
                stop = threading.Timer(rng.uniform(0.01, 0.12), member.kill)
                with grpc.insecure_channel(member.endpoint) as channel:
                    kv = grpc_.KVStub(channel)
                    stop.start()
                    while True:
                        method, request = operation(pb, acknowledged + 1)
                        try:
                            getattr(kv, method)(request, timeout=20)
                        except grpc.RpcError:
                            break
                        acknowledged += 1
                        if acknowledged % every == 0 and not compact(
                                kv, pb, acknowledged - rng.randrange(6)):
                            break
                stop.join()
                member.start()
                with grpc.insecure_channel(member.endpoint) as channel:
                    kv = grpc_.KVStub(channel)
                    hashed = grpc_.MaintenanceStub(channel).HashKV(pb.HashKVRequest())
                    while applied < hashed.header.revision:
                        method, request = operation(pb, applied + 1)
                        getattr(reference_kv, method)(request)
                        applied += 1
                    if hashed.compact_revision > 0:
                        assert compact(reference_kv, pb, hashed.compact_revision)
                    everything = pb.RangeRequest(key=b"\0", range_end=b"\0")
                    ours, theirs = kv.Range(everything), reference_kv.Range(everything)
                    assert list(ours.kvs) == list(theirs.kvs), f"round {round_}"
                    expected = grpc_.MaintenanceStub(channel_).HashKV(pb.HashKVRequest())
                    assert (hashed.hash, hashed.compact_revision) == (
                        expected.hash, expected.compact_revision), f"round {round_}"
    finally:
        member.close()


def test_a_stopped_member_has_everything(api):
    """SIGTERM drains: exit code 0, and everything acknowledged is there after the restart."""
    pb, grpc_ = api
    member = Member("martlet")
    try:
        member.start()
        writers = [Writer(api, member, n, 0, random.Random(n)) for n in range(4)]
        for writer in writers:
            writer.start()
        time.sleep(0.5)
        assert member.stop() == 0
        for writer in writers:
            writer.join()
        member.start()
        with grpc.insecure_channel(member.endpoint) as channel:
            kv = grpc_.KVStub(channel)
            for writer in writers:
                answer = kv.Range(pb.RangeRequest(key=b"left/%d" % writer.number))
                assert writer.acknowledged > 0
                assert writer.acknowledged <= int(answer.kvs[0].value) <= writer.attempted
    finally:
        member.close()
