# SPDX-License-Identifier: BSD-3-Clause
"""What bad input gets, from the program a user runs: one clear line, the right exit status, nothing left behind."""

import os
import re

from guest import (MIB, NICS, PINION, Skip, Suite, as_user, backends, bind, check, equal, run, testpmd, unbind,
                   TESTPMD, must)

CARDS = NICS[0:2]


def refused(arguments, code, *parts, memlock=8 * MIB, uid=1000):
    """The program ends with this status and one line on stderr that holds every part (regular expressions)."""
    done = run(*as_user([TESTPMD, *arguments], memlock, uid))
    lines = [line for line in done.stderr.splitlines() if line]
    equal(done.returncode, code, f"exit status of {arguments} ({done.stderr})")
    if code == 1:
        equal(len(lines), 1, f"lines on stderr: {done.stderr!r}")
    for part in parts:
        check(re.search(part, done.stderr), f"{part!r} is not in {done.stderr!r}")
    return done.stderr


def nothing_left(*cards):
    """Nobody holds the cards: they can be opened at once."""
    done = run(*as_user([TESTPMD, "--forward", "io", "--duration", "0.2", *cards_of(cards)], 8 * MIB))
    equal(done.returncode, 0, f"the cards can be used after the refusal: {done.stderr}")


def cards_of(cards):
    return [word for card in cards for word in ("-a", card)]


def test_usage():
    refused(["--no-such-option"], 2, "no-such-option", "--help")
    refused([], 2)
    refused(["-a", CARDS[0], "--dma", "magic"], 2, "magic", "type1", "iommufd-compat")
    refused(["-a", CARDS[0], "--forward", "sideways"], 2, "sideways", "macswap")
    for option, value in (("--mem", "12parsecs"), ("--mem", "-1"), ("--mem", "99999999999999999999"), ("--burst", "0"),
                          ("--burst", "x"), ("--rxd", "70000"), ("--page-size", "3M"), ("--duration", "soon")):
        refused(["-a", CARDS[0], option, value], 2, option)
    done = run(*as_user([PINION, "frobnicate"]))
    equal(done.returncode, 2, "pinion frobnicate")
    check("frobnicate" in done.stderr and "pins" in done.stderr, done.stderr)


def test_unknown_device():
    refused(["-a", "0000:00:1e.7"], 1, "0000:00:1e.7", "pinion devices")
    refused(["-a", "dead:beef"], 1, "dead:beef")
    refused(["-a", "banana"], 2, "banana", "vendor:device")


def test_other_driver():
    card = CARDS[0]
    unbind(card)
    driver = os.path.basename(os.readlink(f"/sys/bus/pci/devices/{card}/driver"))
    refused(["-a", card], 1, driver, "vfio-pci", f"as root: pinion bind {card}")
    equal(os.path.basename(os.readlink(f"/sys/bus/pci/devices/{card}/driver")), driver, "the driver it has")
    bind(card)
    nothing_left(card)


def test_no_driver():
    card = CARDS[0]
    with open(f"/sys/bus/pci/devices/{card}/driver/unbind", "w", encoding="ascii") as file:
        file.write(card)
    refused(["-a", card], 1, card, "vfio-pci", f"as root: pinion bind {card}")
    bind(card)
    nothing_left(card)


def test_no_driver_for_it():
    """A device that VFIO has but no driver of Pinion's knows."""
    card = NICS[2]
    bind(card)
    refused(["-a", card], 1, card, "8086:10d3")
    unbind(card)


def test_permission(card):
    group = os.path.basename(os.readlink(f"/sys/bus/pci/devices/{card}/iommu_group"))
    os.chown(f"/dev/vfio/{group}", 0, 0)
    refused(["-a", card, "--dma", "iommufd-compat,type1"], 1, f"/dev/vfio/{group}", "0600|600",
            f"as root: pinion grant {card} --user 1000 ")
    bind(card)
    # The device's own node, where there is one: another has to be open to the user, or there is no such backend.
    if not backends().get("iommufd", "no"):
        node = f"/dev/vfio/devices/{os.listdir(f'/sys/bus/pci/devices/{card}/vfio-dev')[0]}"
        bind(NICS[1])
        os.chown(node, 0, 0)
        refused(["-a", card, "--dma", "iommufd"], 1, node, "0600|600",
                f"as root: pinion grant {card} --user 1000 ")
        unbind(NICS[1])
        bind(card)
    nothing_left(card)


