"""The Debian package on Debian 12, with systemd as the first process. The tests come one after
another, as in a machine's life."""

import json
import pathlib
import re
import shutil
import subprocess

import pytest

from machine import Machine

CTL = "ETCDCTL_API=3 etcdctl --command-timeout=60s"


def state(machine: Machine, name: str) -> str:
    return machine.output(f"systemctl show --property={name} --value martlet")


def journal(machine: Machine, *words: str) -> str:
    return machine.output(f"journalctl --unit=martlet --output=cat --no-pager {' '.join(words)}")


def test_apt_installs_it_and_starts_nothing(machine):
    machine.run("apt-get update -q && apt-get install -q -y --no-install-recommends ./martlet.deb")
    assert state(machine, "ActiveState") == "inactive"
    assert state(machine, "UnitFileState") == "disabled"
    assert machine.output("getent passwd martlet").endswith("/usr/sbin/nologin")


def test_started_it_serves_those_who_know_no_more_than_localhost(machine):
    # The start returns when the member has said that it serves.
    machine.run("systemctl enable --now martlet")
    assert state(machine, "ActiveState") == "active"
    assert machine.output("getent ahosts localhost").startswith("::1"), "as Debian has it"
    assert machine.output(f"{CTL} put kept yes") == "OK"
    machine.run("martletctl endpoint health")
    assert machine.output("martletctl get --print-value-only kept") == "yes"


def test_data_is_the_members_alone(machine):
    for path in ("/var/lib/martlet", "/var/lib/martlet/data"):
        assert machine.output(f"stat --format='%U:%G %a' {path}") == "martlet:martlet 700"
    assert machine.output("find /var/lib/martlet -perm /077") == ""


def test_limits_are_those_of_the_unit(machine):
    pid = state(machine, "MainPID")
    limits = machine.output(f"cat /proc/{pid}/limits")
    assert re.search(r"^Max open files +65536 +65536 ", limits, re.M)
    assert machine.output(f"cat /proc/{pid}/oom_score_adj") == "-500"
    assert machine.output(f"ps -o user= -p {pid}") == "martlet"
    status = machine.output(f"cat /proc/{pid}/status")
    assert re.search(r"^CapBnd:\t0+$", status, re.M) and re.search(r"^NoNewPrivs:\t1$", status, re.M)
    assert re.search(r"^Seccomp:\t2$", status, re.M)


def test_it_is_hardened(machine):
    said = machine.output("systemd-analyze security --no-pager martlet")
    print(said.splitlines()[-1])
    exposure = float(re.search(r"Overall exposure level for martlet.service: ([\d.]+)", said)[1])
    assert exposure < 2, said


def test_the_journal_has_its_log(machine):
    lines = journal(machine, "_TRANSPORT=stdout").splitlines()
    assert lines
    records = [json.loads(line) for line in lines]
    assert any(record["msg"] == "serving clients" for record in records)
    assert {record["level"] for record in records} == {"info"}


def test_killed_it_comes_back(machine):
    before = state(machine, "MainPID")
    machine.run("systemctl kill --signal=KILL martlet")
    machine.eventually("test $(systemctl show --property=NRestarts --value martlet) = 1 && "
                       "systemctl is-active martlet")
    assert state(machine, "MainPID") != before
    assert machine.output(f"{CTL} get --print-value-only kept") == "yes"


def test_stop_and_restart_are_orderly(machine):
    machine.run("systemctl restart martlet")
    machine.run("systemctl stop martlet")
    assert state(machine, "Result") == "success" and state(machine, "ExecMainStatus") == "0"
    assert machine.run(f"{CTL} --dial-timeout=1s --command-timeout=2s get kept",
                       check=False).returncode != 0
    machine.run("systemctl start martlet")
    assert machine.output(f"{CTL} get --print-value-only kept") == "yes"


def test_a_hangup_does_not_leave_it_down(machine):
    """What administrators send to servers that they want to read their settings again."""
    machine.run("systemctl kill --signal=HUP martlet")
    assert machine.eventually(f"{CTL} get --print-value-only kept") == "yes"
    machine.eventually("systemctl is-active martlet")


def test_certificates_change_without_a_reload(machine):
    assert machine.run("systemctl reload martlet", check=False).returncode != 0
    assert state(machine, "CanReload") == "no"


