"""What the tests read out of README.md and Sources/Guides/*.md: fenced blocks and directives.

A fence's first word is its language; the words behind it, which no reader sees, tell the tests what
to do. `sh` blocks are run, in order, each must succeed:

    sh                      on the reader's own machine, 10.0.0.100
    sh on=10.0.0.1          on the machine with that address; several with commas
    sh background           left running (a server, a watch); servers are waited for
    sh fails                must end with another code than 0
    sh eventually           again until it succeeds and prints what follows
    sh not-run="reason"     only parsed by bash, and its flags looked up

A `text` block under one is what it prints: lines that must come in this order, where numbers, IDs
and times may be others, `...` stands for anything, and lines between them do not matter. Any other
language is data: with file=PATH it is written there (on=ADDRESS says where) before the next block
runs. `<!-- stop 10.0.0.1 -->` sends SIGTERM to what runs in the background there, `<!-- kill
10.0.0.1 -->` SIGKILL, and `<!-- copy FROM TO 10.0.0.1 -->` copies a directory of the reader's to the
machine: what the text tells the reader to do by hand.
"""

import dataclasses
import pathlib
import re
import shlex

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "Sources/Guides").glob("*.md"))]
READER = "10.0.0.100"
WORDS = {"background", "fails", "eventually"}
OPTIONS = {"on", "not-run", "file"}
DATA_LANGUAGES = {"python", "yaml", "json", "swift", "text", "ini", "promql"}


@dataclasses.dataclass
class Block:
    page: pathlib.Path
    line: int
    language: str  # `stop`, `kill` and `copy` for directives
    text: str
    words: set[str] = dataclasses.field(default_factory=set)
    options: dict[str, str] = dataclasses.field(default_factory=dict)
    output: str | None = None

    @property
    def place(self) -> str:
        return f"{self.page.name}:{self.line}"

    @property
    def hosts(self) -> list[str]:
        return self.options.get("on", READER).split(",")

    @property
    def reason_not_run(self) -> str | None:
        return self.options.get("not-run")


def blocks(page: pathlib.Path) -> list[Block]:
    """The page's blocks and directives in their order; a `text` block that follows an `sh` block
    has become that one's output. Raises ValueError for what the tests would not understand."""
    found: list[Block] = []
    lines = iter(enumerate(page.read_text().splitlines(), 1))
    for number, line in lines:
        directive = re.fullmatch(r"<!-- (stop|kill|copy) (.*?)(\S+) -->", line)
        if directive:
            found.append(
                Block(page, number, directive[1], directive[2], options={"on": directive[3]}))
        fence = re.match(r"( *)```(.*)", line)
        if not fence:
            continue
        body = []
        for _, inner in lines:
            if inner.strip() == "```":
                break
            body.append(inner.removeprefix(fence[1]))
        else:
            raise ValueError(f"{page.name}:{number}: the fence is not closed")
        block = made(page, number, fence[2], "\n".join(body) + "\n")
        if block.language == "text" and not block.options:
            if not found or found[-1].language != "sh" or found[-1].output is not None:
                raise ValueError(f"{block.place}: output of no command")
            found[-1].output = block.text
        else:
            found.append(block)
    return found


def made(page: pathlib.Path, line: int, info: str, text: str) -> Block:
    language, *rest = shlex.split(info) or [""]
    block = Block(page, line, language, text)
    if language != "sh" and language not in DATA_LANGUAGES:
        raise ValueError(f"{block.place}: nobody knows what to do with ```{info}")
    for word in rest:
        name, equals, value = word.partition("=")
        if equals and name in OPTIONS and value:
            block.options[name] = value
        elif not equals and name in WORDS and language == "sh":
            block.words.add(name)
        else:
            raise ValueError(f"{block.place}: {word} in ```{info}")
    return block


# What differs from run to run: hexadecimal IDs, numbers, durations, sizes.
VARIABLE = re.compile(r"\b(?=[0-9a-f]*\d)[0-9a-f]{8,16}\b|\d+(?:\.\d+)*(?:[µmn]?s\b)?")


def line_pattern(documented: str) -> re.Pattern:
    """What a printed line must look like for this documented one."""
    pattern, end = "", 0
    words = " ".join(documented.split())
    for match in re.finditer(r"\.\.\.|" + VARIABLE.pattern, words):
        pattern += re.escape(words[end:match.start()])
        pattern += ".*" if match[0] == "..." else r"[0-9a-f.]+[µmn]?s?"
        end = match.end()
    return re.compile(pattern + re.escape(words[end:]))


def missing_line(documented: str, printed: str) -> str | None:
    """The first documented line that does not come in its place, None when all do."""
    lines = iter([" ".join(line.split()) for line in printed.splitlines()])
    for wanted in documented.splitlines():
        if wanted.strip() in ("", "..."):
            continue
        pattern = line_pattern(wanted)
        if not any(pattern.fullmatch(line) for line in lines):
            return wanted
    return None
