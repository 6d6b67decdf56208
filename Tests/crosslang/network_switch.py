"""The switch between the namespaces of cluster_network.py, a process of its own.

    network_switch.py SEED FD...

Each FD is one namespace's tun device: what is read there is an IP packet, whose last byte of the
destination says which FD, from 1 on, it goes to. Lines of JSON on stdin change a link, both given
by number: {"from": 1, "to": 2, "loss": 0.1, "delay": 0.02, "jitter": 0.01, "duplicate": 0.01}. What
is left out is zero. Each is answered by a line on stdout once it holds: how many packets came so far,
and how many of them were lost, delayed and repeated. The end of stdin ends it.
"""

import heapq
import json
import os
import random
import selectors
import sys
import time

PACKET_BYTES_MAX = 65_536
# Packets that wait for their time. More are dropped, as by a router.
WAITING_MAX = 20_000
DESTINATION_END = 19  # The last byte of an IPv4 packet's destination.
PERFECT = {"loss": 0.0, "delay": 0.0, "jitter": 0.0, "duplicate": 0.0}


class Switch:
    def __init__(self, seed: int, ports: list[int]):
        self.random = random.Random(seed)
        self.ports = ports
        self.links: dict[tuple[int, int], dict] = {}
        self.waiting: list[tuple[float, int, int, bytes, tuple[int, int]]] = []
        self.count = 0
        self.counts = dict.fromkeys(("packets", "lost", "delayed", "repeated"), 0)

    def change(self, line: bytes) -> None:
        rule = json.loads(line)
        link = (rule.pop("from"), rule.pop("to"))
        assert set(rule) <= set(PERFECT), rule
        self.links[link] = {**PERFECT, **rule} if any(rule.values()) else {}
        if rule.get("loss") == 1:
            # What is under way on a link that is cut does not come any more.
            self.waiting = [entry for entry in self.waiting if entry[4] != link]
            heapq.heapify(self.waiting)

    def take(self, source: int, packet: bytes) -> None:
        if len(packet) <= DESTINATION_END or packet[0] >> 4 != 4:
            return
        target = packet[DESTINATION_END]
        if not 1 <= target <= len(self.ports):
            return
        self.counts["packets"] += 1
        rule = self.links.get((source, target))
        if not rule:
            return self.deliver(target, packet)
        if self.random.random() < rule["loss"]:
            self.counts["lost"] += 1
            return
        copies = 2 if self.random.random() < rule["duplicate"] else 1
        self.counts["repeated"] += copies - 1
        self.counts["delayed"] += rule["delay"] > 0
        for _ in range(copies):
            # Each has its own, so jitter also changes their order.
            delay = max(0.0, rule["delay"] + rule["jitter"] * self.random.uniform(-1, 1))
            if len(self.waiting) < WAITING_MAX:
                self.count += 1
                heapq.heappush(self.waiting, (
                    time.monotonic() + delay, self.count, target, packet, (source, target)))

    def deliver(self, target: int, packet: bytes) -> None:
        try:
            os.write(self.ports[target - 1], packet)
        except OSError:
            pass  # Its queue is full, or its device is down: lost.

    def deliver_due(self) -> float | None:
        """Returns how long until the next is due."""
        now = time.monotonic()
        while self.waiting and self.waiting[0][0] <= now:
            _, _, target, packet, _ = heapq.heappop(self.waiting)
            self.deliver(target, packet)
        return max(0.0, self.waiting[0][0] - now) if self.waiting else None


def main() -> None:
    ports = [int(word) for word in sys.argv[2:]]
    switch = Switch(int(sys.argv[1]), ports)
    selector = selectors.DefaultSelector()
    for number, port in enumerate(ports, 1):
        os.set_blocking(port, False)
        selector.register(port, selectors.EVENT_READ, number)
    selector.register(0, selectors.EVENT_READ, 0)
    pending = b""
    while True:
        for key, _ in selector.select(switch.deliver_due()):
            if key.data == 0:
                pending += (part := os.read(0, 65_536))
                if not part:
                    return
                *lines, pending = pending.split(b"\n")
                for line in lines:
                    switch.change(line)
                    os.write(1, json.dumps(switch.counts).encode() + b"\n")
                continue
            try:
                for _ in range(64):  # Then the others' turn.
                    switch.take(key.data, os.read(key.fd, PACKET_BYTES_MAX))
            except OSError:
                pass  # Nothing more to read, or the namespace is gone.


if __name__ == "__main__":
    main()
