# SPDX-License-Identifier: BSD-3-Clause
"""What a device reaches through a mapping and what it does not, by real DMA: each backend, page size and protection.
The kernel must report exactly the forbidden accesses, and the IOMMU must have pages as large as the memory's."""

import os
import re
import runpy
import subprocess
import time

from guest import (BUILD, GUEST, MIB, Skip, Suite, as_user, backends, bind, check, equal, must, run,
                   test_backends_expected)

DMA = os.path.join(BUILD, "tests/vm/programs/dma")
IOMMU_LEAF = runpy.run_path(os.path.join(GUEST, "iommu-leaf"))
# The first reaches every address, the second 28 bits, the third is as the first and can be unplugged.
WIDE, NARROW, REMOVABLE = os.environ["PINION_EDUS"].split()
SIZES = {"4K": 4096, "2M": 2 * MIB, "1G": 1024 * MIB}
# How many pages the program maps of each size.
PAGES = {"4K": 16, "2M": 1, "1G": 1}
SLOW = bool(os.environ.get("PINION_SLOW"))
FAULT = re.compile(r"DMAR: \[DMA (Read|Write) NO_PASID\] Request device \[(\S+)\] fault addr (0x[0-9a-f]+) "
                   r"\[fault reason (0x[0-9a-f]+)\]")
# VT-d specification, fault reasons: no permission for a read or write, and nothing there counts as that.
REASON = {"Write": 5, "Read": 6}
# dmar.c:dmar_fault() prints by a limit of ten a five seconds, and asks it three times a fault.
AT_ONCE, INTERVAL = 3, 5.1


def write_only_is_kept():
    """Before 6.19 (iommu/intel/iommu.c:__domain_mapping) the bit that says "present" in tables of the first level is
    set in those of the second too, where it means "read"."""
    major, minor = os.uname().release.split(".")[:2]
    return (int(major), int(re.match(r"\d+", minor).group())) >= (6, 19)


class Faults:
    """The DMA faults in the kernel's log from now on, and turns to cause some that it will not leave out."""

    def __init__(self):
        self.log = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
        os.lseek(self.log, 0, os.SEEK_END)
        self.seen, self.expected, self.turns = [], [], []

    def read(self):
        while True:
            try:
                record = os.read(self.log, 8192).decode(errors="replace")
            except BlockingIOError:
                return
            if match := FAULT.search(record):
                self.seen.append((match.group(1), match.group(2), int(match.group(3), 16), int(match.group(4), 16)))

    def expect(self, kind, device, address):
        """One is about to come. Waits until the kernel will print it."""
        if len(self.turns) >= AT_ONCE:
            time.sleep(max(0, self.turns[-AT_ONCE] + INTERVAL - time.monotonic()))
        self.turns.append(time.monotonic())
        kind = kind.capitalize()
        self.expected.append((kind, device[5:], address & -4096, REASON[kind]))

    def settle(self):
        """What was expected and what came since the last time."""
        deadline = time.monotonic() + 2
        self.read()
        while len(self.seen) < len(self.expected) and time.monotonic() < deadline:
            time.sleep(0.02)
            self.read()
        result = self.expected, self.seen
        self.expected, self.seen = [], []
        return result


FAULTS = Faults()


def leaves(device, iova, length):
    """{(size, permissions): count}, or None where the kernel does not tell."""
    try:
        return IOMMU_LEAF["kinds"](device, iova, length)
    except IOMMU_LEAF["NoDump"]:
        return None


