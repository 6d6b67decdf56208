"""`martlet-sim` replays a run exactly, in another process too, where hashes are seeded anew."""

import pathlib
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
    runs = [simulate("--seed", "0", "--break", "ackBeforeSync") for _ in range(2)]
    for run in runs:
        assert run.returncode == 1
        assert "seed 0 FAILS: " in run.stdout
        assert len(run.stdout.splitlines()) < 100
    # The last line tells how long it took.
    assert runs[0].stdout.splitlines()[:-1] == runs[1].stdout.splitlines()[:-1]
