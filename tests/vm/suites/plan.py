# SPDX-License-Identifier: BSD-3-Clause
"""What pinion plan says is needed, against the kernel: exactly that limit works, one page less is refused."""

import contextlib
import functools
import json
import os
import shutil
import signal
import tempfile
import tomllib
import xml.etree.ElementTree

from guest import (BUILD, MIB, NICS, PAGE, PINION, TESTPMD, UID, Suite, as_user, backends, bind, check, equal, must,
                   run, test_backends_expected, testpmd, testpmd_json, unbind)

LOCKER = os.path.join(BUILD, "tests/vm/programs/locker")
CARDS = NICS[:2]
UNLIMITED = "unlimited"


class Way:
    """A backend, as the plan calls it and as the programs do."""

    def __init__(self, name, accounting, backend, node):
        self.name, self.accounting, self.backend, self.node = name, accounting, backend, node
        self.dma = f"{backend}:{node}" if node else backend


def ways():
    found = []
    for backend, reason in backends().items():
        if reason:
            continue
        if backend == "type1":
            found.append(Way("type1", "process", backend, None))
            continue
        found.append(Way(backend, "user", backend, "/dev/iommu"))
        if backend == "iommufd-compat" and "type1" not in os.environ["PINION_BACKENDS"]:
            found.append(Way("iommufd-as-vfio", "process", backend, "/dev/vfio/vfio"))
    return found


@functools.cache
def plan_of(*arguments):
    """As the user that will run the programs."""
    plan = json.loads(must(*as_user([PINION, "plan", "--json", *arguments])))
    equal(plan["schema"], "pinion.plan/1", "schema")
    return plan


def needed(way, *arguments):
    """The limit in bytes that the plan says is needed."""
    found, = [w for w in plan_of(*arguments)["ways"]
              if w["backend"] == way.name and w["accounting"] == way.accounting]
    check(found["default"], f"{way.name} by {way.accounting} is the default")
    equal(found["memlock_bytes"], found["memlock_pages"] * PAGE, "bytes and pages")
    return found["memlock_bytes"]


def arguments(way, mem, page, *cards):
    # Small rings and packet buffers, so that little memory is enough.
    command = ["--forward", "io", "--dma", way.dma, "--mem", mem, "--page-size", page, "--pool", "700",
               "--rxd", "64", "--txd", "64", "--duration", "0.1"]
    for card in cards:
        command += ["-a", card]
    return command


def refused_by_one(code, errors):
    equal(code, 1, f"with one page less: {errors}")
    check("RLIMIT_MEMLOCK is too low" in errors and "short by 1;" in errors, errors)


def test_one(way):
    """One process with two cards: what it maps is charged once."""
    need = needed(way, "--mem", "2M", "--page", "4K", "--devices", "2")
    command = arguments(way, "2M", "4K", *CARDS)
    code, _, errors = testpmd_json(*command, memlock=need)
    equal(code, 0, f"with {need} bytes: {errors}")
    code, _, errors = testpmd_json(*command, memlock=need - PAGE)
    refused_by_one(code, errors)


@contextlib.contextmanager
def first(way, need):
    """A process on the first card, which keeps what it has mapped, but does not take the processor from the second."""
    command = arguments(way, "2M", "4K", CARDS[0])
    command[command.index("--duration") + 1] = "0"
    with testpmd(*command, memlock=need) as program:
        program.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            program.process.send_signal(signal.SIGCONT)


def second(way, need, uid):
    """Another one, of this user, with this limit and with a page less."""
    command = arguments(way, "2M", "4K", CARDS[1])
    code, _, errors = testpmd_json(*command, memlock=need, uid=uid)
    equal(code, 0, f"the second with {need} bytes: {errors}")
    code, _, errors = testpmd_json(*command, memlock=need - PAGE, uid=uid)
    refused_by_one(code, errors)


def test_two(way):
    """Two processes of one user: on iommufd each needs the sum, elsewhere its own."""
    need = needed(way, "--mem", "2M", "--page", "4K", "--processes", "2", "--same-user")
    equal(need, (4 if way.accounting == "user" else 2) * MIB, "the limit of two processes")
    # To the next process, whoever is there already is one of the others of the user.
    equal(needed(way, "--mem", "2M", "--page", "4K", "--other-locked", "2M"), need, "beside another")
    with first(way, need):
        second(way, need, UID)


def test_two_users(way):
    """The same, but the second is another user's: what the first holds does not count."""
    need = needed(way, "--mem", "2M", "--page", "4K", "--processes", "2", "--different-users")
    equal(need, 2 * MIB, "the limit of processes of two users")
    bind(CARDS[1], uid=UID + 1)
    try:
        with first(way, need):
            second(way, need, UID + 1)
    finally:
        bind(CARDS[1])


def locker(way, page, memlock):
    return run(*as_user([LOCKER, way.backend, way.node or "-", CARDS[0], str(4 * MIB), str(page)], memlock))


