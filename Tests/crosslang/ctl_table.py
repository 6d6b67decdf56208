"""The table of commands and flags: what martletctl has of etcdctl's, made by running both tools.

`python ctl_table.py` prints Sources/martletctl/README.md; test_martletctl_table.py checks that it
is up to date."""

import os
import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
ETCDCTL = "/usr/bin/etcdctl"

# Why something differs or is missing: a command, or a command and a flag.
REASONS = {
    "completion powershell": "missing: it says so; bash, zsh and fish have completion",
    "migrate": "missing: stores of etcd 2 are beyond what Martlet reads",
    "version": "differs because it is martletctl's version",
    "snapshot status": "same; martletutl does the work, which must be beside it or in PATH",
    "snapshot restore": "differs because martletutl does the work: it takes snapshots of Martlet; "
                        "for etcd's it has `migrate import`",
    "defrag --data-dir": "differs because martletutl does the work",
    "txn": "differs because 'single quotes' keep their whole text (etcdctl 3.4 cuts it), `lease` "
           "compares, and an unknown operator is an error (etcdctl 3.4 panics in both)",
    "user get": "differs because --detail with -w json prints JSON only, without lines between",
    "alarm list": "differs because -w fields prints (etcdctl 3.4 panics)",
    "watch": "differs because it goes on by itself when members go or restart; interactive "
             "`progress` is refused",
    "lock": "differs because the status of the command is passed on, as in 3.5 (3.4 exits with 1)",
    "lease list": "differs because -w protobuf prints the whole answer, not only its header",
    "lease grant": "differs because -w protobuf prints the whole answer, not only its header",
    "lease timetolive": "differs because -w protobuf prints the whole answer, not only its header",
    "lease keep-alive": "differs because -w protobuf prints the whole answer, not only its header",
    "get": "differs because of more: --tree",
    "make-mirror": "differs because it sends transactions instead of single puts, and tries again "
                   "while the destination is away",
    "check perf": "differs because progress is shown on a terminal only, on the standard error",
    "check datascale": "differs because progress is shown on a terminal only, on the standard error",
    "snapshot save": "differs because nothing is logged; the file has mode 600 and is renamed when "
                     "it is whole",
    "--debug": "differs because the client's own log is printed",
    "--keepalive-time": "differs because less than 10 s is taken as 10 s, as Go's client does too",
}

# How both tools differ everywhere.
GENERAL = [
    "An error of usage is printed once; cobra prints it twice. Help is in words of its own.",
    "A format that a command does not have is refused before anything is done, not afterwards.",
    "Of a call that failed only `Error: ...` is printed, without the client's JSON log line; below "
    "it in brackets may stand what the connection's trouble was.",
    "`member list -w json --hex` prints IDs in hexadecimal, as in 3.5.",
    "A value in the environment that a flag cannot have is an error (etcdctl ignores it).",
    "`endpoint health` keeps the order of the endpoints.",
    "PUT and DELETE of `watch` are coloured on a terminal, unless `NO_COLOR` is set.",
]

OWN_COMMANDS = {"top": "live rates per member: writes and applied entries per second, who lags"}


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


def verdict(key: str, there: bool, same: bool) -> str:
    if key in REASONS:
        return REASONS[key]
    if not there:
        return "MISSING WITHOUT A REASON"
    return "same" if same else "DIFFERS WITHOUT A REASON"


def rows(martletctl: str) -> list[tuple[str, str, str]]:
    ours = set(commands(martletctl))
    known = sorted(set(commands(ETCDCTL)))
    newer = {"auth status": {}}
    everywhere = flags(ETCDCTL, ["get"], "GLOBAL OPTIONS")
    result = []
    for command in sorted(set(known) | set(newer)):
        there = command in ours or command == "help"
        result.append((command, "", verdict(command, there, True)))
        if not there or command == "help":
            continue
        words = command.split()
        theirs = newer.get(command) if command not in known else {
            **flags(ETCDCTL, words),
            # Flags of a whole group stand among the global ones.
            **{name: value for name, value in flags(ETCDCTL, words, "GLOBAL OPTIONS").items()
               if name not in everywhere},
        }
        own = flags(martletctl, words)
        for name in sorted(theirs):
            key = f"{command} --{name}"
            same = own.get(name) == theirs[name]
            result.append((command, f"--{name}", verdict(key, name in own, same)))
        for name in sorted(set(own) - set(theirs)):
            result.append((command, f"--{name}", NEWER.get(f"{command} --{name}",
                                                           "martletctl's own")))
    for command in sorted(ours - set(known) - set(newer)):
        result.append((command, "", f"martletctl's own: {OWN_COMMANDS[command]}"))
    own = flags(martletctl, ["get"], "GLOBAL OPTIONS")
    for name in sorted(everywhere):
        same = own.get(name) == everywhere[name]
        result.append(("(all)", f"--{name}", verdict(f"--{name}", name in own, same)))
    return result


# Flags that etcdctl has had since 3.4.
NEWER = {
    "get --count-only": "same as in 3.5; also with -w json",
    "get --min-mod-rev": "same as in 3.6", "get --max-mod-rev": "same as in 3.6",
    "get --min-create-rev": "same as in 3.6", "get --max-create-rev": "same as in 3.6",
    "del --range": "same as in 3.5",
    "snapshot restore --bump-revision": "same as in 3.5",
    "snapshot restore --mark-compacted": "same as in 3.5",
    "snapshot restore --initial-memory-map-size": "taken, and without meaning here",
    "make-mirror --dest-user": "same as in 3.5",
    "make-mirror --dest-password": "same as in 3.5",
    "make-mirror --rev": "same as in 3.6", "make-mirror --max-txn-ops": "same as in 3.6",
    "watch --progress-notify": "same as in 3.5",
}


def page(martletctl: str) -> str:
    lines = [
        "# martletctl", "",
        "The command line of Martlet and etcd: etcdctl's commands, flags, environment, formats and "
        "exit codes.", "",
        "Generated by `Tests/crosslang/ctl_table.py`, which runs martletctl and Debian's etcdctl "
        "3.4. Do not edit.",
        "`Tests/crosslang/test_martletctl.py` compares their output, errors and exit codes.", "",
        "## Everywhere", "",
        *[f"- {text}" for text in GENERAL], "",
        "## Commands and flags", "",
        "| command | flag | beside etcdctl |", "|---|---|---|",
    ]
    for command, flag, text in rows(martletctl):
        lines.append(f"| `{command}` | {f'`{flag}`' if flag else ''} | {text} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    from test_martletctl import martletctl_binary
    print(page(martletctl_binary()), end="")
