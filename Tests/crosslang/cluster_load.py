"""Clients that work on a cluster while it is broken, write down all they saw, and the check that it
is linearizable (`martlet-sim --check-history`)."""

import dataclasses
import json
import os
import pathlib
import random
import subprocess
import threading
import time

import grpc

import harness

KEYS = [b"load/%d" % number for number in range(5)]
FIRST_KEY, LAST_KEY = b"load/", b"load0"
# Written when the clients have ended: the last that a watcher waits for. No client reads it.
END_KEY, WATCHED_END = b"load0/end", b"load1"
# After this a client takes an operation's outcome for unknown and goes on at another member.
CALL_SECONDS = 1
# Between two operations of a client, so that the members get their share of a small machine.
PAUSE_SECONDS = 0.002
PATIENCE_SECONDS = 120
# What may come of a call while members are killed, paused and cut off. Nothing else may.
UNKNOWN_OUTCOMES = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED,
                    grpc.StatusCode.CANCELLED, grpc.StatusCode.RESOURCE_EXHAUSTED)
CHANNEL_OPTIONS = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0),
                   ("grpc.initial_reconnect_backoff_ms", 100),
                   # This one also bounds how long a connection may take.
                   ("grpc.min_reconnect_backoff_ms", 5000),
                   ("grpc.max_reconnect_backoff_ms", 500)]
# What the tests themselves ask waits for its member, and is asked again as gRPC does.
PATIENT_OPTIONS = [("grpc.use_local_subchannel_pool", 1), ("grpc.service_config", json.dumps({
    "methodConfig": [{"name": [{}], "waitForReady": True, "retryPolicy": {
        "maxAttempts": 5, "initialBackoff": "0.1s", "maxBackoff": "1s", "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE"]}}]}))]


class API:
    """The generated Python of etcd's API."""

    def __init__(self):
        import rpc_pb2
        import rpc_pb2_grpc
        self.pb, self.grpc = rpc_pb2, rpc_pb2_grpc

    def channel(self, member) -> grpc.Channel:
        """For calls that may fail."""
        return grpc.insecure_channel(member.endpoint, options=CHANNEL_OPTIONS)

    def patient(self, member) -> grpc.Channel:
        """For calls that must not, as long as the member works."""
        return grpc.insecure_channel(member.endpoint, options=PATIENT_OPTIONS)


def eventually(what: str, body, seconds: float = PATIENCE_SECONDS, pause: float = 0.05):
    """The first result of `body` that is true; refusals count as false until time is up."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            last = body()
            if last:
                return last
        except (AssertionError, OSError, grpc.RpcError) as error:
            last = error
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not in {seconds} s: {last}")
        time.sleep(pause)


@dataclasses.dataclass
class Row:
    """One operation. Times are of this process's monotonic clock, in nanoseconds."""

    kind: str
    request: object
    call: int
    # All of None for what was never answered; the revision may become known later.
    end: int | None = None
    revision: int | None = None
    response: object = None
    # The value that this operation alone writes.
    value: bytes | None = None

    def line(self) -> str:
        words = [self.kind, self.call, self.end, self.revision,
                 self.request.SerializeToString().hex(),
                 None if self.response is None else self.response.SerializeToString().hex()]
        return " ".join("-" if word is None else str(word) for word in words)


