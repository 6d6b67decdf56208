"""Runs the blocks of one guide as its reader would, every machine of the text in a network namespace
of its own, with the addresses, ports and paths as they are written.

usage: unshare --net --mount --pid --fork --kill-child --mount-proc guide_sandbox.py <page> <directory>

The namespaces end with this process, and with them all that the guide started.
"""

import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

from guide_blocks import READER, ROOT, Block, blocks, missing_line

BLOCK_SECONDS = 300
READY_SECONDS = 120
EVENTUALLY_SECONDS = 120
STOP_SECONDS = 60
# What etcdctl gives up after; its own times are for machines that do nothing else.
CTL_SECONDS = 60
# Who has more than one address: the machine between two networks that do not know each other.
MORE_ADDRESSES = {"10.0.0.9": ["203.0.113.9"]}
NAMES = {"10.0.0.1": "a.example.com shop.example.com", "10.0.0.2": "b.example.com",
         "10.0.0.3": "c.example.com", "203.0.113.9": "etcd.example.com"}
# As Debian's installer writes them.
LOOPBACK_HOSTS = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"
# What a guide may write to on a machine without another one seeing it.
OWN_DIRECTORIES = ["/etc", "/var", "/usr"]
# Programs that tell their service manager when they serve.
SERVERS = ("martlet", "etcd")


class GuideError(Exception):
    pass


def must(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise GuideError(f"{' '.join(command)}: {done.stdout}{done.stderr}")


class Job:
    """A block in the background."""

    def __init__(self, block: Block, process: subprocess.Popen, log: pathlib.Path,
                 ready: socket.socket | None):
        self.block, self.process, self.log, self.ready = block, process, log, ready

    def wait_until_ready(self) -> None:
        if self.ready is None:
            return
        deadline = time.monotonic() + READY_SECONDS
        self.ready.settimeout(0.1)
        while time.monotonic() < deadline:
            try:
                if b"READY=1" in self.ready.recv(1024):
                    self.ready = None
                    return
            except TimeoutError:
                pass
            if self.process.poll() is not None:
                break
        raise GuideError(f"{self.block.place}: is not ready:\n{self.log.read_text()[-4000:]}")

    def end(self, number: int) -> None:
        self._wait_for_output()
        if self.process.poll() is None:
            os.killpg(self.process.pid, number)
            self.process.wait(STOP_SECONDS)

    def _wait_for_output(self) -> None:
        deadline = time.monotonic() + EVENTUALLY_SECONDS
        while True:
            try:
                return check_output(self.block, self.log.read_text())
            except GuideError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)


def check_output(block: Block, printed: str) -> None:
    line = missing_line(block.output, printed) if block.output is not None else None
    if line is not None:
        raise GuideError(f"{block.place}: does not print `{line}` in its place, but:\n{printed}")