def drive(device, backend, size, case, on_mapped=lambda *_: None):
    """Run the program, answer it, and check the kernel's log. What else it said."""
    program = subprocess.Popen(as_user([DMA, backend, device, size, case], "unlimited"), stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    said = []
    try:
        for line in program.stdout:
            words = line.split()
            if words[0] == "mapped":
                on_mapped(int(words[1], 16), int(words[2], 16))
            elif words[0] == "forbidden":
                FAULTS.expect(words[1], device, int(words[2], 16))
            elif words[0] == "doubtful" and write_only_is_kept():
                FAULTS.expect(words[1], device, int(words[2], 16))
            if words[0] in ("mapped", "forbidden", "doubtful"):
                program.stdin.write("\n")
                program.stdin.flush()
            else:
                said.append(line.strip())
        status = program.wait(30)
    finally:
        program.kill()
        program.communicate()
    expected, seen = FAULTS.settle()
    equal((status, said[-1:]), (0, ["ok"]), f"dma {backend} {device} {size} {case}: {said}")
    equal(seen, expected, "DMA faults in the kernel's log")
    return said


def test_case(backend, size, case, permissions):
    def look(iova, length):
        found = leaves(WIDE, iova, length)
        check(found is None or {p for _, p in found} == {permissions}, f"permissions in the page table: {found}")
    drive(WIDE, backend, size, case, look)


def test_write_only(backend, size):
    kept = write_only_is_kept()

    def look(iova, length):
        found = leaves(WIDE, iova, length)
        want = {"w" if kept else "rw"}
        check(found is None or {p for _, p in found} == want, f"permissions in the page table: {found}")
    said = drive(WIDE, backend, size, "wo", look)
    equal(said[0], "refused" if kept else "delivered", "a read through a mapping for writing only")


def test_pages(backend, size):
    """Memory in pages of a size is mapped with IOMMU pages of that size, no smaller."""
    found = []
    drive(WIDE, backend, size, "pages", lambda iova, length: found.append(leaves(WIDE, iova, length)))
    if found == [None]:
        raise Skip("this kernel has no CONFIG_INTEL_IOMMU_DEBUGFS, which shows the page tables")
    equal(found, [{(SIZES[size], "rw"): PAGES[size]}], "IOMMU pages, by size and permissions")


def wait_for(what, wanted):
    deadline = time.monotonic() + 20
    while not wanted():
        check(time.monotonic() < deadline, f"{what} within 20 s")
        time.sleep(0.05)


def test_unplug(backend):
    """A device that is asked to go stays until it is closed, mapped and working; no other can open it meanwhile."""
    monitor = os.path.join(GUEST, "monitor")
    device = f"/sys/bus/pci/devices/{REMOVABLE}"

    def unplug(*_):
        equal(must(monitor, "device_del", "edu2"), "", "QEMU's answer")
        wait_for("the driver is told", lambda: not os.path.exists(f"{device}/driver"))
        check(os.path.exists(device), "the device is still there")
        done = run(*as_user([DMA, backend, REMOVABLE, "4K", "rw"], "unlimited"), stdin=subprocess.DEVNULL)
        check(done.returncode == 1 and "bound to no driver" in done.stdout, f"opened once more: {done}")

    bind(REMOVABLE)
    drive(REMOVABLE, backend, "2M", "rw", unplug)
    wait_for("the device is gone", lambda: not os.path.exists(device))
    equal(must(monitor, "device_add", "edu,id=edu2,bus=eduport2,dma_mask=0xffffffffffffffff"), "", "QEMU's answer")
    wait_for("it is plugged in again", lambda: os.path.exists(device))
    bind(REMOVABLE)
    drive(REMOVABLE, backend, "2M", "rw")


def test_backend(suite, backend):
    for size in ["2M"] if SLOW else SIZES:
        tag = f"{backend}, {size}"
        suite.run(f"{tag}: IOMMU pages of that size", test_pages, backend, size)
        suite.run(f"{tag}: read and written", test_case, backend, size, "rw", "rw")
        suite.run(f"{tag}: mapped before there is a device", test_case, backend, size, "queued", "rw")
        suite.run(f"{tag}: for reading only", test_case, backend, size, "ro", "r")
        suite.run(f"{tag}: for writing only", test_write_only, backend, size)
        suite.run(f"{tag}: after it is unmapped", test_case, backend, size, "unmapped", "rw")
    suite.run(f"{backend}: where nothing was ever mapped", drive, WIDE, backend, "4K", "never")
    suite.run(f"{backend}: unplugged while it is in use", test_unplug, backend)
    suite.run(f"{backend}: an IOVA beyond the device's reach", drive, NARROW, backend, "4K", "narrow")


def slow():
    raise Skip("KASAN and lockdep make it slow; this kernel is for how mappings are made and undone (--long runs all)")


def main():
    suite = Suite()
    bind(WIDE, NARROW)
    suite.run("the kernel offers the backends it should", test_backends_expected)
    for backend, reason in backends().items():
        if not reason:
            test_backend(suite, backend)
    if SLOW:
        suite.run("pages of 4K and 1G", slow)
    suite.end()


if __name__ == "__main__":
    main()
