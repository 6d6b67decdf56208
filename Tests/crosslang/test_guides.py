"""The documentation is true: every command in it runs, every Swift program in it is one that the
client's tests compile and run, every link, flag and metric in it exists."""

import functools
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import textwrap
import urllib.request

import pytest

import guide_blocks
from guide_blocks import PAGES, ROOT, blocks
from harness import martlet_binary

PAGE_SECONDS = 600
SANDBOX = ["unshare", *(["--map-root-user"] if os.geteuid() != 0 else []), "--net", "--mount",
           "--pid", "--fork", "--kill-child", "--mount-proc", sys.executable,
           str(ROOT / "Tests/crosslang/guide_sandbox.py")]
README_LINES_MAX = 150
SAMPLES = ROOT / "Tests/MartletClientTests"
OTHER_PROGRAMS = {
    # Flags in the text that belong to none of our programs, with whose they are.
    "--python_out": "protoc", "--grpc_python_out": "protoc", "--now": "systemctl",
}
by_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def binaries() -> pathlib.Path:
    return pathlib.Path(martlet_binary()).parent


def environment() -> dict[str, str]:
    """With Martlet's programs, and the Python that has grpcio-tools, found first."""
    path = f"{binaries()}:{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**os.environ, "PATH": path}


def run_page(page: pathlib.Path) -> subprocess.CompletedProcess:
    """Runs the page's commands in the sandbox."""
    # Not below pytest's directory, which only its owner may enter: servers have users of their own.
    with tempfile.TemporaryDirectory(prefix="martlet-guide-") as folder:
        os.chmod(folder, 0o755)
        return subprocess.run([*SANDBOX, str(page), folder], env=environment(),
                              capture_output=True, text=True, timeout=PAGE_SECONDS)


@by_page
def test_every_command_runs(page):
    done = run_page(page)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"


@by_page
def test_what_is_not_run_says_why_and_is_shell(page):
    for block in blocks(page):
        if block.language != "sh":
            continue
        if block.reason_not_run is not None:
            assert len(block.reason_not_run.split()) >= 3, f"{block.place}: is that a reason?"
            assert block.output is None, f"{block.place}: output of what nobody runs"
        done = subprocess.run(["bash", "-n", "-c", block.text], capture_output=True, text=True)
        assert done.returncode == 0, f"{block.place}: {done.stderr}"


@by_page
def test_data_is_used(page):
    """Python and configuration are written to a file that a command of the same page names."""
    of_page = blocks(page)
    for block in of_page:
        if block.language in ("sh", "swift", "stop", "kill", "copy"):
            continue
        if block.language == "python":
            compile(block.text, block.place, "exec")
        if block.reason_not_run is not None:
            continue
        name = block.options.get("file")
        assert name, f"{block.place}: nothing reads this"
        commands = [other.text for other in of_page if other.language == "sh"]
        assert any(name in text for text in commands), f"{block.place}: nothing reads {name}"


def plain(program: str) -> str:
    """Without indentation, and with what the tests print to written as `print`."""
    return "\n".join(line.rstrip() for line in textwrap.dedent(program).strip().splitlines())


@functools.cache
def samples() -> list[str]:
    """Every passage between `// begin` and `// end` in the client's tests."""
    found = []
    for file in sorted(SAMPLES.rglob("*.swift")):
        for passage in re.findall(r"^ *// begin\n(.*?)^ *// end$", file.read_text(), re.M | re.S):
            found.append(plain(passage))
    return found


@by_page
def test_swift_is_what_the_tests_compile_and_run(page):
    for block in blocks(page):
        if block.language != "swift" or "not-run" in block.options:
            continue
        # Imports stand at the top of the file of the tests, which choose the server.
        program = plain("\n".join(line for line in block.text.splitlines()
                                  if not line.startswith("import ")))
        program = program.replace('endpoints: ["http://127.0.0.1:2379"]', "endpoints: endpoints")
        assert program in samples(), f"{block.place}: no test has this program"


def anchor(heading: str) -> str:
    """As the pages that show Markdown make them."""
    text = re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")


def headings(page: pathlib.Path) -> set[str]:
    text = re.sub(r"^ *```.*?^ *```$", "", page.read_text(), flags=re.M | re.S)
    return {anchor(match) for match in re.findall(r"^#+ (.*)$", text, re.M)}


