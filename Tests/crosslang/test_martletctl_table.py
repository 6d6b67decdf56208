"""Sources/martletctl/README.md says what the tools do, of 3.5's surface nothing is missing, and all of
it is tried beside etcdctl."""

import pathlib
import re

import ctl_cases
import ctl_table
import pytest
from test_martletctl import martletctl_binary


def test_the_table_is_up_to_date() -> None:
    page = ctl_table.page(martletctl_binary())
    assert "WITHOUT A REASON" not in page, page
    stored = ctl_table.ROOT / "Sources/martletctl/README.md"
    assert stored.read_text() == page, f"run ctl_table.py and put its output into {stored}"


# What the comparisons of test_martletctl.py do not give both tools, and which tests do instead.
TRIED_IN = {
    "test_martletctl_extras.py": [
        "check perf", "check datascale", "top", "version", "get --tree", "get --min-mod-rev",
        "get --max-mod-rev", "get --min-create-rev", "get --max-create-rev", "make-mirror --prefix",
        "make-mirror --rev", "make-mirror --max-txn-ops", "make-mirror --dest-user",
        "make-mirror --dest-password"],
    "test_martletctl_tls.py": [
        "--insecure-skip-tls-verify", "--insecure-transport", "make-mirror --dest-cacert",
        "make-mirror --dest-cert", "make-mirror --dest-key", "make-mirror --dest-insecure-transport"],
    "test_martletctl_discovery.py": [
        "--discovery-srv", "--discovery-srv-name", "--insecure-discovery"],
    "test_martletctl_completion.py": ["completion"],
    "test_martletutl.py": ["snapshot restore", "defrag --data-dir"],
}


def test_everything_is_tried() -> None:
    """A command or flag that nobody tries is not `same`."""
    elsewhere = [name for names in TRIED_IN.values() for name in names]
    given = {case.words for group in ctl_cases.GROUPS.values() for case in group}
    problems = []

    def is_tried(command: str, flag: str) -> bool:
        key = f"{command} {flag}".strip()
        if any(key == name or key.startswith(name + " ") for name in elsewhere):
            return True
        path = tuple(command.split())
        return any(words[:len(path)] == path
                   and (not flag or any(word.split("=")[0] == flag for word in words))
                   for words in given)

    for command, flag, _, _ in ctl_table.rows(martletctl_binary()):
        if command in ("help", "migrate"):
            continue
        if not is_tried("" if command == "(all)" else command, flag):
            problems.append(f"{command} {flag}")
    assert not problems, problems


def test_everything_of_the_contract_is_there() -> None:
    """The names and defaults of release 3.5, from the shared contract."""
    contract = pathlib.Path("/work/shared/contract/ctl.md")
    if not contract.exists():
        pytest.skip("the contract is not on this machine")
    ours = set(ctl_table.commands(martletctl_binary()))
    problems = []
    for line in contract.read_text().split("## etcdutl")[0].splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if len(cells) != 3 or not cells[1].startswith("`etcdctl"):
            continue
        if cells[0] not in ours:
            problems.append(cells[0])
            continue
        own = ctl_table.flags(martletctl_binary(), cells[0].split())
        for text in re.findall(r"`([^`]+)`", cells[2]):
            name, _, value = text.split()[-1].lstrip("-").partition("=")
            expected = value.strip('"') or ("" if '=""' in text else None)
            if name not in own:
                problems.append(f"{cells[0]} --{name}")
            elif expected is not None and own[name] != expected:
                problems.append(f"{cells[0]} --{name}: {own[name]} and not {expected}")
    assert not problems, problems
