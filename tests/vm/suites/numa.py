# SPDX-License-Identifier: BSD-3-Clause
"""Memory comes from the device's NUMA node: a card behind the host bridge of node 1."""

import os
import re

from guest import NICS, Suite, check, equal, run, testpmd_json, as_user, TESTPMD, bind

CARD = NICS[0]
POOL = "/sys/devices/system/node/node{}/hugepages/hugepages-2048kB/nr_hugepages"


def set_pool(node, pages):
    with open(POOL.format(node), "w", encoding="ascii") as file:
        file.write(str(pages))


def test_node(page):
    code, document, errors = testpmd_json("-a", CARD, "--forward", "io", "--duration", "0.3", "--page-size", page)
    equal(code, 0, errors)
    equal(document["ports"][0]["numa_node"], 1, "node of the card")
    equal(document["memory"]["numa_node"], 1, "node of the memory")


def test_node_is_empty():
    """No hugepage on the card's node: refused when they are demanded, told when they are not."""
    set_pool(1, 0)
    try:
        done = run(*as_user([TESTPMD, "-a", CARD, "--page-size", "2M", "--forward", "io"]))
        equal(done.returncode, 1, done.stderr)
        check(re.search("on node 1.*node1/hugepages", done.stderr, re.S), done.stderr)
        code, document, errors = testpmd_json("-a", CARD, "--forward", "io", "--duration", "0.3")
        equal((code, document["memory"]["numa_node"], document["memory"]["page_size"]), (0, 1, 4096), errors)
        check("node 1" in document["memory"]["note"], document["memory"])
    finally:
        set_pool(1, 32)


def main():
    suite = Suite()
    bind(CARD)
    equal(open(f"/sys/bus/pci/devices/{CARD}/numa_node", encoding="ascii").read().strip(), "1", "node of the card")
    check(os.path.exists(POOL.format(1)), "node 1 is there")
    suite.run("hugepages of the card's node", test_node, "2M")
    suite.run("small pages of the card's node", test_node, "4K")
    suite.run("no hugepages on the card's node", test_node_is_empty)
    suite.end()


if __name__ == "__main__":
    main()