@pytest.mark.parametrize("page", [*PAGES, ROOT / "Sources/README.md", ROOT / "Tests/README.md"],
                         ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page):
    text = re.sub(r"^ *```.*?^ *```$", "", page.read_text(), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, fragment = target.partition("#")
        if re.match(r"https?:", target):
            continue
        other = (page.parent / path).resolve() if path else page
        assert other.exists(), f"{page.name}: {target}"
        assert other == ROOT or ROOT in other.parents, f"{page.name}: {target} leaves the project"
        if fragment:
            assert fragment in headings(other), f"{page.name}: no heading for {target}"


def flags_in(text: str) -> set[str]:
    return set(re.findall(r"(?<![\w-])--[a-z][\w-]*(?![\w*-])", text))


def help_of(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=60)
    return done.stdout + done.stderr


def flags_of_client(program: str) -> set[str]:
    """Of etcdctl, and of what speaks as it does."""
    text = help_of(program, "--help")
    flags = flags_in(text)
    for line in re.search(r"COMMANDS:\n(.*?)\nOPTIONS:", text, re.S)[1].splitlines():
        name = re.match(r"\t([a-z-]+(?: [a-z-]+)?)(?:\t|  )", line)
        if name:
            flags |= flags_in(help_of(program, *name[1].split(), "--help"))
    return flags


def flags_of_tool(*command: str) -> set[str]:
    """Of a program with swift-argument-parser, and all below."""
    text = help_of(*command, "--help")
    flags = flags_in(text)
    commands = re.search(r"^SUBCOMMANDS:\n(.*?)\n\n", text, re.M | re.S)
    for name in re.findall(r"^  ([a-z]+)\b", commands[1], re.M) if commands else []:
        flags |= flags_of_tool(*command, name)
    return flags


@functools.cache
def known_flags() -> frozenset[str]:
    """Every flag that a program of Martlet or etcdctl has in its help."""
    flags = flags_in(help_of("martlet", "--help"))
    for command in ("gateway", "grpc-proxy"):
        flags |= flags_in(help_of("martlet", command, "start", "--help"))
    flags |= flags_of_client("etcdctl") | flags_of_client("martletctl")
    flags |= flags_of_tool("martletutl") | flags_of_tool("martlet-sim")
    flags |= flags_in(help_of(str(ROOT / "Sources/Packaging/package"), "--help"))
    assert {"--initial-cluster", "--retry-delay", "--tree", "--prefix", "--keep-members"} <= flags
    return frozenset(flags)


def test_variables_are_flags():
    """The settings of a unit are variables, each named as its flag."""
    for page in PAGES:
        for block in blocks(page):
            for name in re.findall(r"^ETCD_[A-Z_]+(?==)", block.text, re.M):
                flag = "--" + name.removeprefix("ETCD_").lower().replace("_", "-")
                assert flag in known_flags(), f"{block.place}: {name}"


@by_page
def test_every_flag_exists(page):
    """In the prose and in what is not run; what is run proves its own flags."""
    text = re.sub(r"^ *```.*?^ *```$", "", page.read_text(), flags=re.M | re.S)
    spans = re.findall(r"`([^`]+)`", text)
    text = "\n".join(span for span in spans if not span.startswith(("swift ", "pip ", "Tests/")))
    text += "\n" + "".join(block.text for block in blocks(page) if block.reason_not_run is not None)
    unknown = flags_in(text) - known_flags() - OTHER_PROGRAMS.keys()
    assert not unknown, f"{page.name}: {sorted(unknown)}"


def test_every_metric_exists(martlet):
    with urllib.request.urlopen(f"http://{martlet.endpoint}/metrics", timeout=10) as answer:
        served = set(re.findall(r"^# TYPE (\w+)", answer.read().decode(), re.M))
    served |= {f"{name}_{part}" for name in served for part in ("bucket", "sum", "count")}
    for page in PAGES:
        named = set(re.findall(r"\b(?:etcd|process|grpc)_[a-z_]+\b", page.read_text()))
        named -= {"grpc_tools"}
        named = {name for name in named if not name.startswith(("etcd_pb", "grpc_python"))}
        assert named <= served, f"{page.name}: {sorted(named - served)}"


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) < README_LINES_MAX


def test_a_wrong_guide_is_found_out(tmp_path):
    """The checks above can fail."""
    page = tmp_path / "guide.md"
    for text, reason in [
        ("```sh\nfalse\n```\n", "ends with 1"),
        ("```sh\necho one\n```\n\n```text\ntwo\n```\n", "does not print `two`"),
        ("```sh on=10.0.0.7 background\nmartlet --no-such-flag\n```\n\n```sh\ntrue\n```\n",
         "is not ready"),
    ]:
        page.write_text(text)
        done = run_page(page)
        assert done.returncode == 1 and reason in done.stderr, f"{done.stdout}{done.stderr}"
    for text in ["```zsh\ntrue\n```\n", "```sh\ntrue\n", "```sh on\ntrue\n```\n",
                 "```text\noutput\n```\n"]:
        page.write_text(text)
        with pytest.raises(ValueError):
            guide_blocks.blocks(page)