class LoadClient(threading.Thread):
    """Puts, reads and transactions on a few keys, one after the other; at another member after a
    failure."""

    def __init__(self, api: API, members: list, number: int, seed: int, stays: bool = False):
        super().__init__(daemon=True)
        self.api, self.members, self.number = api, list(members), number
        self.random = random.Random(seed * 1000 + number)
        self.at = number % len(members)
        # Whether it asks the same member whatever comes.
        self.stays = stays
        self.rows: list[Row] = []
        self.fault: BaseException | None = None
        self.failures: dict[str, int] = {}
        self.written = 0
        # When the latest operation that ended well began.
        self.latest_write = self.latest_read = 0
        self.seen = {key: 0 for key in KEYS}
        self.stopping = threading.Event()

    def run(self):
        channels = [self.api.channel(member) for member in self.members]
        stubs = [self.api.grpc.KVStub(channel) for channel in channels]
        try:
            while not self.stopping.is_set():
                kind, request, value = self.operation()
                self.perform(stubs[self.at], kind, request, value)
                self.stopping.wait(PAUSE_SECONDS)
        except BaseException as fault:  # The test's thread raises it again.
            self.fault = fault
        finally:
            for channel in channels:
                channel.close()

    def perform(self, stub, kind, request, value):
        call = {"put": stub.Put, "txn": stub.Txn, "range": stub.Range}[kind]
        row = Row(kind, request, time.monotonic_ns(), value=value)
        self.rows.append(row)
        try:
            response = call(request, timeout=CALL_SECONDS)
        except grpc.RpcError as error:
            member = self.members[self.at]
            if error.code() not in UNKNOWN_OUTCOMES and not (
                    # etcd does not translate this one.
                    member.kind == "etcd" and error.details() == "context deadline exceeded"):
                raise
            reason = f"{error.code().name} {error.details()}"[:80]
            self.failures[reason] = self.failures.get(reason, 0) + 1
            if not self.stays:
                self.at = (self.at + 1) % len(self.members)
            # Not in a tight circle while no member can be reached.
            self.stopping.wait(0.05)
            return
        row.end, row.response = time.monotonic_ns(), response
        row.revision = response.header.revision
        if kind == "range":
            self.latest_read = row.call
            for pair in response.kvs:
                self.seen[pair.key] = pair.mod_revision
        else:
            self.latest_write = row.call

    def operation(self):
        pb, dice = self.api.pb, self.random.random()
        key = self.random.choice(KEYS)
        if dice < 0.3:
            return "range", pb.RangeRequest(key=key), None
        if dice < 0.4:
            return "range", pb.RangeRequest(key=FIRST_KEY, range_end=LAST_KEY), None
        self.written += 1
        value = b"%d.%d" % (self.number, self.written)
        if dice < 0.65:
            return "put", pb.PutRequest(key=key, value=value, prev_kv=dice < 0.5), value
        if dice < 0.95:
            return "txn", self.compare_and_swap(key, value), value
        other = self.random.choice([other for other in KEYS if other != key])
        return "txn", pb.TxnRequest(success=[
            pb.RequestOp(request_delete_range=pb.DeleteRangeRequest(key=other)),
            pb.RequestOp(request_put=pb.PutRequest(key=key, value=value))]), value

    def compare_and_swap(self, key, value):
        """Two keys at once if nobody has written the first since it was seen here."""
        pb = self.api.pb
        other = self.random.choice([other for other in KEYS if other != key])
        return pb.TxnRequest(
            compare=[pb.Compare(result=pb.Compare.EQUAL, target=pb.Compare.MOD, key=key,
                                mod_revision=self.seen[key])],
            success=[pb.RequestOp(request_put=pb.PutRequest(key=key, value=value)),
                     pb.RequestOp(request_put=pb.PutRequest(key=other, value=value))],
            failure=[pb.RequestOp(request_range=pb.RangeRequest(
                key=FIRST_KEY, range_end=LAST_KEY))])


