"""martletutl beside etcdutl 3.5, as scripts see them: the same arguments, and then standard output,
what is said of errors, and exit codes. Differences on purpose are in the guide to migrating."""

import os
import pathlib
import re
import subprocess

import pytest

from harness import ROOT, Member, etcd_program, etcdctl, martlet_binary

GUIDE = ROOT / "Sources/Guides/migrating.md"
RUN_SECONDS = 60
TOOLS = {"etcdutl": etcd_program("etcdutl", "3.5"),
         "martletutl": str(pathlib.Path(martlet_binary()).parent / "martletutl")}


def run(tool, arguments, folder):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ETCD")}
    return subprocess.run([TOOLS[tool], *arguments], cwd=folder, env=environment,
                          capture_output=True, text=True, timeout=RUN_SECONDS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Files with the same names for both tools: `etcd.db`, which both read, and in a directory for
    each `own.db`, which it restores."""
    top = tmp_path_factory.mktemp("utl")
    for tool, kind in (("etcdutl", "etcd"), ("martletutl", "martlet")):
        (top / tool).mkdir()
        with Member(kind, release="3.5") as member:
            for number in range(20):
                etcdctl(member, "put", f"k{number % 7}", f"value {number}")
            etcdctl(member, "snapshot", "save", str(top / tool / "own.db"))
        own = (top / tool / "own.db").read_bytes()
        (top / tool / "bare.db").write_bytes(own[:-32])
        (top / tool / "junk").write_bytes(b"this is no database")
        (top / tool / "empty").write_bytes(b"")
        (top / tool / "full").mkdir()
        (top / tool / "full/file").touch()
    content = (top / "etcdutl/own.db").read_bytes()
    for tool in TOOLS:
        (top / tool / "etcd.db").write_bytes(content)
    return top


def both(folder, arguments):
    return [run(tool, arguments.split(), folder / tool) for tool in TOOLS]


# What both print must be the same, to the byte.
@pytest.mark.parametrize("arguments", [
    "snapshot status etcd.db", "snapshot status etcd.db -w simple",
    "snapshot status etcd.db -w table", "snapshot status etcd.db -w json",
    "snapshot status etcd.db -w fields", "snapshot status etcd.db --write-out=json",
    "snapshot status etcd.db -w=json", "snapshot status -wjson etcd.db",
    "snapshot -w json status etcd.db", "-w table snapshot status etcd.db",
    "--write-out json snapshot status etcd.db", "-wfields snapshot status etcd.db",
    "snapshot status etcd.db -w json -w simple", "snapshot status -- etcd.db",
    "snapshot status -w json -- etcd.db",
    # Wrong ones.
    "snapshot status etcd.db -w protobuf", "snapshot status etcd.db -w nonsense",
    "snapshot status", "snapshot status etcd.db own.db",
    "snapshot restore --data-dir new", "snapshot restore own.db bare.db --data-dir new"])
def test_the_same_output(folder, arguments):
    theirs, ours = both(folder, arguments)
    assert (ours.returncode, ours.stdout, ours.stderr) == (
        theirs.returncode, theirs.stdout, theirs.stderr)


# What both refuse, with the same exit code and nothing on standard output. The words differ, unless
# they are given here.
@pytest.mark.parametrize("arguments, said", [
    ("snapshot status absent", "o such file or directory"),
    ("snapshot status .", "is a directory"),
    ("snapshot status junk", ""),
    ("snapshot status empty", ""),
    ("snapshot status etcd.db --nonsense", "--nonsense"),
    ("snapshot status etcd.db -w", "-w"),
    ("--nonsense", "--nonsense"),
    ("nonsense", "nonsense"),
    ("version --nonsense", "--nonsense"),
    ("defrag", "data-dir"),
    ("snapshot restore absent --data-dir new", "o such file or directory"),
    ("snapshot restore bare.db --data-dir new",
     "snapshot missing hash but --skip-hash-check=false"),
    ("snapshot restore own.db --data-dir full",
     'Error: data-dir "full" not empty or could not be read'),
    ("snapshot restore own.db --data-dir new --name other", "initial"),
    ("snapshot restore own.db --data-dir new --initial-cluster=nonsense", ""),
    ("snapshot restore own.db --data-dir new --bump-revision=-5", "--bump-revision"),
    ("snapshot restore own.db --data-dir new --bump-revision=x", "--bump-revision"),
    ("snapshot restore own.db --data-dir new --mark-compacted=maybe", "--mark-compacted"),
    ("snapshot restore own.db --data-dir new --initial-memory-map-size=x",
     "--initial-memory-map-size"),
    ("snapshot restore own.db --data-dir new --bump-revision=5",
     "Error: --mark-compacted required if --"),
    ("snapshot restore own.db --data-dir new --mark-compacted",
     "Error: --mark-compacted required if --")])
def test_the_same_refusals(folder, arguments, said):
    theirs, ours = both(folder, arguments)
    assert (ours.returncode, ours.stdout) == (theirs.returncode, theirs.stdout), ours.stderr
    assert theirs.returncode > 0
    for done in (theirs, ours):
        assert "Error: " in done.stderr and said in done.stderr, done.stderr
    assert not (folder / "martletutl/new").exists()
    # etcdutl may leave what it began.
    subprocess.run(["rm", "-rf", "new", "member"], cwd=folder / "etcdutl", check=True)


@pytest.mark.parametrize("arguments", [
    "", "--skip-hash-check=false", "--bump-revision=0 --mark-compacted=false",
    "--bump-revision 7 --mark-compacted=true", "-w json --initial-memory-map-size=1000000",
    "--name=a --initial-cluster=a=http://h:1,b=http://h:2 --initial-advertise-peer-urls=http://h:1",
    "--wal-dir=elsewhere --initial-cluster-token=t"])
def test_restores(folder, arguments):
    for tool in TOOLS:
        done = run(tool, f"snapshot restore own.db --data-dir new {arguments}".split(),
                   folder / tool)
        assert done.returncode == 0, (tool, done.stderr)
        assert (folder / tool / "new/member").is_dir()
        assert (folder / tool / "elsewhere").is_dir() == ("elsewhere" in arguments)
        subprocess.run(["rm", "-rf", "new", "elsewhere"], cwd=folder / tool, check=True)


def test_version(folder):
    for arguments in ("version", "version -w json", "-w json version"):
        theirs, ours = both(folder, arguments)
        pattern = r"{}utl version: \d+\.\d+\.\d+\nAPI version: 3\.\d+\n"
        assert re.fullmatch(pattern.format("etcd"), theirs.stdout)
        assert re.fullmatch(pattern.format("martlet"), ours.stdout)
        assert theirs.returncode == ours.returncode == 0


def test_completion(folder):
    for shell in ("bash", "zsh", "fish"):
        theirs, ours = both(folder, f"completion {shell}")
        assert theirs.returncode == ours.returncode == 0
        assert "etcdutl" in theirs.stdout
        assert "martletutl" in ours.stdout and "skip-hash-check" in ours.stdout
    theirs, ours = both(folder, "completion")
    assert theirs.returncode == ours.returncode == 0
    assert "bash" in theirs.stdout and "bash" in ours.stdout
    script = run("martletutl", ["completion", "bash"], folder / "martletutl").stdout
    done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_help_without_a_command(folder):
    for arguments in ("", "--help", "-h", "help", "snapshot", "snapshot --help", "help snapshot"):
        theirs, ours = both(folder, arguments)
        assert theirs.returncode == ours.returncode == 0
        assert "snapshot" in theirs.stdout and "snapshot" in ours.stdout


def commands_of_etcdutl(folder, words=()):
    """Every command of it with its flags, as its help lists them."""
    text = run("etcdutl", [*words, "--help"], folder / "etcdutl").stdout
    listed = re.search(r"Available Commands:\n((?:  .*\n)+)", text)
    below = [line.split()[0] for line in listed[1].splitlines()] if listed else []
    if not below:
        yield " ".join(words), re.findall(r"^ +(?:-\w, )?(--[\w-]+)", text, re.MULTILINE)
    for name in below:
        if name != "help":
            yield from commands_of_etcdutl(folder, (*words, name))


def test_every_command_and_flag_of_etcdutl_is_there_or_explained(folder):
    table = GUIDE.read_text().split("### martletutl and etcdutl")[1]
    commands = dict(commands_of_etcdutl(folder))
    assert {"snapshot status", "snapshot restore", "defrag", "version"} <= commands.keys()
    for command, flags in commands.items():
        words = command.split()
        if words[0] == "completion":
            known = run("martletutl", words, folder / "martletutl").returncode == 0
            missing = []
        else:
            text = run("martletutl", [*words, "--help"], folder / "martletutl").stdout
            known = f"USAGE: martletutl {command}" in text
            missing = [flag for flag in flags if flag not in text]
        assert (known and not missing) or f"| `{command}` |" in table, (command, missing)
