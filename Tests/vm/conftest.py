import pathlib
import subprocess

import pytest

from machine import ROOT, Machine
from harness import martlet_binary  # machine.py makes it importable


@pytest.fixture(scope="session")
def package(tmp_path_factory) -> pathlib.Path:
    """The Debian package of the programs that MARTLET_BIN_DIR, or the release build, has."""
    done = subprocess.run(
        [ROOT / "Sources/Packaging/package", "--binaries", pathlib.Path(martlet_binary()).parent,
         "--output", tmp_path_factory.mktemp("package"), "--compression", "none"],
        capture_output=True, text=True, check=True, timeout=300)
    return pathlib.Path(done.stdout.strip())


@pytest.fixture(scope="module")
def machine(package):
    """A fresh machine, with the package in root's home directory."""
    with Machine() as machine:
        machine.send(package, "martlet.deb")
        yield machine