def test_vf_token(card):
    """One for a card that has no virtual functions and is none reaches the kernel, which says so."""
    way = [name for name in ("type1", "iommufd-compat") if not backends()[name]][0]
    refused(["-a", f"{card},vf-token=2ab74924-c335-45f4-9b16-8569e5b08258", "--dma", way], 1,
            f"{card} takes no VF token")
    nothing_left(card)


def test_busy(card):
    with testpmd("--forward", "io", "-a", card):
        refused(["-a", card, "--dma", first()], 1, card, "open already|in use")
    nothing_left(card)


def first():
    return next(name for name, reason in backends().items() if not reason)


def test_not_viable():
    """Two cards behind one bridge share a group; one of them stays with the kernel."""
    group = {}
    for number in os.listdir("/sys/kernel/iommu_groups"):
        cards = [d for d in os.listdir(f"/sys/kernel/iommu_groups/{number}/devices")
                 if open(f"/sys/bus/pci/devices/{d}/class", encoding="ascii").read().startswith("0x0200")]
        if len(cards) > 1:
            group[number] = sorted(cards)
    if not group:
        raise Skip("no IOMMU group with two cards in this machine")
    cards = next(iter(group.values()))
    bind(cards[0])
    # iommufd claims the group when the device is opened; both must name the device in the way.
    for backend, reason in backends().items():
        if not reason:
            refused(["-a", cards[0], "--dma", backend], 1, cards[1], f"pinion bind --group {cards[0]}")
    bind(cards[1])
    done = run(*as_user([TESTPMD, "--forward", "io", "--duration", "0.2", *cards_of(cards)], 8 * MIB))
    equal(done.returncode, 0, f"both cards of the group together: {done.stderr}")
    unbind(*cards)


def test_no_hugepages(card):
    path = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"
    with open(path, encoding="ascii") as file:
        before = file.read()
    with open(path, "w", encoding="ascii") as file:
        file.write("0")
    try:
        refused(["-a", card, "--page-size", "2M"], 1, "2 MiB", "nr_hugepages", "0 are free")
        done = run(*as_user([TESTPMD, "--forward", "io", "--duration", "0.2", "-a", card], 8 * MIB))
        equal(done.returncode, 0, f"without hugepages: {done.stderr}")
        check("4 KiB pages" in done.stdout + done.stderr, "the fall-back to 4 KiB pages is said")
    finally:
        with open(path, "w", encoding="ascii") as file:
            file.write(before)


def test_no_iommu():
    """Run where the machine has no IOMMU."""
    card = NICS[0]
    must("modprobe", "-q", "vfio-pci") if not os.path.isdir("/sys/bus/pci/drivers/vfio-pci") else None
    done = run(os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "guest/bind"), card)
    refused(["-a", card], 1, "IOMMU", card)
    check(done is not None, "bind was tried")


def test_backends():
    """Each backend is available or says what it lacks; asking for one that is not gives that reason."""
    for name, reason in backends().items():
        if reason:
            refused(["-a", CARDS[0], "--dma", name], 1, re.escape(reason[:40]))
        else:
            done = run(*as_user([TESTPMD, "--forward", "io", "--duration", "0.2", "--dma", name, "-a", CARDS[0]],
                                8 * MIB))
            equal(done.returncode, 0, f"{name}: {done.stderr}")
    refused(["-a", CARDS[0], "--dma", "type1:/dev/null"], 1, "/dev/null")
    refused(["-a", CARDS[0], "--dma", "type1:/no/such/node"], 1, "/no/such/node")


def main():
    suite = Suite()
    if not os.listdir("/sys/kernel/iommu_groups"):
        suite.run("no IOMMU", test_no_iommu)
        suite.end()
    bind(*CARDS)
    suite.run("usage errors", test_usage)
    suite.run("unknown device", test_unknown_device)
    suite.run("device bound to another driver", test_other_driver)
    suite.run("device bound to no driver", test_no_driver)
    suite.run("device that no driver knows", test_no_driver_for_it)
    suite.run("no permission on the group node", test_permission, CARDS[0])
    suite.run("VF token of a card that takes none", test_vf_token, CARDS[0])
    suite.run("group open already", test_busy, CARDS[0])
    suite.run("group that is not viable", test_not_viable)
    suite.run("no hugepages", test_no_hugepages, CARDS[0])
    suite.run("backends", test_backends)
    unbind(*CARDS)
    suite.end()


if __name__ == "__main__":
    main()