class Watcher(threading.Thread):
    """Watches all that the clients write, at another member after a failure, from where it was. It
    sees each event once, and in order (R2, R3), or says so in `fault`."""

    def __init__(self, api: API, members: list, number: int):
        super().__init__(daemon=True)
        self.api, self.members, self.at = api, list(members), number % len(members)
        self.events: list[tuple] = []
        self.next_revision = 1
        self.resumptions = 0
        self.fault: BaseException | None = None
        self.has_ended = False
        self.stopping = threading.Event()
        self.call = None

    def run(self):
        try:
            while not self.stopping.is_set() and not self.has_ended:
                with self.api.channel(self.members[self.at]) as channel:
                    try:
                        self.watch(channel)
                    except grpc.RpcError:
                        self.resumptions += 1
                        self.at = (self.at + 1) % len(self.members)
                        self.stopping.wait(0.05)
        except BaseException as fault:  # The test's thread raises it again.
            self.fault = fault

    def watch(self, channel):
        pb, is_done = self.api.pb, threading.Event()

        def requests():
            yield pb.WatchRequest(create_request=pb.WatchCreateRequest(
                key=FIRST_KEY, range_end=WATCHED_END, start_revision=self.next_revision))
            is_done.wait()  # The call lasts as long as its requests do.
        self.call = self.api.grpc.WatchStub(channel).Watch(requests())
        try:
            for answer in self.call:
                assert not answer.canceled, f"the watch is canceled: {answer.cancel_reason}"
                for event in answer.events:
                    assert event.kv.mod_revision >= self.next_revision, \
                        f"an event of {event.kv.mod_revision} after {self.next_revision - 1}"
                    self.events.append(essence(event))
                    self.has_ended |= event.kv.key == END_KEY
                if answer.events:
                    self.next_revision = answer.events[-1].kv.mod_revision + 1
                if self.has_ended or self.stopping.is_set():
                    return
        finally:
            is_done.set()
            self.call.cancel()

    def halt(self) -> None:
        self.stopping.set()
        if self.call is not None:
            self.call.cancel()
        self.join()


class LeaseKeeper(threading.Thread):
    """Renews a lease at one member after the other while the cluster is broken. As long as the
    newest renewal promises it, the lease and its key are there (R11)."""

    TTL_SECONDS = 5
    KEY = b"kept/by-lease"

    def __init__(self, api: API, members: list):
        super().__init__(daemon=True)
        self.api, self.members = api, list(members)
        self.fault: BaseException | None = None
        self.renewals = 0
        self.stopping = threading.Event()
        with api.patient(self.members[0]) as channel:
            self.lease = api.grpc.LeaseStub(channel).LeaseGrant(
                api.pb.LeaseGrantRequest(TTL=self.TTL_SECONDS), timeout=60).ID
            api.grpc.KVStub(channel).Put(
                api.pb.PutRequest(key=self.KEY, value=b"v", lease=self.lease), timeout=60)
        self.promised_until = time.monotonic() + self.TTL_SECONDS

    def run(self):
        number = 0
        try:
            while not self.stopping.is_set():
                number += 1
                with self.api.channel(self.members[number % len(self.members)]) as channel:
                    try:
                        self.renew(channel)
                    except grpc.RpcError:
                        pass
                self.stopping.wait(0.1)
        except BaseException as fault:  # The test's thread raises it again.
            self.fault = fault

    def renew(self, channel):
        begin = time.monotonic()
        # It may have run out only if nobody could renew it for so long.
        may_be_gone = begin > self.promised_until
        answer = next(self.api.grpc.LeaseStub(channel).LeaseKeepAlive(
            iter([self.api.pb.LeaseKeepAliveRequest(ID=self.lease)]), timeout=CALL_SECONDS))
        # The answer may have been made at any time until now.
        late = time.monotonic() > self.promised_until
        if answer.TTL <= 0:
            assert may_be_gone or late, "a lease has ended before its time"
            self.stopping.set()
            return
        self.renewals += 1
        self.promised_until = begin + self.TTL_SECONDS
        read = self.api.grpc.KVStub(channel).Range(
            self.api.pb.RangeRequest(key=self.KEY), timeout=CALL_SECONDS)
        assert read.count == 1 or time.monotonic() > self.promised_until, \
            "the key of a lease that was just renewed is gone"

    def finish(self):
        """Revokes the lease: no member renews it any more."""
        self.stopping.set()
        self.join()
        if self.fault is not None:
            raise RuntimeError("a lease was not kept") from self.fault
        pb = self.api.pb
        with self.api.patient(self.members[0]) as channel:
            try:
                self.api.grpc.LeaseStub(channel).LeaseRevoke(
                    pb.LeaseRevokeRequest(ID=self.lease), timeout=60)
            except grpc.RpcError as error:
                assert error.code() == grpc.StatusCode.NOT_FOUND, error
        for member in self.members:
            with self.api.patient(member) as channel:
                answer = next(self.api.grpc.LeaseStub(channel).LeaseKeepAlive(
                    iter([pb.LeaseKeepAliveRequest(ID=self.lease)]), timeout=60))
                assert answer.TTL == 0, f"{member.name} renews a lease that was revoked"
        print(f"{self.renewals} renewals of a lease")


