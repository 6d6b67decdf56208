"""The Debian package: built of the programs that are there, looked into, installed, run as its unit
runs it, and removed."""

import configparser
import os
import pathlib
import re
import subprocess

import pytest

from harness import ROOT
from test_guides import binaries, run_page

PROGRAMS = ["martlet", "martletctl", "martletutl"]
UNIT = "usr/lib/systemd/system/martlet.service"
PACKAGE_SECONDS = 300


def output(*command) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=PACKAGE_SECONDS)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> pathlib.Path:
    """The path of the package."""
    folder = tmp_path_factory.mktemp("package")
    # A package that is not compressed is made and read in a moment.
    return pathlib.Path(output(
        ROOT / "Sources/Packaging/package", "--binaries", binaries(), "--output", folder,
        "--compression", "none").strip())


@pytest.fixture(scope="module")
def root(package, tmp_path_factory) -> pathlib.Path:
    """What is in the package."""
    folder = tmp_path_factory.mktemp("root")
    output("dpkg-deb", "--extract", package, folder)
    return folder


def unit(root: pathlib.Path) -> dict[str, list[str]]:
    """The settings of the unit's service, several of one name in their order."""
    settings: dict[str, list[str]] = {}
    for line in (root / UNIT).read_text().splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            settings.setdefault(name, []).append(value)
    return settings


def test_the_package_says_what_it_is(package):
    version = re.search(r"Version: (\S+)", output(binaries() / "martlet", "version"))[1]
    architecture = output("dpkg", "--print-architecture").strip()
    assert package.name == f"martlet_{version}_{architecture}.deb"
    control = configparser.ConfigParser()
    control.read_string("[package]\n" + output("dpkg-deb", "--field", package))
    fields = control["package"]
    assert (fields["Package"], fields["Version"]) == ("martlet", version)
    depends = {name.split()[0] for name in fields["Depends"].split(", ")}
    assert {"libc6", "liblmdb0", "libnghttp2-14", "libprotobuf-c1"} <= depends
    assert output("dpkg-deb", "--ctrl-tarfile", package) != ""


def test_files_belong_to_root_and_cannot_be_written_by_others(package):
    for line in output("dpkg-deb", "--contents", package).splitlines():
        mode, owner = line.split()[:2]
        assert owner == "root/root", line
        assert mode[0] == "l" or mode[5] == mode[8] == "-", line


def test_programs_need_nothing_of_the_toolchain(root):
    home = root / "usr/lib/martlet"
    for program in PROGRAMS:
        assert (root / "usr/bin" / program).resolve() == home / program
    for file in home.iterdir():
        for line in output("ldd", file).splitlines():
            path = re.search(r"=> (\S+) \(", line)
            assert "not found" not in line, f"{file.name}: {line}"
            if path:
                assert path[1].startswith((str(home), "/lib/", "/usr/lib/")), f"{file.name}: {line}"


def test_manual_pages_have_every_flag(root):
    for program in PROGRAMS:
        page = root / f"usr/share/man/man1/{program}.1.gz"
        text = output("zcat", page).replace("\\-", "-")
        help_text = output(root / "usr/bin" / program, "--help")
        flags = set(re.findall(r"--[a-z][a-z-]+", help_text))
        assert flags and flags <= set(re.findall(r"--[a-z][a-z-]+", text)), program


def test_bash_takes_the_completions(root):
    for program in ("martletctl", "martletutl"):
        file = root / "usr/share/bash-completion/completions" / program
        said = output("bash", "-ec", f"source {file}; complete -p {program}")
        assert said.rstrip().endswith(program)


def test_systemd_takes_the_unit(root, tmp_path):
    """systemd-analyze finds unknown settings, bad values and a program that is not there."""
    text = (root / UNIT).read_text()
    copy = tmp_path / "martlet.service"
    copy.write_text(text.replace("=/usr/bin/martlet\n", f"={root}/usr/bin/martlet\n"))
    output("systemd-analyze", "verify", "--man=no", copy)
    copy.write_text(text)
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", copy], capture_output=True,
                          timeout=60)
    assert pathlib.Path("/usr/bin/martlet").exists() or done.returncode != 0
    assert unit(root)["Type"] == ["notify"]


def offered_settings(root: pathlib.Path) -> list[str]:
    """What /etc/default/martlet has as comments, to be taken in."""
    found = re.findall(r"^#(ETCD_[A-Z_]+=\S+)$", (root / "etc/default/martlet").read_text(), re.M)
    assert found
    return found


def test_variables_of_the_defaults_are_flags(root):
    names = [setting.partition("=")[0] for setting in offered_settings(root)]
    help_text = output(root / "usr/bin/martlet", "--help")
    for name in names:
        flag = "--" + name.removeprefix("ETCD_").lower().replace("_", "-")
        assert f"  {flag} " in help_text, name


PAGE = """
```sh
dpkg --force-unsafe-io --no-triggers --install PACKAGE
getent passwd martlet
# systemd does this for StateDirectory.
install --directory --owner=martlet --group=martlet --mode=0700 /var/lib/martlet
```

```sh background
export ENVIRONMENT
exec setpriv --reuid=martlet --regid=martlet --init-groups --no-new-privs EXECUTABLE # martlet
```

```sh
etcdctl put installed yes
etcdctl get --print-value-only installed
find /var/lib/martlet -mindepth 1 -maxdepth 1 -user martlet -perm 0700 -printf '%f\\n'
```

```text
OK
yes
data
```

<!-- stop 10.0.0.100 -->

```sh
dpkg --no-triggers --purge martlet
ls -d /var/lib/martlet/data
! ls /usr/bin/martlet /etc/default/martlet /usr/lib/martlet 2>/dev/null
```
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may install packages and make users")
def test_installed_it_runs_as_its_unit_says(package, root, tmp_path):
    settings = unit(root)
    assert settings["User"] == settings["Group"] == ["martlet"]
    page = tmp_path / "package.md"
    page.write_text(
        PAGE.replace("PACKAGE", str(package))
        .replace("ENVIRONMENT", " ".join([*settings["Environment"], *offered_settings(root)]))
        .replace("EXECUTABLE", settings["ExecStart"][0]))
    done = run_page(page)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
