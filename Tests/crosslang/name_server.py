"""A network of one's own, with loopback and a name server that the system's resolver asks."""

import os
import pathlib
import socket
import struct
import subprocess
import threading

from cluster_network import CLONE_NEWNET, check, in_thread, libc

CLONE_FS = 0x00000200
CLONE_NEWNS = 0x00020000
A, SRV, INTERNET = 1, 33, 1
ANSWER, NO_SUCH_NAME, CUT = 0x8180, 0x8183, 0x8380
# The largest answer to who does not say what it takes.
PLAIN_BYTES_MAX = 512
POINTER_TO_QUESTION = b"\xc0\x0c"


class NamedNetwork:
    """Network and mounts of its own. There everybody's name server knows the SRV records of
    `services` ({name: [(priority, weight, port, host)]}), and that every host is 127.0.0.1."""

    def __init__(self, folder: pathlib.Path, services: dict[str, list[tuple[int, int, int, str]]]):
        self.services = services
        # What it was asked, in order.
        self.asked: list[str] = []
        resolver = folder / "resolv.conf"
        resolver.write_text("nameserver 127.0.0.1\n")

        def make():
            check(libc.unshare(CLONE_NEWNET | CLONE_NEWNS), "namespaces")
            self.handles = [os.open(f"/proc/thread-self/ns/{kind}", os.O_RDONLY)
                            for kind in ("net", "mnt")]
            for command in (["ip", "link", "set", "lo", "up"],
                            ["mount", "--make-rprivate", "/"],
                            ["mount", "--bind", str(resolver), "/etc/resolv.conf"]):
                subprocess.run(command, check=True, capture_output=True, text=True)
            self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self.socket.bind(("127.0.0.1", 53))
        in_thread(make)
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def run(self, body):
        """Runs `body`, in a thread, within the namespaces. Its child processes stay there."""
        def enter():
            check(libc.unshare(CLONE_FS), "a working directory of its own")
            for handle in self.handles:
                check(libc.setns(handle, 0), "setns")
            return body()
        return in_thread(enter)

    def close(self) -> None:
        self.socket.sendto(b"", self.socket.getsockname())  # Ends the thread.
        self.thread.join()
        self.socket.close()
        for handle in self.handles:
            os.close(handle)

    def _serve(self) -> None:
        while True:
            question, sender = self.socket.recvfrom(4096)
            if not question:
                return
            self.socket.sendto(self._answer(question), sender)

    def _answer(self, question: bytes) -> bytes:
        labels, place = [], 12
        while question[place]:
            labels.append(question[place + 1:place + 1 + question[place]].decode())
            place += 1 + question[place]
        end = place + 5
        kind, = struct.unpack_from("!H", question, place + 1)
        name = ".".join(labels).lower()
        records, code = [], ANSWER
        if kind == SRV:
            self.asked.append(name)
            records = [struct.pack("!HHH", *row[:3]) + encoded(row[3])
                       for row in self.services.get(name, [])]
            code = ANSWER if records else NO_SUCH_NAME
        elif kind == A:
            records = [bytes([127, 0, 0, 1])]
        answers = b"".join(
            POINTER_TO_QUESTION + struct.pack("!HHIH", kind, INTERNET, 60, len(data)) + data
            for data in records)
        takes_more = struct.unpack_from("!H", question, 10)[0] > 0
        if len(answers) + end > PLAIN_BYTES_MAX and not takes_more:
            answers, records, code = b"", [], CUT
        head = question[:2] + struct.pack("!HHHHH", code, 1, len(records), 0, 0)
        return head + question[12:end] + answers


def encoded(name: str) -> bytes:
    return b"".join(bytes([len(part)]) + part.encode() for part in name.split(".")) + b"\0"


def why_impossible() -> str | None:
    """Why such a network cannot be had here; None if it can."""
    def attempt():
        check(libc.unshare(CLONE_NEWNET | CLONE_NEWNS), "namespaces")
    try:
        in_thread(attempt)
    except OSError as error:
        return f"no namespaces: {error}"
    return None
