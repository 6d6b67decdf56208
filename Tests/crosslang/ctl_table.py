"""The table of commands and flags: what martletctl has of etcdctl's, made by running the tools.

`python ctl_table.py` prints Sources/martletctl/README.md; test_martletctl_table.py checks that it
is up to date."""

import functools
import os
import pathlib
import re
import subprocess

from harness import ETCD_FOLDERS, etcd_program

ROOT = pathlib.Path(__file__).resolve().parents[2]
RELEASES = list(ETCD_FOLDERS)

SCRIPT = "a short script of its own, which needs no other package and completes values of flags too"
PROGRESS = "progress is shown on a terminal only, on the standard error"
WHOLE_ANSWER = "-w protobuf prints the whole answer, not only its header"
TXN = "'single quotes' keep their whole text (etcdctl cuts it), `lease` compares, and an unknown " \
      "operator is an error (etcdctl panics in both)"

# Why something differs or is missing: a command, or a command and a flag; for all releases, or for
# those that are named.
REASONS: dict[str, str | dict[str, str]] = {
    **{f"completion {shell}": SCRIPT for shell in ("bash", "zsh", "fish", "powershell")},
    "migrate": "stores of etcd 2 are beyond what Martlet reads",
    "version": "it is martletctl's version",
    "snapshot restore": "martletutl does the work: it takes snapshots of Martlet; for etcd's it has "
                        "`migrate import`",
    "snapshot restore --initial-memory-map-size": "it is taken, and has no meaning here",
    "snapshot save": "nothing is logged, and a terminal shows a bar; the file has mode 600 and is "
                     "renamed when it is whole",
    "defrag --data-dir": "martletutl does the work",
    "txn": {"3.4": f"{TXN}; -w json names responses as 3.5 does", "3.5": TXN},
    "user get": "--detail with -w json prints JSON only, without lines between",
    "alarm disarm": "-w fields prints (etcdctl panics when there is no alarm)",
    "auth status": {"3.5": "-w fields prints too"},
    "watch": "it goes on by itself when members go or restart",
    "lock": {
        "3.4": "the status of the command is passed on, as in 3.5 (3.4 exits with 1), and SIGTERM is "
               "handed on to it",
        "3.5": "SIGTERM is handed on to the command; one that a signal has ended gives 128 and the "
               "signal's number (etcdctl: 255)",
    },
    "endpoint health": {
        "3.4": "healthy endpoints are told on the standard output, as in 3.5; in the order in which "
               "they were given",
        "3.5": "endpoints are told in the order in which they were given",
    },
    "member list": {
        "3.4": "-w json --hex prints IDs in hexadecimal, as in 3.5, and learners as such",
        "3.5": "-w json --hex prints learners as such",
    },
    "lease list": WHOLE_ANSWER,
    "lease grant": WHOLE_ANSWER,
    "lease timetolive": WHOLE_ANSWER,
    "lease keep-alive": f"{WHOLE_ANSWER}; it goes on when the server is back before the lease has "
                        "ended (etcdctl says `expired or revoked` and exits with 0)",
    "get --count-only": {"3.5": "-w json prints too"},
    "make-mirror": "it sends transactions instead of single puts, and tries again while the "
                   "destination is away",
    "check perf": PROGRESS,
    "check datascale": PROGRESS,
    "--debug": "the client's own log is printed",
    "--discovery-srv": "`endpoint` and `snapshot save` ask there too (etcdctl: 127.0.0.1:2379)",
    "--insecure-discovery": "it is an error when it leaves no endpoint (etcdctl: 127.0.0.1:2379)",
    "--keepalive-time": "less than 10 s is taken as 10 s, as Go's client does too",
}

# What is worth saying of what is the same, or of what only martletctl has.
NOTES = {
    "snapshot status": "martletutl does the work, which must be beside it or in PATH",
    "top": "live rates per member: writes and applied entries per second, who lags",
    "get --min-mod-rev": "as in 3.6", "get --max-mod-rev": "as in 3.6",
    "get --min-create-rev": "as in 3.6", "get --max-create-rev": "as in 3.6",
    "get --tree": "keys as a tree of the parts between slashes",
    "make-mirror --rev": "as in 3.6", "make-mirror --max-txn-ops": "as in 3.6",
}

NOT_THERE = "–"

# How the tools differ everywhere.
GENERAL = [
    "An error of usage is printed once; cobra prints it twice. Help is in words of its own.",
    "A format that a command does not have is refused before anything is done, not afterwards.",
    "Of a call that failed only `Error: ...` is printed, without the client's JSON log line; below "
    "it in brackets may stand what the connection's trouble was.",
    "A variable of the environment that a flag shadows is an error in the words of 3.4; one that a "
    "flag cannot have is an error too (etcdctl ignores it).",
    "An endpoint that cannot be one is refused at once (etcdctl waits for --command-timeout).",
    "When nobody reads the output any more it ends with 0 (etcdctl by SIGPIPE); output that cannot be "
    "written gives 6 (etcdctl: 0).",
    "`snapshot` and `defrag --data-dir` do not say on the standard error that they are deprecated, "
    "as 3.5 does.",
    "PUT and DELETE of `watch` are coloured on a terminal, unless `NO_COLOR` is set.",
]


