# SPDX-License-Identifier: BSD-3-Clause
"""The companion module: what it pins and charges, what is left when a program ends, random operations against a model,
a fuzzer of its calls, each of its allocations failing."""

import os
import re

from guest import BUILD, GUEST, NICS, Skip, Suite, as_user, check, equal, must, run

PROGRAMS = os.path.join(BUILD, "tests/vm/programs")
MODULE = os.environ["PINION_KMOD"]
KERNEL = os.environ["PINION_KERNEL"]
SLOW = KERNEL == "6.12-debug"
LONG = bool(os.environ.get("PINION_LONG"))
SWAP = 64 << 20
HUGE_1G = "/sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages"
OPERATIONS = 20000 if LONG else 200 if SLOW else 2000
# What the usual run does under KASAN, which makes all of it take minutes.
FEW = {"arguments", "charge-mm", "charge-user", "limit", "charged-once", "parts", "hugepages", "files", "zero-page",
       "exclusive", "drain", "child", "close"}
SEED = int.from_bytes(os.urandom(4), "little")


def program(name):
    return os.path.join(PROGRAMS, name)


def table():
    with open("/sys/kernel/debug/pinion/pins", encoding="ascii") as lines:
        return lines.read().splitlines()[1:]


def counters_of(uid):
    """user->locked_vm of an ordinary user, in pages."""
    return int(must(*as_user([program("kmod_random"), "user-pages"], uid=uid)))


def first_movable():
    """The first page frame of the movable zone, "" without one."""
    with open("/proc/zoneinfo", encoding="ascii") as lines:
        text = lines.read()
    found = re.search(r"zone +Movable.*?managed +(\d+).*?start_pfn: +(\d+)", text, re.S)
    return found.group(2) if found and int(found.group(1)) else ""


def command_line():
    with open("/proc/cmdline", encoding="ascii") as file:
        return file.read()


def reserved_areas():
    """The first and last page frame of each CMA area."""
    frames = []
    for size, at in re.findall(r"cma: Reserved (\d+) MiB at (0x[0-9a-f]+)", must("dmesg")):
        first = int(at, 16) >> 12
        frames += [str(first), str(first + (int(size) << 8) - 1)]
    return frames


def add_swap():
    """A swap file on tmpfs behind a loop device, which the distribution's kernels have as a module."""
    run("modprobe", "loop")
    must("truncate", "-s", str(SWAP), "/dev/shm/swap")
    with open("/dev/shm/swap", "r+b") as file:
        file.write(b"\0" * SWAP)
    loop = must("losetup", "--find", "--show", "/dev/shm/swap").strip()
    must("mkswap", loop)
    must("swapon", loop)


def environment():
    bar = f"/sys/bus/pci/devices/{NICS[0]}/resource0" if NICS else ""
    return {**os.environ, "KMOD_BAR": bar, "KMOD_MOVABLE": first_movable()}


def behaves(name, env):
    if SLOW and not LONG and name not in FEW:
        raise Skip("KASAN makes it slow (--long runs it)")
    done = run(program("kmod_pins"), name, env=env, timeout=300)
    for line in done.stdout.splitlines():
        if line.startswith("skip "):
            raise Skip(line[5:])
    equal((done.returncode, done.stdout.splitlines()[-1:]), (0, ["ok"]), f"{done.stdout}{done.stderr}")
    equal(table(), [], "what is still pinned")


def moves(full, *frames):
    """A region, pinned through the library, with so many MiB of other memory taken before."""
    done = run(program("region_pin"), "moved", full, *frames, timeout=300)
    equal((done.returncode, done.stdout), (0, "ok\n"), f"region_pin moved: {done}")
    equal(table(), [], "what is still pinned")


def test_stuck():
    """Pages of 1 GiB are the CMA area's, and cannot be moved out of it: said before anything is mapped."""
    if not os.path.exists(HUGE_1G):
        raise Skip("this processor has no 1 GiB pages")
    with open(HUGE_1G, "w", encoding="ascii") as file:
        file.write("1")
    try:
        done = run(program("region_pin"), "stuck", timeout=300)
        equal((done.returncode, done.stdout), (0, "ok\n"), f"region_pin stuck: {done}")
    finally:
        with open(HUGE_1G, "w", encoding="ascii") as file:
            file.write("0")
    equal(table(), [], "what is still pinned")


def test_references(env):
    must("insmod", os.path.join(MODULE, "pinion_test.ko"))
    try:
        behaves("references", env)
    finally:
        must("rmmod", "pinion_test")


def test_node():
    """The node as it is without the rule for udev: root's alone."""
    must("rmmod", "pinion")
    must("insmod", os.path.join(MODULE, "pinion.ko"))
    equal(os.stat("/dev/pinion").st_mode & 0o777, 0o600, "mode of the node")
    equal(os.stat("/sys/kernel/debug/pinion/pins").st_mode & 0o777, 0o400, "mode of the table")
    must("rmmod", "pinion")
    load()


def test_busy():
    node = os.open("/dev/pinion", os.O_RDWR)
    try:
        done = run("rmmod", "pinion")
        check(done.returncode != 0 and "in use" in done.stderr, f"rmmod: {done.returncode} {done.stderr}")
    finally:
        os.close(node)


def test_reload():
    for _ in range(5):
        must(program("kmod_pins"), "child")
        must("rmmod", "pinion")
        load()


