# SPDX-License-Identifier: BSD-3-Clause
"""What the suites of pinion bind and its kin share: the machine before and after, and what a refusal is."""

import contextlib
import glob
import json
import os
import re
import subprocess
import sys
import time

from guest import NICS, PINION, Skip, check, equal, must, run

CARD, PARTNER, VIRTIO, SPARE, PORT = NICS[:5]
DEVICES = "/sys/bus/pci/devices"
STATE = "/var/lib/pinion/host.json"
RULES = "/etc/udev/rules.d/60-pinion.rules"
LIMITS = "/etc/security/limits.d/91-pinion-grants.conf"
USER = "1000"


def read(path):
    with open(path, encoding="ascii", errors="replace") as file:
        return file.read().strip()


def write(path, text):
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def driver(address):
    link = f"{DEVICES}/{address}/driver"
    return os.path.basename(os.readlink(link)) if os.path.islink(link) else ""


def override(address):
    text = read(f"{DEVICES}/{address}/driver_override")
    return "" if text == "(null)" else text


def group_of(address):
    return os.path.basename(os.readlink(f"{DEVICES}/{address}/iommu_group"))


def of_class(prefix):
    return sorted(name for name in os.listdir(DEVICES) if read(f"{DEVICES}/{name}/class").startswith(prefix))


def nvme(with_vfs):
    for address in of_class("0x010802"):
        if os.path.exists(f"{DEVICES}/{address}/sriov_totalvfs") == with_vfs:
            return address
    raise Skip("this machine has no such NVMe controller")


def disk(address):
    return sorted(os.path.basename(p) for p in glob.glob(f"{DEVICES}/{address}/nvme/nvme*/nvme*n1"))[0]


def access(node):
    """Owner, mode and list of a node, in words."""
    return must("getfacl", "-n", "-p", node)


def access_bytes(node):
    """The same as the kernel has it: no program is run."""
    found = os.stat(node)
    listed = b""
    with contextlib.suppress(OSError):
        listed = os.getxattr(node, "system.posix_acl_access")
    return found.st_uid, found.st_gid, found.st_mode, listed


def snapshot():
    """Everything that these commands may change."""
    there = {"/dev/iommu", "/dev/vfio/vfio", *glob.glob("/dev/vfio/[0-9]*"), *glob.glob("/dev/vfio/devices/vfio*")}
    return {
        "drivers": {a: (driver(a), override(a)) for a in os.listdir(DEVICES)},
        "vfs": {a: read(f"{DEVICES}/{a}/sriov_numvfs") + read(f"{DEVICES}/{a}/sriov_drivers_autoprobe")
                for a in os.listdir(DEVICES) if os.path.exists(f"{DEVICES}/{a}/sriov_numvfs")},
        "nodes": {node: access_bytes(node) for node in there if os.path.exists(node)},
        "files": {path: read(path) for pattern in ("/etc/driverctl.d/*", RULES, LIMITS, STATE)
                  for path in glob.glob(pattern)},
    }


def pinion(*arguments, **kwargs):
    return run(PINION, *arguments, **kwargs)


def does(*arguments):
    """The command succeeds without a complaint; what it printed."""
    done = pinion(*arguments)
    equal((done.returncode, done.stderr), (0, ""), f"pinion {' '.join(arguments)}: {done.stdout}")
    return done.stdout


def refused(*arguments, rules=(), parts=(), code=1):
    """The command fails, naming each rule and part, and nothing has changed."""
    before = snapshot()
    done = pinion(*arguments)
    equal(done.returncode, code, f"exit status of {arguments}: {done.stdout}{done.stderr}")
    for rule in rules:
        check(f"rule '{rule}'" in done.stderr, f"{arguments} does not name the rule {rule}: {done.stderr}")
    for part in parts:
        check(re.search(part, done.stderr), f"{arguments}: {part!r} is not in {done.stderr!r}")
    for line in done.stderr.splitlines():
        check(line.startswith("pinion: "), f"a line that is no complaint: {line!r}")
    equal(snapshot(), before, f"the machine after {arguments} was refused")
    return done.stderr


def status():
    document = json.loads(does("status", "--json"))
    equal(document["schema"], "pinion.status/1", "schema")
    return document


def device_of(document, address):
    found = [d for d in document["devices"] if d["device"] == address]
    return found[0] if found else None


def problems(document):
    return document["problems"] + [p for d in document["devices"] for p in d["problems"]]


@contextlib.contextmanager
def clean():
    """What the test does is gone afterwards, by the commands that are there for it."""
    before = snapshot()
    try:
        yield
    finally:
        done = [pinion("revoke", "--all"), pinion("unbind", "--all")]
    for each in done:
        equal((each.returncode, each.stderr), (0, ""), "clearing all")
    now = snapshot()
    for part, value in before.items():
        equal(now[part], value, f"{part} afterwards")
    equal(problems(status()), [], "problems afterwards")


@contextlib.contextmanager
def up(name, *more):
    must("ip", "link", "set", name, "up")
    for words in more:
        must("ip", *words)
    try:
        yield
    finally:
        run("ip", "addr", "flush", "dev", name)
        run("ip", "link", "set", name, "down")


@contextlib.contextmanager
def running(*command, **kwargs):
    """A program that says a line when it is ready, and ends with its standard input."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          **kwargs) as process:
        try:
            process.ready = process.stdout.readline().strip()
            yield process
        finally:
            if process.poll() is None:
                process.stdin.close()
                try:
                    process.wait(timeout=30)
                except subprocess.TimeoutExpired:
                    process.kill()


def holder(node):
    """A command line that keeps a node open."""
    return [sys.executable, "-c", f"import os, sys; f = os.open({node!r}, os.O_RDWR); print('open', flush=True); "
            "sys.stdin.read()"]


def ready():
    """The drivers that a kernel of modules does not load by itself here."""
    if not os.path.isdir("/sys/bus/pci/drivers/nvme"):
        must("modprobe", "nvme", timeout=400)
        time.sleep(2)
