"""Completion: what martletctl answers beside etcdctl, and the scripts in the shells themselves."""

import os
import pathlib
import pty
import re
import select
import subprocess
import time

import pytest
from harness import etcd_program
from test_martletctl import SECONDS_MAX, martletctl_binary

# Shells find martletctl here.
PATH = f"{pathlib.Path(martletctl_binary()).parent}:{os.environ['PATH']}"


def answer(binary: str, *words: str, request: str = "__complete") -> tuple[list[str], str]:
    """The candidates, without their descriptions, and the directive."""
    done = subprocess.run([binary, request, *words], capture_output=True, text=True, check=True,
                          timeout=SECONDS_MAX, env={})
    *lines, directive = done.stdout.splitlines()
    return [line.split("\t")[0] for line in lines], directive


@pytest.mark.parametrize("words", [
    "", "comp", "lease ", "lease gr", "member li", "completion ", "help ", "help lease ",
    "-w json lease gr", "--endpoints=x le", "--hex le", "nonsense ", "del --p", "user add --n",
    "del --prefix --pr", "role grant-permission --", "--endpoints x --endp"])
def test_the_same_candidates_as_etcdctls(words: str) -> None:
    """And perhaps more: flags and commands that only martletctl has."""
    words = words.split(" ")
    theirs, directive = answer(etcd_program("etcdctl", "3.5"), *words)
    ours, own_directive = answer(martletctl_binary(), *words)
    assert set(theirs) <= set(ours), (theirs, ours)
    assert set(ours) - set(theirs) <= {"top"}, (theirs, ours)
    assert sorted(ours) == ours or words[-1].startswith("-"), ours
    if theirs:
        assert own_directive == directive == ":4"


def script(shell: str, *flags: str) -> str:
    return subprocess.run([martletctl_binary(), "completion", shell, *flags], capture_output=True,
                          text=True, check=True, timeout=SECONDS_MAX).stdout


# martletctl prints the words that it is given, unless a shell asks it.
SPEAKING = """martletctl() {
  case "$1" in
  __complete*) command martletctl "$@" ;;
  *) printf '<%s>' "$@"; printf ' done\\n' ;;
  esac
}"""


# zsh tells the terminal that it knows of pasting.
BRACKETED_PASTE = re.compile(r"\x1b\[\?2004[hl]")


class Bash:
    """An interactive bash with completion."""

    def __init__(self, folder: pathlib.Path, *flags: str):
        (folder / "script").write_text(script("bash", *flags))
        (folder / "READABLE.pem").touch()
        (folder / "start").write_text(f"""
            PATH='{PATH}' PS1='> '
            bind 'set bell-style none'
            bind 'set completion-query-items 0'
            bind 'set page-completions off'
            source ./script
            {SPEAKING}
            """)
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            os.execvpe("bash", ["bash", "--noprofile", "--rcfile", "start", "-i"],
                       {"TERM": "dumb", "HOME": str(folder), "PATH": PATH})
        self.wait_for("> ")

    def wait_for(self, end: str) -> str:
        text = ""
        deadline = time.monotonic() + SECONDS_MAX
        while not text.endswith(end):
            ready, _, _ = select.select([self.terminal], [], [], max(0, deadline - time.monotonic()))
            assert ready, f"{end!r} does not come: {text!r}"
            text += os.read(self.terminal, 65536).decode()
            text = BRACKETED_PASTE.sub("", text)
        return text

    def type(self, keys: str) -> str:
        """What martletctl was given, after a line with tabs."""
        os.write(self.terminal, keys.encode() + b"\n")
        seen = self.wait_for(" done\r\n> ")
        return re.findall(r"(<.*>) done", seen)[-1]

    def listed(self, keys: str) -> str:
        """What is shown for two tabs."""
        os.write(self.terminal, keys.encode() + b"\t\t")
        seen = self.wait_for(f"> {keys}")
        os.write(self.terminal, b"\x15\n")
        self.wait_for("> ")
        return seen

    def close(self) -> None:
        os.write(self.terminal, b"\x04")
        os.waitpid(self.pid, 0)
        os.close(self.terminal)


@pytest.fixture
def bash(tmp_path):
    shell = Bash(tmp_path)
    yield shell
    shell.close()


@pytest.mark.parametrize("keys,given", [
    ("martletctl mem\tli\t", "<member><list>"),
    ("martletctl get --pref\tk", "<get><--prefix><k>"),
    ("martletctl -w js\tlease gr\t5", "<-w><json><lease><grant><5>"),
    # bash cuts words at = and :.
    ("martletctl --write-out=js\tmember li\t", "<--write-out=json><member><list>"),
    ("martletctl --write-out=\t\x15martletctl x", "<x>"),
    ("martletctl --endpoints=127.0.0.1:1 lease gr\t5", "<--endpoints=127.0.0.1:1><lease><grant><5>"),
    ("martletctl --endpoints h:1,h:2 lease gr\t5", "<--endpoints><h:1,h:2><lease><grant><5>"),
    ("martletctl get 'a b' --pref\t", "<get><a b><--prefix>"),
    # Names of files where they are meant, and nowhere else.
    ("martletctl --cacert READ\tget k", "<--cacert><READABLE.pem><get><k>"),
    ("martletctl --cacert=READ\tget k", "<--cacert=READABLE.pem><get><k>"),
    ("martletctl snapshot save READ\t", "<snapshot><save><READABLE.pem>"),
    ("martletctl get READ\t", "<get><READ>"),
    # In the middle of a line.
    ("martletctl lease gr 5\x1b[D\x1b[D\t", "<lease><grant><5>"),
])
def test_in_bash(bash: Bash, keys: str, given: str) -> None:
    assert bash.type(keys) == given