def essence(event) -> tuple:
    """An event as something to compare."""
    return event.kv.mod_revision, event.type, event.kv.key, event.kv.value


class Load:
    """Clients and watchers at work from `with` to its end, or to `stop`."""

    def __init__(self, api: API, members: list, clients: int = 6, seed: int | None = None,
                 stays: bool = False):
        seed = make_seed() if seed is None else seed
        self.api, self.members = api, list(members)
        self.clients = [LoadClient(api, members, number, seed, stays) for number in range(clients)]
        self.watchers = [Watcher(api, members, number) for number in range(2)]

    def __enter__(self) -> "Load":
        for thread in self.clients + self.watchers:
            thread.start()
        return self

    def __exit__(self, *_) -> None:
        self.halt_clients()
        for watcher in self.watchers:
            watcher.halt()

    def halt_clients(self) -> None:
        for client in self.clients:
            client.stopping.set()
        for client in self.clients:
            client.join()

    def stop(self) -> list[Row]:
        """Ends the clients; all that they saw. Checks what the watchers saw: each event, once."""
        self.halt_clients()
        self.raise_faults()

        def end():
            for member in self.members:
                try:
                    with self.api.channel(member) as channel:
                        self.api.grpc.KVStub(channel).Put(self.api.pb.PutRequest(
                            key=END_KEY, value=b"%d" % time.monotonic_ns()), timeout=10)
                    return member
                except grpc.RpcError:
                    continue
        member = eventually("the last write", end)
        everything = [essence(event) for events in written(self.api, member).values()
                      for event in events if FIRST_KEY <= event.kv.key < WATCHED_END]
        for watcher in self.watchers:
            def has_ended():
                self.raise_faults()
                return watcher.has_ended
            eventually("a watcher sees the last write", has_ended)
            watcher.join()
            assert watcher.events == everything[:len(watcher.events)], "a watcher missed events"
        print(f"{len(everything)} events watched, "
              f"{sum(watcher.resumptions for watcher in self.watchers)} resumptions")
        return [row for client in self.clients for row in client.rows]

    def raise_faults(self) -> None:
        for thread in self.clients + self.watchers:
            if thread.fault is not None:
                raise RuntimeError("a client ended") from thread.fault

    def wait_for_progress(self, what: str = "progress", clients: list | None = None) -> None:
        """Waits until each client has made a write and a read that began after now."""
        start = time.monotonic_ns()

        def is_done():
            self.raise_faults()
            return all(min(client.latest_write, client.latest_read) > start
                       for client in clients or self.clients)
        eventually(what, is_done, pause=0.01)

    def failures(self) -> dict[str, int]:
        """How often calls failed, by code and text."""
        counts: dict[str, int] = {}
        for client in self.clients:
            for reason, count in client.failures.items():
                counts[reason] = counts.get(reason, 0) + count
        return counts


def make_seed() -> int:
    seed = int(os.environ.get("MARTLET_SEED", time.time_ns() % 1_000_000))
    print(f"seed {seed}: rerun with MARTLET_SEED={seed}")
    return seed


def written(api: API, member) -> dict[int, list]:
    """By revision, all events there ever were: what a watch from the beginning tells."""
    pb = api.pb
    with api.patient(member) as channel:
        current = api.grpc.KVStub(channel).Range(
            pb.RangeRequest(key=b"x"), timeout=60, wait_for_ready=True).header.revision
        events: dict[int, list] = {}
        if current == 1:
            return events
        is_done = threading.Event()

        def requests():
            yield pb.WatchRequest(create_request=pb.WatchCreateRequest(
                key=b"\0", range_end=b"\0", start_revision=1))
            is_done.wait()  # The call lasts as long as its requests do.
        call = api.grpc.WatchStub(channel).Watch(requests(), timeout=60)
        try:
            newest = 0
            for answer in call:
                for event in answer.events:
                    assert event.kv.mod_revision >= newest, "the watch goes back"
                    newest = event.kv.mod_revision
                    events.setdefault(newest, []).append(event)
                if newest >= current:
                    return events
            raise AssertionError(f"the watch ended at {newest}, before {current}")
        finally:
            is_done.set()
            call.cancel()


