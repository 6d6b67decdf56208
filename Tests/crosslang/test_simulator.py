"""`martlet-sim` replays a run exactly, in another process too, where hashes are seeded anew."""

import pathlib
import re
import subprocess

import pytest

from harness import martlet_binary


def simulate(*arguments: str) -> subprocess.CompletedProcess:
    binary = pathlib.Path(martlet_binary()).with_name("martlet-sim")
    return subprocess.run([binary, *arguments], capture_output=True, text=True, timeout=600)


def hash_line(output: str) -> str:
    lines = [line for line in output.splitlines() if "trace hash" in line]
    assert len(lines) == 1, output
    return lines[0]


@pytest.mark.parametrize("seed", ["14", "31"])
def test_a_seed_is_the_same_run_in_every_process(seed):
    first, second = simulate("--seed", seed), simulate("--seed", seed)
    assert first.returncode == second.returncode == 0, first.stdout
    assert hash_line(first.stdout) == hash_line(second.stdout)


def test_a_failing_seed_prints_a_short_trace_and_is_replayed():
    broken = ("--break", "ackBeforeSync")
    search = simulate("--seeds", "0..<64", *broken)
    seed = re.search(r"seed (\d+) FAILS: ", search.stdout)
    assert seed, search.stdout
    runs = [simulate("--seed", seed[1], *broken) for _ in range(2)]
    for run in runs:
        assert run.returncode == 1
        assert f"seed {seed[1]} FAILS: " in run.stdout
        assert len(run.stdout.splitlines()) < 100
    # The last line tells how long it took.
    assert runs[0].stdout.splitlines()[:-1] == runs[1].stdout.splitlines()[:-1]