def traced(events, *command):
    """What is in the kernel's trace of these events after a command."""
    base = "/sys/kernel/tracing" if os.path.isdir("/sys/kernel/tracing/events") else "/sys/kernel/debug/tracing"
    switches = [os.path.join(base, "events", event, "enable") for event in events]
    if not all(os.path.exists(switch) for switch in switches):
        raise Skip(f"this kernel has no {' or '.join(events)}")
    with open(os.path.join(base, "trace"), "w", encoding="ascii"):
        pass
    for value in ("1", "0"):
        for switch in switches:
            with open(switch, "w", encoding="ascii") as file:
                file.write(value)
        if value == "1":
            done = run(*command)
    equal(done.returncode, 0, f"{command}: {done.stdout}{done.stderr}")
    with open(os.path.join(base, "trace"), encoding="ascii", errors="replace") as file:
        return file.read()


def test_lock():
    """However much is pinned, no more than a batch of pages is brought in under the memory map's lock at a time."""
    held, most, pages = 0, 0, 0
    for line in traced(["mmap_lock/mmap_lock_acquire_returned", "mmap_lock/mmap_lock_released", "kmem/mm_page_alloc"],
                       program("kmod_cost"), "untouched").splitlines():
        if not line.strip().startswith("kmod_cost-"):
            continue
        if "mm_page_alloc:" in line and "order=0" in line:
            held, pages = held + 1, pages + 1
            most = max(most, held)
        elif "mmap_lock_" in line:
            held = 0
    check(pages >= 2048, f"{pages} pages were brought in")
    # And the tables that these pages are in.
    check(256 <= most <= 512 + 16, f"up to {most} of {pages} pages under one lock")


def test_events():
    """Each of the four tracepoints is hit by one test of limits."""
    text = traced(["pinion"], program("kmod_pins"), "limit")
    for event in ("pinion_pin: handle=1 flags=0x0 start=0x", "pinion_unpin: handle=1 pages=16 uncharged=16",
                  "pinion_charge: charge=user pages=16 ret=0", "pinion_charge: charge=mm pages=17 ret=-12",
                  "pinion_refuse: flags=0x0 start=0x"):
        check(event in text, f"no {event!r} in {text[-2000:]}")


def test_random(operations, seed):
    done = run(program("kmod_random"), str(operations), str(seed), timeout=900)
    print(f"# {done.stdout.splitlines()[-1] if done.stdout else ''}", flush=True)
    equal(done.returncode, 0, f"{done.stdout[-3000:]}{done.stderr}")
    equal(table(), [], "what is still pinned")


def test_fuzz(seconds):
    before = [counters_of(uid) for uid in (1000, 1001)]
    done = run(program("kmod_fuzz"), str(seconds), timeout=seconds * 3 + 120)
    print(f"# {done.stdout.splitlines()[-1] if done.stdout else ''}", flush=True)
    equal(done.returncode, 0, f"{done.stdout[-3000:]}{done.stderr}")
    equal(table(), [], "what is still pinned")
    equal([counters_of(uid) for uid in (1000, 1001)], before, "counters of the users")


def test_failures(kind):
    must(os.path.join(GUEST, "fault-injection"), kind)
    done = run(program("kmod_faults"), kind, timeout=900)
    for line in done.stdout.splitlines():
        print(f"# {line}", flush=True)
    equal(done.returncode, 0, f"{done.stdout}{done.stderr}")
    equal(table(), [], "what is still pinned")


def test_memory_per_page():
    done = run(program("kmod_cost"), "memory")
    print(f"# {done.stdout.strip()}", flush=True)
    equal(done.returncode, 0, f"{done.stdout}{done.stderr}")


def load():
    must("insmod", os.path.join(MODULE, "pinion.ko"))
    # The programs become ordinary users after they have opened it, or open it as such.
    os.chmod("/dev/pinion", 0o666)


def main():
    suite = Suite()
    load()
    suite.run("the node is root's", test_node)
    env = environment()
    if env["KMOD_MOVABLE"]:
        suite.run("movable", behaves, "movable", env)
        suite.run("a region in the movable zone", moves, "0", env["KMOD_MOVABLE"], str(1 << 40))
        suite.end()
    areas = reserved_areas()
    if "hugetlb_cma=" in command_line():
        equal(len(areas), 2, "a CMA area")
        # Pages are taken from it once half of what is free is its.
        suite.run("a region in a CMA area", moves, "400", *areas)
        suite.run("a region that cannot be moved out of a CMA area", test_stuck)
        suite.end()
    add_swap()
    for name in must(program("kmod_pins"), "list").split():
        if name == "references":
            suite.run(name, test_references, env)
        elif name != "movable":
            suite.run(name, behaves, name, env)
    suite.run("tracepoints", test_events)
    suite.run("how long the memory map's lock is held", test_lock)
    suite.run("random operations against a model", test_random, OPERATIONS, SEED)
    if LONG or KERNEL == "6.12":
        suite.run("fuzzer", test_fuzz, 300 if LONG else 20)
    suite.run("kernel memory by pinned huge page", test_memory_per_page)
    if SLOW:
        suite.run("no object can be had", test_failures, "objects")
        suite.run("no page can be had", test_failures, "pages")
        suite.run("a short fuzz under KASAN", test_fuzz, 300 if LONG else 5)
    suite.run("it stays while it is used", test_busy)
    suite.run("load and unload", test_reload)
    must("rmmod", "pinion")
    suite.end()


if __name__ == "__main__":
    main()