@pytest.mark.parametrize("how", ["reboot", "power failure"])
def test_a_boot_starts_it(machine, how):
    machine.run(f"{CTL} put boot '{how}'")
    machine.reboot("systemctl reboot" if how == "reboot" else "echo b >/proc/sysrq-trigger")
    machine.eventually("systemctl is-active martlet")
    assert machine.output(f"{CTL} get --print-value-only boot") == how


def test_settings_of_the_defaults_are_taken(machine):
    """Addresses of the network; a file for the log; text."""
    machine.run("cp /etc/default/martlet defaults && cat >>/etc/default/martlet <<END\n"
                "ETCD_LISTEN_CLIENT_URLS=http://127.0.0.1:2379,http://10.0.2.15:2379\n"
                "ETCD_ADVERTISE_CLIENT_URLS=http://10.0.2.15:2379\n"
                "ETCD_LOG_FORMAT=console\n"
                "ETCD_LOG_OUTPUTS=stderr,/var/log/martlet/member.log\n"
                "END")
    machine.run("systemctl restart martlet")
    assert machine.output(
        f"{CTL} --endpoints=10.0.2.15:2379 get --print-value-only kept") == "yes"
    assert "serving clients" in machine.output("cat /var/log/martlet/member.log")
    assert machine.output("stat --format='%U %a' /var/log/martlet") == "martlet 750"
    machine.run("cp defaults /etc/default/martlet && systemctl restart martlet")


def test_a_wrong_setting_is_said(machine):
    machine.run("cp /etc/default/martlet defaults && "
                "echo ETCD_HEARTBEAT_INTERVAL=soon >>/etc/default/martlet")
    assert machine.run("systemctl restart martlet", check=False).returncode != 0
    assert "ETCD_HEARTBEAT_INTERVAL" in journal(machine, "--lines=20")
    machine.run("cp defaults /etc/default/martlet && systemctl restart martlet")
    assert machine.output(f"{CTL} get --print-value-only kept") == "yes"


@pytest.fixture(scope="module")
def next_package(package, tmp_path_factory) -> pathlib.Path:
    """The same with a higher version."""
    folder = tmp_path_factory.mktemp("next")
    subprocess.run(["dpkg-deb", "--raw-extract", package, folder / "root"], check=True, timeout=300)
    control = folder / "root/DEBIAN/control"
    control.write_text(re.sub(r"(?m)^Version: (.*)$", r"Version: \1+next", control.read_text()))
    file = folder / "next.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "-Znone", "--build", folder / "root", file],
                   check=True, timeout=300)
    shutil.rmtree(folder / "root")
    return file


def test_an_upgrade_keeps_data_and_settings_and_restarts(machine, next_package):
    machine.send(next_package, "next.deb")
    machine.run("echo '# mine' >>/etc/default/martlet")
    before = state(machine, "MainPID")
    machine.run("apt-get install -q -y --no-install-recommends ./next.deb", timeout=900)
    assert machine.output("dpkg-query --show --showformat='${Version}' martlet").endswith("+next")
    assert state(machine, "MainPID") != before
    machine.eventually("systemctl is-active martlet")
    assert machine.output(f"{CTL} get --print-value-only kept") == "yes"
    assert machine.output("tail -1 /etc/default/martlet") == "# mine"


def test_an_upgrade_starts_none_that_was_stopped(machine):
    machine.run("systemctl stop martlet")
    machine.run("apt-get install -q -y --no-install-recommends --reinstall ./next.deb", timeout=900)
    assert state(machine, "ActiveState") == "inactive"
    machine.run("systemctl start martlet")


def test_purged_it_leaves_nothing_but_data(machine):
    machine.run("apt-get purge -q -y martlet")
    assert machine.run("systemctl cat martlet", check=False).returncode != 0
    assert machine.output("find / -xdev -name '*martlet*' -not -path '/proc/*' "
                          "-not -path '/root/*' -not -path '/var/lib/dpkg/*'").split() == [
        "/var/lib/martlet"]
    assert machine.output("systemctl --failed --quiet") == ""
    # Installed again it goes on from there.
    machine.run("apt-get install -q -y --no-install-recommends ./martlet.deb")
    machine.run("systemctl start martlet")
    assert machine.output(f"{CTL} get --print-value-only kept") == "yes"