class Host:
    """One machine: network, /etc, /var and /usr of its own, and a home directory to work in."""

    def __init__(self, address: str, folder: pathlib.Path, number: int):
        self.address, self.folder, self.jobs, self.started = address, folder, [], 0
        self.home = folder / "home"
        self.home.mkdir(parents=True)
        self.holder = subprocess.Popen(["unshare", "--net", "--mount", "sleep", "infinity"])
        self._wait_for_namespaces()
        outer, inner = f"veth{number}", "eth0"
        must("ip", "link", "add", outer, "type", "veth", "peer", "name", inner, "netns",
             str(self.holder.pid))
        must("ip", "link", "set", outer, "master", "lan", "up")
        for own in [address, *MORE_ADDRESSES.get(address, [])]:
            self.inside("ip", "address", "add", f"{own}/24", "dev", inner)
        for device in (inner, "lo"):
            self.inside("ip", "link", "set", device, "up")
        self._own_directories()

    def _wait_for_namespaces(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        ours = os.readlink("/proc/self/ns/mnt")
        while os.readlink(f"/proc/{self.holder.pid}/ns/mnt") == ours:
            if time.monotonic() > deadline or self.holder.poll() is not None:
                raise GuideError("no namespaces of a machine's own")
            time.sleep(0.01)

    def _own_directories(self) -> None:
        scratch = self.folder / "own"
        scratch.mkdir()
        self.inside("mount", "-t", "tmpfs", "own", str(scratch))
        for directory in OWN_DIRECTORIES:
            upper, work = scratch / directory[1:] / "upper", scratch / directory[1:] / "work"
            self.inside("mkdir", "-p", str(upper), str(work))
            self.inside("mount", "-t", "overlay", "own", "-o",
                        f"lowerdir={directory},upperdir={upper},workdir={work}", directory)
        hosts = LOOPBACK_HOSTS + "".join(f"{a} {n}\n" for a, n in NAMES.items())
        self.write("/etc/hosts", hosts)
        (self.home / "martlet").symlink_to(ROOT)

    def _enter(self) -> list[str]:
        return ["nsenter", "--target", str(self.holder.pid), "--net", "--mount", "--"]

    def inside(self, *command: str) -> None:
        must(*self._enter(), *command)

    def write(self, path: str, text: str) -> None:
        target = str(self.home / path)
        script = 'mkdir -p "$(dirname "$1")"; cat >"$1"'
        subprocess.run([*self._enter(), "sh", "-ec", script, "sh", target], input=text, text=True,
                       check=True)

    def script(self, block: Block) -> list[str]:
        """The block after what earlier blocks have set and where they have gone."""
        state = self.folder / "state"
        load = f"cd '{self.home}'; if [ -f '{state}' ]; then . '{state}'; fi\n"
        save = f"\nset +x; {{ export -p; printf 'cd %q\\n' \"$PWD\"; }} >'{state}'\n"
        if "background" in block.words:
            # SIGTERM goes to the whole group; the shell then waits for what it runs.
            text = f"trap : TERM\n{load}{block.text}"
        else:
            text = f"set -euo pipefail\n{load}{block.text}{save}"
        return [*self._enter(), "bash", "-c", text]

    def environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("ETCD")}
        return {**kept, "HOME": str(self.home), "LC_ALL": "C.UTF-8", "ETCDCTL_API": "3",
                "ETCDCTL_COMMAND_TIMEOUT": f"{CTL_SECONDS}s",
                "ETCDCTL_DIAL_TIMEOUT": f"{CTL_SECONDS}s"}

    def run(self, block: Block) -> None:
        if "background" in block.words:
            self._start(block)
            return
        deadline = time.monotonic() + EVENTUALLY_SECONDS
        while True:
            done = subprocess.run(self.script(block), env=self.environment(), text=True,
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, timeout=BLOCK_SECONDS)
            try:
                if (done.returncode != 0) != ("fails" in block.words):
                    raise GuideError(
                        f"{block.place}: ends with {done.returncode}:\n{done.stdout}")
                check_output(block, done.stdout)
                return
            except GuideError as error:
                if "eventually" not in block.words or time.monotonic() > deadline:
                    raise GuideError(f"{error}\n{self.logs()}") from None
                time.sleep(0.2)

    def _start(self, block: Block) -> None:
        self.started += 1
        number = self.started
        log, environment, ready = self.folder / f"job{number}.log", self.environment(), None
        if any(word in SERVERS for word in block.text.split()):
            ready = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            environment["NOTIFY_SOCKET"] = str(self.folder / f"notify{number}")
            ready.bind(environment["NOTIFY_SOCKET"])
            os.chmod(environment["NOTIFY_SOCKET"], 0o777)
        with open(log, "wb") as out:
            process = subprocess.Popen(self.script(block), env=environment, stdout=out, stderr=out,
                                       stdin=subprocess.DEVNULL, start_new_session=True)
        self.jobs.append(Job(block, process, log, ready))

    def end(self, number: int) -> None:
        for job in self.jobs:
            job.end(number)

    def logs(self) -> str:
        return "".join(f"--- {job.block.place}\n{job.log.read_text()[-1500:]}" for job in self.jobs)


def perform(block: Block, host: Host, reader: Host) -> None:
    if block.language == "sh":
        host.run(block)
    elif block.language in ("stop", "kill"):
        host.end(signal.SIGTERM if block.language == "stop" else signal.SIGKILL)
        host.jobs = []
    elif block.language == "copy":
        source, target = block.text.split()
        host.inside("cp", "--recursive", "--no-target-directory", str(reader.home / source), target)
    elif "file" in block.options:
        host.write(block.options["file"], block.text)


def run_page(page: pathlib.Path, folder: pathlib.Path) -> None:
    todo = [block for block in blocks(page) if block.reason_not_run is None]
    must("ip", "link", "set", "lo", "up")
    must("ip", "link", "add", "lan", "type", "bridge")
    must("ip", "link", "set", "lan", "up")
    addresses = [READER, *sorted({host for block in todo for host in block.hosts} - {READER})]
    hosts = {address: Host(address, folder / address, number)
             for number, address in enumerate(addresses)}
    for block in todo:
        if block.language == "sh" and "background" not in block.words:
            for job in (job for host in hosts.values() for job in host.jobs):
                job.wait_until_ready()
        for address in block.hosts:
            perform(block, hosts[address], hosts[READER])
    for host in hosts.values():
        host.end(signal.SIGTERM)


def main() -> None:
    page, folder = map(pathlib.Path, sys.argv[1:])
    try:
        run_page(page, folder)
    except GuideError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
