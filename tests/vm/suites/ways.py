# SPDX-License-Identifier: BSD-3-Clause
"""Memory handed in and mapped in every way that the public interface has, for a device that really reads and writes it,
by a user whose limit is exactly what is mapped."""

import json
import os
import re

from guest import BUILD, MIB, PAGE, PINION, Suite, as_user, backends, bind, check, equal, must, run, test_backends_expected

PROGRAMS = os.path.join(BUILD, "tests/vm/programs")
# The first reaches every address, the second 28 bits.
WIDE, NARROW = os.environ["PINION_EDUS"].split()
HUGE = 2 * MIB // PAGE
# What a case maps at most, in pages; the page through which the device is filled and seen is one of them.
WAYS = {
    "range": ("arrays, heap and mappings of the application", 7),
    "range-read-only": ("memory that may only be read", 4),
    "range-unmapped": ("memory unmapped under a mapping", 3),
    "memfd": ("a memfd", 3),
    "tmpfs": ("a file on tmpfs", 3),
    "hugetlb": ("a hugetlb memfd", HUGE + 1),
    "memfd-read-only": ("a memfd open for reading", 3),
    "memfd-sealed": ("a memfd sealed against writing", 3),
    "sealed-later": ("a memfd sealed when it is mapped", 5),
}
PLACES = {
    "segments": ("segments in one run of IOVAs", 8),
    "dma-bits": ("a device that sends 28 bits", 3),
    "iova-bits": ("a domain for 28 bits", 3),
    "exact": ("IOVAs that are demanded", 4),
    "modes": ("IOVAs that are chosen", 5),
    "open-fd": ("a device opened by a file", 3),
    "child": ("a forked child that closes the device", 3),
    "left-bar": ("a region of a closed device's BAR beside another device", 3),
}
ON_NARROW = ("dma-bits", "iova-bits")


def test_case(program, backend, case, pages):
    card = NARROW if case in ON_NARROW else WIDE
    done = run(*as_user([os.path.join(PROGRAMS, program), backend, card, case], pages * PAGE))
    equal((done.stdout, done.stderr, done.returncode), ("ok\n", "", 0), f"{program} {backend} {card} {case}")


def test_example():
    """doc/examples/dma.c: a hugepage and two pages of its own."""
    program = os.path.join(PROGRAMS, "dma-example")
    done = run(*as_user([program, WIDE], (HUGE + 2) * PAGE))
    equal((done.stderr, done.returncode), ("", 0), "dma")
    line = r"IOVA 0x[0-9a-f]+, (\d+) bytes at 0x[0-9a-f]+, (\d+) pages charged"
    shown = [tuple(map(int, re.fullmatch(line, text).groups())) for text in done.stdout.splitlines()]
    equal(sorted(shown), [(2 * PAGE, 2), (HUGE * PAGE, HUGE)], "mappings and their charges")
    done = run(*as_user([program, WIDE], (HUGE + 1) * PAGE))
    equal((done.stdout, done.returncode), ("", 1), "dma with a page less")
    check("2 pages" in done.stderr and f"{HUGE + 1} pages" in done.stderr, done.stderr)


def usable():
    document = json.loads(must(*as_user([PINION, "devices", "--json"])))
    return {entry["address"]: entry for entry in document["devices"]}[WIDE]


def test_nodes():
    """A device may be used by who may open its own node, whatever its group's node says."""
    before = usable()
    os.chown(before["group_node"], 0, 0)
    try:
        after = usable()
        if before["device_node"]:
            test_case("places", "iommufd", "exact", PLACES["exact"][1])
    finally:
        bind(WIDE)
    equal((before["usable"], before["reason"]), (True, None), "with both")
    if before["device_node"]:
        equal((after["usable"], after["reason"]), (True, None), "with its own node")
    else:
        equal(after["usable"], False, "with neither")
        check(f"{before['group_node']} may not be opened" in after["reason"], after["reason"])


def main():
    suite = Suite()
    bind(WIDE, NARROW)
    suite.run("the kernel offers the backends it should", test_backends_expected)
    usable_backends = [backend for backend, reason in backends().items() if not reason]
    for backend in usable_backends:
        for program, cases in (("ways", WAYS), ("places", PLACES)):
            for case, (words, pages) in cases.items():
                suite.run(f"{backend}: {words}", test_case, program, backend, case, pages)
    suite.run("the example of the guide", test_example)
    suite.run("pinion devices looks at the device's own node", test_nodes)
    suite.end()


if __name__ == "__main__":
    main()