def test_mlockall(way, page, name):
    """A program that locks all its memory: how much that is it says itself, in a run without a limit."""
    done = locker(way, page, UNLIMITED)
    equal(done.returncode, 0, f"without a limit: {done.stdout}{done.stderr}")
    words = done.stdout.split()
    before, program = int(words[1]), int(words[3])
    equal(before, program, "locked by the program before and after its memory was made")
    need = needed(way, "--mem", "4M", "--page", name, "--mlockall", "--program", str(program))
    twice = way.accounting == "process" and page == PAGE
    equal(need, program + (8 if twice else 4) * MIB, "the limit")
    done = locker(way, page, need)
    equal(done.returncode, 0, f"with {need} bytes: {done.stdout}{done.stderr}")
    done = locker(way, page, need - PAGE)
    equal(done.returncode, 1, f"with one page less: {done.stdout}{done.stderr}")
    # Where memory counts twice it is the map that does not fit, else mmap() asks for as much before.
    check(done.stdout.startswith("map:" if twice else "region:"), done.stdout)
    check(("short by 1;" if twice else "mlockall with MCL_FUTURE") in done.stdout, done.stdout)


def test_exempt(way):
    """CAP_IPC_LOCK: the plan says that no limit applies, and a limit of nothing is enough."""
    equal(needed(way, "--mem", "2M", "--cap-ipc-lock"), 0, "the limit")
    done = run("/usr/bin/prlimit", "--memlock=0:0", TESTPMD, *arguments(way, "2M", "4K", CARDS[0]))
    equal(done.returncode, 0, f"{way.name}: {done.stdout}{done.stderr}")


def snippet(of, kind):
    found, = [s["text"] for s in of["snippets"] if s["kind"] == kind]
    return found


def verify_unit(text):
    """systemd itself reads it, where it is installed."""
    tool = shutil.which("systemd-analyze")
    if not tool:
        return
    with tempfile.TemporaryDirectory() as folder:
        unit = os.path.join(folder, "pinion-plan.service")
        with open(unit, "w", encoding="ascii") as file:
            file.write(f"{text}\nType=oneshot\nExecStart=/bin/true\n")
        done = run(tool, "verify", unit)
        check("pinion-plan.service:" not in done.stderr, f"{text}: {done.stderr}")


def test_settings():
    """What is printed to be pasted is understood by whom it is for: run, or at least parsed."""
    plan = json.loads(must(PINION, "plan", "--json", "--mem", "8M", "--processes", "2", "--backend", "type1"))
    settings, = plan["settings"]
    equal(settings["memlock_bytes"], 8 * MIB, "limit")
    command = snippet(settings, "prlimit").removeprefix("sudo ")
    equal(must("/bin/sh", "-c", f"{command} && ulimit -S -l && ulimit -H -l").split(), ["8192", "8192"], command)
    verify_unit(snippet(settings, "systemd"))
    equal(snippet(settings, "kubernetes-containerd"), snippet(settings, "systemd"), "containerd is a unit too")
    limits, = json.loads("{" + snippet(settings, "oci") + "}")["rlimits"]
    equal(limits, {"type": "RLIMIT_MEMLOCK", "hard": 8 * MIB, "soft": 8 * MIB}, "oci")
    crio = tomllib.loads(snippet(settings, "kubernetes-crio"))
    equal(crio["crio"]["runtime"]["default_ulimits"], [f"memlock={8 * MIB}:{8 * MIB}"], "crio")
    limit = xml.etree.ElementTree.fromstring(snippet(settings, "libvirt")).find("hard_limit")
    equal((limit.get("unit"), limit.text), ("KiB", "8192"), "libvirt")
    test_hugepages(plan["hugepages"])


def test_hugepages(planned):
    equal(planned["nodes"], [{"node": 0, "pages": 8}], "hugepages of two processes")
    path = "/sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages"
    with open(path, encoding="ascii") as file:
        before = file.read()
    must("/bin/sh", "-c", snippet(planned, "hugepages-now"))
    with open(path, encoding="ascii") as file:
        equal(file.read(), "8\n", "pages reserved")
    with open(path, "w", encoding="ascii") as file:
        file.write(before)


def test_nothing_left():
    said = must(PINION, "pins")
    check("no process with a ledger" in said, said)


def main():
    suite = Suite()
    bind(*CARDS)
    suite.run("plan: the kernel offers the backends it should", test_backends_expected)
    # The texts do not depend on the kernel.
    if os.environ["PINION_KERNEL"] == "6.12":
        suite.run("plan: settings", test_settings)
    found = ways()
    for way in found:
        suite.run(f"plan: {way.name}: one process", test_one, way)
        suite.run(f"plan: {way.name}: two processes of a user", test_two, way)
        suite.run(f"plan: {way.name}: mlockall", test_mlockall, way, PAGE, "4K")
    # What does not differ between those that account alike is tried on one of each.
    for way in {way.accounting: way for way in found}.values():
        if way.accounting == "user":
            suite.run(f"plan: {way.name}: processes of two users", test_two_users, way)
        suite.run(f"plan: {way.name}: mlockall, hugepages", test_mlockall, way, 2 * MIB, "2M")
    suite.run(f"plan: {found[0].name}: CAP_IPC_LOCK", test_exempt, found[0])
    suite.run("plan: nothing is left of all these processes", test_nothing_left)
    unbind(*CARDS)
    suite.end()


if __name__ == "__main__":
    main()
