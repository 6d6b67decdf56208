"""A virtual machine: Debian 12 as it comes, systemd and all, on a disk whose changes are forgotten."""

import os
import pathlib
import shlex
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "crosslang"))

from harness import ROOT, free_port  # noqa: E402

IMAGE = ROOT / ".build/vm"
PROCESSORS = 2
MEMORY_MIB = 6144
BOOT_SECONDS = 900
LOGIN_SECONDS = 60
RUN_SECONDS = 600


def accelerator() -> list[str]:
    """How the machine's processor is made. KVM only where the processor helps: there are hosts with
    /dev/kvm and without that, and they do not run Debian's kernel."""
    flags = pathlib.Path("/proc/cpuinfo").read_text().split()
    if ("vmx" in flags or "svm" in flags) and os.access("/dev/kvm", os.R_OK | os.W_OK):
        return ["-accel", "kvm", "-cpu", "host"]
    return ["-accel", "tcg,thread=multi", "-cpu", "max"]


class Machine:
    """A machine that runs from `with` to its end. This repository is at the same path in it, to be
    read only."""

    def __enter__(self) -> "Machine":
        self.port = free_port()
        self.console = tempfile.NamedTemporaryFile(prefix="martlet-vm-", suffix=".console")
        self.process = subprocess.Popen(self._command(), stdin=subprocess.DEVNULL,
                                        stdout=self.console, stderr=self.console)
        try:
            self.wait_for_boot()
            self.run(f"mkdir -p {ROOT} && mount -t 9p -o ro,trans=virtio,version=9p2000.L,"
                     f"msize=1048576,cache=loose repository {ROOT}")
        except BaseException:
            self.__exit__()
            raise
        return self

    def _command(self) -> list[str]:
        return [
            "qemu-system-x86_64", "-machine", "q35", *accelerator(),
            "-smp", str(PROCESSORS), "-m", str(MEMORY_MIB), "-display", "none", "-monitor", "none",
            "-serial", "stdio", "-kernel", str(IMAGE / "vmlinuz"), "-initrd", str(IMAGE / "initrd"),
            "-append", "root=/dev/vda rw console=ttyS0 net.ifnames=0 quiet",
            "-drive", f"file={IMAGE / 'disk'},format=raw,if=virtio,snapshot=on,cache=unsafe",
            "-netdev", f"user,id=net,hostfwd=tcp:127.0.0.1:{self.port}-:22",
            "-device", "virtio-net-pci,netdev=net", "-device", "virtio-rng-pci",
            "-virtfs", f"local,path={ROOT},mount_tag=repository,security_model=none,readonly=on",
        ]

    def __exit__(self, *_) -> None:
        self.process.kill()
        self.process.wait()
        self.console.close()

    def console_text(self) -> str:
        return pathlib.Path(self.console.name).read_text(errors="replace")[-4000:]

    def _ssh(self, command: str) -> list[str]:
        return ["ssh", "-q", "-F", "none", "-i", str(IMAGE / "key"), "-p", str(self.port),
                "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
                "-o", "ConnectTimeout=10", "-o", "BatchMode=yes", "root@127.0.0.1",
                f"bash -eo pipefail -c {shlex.quote(command)}"]

    def run(self, command: str, check: bool = True,
            timeout: float = RUN_SECONDS) -> subprocess.CompletedProcess:
        """What root's shell makes of the command."""
        done = subprocess.run(self._ssh(command), stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=timeout)
        if check:
            assert done.returncode == 0, \
                f"{command}: exit {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def output(self, command: str) -> str:
        return self.run(command).stdout.strip()

    def eventually(self, command: str, seconds: float = 60) -> str:
        """The output of the command once it succeeds."""
        deadline = time.monotonic() + seconds
        while True:
            done = self.run(command, check=False)
            if done.returncode == 0:
                return done.stdout.strip()
            assert time.monotonic() < deadline, \
                f"{command}: exit {done.returncode}\n{done.stdout}{done.stderr}"
            time.sleep(0.2)

    def send(self, source: pathlib.Path, target: str) -> None:
        """Copies a file into the machine."""
        with open(source, "rb") as file:
            subprocess.run(self._ssh(f"cat >{shlex.quote(target)}"), stdin=file, check=True,
                           timeout=RUN_SECONDS)

    def boot_id(self) -> str | None:
        """Another one after each boot; None while nobody can log in."""
        try:
            done = self.run("cat /proc/sys/kernel/random/boot_id", False, LOGIN_SECONDS)
        except subprocess.TimeoutExpired:  # The machine went down meanwhile, and said nothing.
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    def wait_for_boot(self, but: str | None = None) -> None:
        """Waits until systemd has come to an end of its start; `but` is the boot before."""
        deadline = time.monotonic() + BOOT_SECONDS
        while True:
            assert self.process.poll() is None, f"qemu has ended:\n{self.console_text()}"
            assert time.monotonic() < deadline, f"no boot:\n{self.console_text()}"
            if self._port_answers() and self.boot_id() not in (None, but):
                break
            time.sleep(0.2)
        # `degraded` is an end, too: who cares asks for failed units.
        self.run("systemctl is-system-running --wait", check=False)

    def _port_answers(self) -> bool:
        """Qemu takes the connection by itself; only the machine says something."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
                return connection.recv(3) == b"SSH"
        except OSError:
            return False

    def reboot(self, how: str = "systemctl reboot") -> None:
        before = self.boot_id()
        # From the background: nobody would end the connection of a machine that is gone.
        self.run(f"(sleep 1; {how}) >/dev/null 2>&1 </dev/null &")
        self.wait_for_boot(before)
