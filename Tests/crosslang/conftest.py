import pathlib
import signal
import subprocess
import sys

import pytest

import harness
import semantics


# A shell gives its background jobs an interrupt that is ignored, and so would all that tests start and
# interrupt.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def stubs(tmp_path_factory):
    """The Python modules that grpcio-tools makes of proto/: what a user in Python would do."""
    out = tmp_path_factory.mktemp("stubs")
    protos = sorted(str(p.relative_to(harness.ROOT / "proto"))
                    for p in (harness.ROOT / "proto").rglob("*.proto"))
    subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", f"-I{harness.ROOT / 'proto'}",
         f"--python_out={out}", f"--grpc_python_out={out}", *protos],
        check=True, cwd=harness.ROOT / "proto")
    sys.path.insert(0, str(out))
    return pathlib.Path(out)


@pytest.fixture(scope="module")
def martlet():
    with harness.Member("martlet") as member:
        yield member


@pytest.fixture(scope="module")
def etcd():
    with harness.Member("etcd") as member:
        yield member


@pytest.fixture
def both():
    """A fresh Martlet and a fresh etcd, for tests that compare their answers."""
    with harness.Member("martlet") as ours, harness.Member("etcd") as theirs:
        yield ours, theirs


@pytest.fixture(scope="module", params=["etcd", "martlet"])
def server(request, stubs):
    """The server that a test of contract/semantics.md runs against: first Debian's etcd, so that
    the test is proven right, then Martlet. A module may name flags in SERVER_FLAGS."""
    flags = getattr(request.module, "SERVER_FLAGS", [])
    with semantics.Server(request.param, list(flags)) as running:
        yield running


@pytest.fixture
def key(request):
    """A prefix of keys that no other test of the module uses."""
    key.count += 1
    return b"t%d/" % key.count


key.count = 0
