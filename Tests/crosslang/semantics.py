"""What the tests of contract/semantics.md share: a server with its stubs, watch streams, errors.

Nothing here waits for a time to pass: every read has a deadline far beyond what it needs, and "nothing
came" is shown by what comes next on the same stream.
"""

import queue
import time
import urllib.request

import grpc
import pytest

from harness import Member

# What a call may take on a busy machine before its test fails.
CALL_SECONDS = 60
STREAM_SECONDS = 120

Code = grpc.StatusCode

CHANNEL_OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1),
                   ("grpc.use_local_subchannel_pool", 1),
                   ("grpc.max_reconnect_backoff_ms", 500)]


class Waiting:
    """The calls of a stub, each with a deadline, and waiting for a server that is starting."""

    def __init__(self, stub, metadata=None):
        self.stub = stub
        self.metadata = metadata

    def __getattr__(self, name):
        method = getattr(self.stub, name)
        metadata = self.metadata

        def call(request, timeout=CALL_SECONDS, **options):
            options.setdefault("metadata", metadata)
            return method(request, timeout=timeout, wait_for_ready=True, **options)
        return call


class Server(Member):
    """A member of either kind with the stubs of proto/ on a channel of its own."""

    def __enter__(self) -> "Server":
        super().__enter__()
        self.connect()
        return self

    def __exit__(self, *_) -> None:
        self.channel.close()
        super().__exit__()

    def connect(self) -> None:
        self.channel = grpc.insecure_channel(self.endpoint, options=CHANNEL_OPTIONS)
        self.use()

    def use(self, token=None) -> None:
        """Makes the stubs; their calls carry the token."""
        import rpc_pb2
        import rpc_pb2_grpc
        self.pb = rpc_pb2
        for name in ("KV", "Lease", "Auth", "Maintenance", "Cluster", "Watch"):
            stub = getattr(rpc_pb2_grpc, f"{name}Stub")(self.channel)
            metadata = [("token", token)] if token else None
            setattr(self, name.lower(), Waiting(stub, metadata))

    def with_token(self, token) -> "Client":
        return Client(self, token)

    def reconnect(self) -> None:
        self.channel.close()
        self.connect()

    def restart(self, kill: bool = False, healthy: bool = True) -> None:
        """Stops (or kills) the process and starts it on the same data and ports. With an alarm it
        is not healthy, and calls wait until it answers."""
        self.kill() if kill else self.stop()
        self.start(wait=healthy)
        self.reconnect()

    # Short forms of the calls that nearly every test makes.

    def put(self, key, value=b"", **options):
        return self.kv.Put(self.pb.PutRequest(key=key, value=value, **options))

    def get(self, key, range_end=b"", **options):
        return self.kv.Range(self.pb.RangeRequest(key=key, range_end=range_end, **options))

    def delete(self, key, range_end=b"", **options):
        return self.kv.DeleteRange(
            self.pb.DeleteRangeRequest(key=key, range_end=range_end, **options))

    def txn(self, *operations, **options):
        return self.kv.Txn(self.pb.TxnRequest(success=operations, **options))

    def op_put(self, key, value=b"", **options):
        return self.pb.RequestOp(
            request_put=self.pb.PutRequest(key=key, value=value, **options))

    def op_delete(self, key, range_end=b"", **options):
        return self.pb.RequestOp(request_delete_range=self.pb.DeleteRangeRequest(
            key=key, range_end=range_end, **options))

    def op_get(self, key, range_end=b"", **options):
        return self.pb.RequestOp(request_range=self.pb.RangeRequest(
            key=key, range_end=range_end, **options))

    def compact(self, revision, physical=False):
        return self.kv.Compact(self.pb.CompactionRequest(revision=revision, physical=physical))

    def revision(self) -> int:
        return self.get(b"\0").header.revision

    def grant(self, ttl, id=0):
        return self.lease.LeaseGrant(self.pb.LeaseGrantRequest(TTL=ttl, ID=id))

    def revoke(self, id):
        return self.lease.LeaseRevoke(self.pb.LeaseRevokeRequest(ID=id))

    def time_to_live(self, id, keys=False):
        return self.lease.LeaseTimeToLive(self.pb.LeaseTimeToLiveRequest(ID=id, keys=keys))

    def metric(self, name: str) -> float:
        """The sum of a metric over its labels."""
        with urllib.request.urlopen(f"http://{self.endpoint}/metrics", timeout=30) as answer:
            lines = answer.read().decode().splitlines()
        found = [float(line.rsplit(" ", 1)[1]) for line in lines
                 if line.startswith((name + " ", name + "{"))]
        assert found, f"{self.kind} has no metric {name}"
        return sum(found)


class Client(Server):
    """The calls of `Server` on its channel, with a token in their metadata."""

    def __init__(self, server: Server, token: str):
        self.kind, self.server, self.channel = server.kind, server, server.channel
        self.token = token
        self.use(token)

    def __enter__(self):
        raise TypeError("a Client owns no process")

    def __getattr__(self, name):
        return getattr(self.server, name)


class WatchStream:
    """One Watch call. Reads only when asked, so a test that does not read is a slow reader."""

    def __init__(self, server: Server, timeout: float = STREAM_SECONDS, metadata=None):
        self.pb = server.pb
        self.requests: queue.Queue = queue.Queue()
        options = {"metadata": metadata} if metadata else {}
        self.call = server.watch.Watch(iter(self.requests.get, None), timeout=timeout, **options)

    def __enter__(self) -> "WatchStream":
        return self

    def __exit__(self, *_) -> None:
        self.requests.put(None)
        self.call.cancel()

    def send_create(self, key, range_end=b"", **options) -> None:
        self.requests.put(self.pb.WatchRequest(create_request=self.pb.WatchCreateRequest(
            key=key, range_end=range_end, **options)))

    def create(self, key, range_end=b"", **options):
        """Makes a watch and returns the reply, which must be the next thing on the stream."""
        self.send_create(key, range_end, **options)
        reply = self.next()
        assert reply.created and not reply.events, reply
        return reply

    def cancel(self, watch_id) -> None:
        self.requests.put(self.pb.WatchRequest(
            cancel_request=self.pb.WatchCancelRequest(watch_id=watch_id)))

    def progress(self) -> None:
        self.requests.put(self.pb.WatchRequest(progress_request=self.pb.WatchProgressRequest()))

    def next(self):
        return next(self.call)

    def events_until(self, count: int, watch_id=None):
        """The next `count` events, which must all be of one watch when one is named."""
        events = []
        while len(events) < count:
            reply = self.next()
            assert not reply.canceled, reply
            if watch_id is not None:
                assert reply.watch_id == watch_id, reply
            events += reply.events
        assert len(events) == count, events
        return events


def failure(call, *arguments, **options):
    """(status code, message) of a call that must fail."""
    with pytest.raises(grpc.RpcError) as caught:
        answer = call(*arguments, **options)
        raise AssertionError(f"it was answered: {answer}")
    return caught.value.code(), caught.value.details()


def wait_until(condition, what: str, seconds: float = 60):
    """Waits for a condition to hold, and returns what it gave."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)


def prefix_end(prefix: bytes) -> bytes:
    return prefix[:-1] + bytes([prefix[-1] + 1])