def output(binary: str, *words: str) -> str:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ETCD")}
    done = subprocess.run([binary, *words], capture_output=True, text=True, env=environment,
                          timeout=60, stdin=subprocess.DEVNULL)
    return done.stdout + done.stderr


def section(text: str, title: str) -> list[str]:
    lines = text.splitlines()
    if f"{title}:" not in lines:
        return []
    rest = lines[lines.index(f"{title}:") + 1:]
    return rest[:rest.index("")] if "" in rest else rest


def commands(binary: str) -> list[str]:
    rows = section(output(binary, "--help"), "COMMANDS")
    return sorted(re.split(r"\t+|  +", row.strip())[0] for row in rows)


def flags(binary: str, words: list[str], title: str = "OPTIONS") -> dict[str, str]:
    """Flags and what they are when they are not given."""
    found = {}
    for line in section(output(binary, *words, "--help"), title):
        match = re.match(r"\s*(?:-(\w), )?--([\w-]+)(?:\[?=(.*?)\]?)?(?:\t|  |$)", line)
        if match and match[2] != "help":
            found[match[2]] = (match[3] or "").strip('"[]')
    return found


def surface(binary: str) -> dict[str, dict[str, str] | None]:
    """The flags of each command; of `(all)` those that every command has."""
    everywhere = flags(binary, ["get"], "GLOBAL OPTIONS")
    found = {"(all)": everywhere}
    for command in commands(binary):
        words = command.split()
        # Flags of a whole group stand among the global ones.
        of_group = {} if command == "help" else flags(binary, words, "GLOBAL OPTIONS")
        found[command] = {**({} if command == "help" else flags(binary, words)),
                          **{n: v for n, v in of_group.items() if n not in everywhere}}
    found.setdefault("help", {})
    return found


def reason(key: str, release: str) -> str:
    found = REASONS.get(key, "")
    return found.get(release, "") if isinstance(found, dict) else found


def verdict(key: str, release: str, theirs: str | None, ours: str | None) -> str:
    """One word; `theirs` and `ours` are None for what is not there."""
    if theirs is None:
        return NOT_THERE
    if ours is None:
        return "missing" if reason(key, release) else "MISSING WITHOUT A REASON"
    if reason(key, release):
        return "differs"
    return "same" if ours == theirs else "DIFFERS WITHOUT A REASON"


def why(key: str, verdicts: dict[str, str]) -> str:
    reasons = {release: reason(key, release) for release, word in verdicts.items()
               if word in ("differs", "missing")}
    if len(set(reasons.values())) > 1 or 0 < len(reasons) < sum(
            word != NOT_THERE for word in verdicts.values()):
        return "; ".join(f"{release}: {text}" for release, text in reasons.items())
    return next(iter(reasons.values()), NOTES.get(key, ""))


@functools.cache
def rows(martletctl: str) -> list[tuple[str, str, dict[str, str], str]]:
    """Command, flag, a word for each release, and why."""
    ours = surface(martletctl)
    theirs = {release: surface(etcd_program("etcdctl", release)) for release in RELEASES}
    result = []

    def add(command: str, flag: str, value) -> None:
        key = f"{'' if command == '(all)' else command} {flag}".strip()
        verdicts = {release: verdict(key, release, value(theirs[release]), value(ours))
                    for release in RELEASES}
        result.append((command, flag, verdicts, why(key, verdicts)))

    surfaces = [ours, *theirs.values()]
    known = {command for surface in surfaces for command in surface}
    for command in sorted(known, key=lambda name: (name == "(all)", name)):
        if command != "(all)":
            add(command, "", lambda surface: "" if command in surface else None)
        if command in ours:  # Else its flags are missing with it.
            for name in sorted({name for s in surfaces for name in s.get(command, {})}):
                add(command, f"--{name}", lambda surface: surface.get(command, {}).get(name))
    return result


def page(martletctl: str) -> str:
    lines = [
        "# martletctl", "",
        "The command line of Martlet and etcd: etcdctl's commands, flags, environment, formats and "
        "exit codes.", "",
        "Generated by `Tests/crosslang/ctl_table.py`, which runs martletctl and Debian's etcdctl "
        f"{' and '.join(RELEASES)}. Do not edit.",
        "`Tests/crosslang/test_martletctl.py` compares their output, errors and exit codes.",
        "Where the two releases differ, martletctl follows the newer.", "",
        "## Everywhere", "",
        *[f"- {text}" for text in GENERAL], "",
        "## Commands and flags", "",
        f"{NOT_THERE}: etcdctl does not have it.", "",
        f"| command | flag | {' | '.join(RELEASES)} | why |",
        "|---|---|" + "---|" * len(RELEASES) + "---|",
    ]
    for command, flag, verdicts, text in rows(martletctl):
        cells = [f"`{command}`", f"`{flag}`" if flag else "", *verdicts.values(), text]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    from test_martletctl import martletctl_binary
    print(page(martletctl_binary()), end="")
