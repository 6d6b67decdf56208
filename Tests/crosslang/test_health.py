"""/health beside a real etcd's; /livez and /readyz with their checks, which came after 3.4; and who
may ask on the addresses of --listen-metrics-urls."""

import json
import subprocess
import urllib.error
import urllib.request

import pytest

from harness import Member, free_port
from test_etcdctl_tls import SecureServer, files  # noqa: F401
from test_gateway import post

KINDS = ["etcd", "martlet"]


def get(member, path):
    try:
        with urllib.request.urlopen(f"http://{member.endpoint}{path}", timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def health(member, query=""):
    status, text = get(member, f"/health{query}")
    return status, json.loads(text)["health"]


def alarm(member, name, action="ACTIVATE"):
    header = post(member, "/v3/kv/range", {"key": "AA=="})[1]["header"]
    assert post(member, "/v3/maintenance/alarm", {
        "action": action, "memberID": header["member_id"], "alarm": name})[0] == 200


QUERIES = ["", "?serializable=true", "?exclude=NOSPACE", "?exclude=CORRUPT", "?exclude=",
           "?exclude=NOSPACE&exclude=CORRUPT", "?exclude=NOSPACE,CORRUPT", "?exclude=nonsense"]


def test_health_as_etcd(both):
    ours, theirs = both
    for raised in ([], ["NOSPACE"], ["NOSPACE", "CORRUPT"]):
        for member in both:
            for name in raised[-1:]:
                alarm(member, name)
        answers = [[health(member, query) for query in QUERIES] for member in both]
        assert answers[0] == answers[1], raised
        assert (answers[0][0] == (200, "true")) == (not raised)
    for name in ("CORRUPT", "NOSPACE"):
        for member in both:
            alarm(member, name, "DEACTIVATE")
    assert health(ours) == health(theirs) == (200, "true")
    for method in ("POST", "PUT", "DELETE"):
        for member in both:
            done = subprocess.run(["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-X", method,
                                   f"http://{member.endpoint}/health"], capture_output=True, text=True)
            assert done.stdout == "405"


OK = (200, "ok\n")
CHECKS = ["data_corruption", "serializable_read", "linearizable_read"]


def lines(status, name, checks, word):
    return status, "".join(f"{check}\n" for check in checks) + f"{name} check {word}\n"


def test_livez_and_readyz():
    """As etcd from 3.5.11 on."""
    with Member("martlet") as member:
        good = [f"[+]{check} ok" for check in CHECKS]
        assert get(member, "/livez") == get(member, "/readyz") == OK
        assert get(member, "/livez?verbose") == lines(200, "livez", good[1:2], "passed")
        assert get(member, "/readyz?verbose") == lines(200, "readyz", good, "passed")
        for check, line in zip(CHECKS, good):
            assert get(member, f"/readyz/{check}") == OK
            assert get(member, f"/readyz/{check}?verbose") == lines(200, "readyz", [line], "passed")
            left_out = [f"[+]{check} excluded: ok" if one.startswith(f"[+]{check} ") else one
                        for one in good]
            assert get(member, f"/readyz?exclude={check}") == OK
            assert get(member, f"/readyz?exclude={check}&verbose") == lines(
                200, "readyz", left_out, "passed")
        assert get(member, "/livez/serializable_read") == OK
        for path in ("/livez/data_corruption", "/livez/linearizable_read", "/readyz/nonsense",
                     "/readyz/data_corruption/more"):
            assert get(member, path)[0] == 404, path
        assert get(member, "/readyz?exclude=nonsense&verbose") == lines(
            200, "readyz", good, "passed")
        # A full disk is no reason to send clients elsewhere, or to restart.
        alarm(member, "NOSPACE")
        assert get(member, "/livez") == get(member, "/readyz") == OK
        alarm(member, "CORRUPT")
        bad = ["[-]data_corruption failed: alarm activated: CORRUPT", *good[1:]]
        assert get(member, "/livez") == OK
        assert get(member, "/readyz") == lines(503, "readyz", bad, "failed")
        assert get(member, "/readyz/data_corruption") == lines(503, "readyz", bad[:1], "failed")
        assert get(member, "/readyz/linearizable_read") == OK
        assert get(member, "/readyz?exclude=data_corruption") == OK
        assert get(member, "/readyz?exclude=data_corruption&exclude=linearizable_read&verbose") == (
            lines(200, "readyz", ["[+]data_corruption excluded: ok", good[1],
                                  "[+]linearizable_read excluded: ok"], "passed"))
        alarm(member, "CORRUPT", "DEACTIVATE")
        assert get(member, "/readyz") == OK
        # Counted as etcd counts /health, which is not these.
        assert "etcd_server_health_failures 0" in get(member, "/metrics")[1]


@pytest.mark.parametrize("flags, served", [
    ([], {"nobody", "alice", "carol", "revoked", "elsewhere"}),
    (["--client-cert-auth"], {"alice", "carol", "revoked", "elsewhere"}),
    (["--client-cert-auth", "CRL"], {"alice", "carol", "elsewhere"}),
    (["--client-cert-auth", "--client-cert-allowed-hostname=alice.example.com"], {"alice"}),
])
@pytest.mark.parametrize("kind", KINDS)
def test_who_may_ask_for_metrics(stubs, files, kind, flags, served):  # noqa: F811
    """On an https address of --listen-metrics-urls a certificate is looked at as on the client
    addresses, its names and whether it is revoked included; on an http address nobody is asked.
    (etcd asks in addition that the certificate names the address that its bearer comes from, which
    it does not ask on its client addresses, and Martlet on neither.)"""
    ca = files.ca
    people = {"nobody": None, "carol": ca.issue("carol"), "revoked": ca.issue("revoked"),
              "alice": ca.issue("alice-here", san="DNS:alice.example.com,IP:127.0.0.1"),
              "elsewhere": ca.issue("elsewhere", san="IP:10.9.8.7")}
    flags = [f"--client-crl-file={ca.revoke('revoked')}" if flag == "CRL" else flag
             for flag in flags]
    secure, plain = free_port(), free_port()
    running = SecureServer(kind, files, "mutual" if flags else "tls")
    running.flags += [*flags, f"--listen-metrics-urls=https://127.0.0.1:{secure},"
                              f"http://127.0.0.1:{plain}"]

    def is_answered(url, pair=None):
        done = subprocess.run(
            ["curl", "-sS", "--http1.1", "--cacert", ca.certificate, url,
             *(["--cert", pair[0], "--key", pair[1]] if pair else [])],
            capture_output=True, text=True, timeout=60)
        assert (done.returncode == 0) == ("etcd_server_has_leader 1" in done.stdout), done
        return done.returncode == 0

    with running:
        assert is_answered(f"http://127.0.0.1:{plain}/metrics")
        url = f"https://127.0.0.1:{secure}/metrics"
        here = served - {"elsewhere"} if kind == "etcd" and flags else served
        assert {name for name, pair in people.items() if is_answered(url, pair)} == here
        assert {name for name, pair in people.items()
                if is_answered(f"{running.endpoint}/metrics", pair)} == served
