"""Bars that say how far long work is: for people, and nothing for programs."""

import os
import re

import pytest
import terminals
from harness import Member, etcdctl, martlet_binary

START_OF_LINE = "\r\x1b[K"


def tool(name: str) -> str:
    return os.path.join(os.path.dirname(martlet_binary()), name)


def check_bars(text: str, *titles: str) -> None:
    """Bars of these titles, in order: each grows to 100 % and ends its line. Notes may follow."""
    lines = text.split("\r\n")
    assert lines.pop() == "", text
    while lines and lines[-1].startswith("note: "):
        lines.pop()
    assert len(lines) == len(titles), text
    for line, title in zip(lines, titles):
        start, *states = line.split(START_OF_LINE)
        assert start == "" and states, line
        shares = []
        for state in states:
            found = re.fullmatch(rf"{title} \[(=*)( *)\] (\d+) %  .+", state)
            assert found, state
            assert len(found[1] + found[2]) == 24, state
            shares.append((int(found[3]), len(found[1])))
        assert shares == sorted(shares), shares
        assert shares[-1] == (100, 24), shares


@pytest.fixture(scope="module")
def martlet_with_data():
    with Member("martlet") as member:
        fill(member)
        yield member


@pytest.fixture(scope="module")
def etcd_snapshot(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("etcd") / "etcd.db")
    with Member("etcd") as member:
        fill(member)
        etcdctl(member, "snapshot", "save", path)
    return path


def fill(member: Member) -> None:
    for number in range(8):
        etcdctl(member, "put", f"k{number}", stdin="v" * 1_000_000)


def restore_flags(folder) -> list[str]:
    return ["--name=m1", f"--data-dir={folder}/data", "--initial-cluster=m1=http://127.0.0.1:2380",
            "--initial-advertise-peer-urls=http://127.0.0.1:2380"]


def test_saving_and_what_is_made_of_a_snapshot(martlet_with_data, tmp_path) -> None:
    file = f"{tmp_path}/s.db"
    seen = terminals.run([tool("martletctl"), f"--endpoints={martlet_with_data.endpoint}", "snapshot",
                          "save", file])
    check_bars(seen.terminal, "saving")
    assert (seen.code, seen.stdout) == (0, f"Snapshot saved at {file}\n")

    seen = terminals.run([tool("martletctl"), "snapshot", "status", file])
    check_bars(seen.terminal, "verifying", "reading")
    # martletctl hands over to martletutl, with the format.
    restore = [tool("martletctl"), "snapshot", "restore", file]
    seen = terminals.run([*restore, *restore_flags(tmp_path / "a")])
    check_bars(seen.terminal, "restoring")
    assert seen.code == 0 and seen.stdout.startswith("restored "), seen
    seen = terminals.run([*restore, *restore_flags(tmp_path / "b"), "-w", "json"])
    assert seen.code == 0 and seen.stdout.startswith("{") and "[" not in seen.terminal, seen

    seen = terminals.run([tool("martletutl"), "migrate", "export", f"--data-dir={tmp_path}/a/data",
                          f"--output={tmp_path}/etcd.db"])
    check_bars(seen.terminal, "exporting", "checksum")
    assert seen.code == 0 and seen.stdout.startswith("exported "), seen


def test_importing(etcd_snapshot, tmp_path) -> None:
    seen = terminals.run([tool("martletutl"), "migrate", "import", f"--snapshot={etcd_snapshot}",
                          *restore_flags(tmp_path)])
    check_bars(seen.terminal, "verifying", "importing")
    assert seen.code == 0 and seen.stdout.startswith("imported "), seen


@pytest.mark.parametrize("terminal,words,variables", [
    ("out", [], {}), ("err", ["-w", "json"], {}), ("err", [], {"TERM": "dumb"})])
def test_no_bar_for_programs(martlet_with_data, tmp_path, terminal, words, variables) -> None:
    """No terminal, or one that cannot draw over a line, or an answer that programs read."""
    seen = terminals.run([tool("martletctl"), f"--endpoints={martlet_with_data.endpoint}", *words,
                          "snapshot", "save", f"{tmp_path}/s.db"], terminal, **variables)
    assert seen.code == 0 and "saving" not in seen.terminal and "\x1b" not in seen.terminal, seen


def test_a_bar_that_breaks_off_ends_its_line(etcd_snapshot, tmp_path) -> None:
    broken = tmp_path / "broken.db"
    content = bytearray(open(etcd_snapshot, "rb").read())
    content[len(content) // 2] ^= 1
    broken.write_bytes(content)
    seen = terminals.run([tool("martletutl"), "snapshot", "status", str(broken)])
    assert seen.code == 1, seen
    *bars, error, end = seen.terminal.split("\r\n")
    assert error.startswith("Error: ") and end == "", seen
    assert bars and all(bar.startswith(START_OF_LINE) for bar in bars), seen


def test_a_mirrors_copying(martlet_with_data) -> None:
    """It ends its line before the mirror begins to follow."""
    with Member("martlet") as destination:
        seen = terminals.run(
            [tool("martletctl"), f"--endpoints={martlet_with_data.endpoint}", "make-mirror",
             destination.endpoint], until="\r\n")
        check_bars(seen.terminal, "copying")


@pytest.mark.parametrize("terminal,variables,is_coloured", [
    ("out", {}, True), ("err", {}, False), ("out", {"NO_COLOR": "1"}, False),
    ("out", {"TERM": "dumb"}, False)])
def test_colour_is_for_terminals(martlet_with_data, terminal, variables, is_coloured) -> None:
    words = [tool("martletctl"), f"--endpoints={martlet_with_data.endpoint}"]
    etcdctl(martlet_with_data, "put", "dir/key", "v")
    for command, until, coloured in (
            ([*words, "watch", "dir/key", "--rev=1"], "dir/key", "\x1b[32mPUT\x1b[0m"),
            ([*words, "get", "dir", "--prefix", "--tree"], None, "\x1b[34mdir/\x1b[0m")):
        seen = terminals.run(command, terminal, until, **variables)
        text = seen.terminal + seen.stdout
        assert "key" in text
        assert (coloured in text) == is_coloured and ("\x1b" in text) == is_coloured, text
