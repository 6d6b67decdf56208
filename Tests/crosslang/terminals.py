"""Programs that see a terminal where the tests read."""

import dataclasses
import os
import pty
import select
import signal
import subprocess
import time

SECONDS_MAX = 120


@dataclasses.dataclass
class Seen:
    code: int
    stdout: str
    # What the terminal got, with its own line ends.
    terminal: str


def run(command: list[str], terminals: str = "err", until: str | None = None,
        **variables: str) -> Seen:
    """Runs a command whose standard error ("err"), standard output ("out") or both ("err out") is a
    terminal; what is none is a pipe, or nothing for the error. It is interrupted when it has written
    `until`. The environment is only `variables` and what a terminal needs."""
    reading, writing = pty.openpty()
    environment = {"TERM": "xterm", "PATH": os.environ["PATH"], **variables}
    process = subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL,
        stdout=writing if "out" in terminals else subprocess.PIPE,
        stderr=writing if "err" in terminals else subprocess.DEVNULL)
    os.close(writing)
    shown, printed = b"", b""
    sources = [reading] + ([process.stdout.fileno()] if process.stdout else [])
    deadline = time.monotonic() + SECONDS_MAX
    try:
        while sources:
            ready, _, _ = select.select(sources, [], [], max(0, deadline - time.monotonic()))
            assert ready, f"{command} goes on for ever: {shown}"
            for source in ready:
                try:
                    piece = os.read(source, 65536)
                except OSError:
                    piece = b""  # Nobody has the terminal open any more.
                if not piece:
                    sources.remove(source)
                elif source == reading:
                    shown += piece
                else:
                    printed += piece
            if until is not None and until in (shown + printed).decode():
                process.send_signal(signal.SIGINT)
                until = None
        process.wait(SECONDS_MAX)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        os.close(reading)
        if process.stdout:
            process.stdout.close()
    return Seen(process.returncode, printed.decode(), shown.decode())
