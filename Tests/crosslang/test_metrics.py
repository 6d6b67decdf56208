"""/metrics beside a real etcd's: names, types and labels of what both have. A reader of the text format
of our own: strict where Prometheus is."""

import json
import re
import time
import urllib.error
import urllib.request

import harness

# etcd 3.4 has these and Martlet does not; MetricCatalog.swift says why.
LEFT_OUT = re.compile(
    r"^(go_|promhttp_|etcd_grpc_proxy_|etcd_debugging_store_|etcd_debugging_snap_|etcd_snap_"
    r"|etcd_network_known_peers$|etcd_server_go_version$"
    r"|etcd_debugging_disk_backend_commit_(rebalance|spill|write)_duration_seconds$"
    # Older names of metrics that exist without `debugging`, gone with 3.5.
    r"|etcd_debugging_mvcc_(put_total|delete_total|txn_total|db_total_size_in_bytes)$)")
SAMPLE = re.compile(r"^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(,|$)')


def parse(text: str) -> dict:
    """Metrics by name: type, and the samples as (name, labels, value). Refuses what is malformed."""
    families, current, seen = {}, None, set()
    assert text.endswith("\n")
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in families, f"{name} twice"
            families[name] = {"type": kind, "samples": []}
            current = name
        elif not line.startswith("#"):
            match = SAMPLE.match(line)
            assert match, line
            labels, rest = {}, match.group(2) or ""
            while rest:
                label = LABEL.match(rest)
                assert label, line
                assert label.group(1) not in labels, line
                labels[label.group(1)] = label.group(2)
                rest = rest[label.end():]
            name = match.group(1)
            kind = families[current]["type"]
            ends = {"histogram": ("_bucket", "_sum", "_count"), "summary": ("", "_sum", "_count")}
            names = [current + end for end in ends.get(kind, ("",))]
            assert name in names, f"{line} is not of {current}"
            key = (name, tuple(sorted(labels.items())))
            assert key not in seen, f"{line} twice"
            seen.add(key)
            families[current]["samples"].append((name, labels, float(match.group(3))))
    return families


def scrape(member: harness.Member) -> dict:
    with urllib.request.urlopen(f"http://{member.endpoint}/metrics", timeout=60) as answer:
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        return parse(answer.read().decode())


def traffic(member: harness.Member) -> None:
    for number in range(4):
        harness.etcdctl(member, "put", f"key{number}", "value")
    harness.etcdctl(member, "get", "key1")
    harness.etcdctl(member, "del", "key0")
    harness.etcdctl(member, "txn", stdin='\n\nput a 1\nput b 2\n\n\n')
    harness.etcdctl(member, "compact", "4")
    harness.etcdctl(member, "defrag")
    harness.etcdctl(member, "endpoint", "hashkv")


def label_names(family: dict) -> set:
    return {(name.rsplit("_", 1)[-1] if "le" in labels else "", tuple(sorted(labels)))
            for name, labels, _ in family["samples"]}


def value(families: dict, name: str, **labels) -> float:
    return sum(number for sample, found, number in families[name]["samples"]
               if sample == name and labels.items() <= found.items())


def test_names_types_labels_and_counts_as_etcd():
    with harness.Member("etcd", ["--metrics=extensive"]) as etcd, \
            harness.Member("martlet", ["--metrics=extensive"]) as martlet:
        for member in (etcd, martlet):
            traffic(member)
        theirs, ours = scrape(etcd), scrape(martlet)
        missing = {name for name in theirs if not LEFT_OUT.match(name) and name not in ours}
        assert not missing, missing
        for name in theirs.keys() & ours.keys():
            assert ours[name]["type"] == theirs[name]["type"], name
            # Calls that only one of the two was asked for say nothing; the labels' names do.
            assert label_names(ours[name]) == label_names(theirs[name]), name
        for name in ("etcd_mvcc_put_total", "etcd_mvcc_delete_total",
                     "etcd_debugging_mvcc_total_put_size_in_bytes",
                     "etcd_debugging_mvcc_current_revision", "etcd_debugging_auth_revision",
                     "etcd_debugging_mvcc_compact_revision", "etcd_server_has_leader",
                     "etcd_server_is_leader", "etcd_server_is_learner",
                     "etcd_server_quota_backend_bytes"):
            assert value(ours, name) == value(theirs, name), name
        for method in ("Put", "Range", "DeleteRange", "Txn", "Compact"):
            for name in ("grpc_server_started_total", "grpc_server_handled_total",
                         "grpc_server_msg_received_total", "grpc_server_msg_sent_total"):
                labels = {"grpc_method": method, "grpc_service": "etcdserverpb.KV"}
                if name == "grpc_server_handled_total":
                    labels["grpc_code"] = "OK"
                assert value(ours, name, **labels) == value(theirs, name, **labels), (name, method)
        client = [labels["client_api_version"] for _, labels, _ in
                  ours["etcd_server_client_requests_total"]["samples"]]
        assert "3.4" in client or any(version.startswith("3.4") for version in client), client


def test_bucket_bounds_as_etcd(etcd, martlet):
    theirs, ours = scrape(etcd), scrape(martlet)
    compared = 0
    for name, family in theirs.items():
        if family["type"] != "histogram" or name not in ours:
            continue

        def bounds(found: dict) -> list:
            return list(dict.fromkeys(labels["le"] for sample, labels, _ in found["samples"]
                                      if sample.endswith("_bucket")))
        if bounds(family) and bounds(ours[name]):
            assert bounds(ours[name]) == bounds(family), name
            compared += 1
    assert compared >= 8


def put_level(member: harness.Member, body: str) -> int:
    request = urllib.request.Request(
        f"http://{member.endpoint}/config/local/log", data=body.encode(), method="PUT")
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_level_of_the_log_while_it_runs(both):
    """DEBUG, and nonsense, answered alike."""
    for member in both:
        for body, status in (('{"Level":"DEBUG"}', 204), ('{"Level":"LOUD"}', 400), ("{", 400),
                             ('{"Level":"INFO"}', 204)):
            assert put_level(member, body) == status, (member.kind, body)


def test_level_decides_what_is_written():
    with harness.Member("martlet", ["--log-level=error", "--warning-unary-request-duration=0s"]) \
            as member:
        harness.etcdctl(member, "put", "quiet", "value")
        assert "slow request" not in member.log()
        assert put_level(member, '{"Level":"WARN"}') == 204
        harness.etcdctl(member, "put", "loud", "value")
        lines = [json.loads(line) for line in member.log().splitlines() if "slow request" in line]
        assert [line["method"] for line in lines] == ["/etcdserverpb.KV/Put"]
        assert lines[0]["level"] == "warn" and lines[0]["code"] == "OK"
        assert lines[0]["remote"].startswith("127.0.0.1:") and lines[0]["request size"] > 0
        assert "loud" not in member.log()


def test_start_line_says_who_and_where():
    with harness.Member("martlet") as member:
        lines = [json.loads(line) for line in member.log().splitlines()]
        line = next(line for line in lines if line["msg"] == "serving clients")
        assert line["name"] == "m1" and line["clients"] == member.endpoint
        assert line["advertised"] == f"http://{member.endpoint}" and line["tls"] == "off"
        assert line["quota"] == "2 GiB" and line["data"] == f"{member.directory}/data"
        assert re.fullmatch(r"[0-9a-f]{1,16}", line["member"])


def peer_metrics(families: dict) -> dict:
    """Type and labels of what members count of each other; how many there are of each."""
    return {name: (family["type"], sorted({tuple(sorted(labels.keys() - {"le"}))
                                           for _, labels, _ in family["samples"]}))
            for name, family in families.items() if name.startswith("etcd_network_peer_")
            or name in ("etcd_network_active_peers", "etcd_network_disconnected_peers_total")}


def bucket_bounds(family: dict) -> list:
    return list(dict.fromkeys(labels["le"] for _, labels, _ in family["samples"] if "le" in labels))


def measured(cluster: harness.Cluster, name: str) -> dict:
    """The leader's metrics, once the way to both peers was measured, which is done now and then."""
    deadline = time.monotonic() + harness.START_SECONDS
    while True:
        found = scrape(cluster.leader())
        samples = found.get(name, {"samples": []})["samples"]
        if sum(count > 0 for sample, _, count in samples if sample == f"{name}_count") == 2:
            return found
        assert time.monotonic() < deadline, samples
        time.sleep(0.2)


def test_peers_as_etcd():
    with harness.Cluster("etcd") as etcd, harness.Cluster("martlet") as martlet:
        for cluster in (etcd, martlet):
            harness.etcdctl(cluster.members[0], "put", "a", "b")
        name = "etcd_network_peer_round_trip_time_seconds"
        ours, theirs = (measured(cluster, name) for cluster in (martlet, etcd))
        missing = {n: v for n, v in peer_metrics(theirs).items() if peer_metrics(ours).get(n) != v}
        assert not missing, missing
        assert bucket_bounds(ours[name]) == bucket_bounds(theirs[name])
        leader = martlet.leader()
        own = martlet.id_of(leader)
        others = {martlet.id_of(member) for member in martlet.members} - {own}
        for metric, label in (("etcd_network_active_peers", "Remote"),
                              ("etcd_network_peer_sent_bytes_total", "To"),
                              ("etcd_network_peer_received_bytes_total", "From")):
            for other in others:
                assert value(ours, metric, **{label: other}) > 0, (metric, other)
        assert value(ours, "etcd_network_active_peers", Local=own) == 2
        # One goes: it is not active any more, which counts as a disconnection.
        gone = next(member for member in martlet.members if member is not leader)
        identity = martlet.id_of(gone)
        gone.kill()
        deadline = time.monotonic() + harness.START_SECONDS
        while value(scrape(leader), "etcd_network_active_peers", Remote=identity) == 1:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert value(scrape(leader), "etcd_network_disconnected_peers_total", Remote=identity) >= 1
