# SPDX-License-Identifier: BSD-3-Clause
"""What the VM suites share. A suite is a script that runs inside the guest as root and prints one TAP
line a test; it talks to the programs as a user would, and to the kernel through /proc and /sys."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback

TREE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
BUILD = os.environ.get("PINION_BUILD", os.path.join(TREE, "build"))
GUEST = os.path.join(TREE, "tests/vm/guest")
TESTPMD = os.path.join(BUILD, "apps/testpmd/pinion-testpmd")
PINION = os.path.join(BUILD, "apps/pinion/pinion")
NICS = os.environ.get("PINION_NICS", "").split()
UID = 1000
PAGE = 4096
MIB = 1 << 20


class Skip(Exception):
    """Raised by a test that cannot run here; its text says why."""


class Suite:
    """Runs tests one after another and prints their lines."""

    def __init__(self):
        self.count = 0
        self.failed = 0
        self.only = os.environ.get("PINION_ONLY", "")

    def run(self, name, function, *args, **kwargs):
        if self.only and self.only not in name:
            return
        self.count += 1
        try:
            function(*args, **kwargs)
            line = f"ok {self.count} - {name}"
        except Skip as reason:
            line = f"ok {self.count} - {name} # SKIP {reason}"
        except Exception:
            self.failed += 1
            for text in traceback.format_exc().splitlines():
                print(f"# {text}")
            line = f"not ok {self.count} - {name}"
        print(line, flush=True)

    def end(self):
        print(f"1..{self.count}", flush=True)
        sys.exit(1 if self.failed else 0)


def check(condition, text):
    if not condition:
        raise AssertionError(text)


def equal(got, want, what):
    check(got == want, f"{what}: {got!r}, expected {want!r}")


def run(*command, timeout=120, **kwargs):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          timeout=timeout, **kwargs)


def must(*command, **kwargs):
    done = run(*command, **kwargs)
    check(done.returncode == 0,
          f"{' '.join(command)} ended with {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout


def as_user(command, memlock=None, uid=UID):
    """The command line that runs a command without any privilege, with this RLIMIT_MEMLOCK in bytes."""
    limit = ["--memlock", str(memlock)] if memlock is not None else []
    return [os.path.join(GUEST, "as-user"), str(uid), *limit, "--", *command]


def bind(*addresses, uid=UID):
    must(os.path.join(GUEST, "bind"), "--uid", str(uid), *addresses)


def unbind(*addresses):
    must(os.path.join(GUEST, "unbind"), *addresses)


def interface(address):
    """The network interface that the kernel's driver made of a card."""
    base = f"/sys/bus/pci/devices/{address}"
    for folder in [base] + [os.path.join(base, d) for d in os.listdir(base) if d.startswith("virtio")]:
        names = os.listdir(os.path.join(folder, "net")) if os.path.isdir(os.path.join(folder, "net")) else []
        if names:
            return names[0]
    raise AssertionError(f"{address} has no network interface")


def status(pid):
    """VmLck and VmPin of a process, in pages."""
    found = {}
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as lines:
        for line in lines:
            if line.startswith(("VmLck:", "VmPin:")):
                name, value = line.split(":")
                found[name] = int(value.split()[0]) // 4
    return found["VmLck"], found["VmPin"]


class Hosts:
    """Two network namespaces, each with one kernel-driven card: the hosts at the two ends of a wire."""

    def __init__(self, first, second, tag):
        self.names = (f"{tag}a", f"{tag}b")
        self.addresses = ("10.77.0.1", "10.77.0.2")
        self.links = []
        for name, address, card in zip(self.names, self.addresses, (first, second)):
            link = interface(card)
            must("ip", "netns", "add", name)
            must("ip", "link", "set", link, "netns", name)
            must("ip", "-n", name, "addr", "add", f"{address}/24", "dev", link)
            must("ip", "-n", name, "link", "set", "lo", "up")
            must("ip", "-n", name, "link", "set", link, "up")
            self.links.append(link)

    def on(self, index, *command):
        return ["ip", "netns", "exec", self.names[index], *command]

    def counter(self, index, name):
        path = f"/sys/class/net/{self.links[index]}/statistics/{name}"
        return int(must(*self.on(index, "cat", path)))

    def close(self):
        for name in self.names:
            run("ip", "netns", "del", name)


@contextlib.contextmanager
def hosts(first, second, tag):
    pair = Hosts(first, second, tag)
    try:
        yield pair
    finally:
        pair.close()
        # The cards come back to the first namespace when theirs goes; that is done behind our back.
        deadline = time.monotonic() + 60
        while True:
            try:
                interface(first), interface(second)
                break
            except AssertionError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)


class Testpmd:
    """A pinion-testpmd that runs while the test does something else."""

    def __init__(self, *arguments, memlock=8 * MIB, uid=UID, ready="Forwarding:"):
        command = as_user([TESTPMD, *arguments], memlock, uid) if uid else [TESTPMD, *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.output = ""
        for line in self.process.stdout:
            self.output += line
            if line.startswith(ready):
                return
        raise AssertionError(f"pinion-testpmd did not start: {self.output}")

    def stop(self, number=signal.SIGTERM):
        """End it; its exit status. What it printed is in .output."""
        self.process.send_signal(number)
        rest, _ = self.process.communicate(timeout=30)
        self.output += rest
        return self.process.returncode


@contextlib.contextmanager
def testpmd(*arguments, **kwargs):
    program = Testpmd(*arguments, **kwargs)
    try:
        yield program
    finally:
        if program.process.poll() is None:
            try:
                program.stop()
            except subprocess.TimeoutExpired:
                program.process.kill()
                program.process.communicate()


def testpmd_json(*arguments, memlock=8 * MIB, uid=UID, timeout=120):
    """Run pinion-testpmd to its end; its exit status and the document that it printed."""
    command = [TESTPMD, "--json", *arguments]
    done = run(*(as_user(command, memlock, uid) if uid else command), timeout=timeout)
    try:
        return done.returncode, json.loads(done.stdout), done.stderr
    except json.JSONDecodeError:
        raise AssertionError(f"no JSON: {done.stdout!r} {done.stderr!r}") from None


def backends():
    """Backend name -> reason why it is not available, or "", of those that "auto" may choose; as the unprivileged user
    sees it. Bind the cards first: that is what makes /dev/iommu accessible."""
    document = json.loads(must(*as_user([PINION, "backends", "--json"])))
    return {b["name"]: "" if b["available"] else b["reason"] for b in document["backends"] if b["automatic"]}


def test_backends_expected():
    """The kernel offers the backends that it is in the matrix for; a backend that went missing is no skip."""
    expected = os.environ["PINION_BACKENDS"].split(",")
    equal(sorted(name for name, reason in backends().items() if not reason), sorted(expected), "backends")


def wait_gone(pid):
    deadline = time.monotonic() + 10
    while os.path.exists(f"/proc/{pid}") and time.monotonic() < deadline:
        time.sleep(0.05)