def test_bash_lists_candidates_with_descriptions(bash: Bash, tmp_path) -> None:
    text = bash.listed("martletctl lease ")
    assert re.search(r"grant +\(makes a lease", text) and re.search(r"revoke +\(", text), text
    (tmp_path / "plain").mkdir()
    plain = Bash(tmp_path / "plain", "--no-descriptions")
    text = plain.listed("martletctl lease ")
    assert "grant" in text and "(" not in text, text
    plain.close()


@pytest.mark.parametrize("line,offered", [
    ("martletctl comp", ["compaction\tforgets the history before a revision",
                         "completion\tsee its commands"]),
    ("martletctl lease gr", ["grant\tmakes a lease of so many seconds"]),
    ("martletctl get --pref", ["--prefix\tall keys that begin with the given one"]),
    ("martletctl --write-out=js", ["--write-out=json"]),
    ("martletctl --cacert READ", ["READABLE.pem"]),
    ("martletctl get READ", []),
])
def test_in_fish(tmp_path, line: str, offered: list[str]) -> None:
    (tmp_path / "READABLE.pem").touch()
    done = subprocess.run(["fish", "--no-config", "-c", f"source; complete -C '{line}'"], text=True,
                          input=script("fish"), capture_output=True, check=True, cwd=tmp_path,
                          env={"PATH": PATH, "HOME": str(tmp_path)}, timeout=SECONDS_MAX)
    assert done.stdout.splitlines() == offered, done


@pytest.mark.parametrize("keys,given", [
    ("martletctl mem\tli\t", "<member><list>"),
    ("martletctl get --pref\tk", "<get><--prefix><k>"),
    ("martletctl --write-out=js\tmember li\t", "<--write-out=json><member><list>"),
    ("martletctl --endpoints=127.0.0.1:1 lease gr\t5", "<--endpoints=127.0.0.1:1><lease><grant><5>"),
    ("martletctl --cacert READ\tget k", "<--cacert><READABLE.pem><get><k>"),
])
def test_in_zsh(tmp_path, keys: str, given: str) -> None:
    (tmp_path / "READABLE.pem").touch()
    (tmp_path / "script").write_text(script("zsh"))
    (tmp_path / ".zshrc").write_text(f"""
        path=({PATH.replace(':', ' ')}) PS1='> '
        unsetopt prompt_cr prompt_sp beep
        autoload -Uz compinit && compinit -u -D
        source ~/script
        martletctl() {{
          case "$1" in
          __complete*) command martletctl "$@" ;;
          *) printf '<%s>' "$@"; printf ' done\\n' ;;
          esac
        }}
        """)
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(tmp_path)
        os.execvpe("zsh", ["zsh", "-i"], {"TERM": "dumb", "HOME": str(tmp_path), "PATH": PATH,
                                          "ZDOTDIR": str(tmp_path)})
    shell = object.__new__(Bash)
    shell.pid, shell.terminal = pid, terminal
    shell.wait_for("> ")
    assert shell.type(keys) == given
    shell.close()


def test_powershells_script() -> None:
    """PowerShell is not to be had here: what the script must have for the request to be understood."""
    text = script("powershell")
    head = re.search(r"Register-ArgumentCompleter -Native -CommandName 'martletctl' -ScriptBlock \{"
                     r"\s+param\(\$(\w+), \$(\w+), \$(\w+)\)", text)
    # PowerShell gives them by their places.
    assert head and head.groups() == ("wordToComplete", "commandAst", "cursorPosition")
    # The program is asked with the words before the cursor and the one under it, and without noise.
    assert re.search(r"@\(& \$program __complete @words \$last 2>\$null\)", text)
    assert "__completeNoDesc @words" in script("powershell", "--no-descriptions")
    # What stands for a word that is empty is understood.
    empty = re.search(r"if \(\$current -eq ''\) \{ '(.*?)' \}", text)[1]
    assert answer(martletctl_binary(), "lease", empty) == answer(martletctl_binary(), "lease", "")
    # Text, shown text, a kind that PowerShell knows, and a tip that is not empty.
    assert re.search(r"CompletionResult\]::new\(\s*\$flag \+ \$name, \$name, 'ParameterValue', "
                     r"\$help\)", text)
    for opening, closing in ("{}", "()", "[]"):
        code = re.sub(r"""'[^']*'|"[^"]*"|#.*""", "", text)
        assert code.count(opening) == code.count(closing), opening