def complete(api: API, history: list[Row], events: dict[int, list]) -> list[Row]:
    """The history with what is known of the operations that were never answered: a write that a
    watch shows was done, at that revision; one that it does not show was not done before any
    operation here. Nothing may be done twice. What others wrote is added."""
    revisions: dict[bytes, set[int]] = {}
    for revision, list_ in events.items():
        for event in list_:
            if event.type == event.PUT:
                revisions.setdefault(event.kv.value, set()).add(revision)
    rows, known = [], set()
    for row in history:
        found = revisions.get(row.value, set()) if row.value is not None else set()
        assert len(found) <= 1, f"{row.value} was written at the revisions {found}"
        known |= found
        if row.response is None:
            if not found:
                continue
            row = dataclasses.replace(row, revision=min(found))
        rows.append(row)
    pb = api.pb
    for revision in events.keys() - known:
        # Its values are nobody's concern: no client reads these keys.
        operations = [
            pb.RequestOp(request_put=pb.PutRequest(key=event.kv.key)) if event.type == event.PUT
            else pb.RequestOp(request_delete_range=pb.DeleteRangeRequest(key=event.kv.key))
            for event in events[revision]]
        assert not any(event.kv.key.startswith(FIRST_KEY) for event in events[revision]), \
            f"at revision {revision} a key of the clients' is written, and not by them"
        rows.append(Row("txn", pb.TxnRequest(success=operations), 0, revision=revision))
    return rows


def text_of(rows: list[Row]) -> str:
    return "".join(row.line() + "\n" for row in rows)


def run_checker(text: str, path: pathlib.Path) -> subprocess.CompletedProcess:
    path.write_text(text)
    binary = pathlib.Path(harness.martlet_binary()).parent / "martlet-sim"
    return subprocess.run([str(binary), "--check-history", str(path)], capture_output=True,
                          text=True, timeout=600)


def check_linearizable(api: API, history: list[Row], member, path: pathlib.Path) -> list[Row]:
    """Fails when the clients' history has no order. Returns the rows that were checked."""
    rows = complete(api, history, written(api, member))
    done = run_checker(text_of(rows), path)
    unknown = sum(row.response is None for row in rows)
    print(f"{len(rows)} operations, {unknown} of them never answered, "
          f"of {len(history)}: {done.stdout.strip()[:300]}")
    assert done.returncode == 0, done.stdout + done.stderr
    return rows


# What members say of themselves.

def status(api: API, member):
    with api.channel(member) as channel:
        return api.grpc.MaintenanceStub(channel).Status(api.pb.StatusRequest(), timeout=5)


def leader_among(api: API, members: list, but=None):
    """The member that all of these name as leader, once they do."""
    def look():
        answers = [(member, status(api, member)) for member in members]
        named = {answer.leader for _, answer in answers}
        if len(named) != 1:
            return None
        return next((member for member, answer in answers
                     if answer.header.member_id in named and member is not but), None)
    return eventually("one leader", look)


def check_equal_stores(api: API, members: list) -> None:
    """All members hash the same at the newest revision that one of them has."""
    def hashes(revision):
        found = []
        for member in members:
            with api.channel(member) as channel:
                answer = api.grpc.MaintenanceStub(channel).HashKV(
                    api.pb.HashKVRequest(revision=revision), timeout=20, wait_for_ready=True)
                found.append((answer.hash, answer.compact_revision))
        return found
    revision = max(status(api, member).header.revision for member in members)
    found = eventually("all members are as far", lambda: hashes(revision))
    assert len(set(found)) == 1, f"at revision {revision}: {found}"
