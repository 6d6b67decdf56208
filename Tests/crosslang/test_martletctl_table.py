"""Sources/martletctl/README.md says what the tools do, and of 3.5's surface nothing is missing."""

import pathlib
import re

import ctl_table
import pytest
from test_martletctl import martletctl_binary


def test_the_table_is_up_to_date() -> None:
    page = ctl_table.page(martletctl_binary())
    assert "WITHOUT A REASON" not in page, page
    stored = ctl_table.ROOT / "Sources/martletctl/README.md"
    assert stored.read_text() == page, f"run ctl_table.py and put its output into {stored}"


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
