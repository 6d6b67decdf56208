"""martletctl's flags of TLS, at Debian's etcd and at Martlet with mutual TLS."""

import subprocess
import time

import pytest
from harness import Member
from test_martletctl import SECONDS_MAX, martletctl_binary
from test_tls import Files, TLSMember, mutual


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return Files(tmp_path_factory.mktemp("certificates"))


@pytest.mark.parametrize("kind", ["etcd", "martlet"])
def test_certificates(kind: str, files: Files) -> None:
    with TLSMember(kind, files, mutual(files), files.alice) as member:
        def ctl(*words: str, **environment: str) -> subprocess.CompletedProcess:
            return subprocess.run([martletctl_binary(), *words], env=environment, text=True,
                                  capture_output=True, timeout=SECONDS_MAX)

        address = f"127.0.0.1:{member.port}"
        trust = f"--cacert={files.ca.certificate}"
        own = [f"--cert={files.alice[0]}", f"--key={files.alice[1]}"]
        # With and without the scheme.
        for endpoint in (address, member.endpoint):
            done = ctl(f"--endpoints={endpoint}", trust, *own, "put", "k", "v")
            assert (done.returncode, done.stdout) == (0, "OK\n"), done
        done = ctl("get", "k", ETCDCTL_ENDPOINTS=address, ETCDCTL_CACERT=files.ca.certificate,
                   ETCDCTL_CERT=files.alice[0], ETCDCTL_KEY=files.alice[1])
        assert done.stdout == "k\nv\n", done
        # Whoever signed the member's certificate.
        done = ctl(f"--endpoints={address}", "--insecure-skip-tls-verify", *own, "get", "k")
        assert done.stdout == "k\nv\n", done
        # Not trusted; no certificate; no encryption: refused, and said why.
        for flags in (["--insecure-transport=false", *own], [trust], []):
            done = ctl(f"--endpoints={address}", "--command-timeout=1s", *flags, "get", "k")
            assert done.returncode == 1 and done.stdout == "", done
            assert done.stderr.splitlines()[0] == "Error: context deadline exceeded", done
            assert len(done.stderr.splitlines()) == 2, done


def test_a_mirror_to_an_encrypted_destination(files: Files) -> None:
    with TLSMember("martlet", files, mutual(files), files.alice) as destination, \
            Member("martlet") as source:
        def ctl(*words: str) -> str:
            return subprocess.run([martletctl_binary(), *words], env={}, text=True, check=True,
                                  capture_output=True, timeout=SECONDS_MAX).stdout

        address = f"127.0.0.1:{destination.port}"
        own = [f"cert={files.alice[0]}", f"key={files.alice[1]}", f"cacert={files.ca.certificate}"]
        ctl(f"--endpoints={source.endpoint}", "put", "k", "v")
        with subprocess.Popen(
                [martletctl_binary(), f"--endpoints={source.endpoint}", "make-mirror", address,
                 "--dest-insecure-transport=false", *[f"--dest-{flag}" for flag in own]],
                env={}, stdout=subprocess.DEVNULL) as mirror:
            deadline = time.monotonic() + SECONDS_MAX
            while ctl(f"--endpoints={address}", *[f"--{flag}" for flag in own], "get", "k") == "":
                assert mirror.poll() is None and time.monotonic() < deadline
                time.sleep(0.05)
            mirror.kill()
