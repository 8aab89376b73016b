# SPDX-License-Identifier: BSD-3-Clause
"""Devices and ports one by one: interrupts, filters, link, frames of several buffers, the example of the guide."""

import json
import os
import subprocess
import sys
import time

from guest import (BUILD, GUEST, MIB, NICS, PINION, Suite, as_user, bind, check, equal, hosts, must, run, testpmd_json,
                   unbind)

PROGRAMS = os.path.join(BUILD, "tests/vm/programs")
BLAST = os.path.join(os.path.dirname(os.path.abspath(__file__)), "blast.py")
OFFLOAD = BLAST.replace("blast.py", "offload.py")
CARDS = {"82574L": (NICS[0], NICS[2:4]), "82540EM": (NICS[4], NICS[6:8])}


class Card:
    """The program card, running."""

    def __init__(self, card, *words):
        self.process = subprocess.Popen(as_user([os.path.join(PROGRAMS, "card"), card, *words], 8 * MIB),
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        text=True)
        line = self.process.stdout.readline()
        if line != "ready\n":
            raise AssertionError(f"card did not start: {line}{self.process.communicate()[1]}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()

    def end(self):
        out, errors = self.process.communicate(timeout=30)
        equal(self.process.returncode, 0, f"exit status of card ({errors})")
        return out


def test_irq(card, kinds):
    done = run(*as_user([os.path.join(PROGRAMS, "irq"), card], 8 * MIB))
    equal(done.returncode, 0, f"irq: {done.stdout}{done.stderr}")
    equal([line.split()[0] for line in done.stdout.splitlines()[:-1]], kinds, "kinds of interrupt that fired")


def blast(pair, mac, count, *more):
    return must(*pair.on(0, sys.executable, BLAST, pair.links[0], str(count), mac, *more))


def test_filters(card, peers):
    own, group, other = "02:00:00:00:00:42", "01:00:5e:00:00:07", "01:00:5e:11:22:33"
    with hosts(*peers, "x") as pair:
        with Card(card, "mac", own, "multicast", group) as program:
            time.sleep(1)
            for mac in (own, group, other, "02:00:00:00:00:43", "ff:ff:ff:ff:ff:ff"):
                blast(pair, mac, 40)
            time.sleep(0.5)
            out = program.end()
            for mac, want in ((own, 40), (group, 40), ("ff:ff:ff:ff:ff:ff", 40), (other, 0), ("02:00:00:00:00:43", 0)):
                got = [int(line.split()[2]) for line in out.splitlines() if line.startswith(f"to {mac} ")]
                equal(sum(got), want, f"frames for {mac}")
        with Card(card, "all-multicast") as program:
            time.sleep(1)
            blast(pair, other, 40)
            blast(pair, own, 40)
            time.sleep(0.5)
            out = program.end()
            check(f"to {other} 40\n" in out and f"to {own}" not in out, f"all-multicast, no unicast of others: {out}")


def test_jumbo(card, peers, mtu):
    """Frames longer than a buffer arrive as chains and are sent as chains, whole."""
    with hosts(*peers, "j") as pair:
        must("ip", "-n", pair.names[0], "link", "set", pair.links[0], "mtu", str(mtu))
        with Card(card, "promiscuous", "mtu", str(mtu)) as program:
            time.sleep(1)
            text = blast(pair, "02:00:00:00:00:01", 0, "sizes", "1500", str(mtu + 14), "97")
            equal(text.strip(), "all", "frames that came back unchanged")
            out = program.end()
            check("bad 0 errors 0" in out, out)
            check("segments 1\n" not in out, f"some frames took several buffers: {out}")


def test_too_long(card, peers):
    """Frames beyond the MTU are the card's to drop: counted, and the port goes on."""
    with hosts(*peers, "l") as pair:
        must("ip", "-n", pair.names[0], "link", "set", pair.links[0], "mtu", "4000")
        with Card(card, "promiscuous") as program:
            time.sleep(1)
            equal(blast(pair, "02:00:00:00:00:01", 0, "sizes", "3000", "3400", "97").split()[0], "0", "frames back")
            equal(blast(pair, "02:00:00:00:00:01", 30, "echo").strip(), "30", "frames of normal length afterwards")
            out = program.end()
            check("longest 60 " in out, out)


def test_counters(card, peers):
    """The card's own counters are those of this port, not of whoever had the card before."""
    mac = "02:00:00:00:00:42"
    with hosts(*peers, "c") as pair:
        # Killed, so that nobody reads them, which clears them.
        with Card(card, "mac", mac):
            time.sleep(1)
            equal(blast(pair, mac, 100, "echo").strip(), "100", "frames that came back")
        with Card(card, "mac", mac) as program:
            time.sleep(1)
            equal(blast(pair, mac, 7, "echo").strip(), "7", "frames that came back")
            out = program.end()
            check("device rx 7 tx 7\n" in out, out)


def test_offloads(card, peers, checks):
    """Checksums and tags by the card, beside the other end's own arithmetic."""
    mac = "02:00:00:00:00:42"
    with hosts(*peers, "o") as pair:
        with Card(card, "mac", mac, "offload") as program:
            time.sleep(1)
            seen = json.loads(must(*pair.on(0, sys.executable, OFFLOAD, pair.links[0], mac)))
            equal(seen["back"], seen["sent"], "packets that came back right")
            out = program.end()
            check("bad 0 errors 0" in out, out)
            said = {name: int(count) for _, name, count in
                    (line.split() for line in out.splitlines() if line.startswith("said "))}
            # QEMU's 82540EM says of every frame that it has checked nothing.
            want = seen["said"] if checks else dict.fromkeys(said, 0) | {"vlan": seen["said"]["vlan"]}
            equal(said, want, "what the card said")
        # And not at all unless asked: tags stay in, sums stay wrong.
        with Card(card, "mac", mac):
            time.sleep(1)
            done = run(*pair.on(0, sys.executable, OFFLOAD, pair.links[0], mac))
            right = json.loads(done.stdout)
            equal(right["back"], right["said"]["l4-good"] - right["said"]["ip-bad"] // 2, "those that were right before")


def test_link(card, index):
    with Card(card, "link") as program:
        equal(program.process.stdout.readline().split()[:2], ["link", "up"], "link at first")
        must(os.path.join(GUEST, "monitor"), "set_link", f"nic{index}", "off")
        equal(program.process.stdout.readline().split()[:2], ["link", "down"], "link after the cable is pulled")
        must(os.path.join(GUEST, "monitor"), "set_link", f"nic{index}", "on")
        equal(program.process.stdout.readline().split()[:2], ["link", "up"], "link after it is put back")
        program.end()


class Sleeper(Card):
    """The program card, which sleeps until it is interrupted."""

    def state(self):
        """How often it woke, how many frames it has, and the link as it knows it."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        words = self.process.stdout.readline().split()
        check(words[::2] == ["woke", "received", "link"], f"card said {words}: {self.process.poll()}")
        return int(words[1]), int(words[3]), words[5]

    def wait_for(self, what, wanted):
        """Its state, as soon as it is as wanted. Asking wakes the program, but has it look at nothing."""
        end = time.monotonic() + 20
        while not wanted(*(state := self.state())):
            check(time.monotonic() < end, f"{what}: slept through it: woke, received, link are {state}")
            time.sleep(0.05)
        return state

    def stays_asleep(self):
        before = self.state()
        time.sleep(1)
        equal(self.state(), before, "woke, received and link after a second without traffic")


def test_sleep(card, peers, index):
    """A port that only its interrupt wakes: for every frame, for the link, and for nothing else."""
    mac, total = "02:00:00:00:00:42", 0
    monitor = os.path.join(GUEST, "monitor")
    with hosts(*peers, "w") as pair, Sleeper(card, "mac", mac, "irq") as program:
        program.wait_for("link up", lambda woke, received, link: link == "up")
        time.sleep(1)
        program.stays_asleep()
        for count in (1, 1, 500, 1, 40, 3000, 1):
            before = program.state()[0]
            blast(pair, mac, count)
            total += count
            woke, received, _ = program.wait_for(f"{count} frames", lambda _, received, __: received >= total)
            equal(received, total, "frames received")
            check(before < woke <= before + 2 * count, f"woke {woke - before} times for {count} frames")
        program.stays_asleep()
        for state, cable in (("down", "off"), ("up", "on")):
            must(monitor, "set_link", f"nic{index}", cable)
            program.wait_for(f"link {state}", lambda woke, received, link: link == state)
        program.stays_asleep()
        blast(pair, mac, 100)
        program.wait_for("frames after the link came back", lambda _, received, __: received == total + 100)
        check("bad 0 errors 0" in program.end(), "no bad frames")


def test_example(card, peers):
    """doc/examples/first.c, as the guide says."""
    with hosts(*peers, "e") as pair:
        program = subprocess.Popen(as_user([os.path.join(PROGRAMS, "first"), "100", card], 2 * MIB),
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            time.sleep(2)
            for _ in range(20):
                blast(pair, "02:00:00:00:00:01", 100)
                if program.poll() is not None:
                    break
            out, errors = program.communicate(timeout=20)
        finally:
            program.kill()
        # QEMU keeps frames for a card that does not receive, and with them the sender's socket and network
        # namespace: take them off the wire.
        testpmd_json("-a", card, "--forward", "rxonly", "--duration", "0.5")
        equal(program.returncode, 0, f"first: {errors}")
        check("COUNTER (PAGES)" in out, out)


def test_devices():
    """What `pinion devices` says is what sysfs says."""
    document = json.loads(must(*as_user([PINION, "devices", "--json", "--all"])))
    listed = {entry["address"]: entry for entry in document["devices"]}
    equal(sorted(listed), sorted(os.listdir("/sys/bus/pci/devices")), "devices")
    for address, entry in listed.items():
        path = f"/sys/bus/pci/devices/{address}"
        with open(f"{path}/vendor", encoding="ascii") as vendor, open(f"{path}/device", encoding="ascii") as device:
            equal(entry["id"], f"{vendor.read().strip()[2:]}:{device.read().strip()[2:]}", f"id of {address}")
        driver = os.path.basename(os.readlink(f"{path}/driver")) if os.path.exists(f"{path}/driver") else None
        equal(entry["driver"], driver, f"driver of {address}")
        group = int(os.path.basename(os.readlink(f"{path}/iommu_group")))
        equal(entry["iommu_group"], group, f"group of {address}")
    for card in (NICS[0], NICS[4]):
        equal((listed[card]["usable"], listed[card]["reason"]), (True, None), f"{card} is usable")
    equal(listed[NICS[2]]["usable"], False, "a card of the kernel's is not usable")


def main():
    suite = Suite()
    bind(*[card for card, _ in CARDS.values()])
    suite.run("pinion devices", test_devices)
    suite.run("82574L: MSI-X, MSI and INTx", test_irq, NICS[0], ["msix", "msi", "intx"])
    suite.run("82540EM: INTx", test_irq, NICS[4], ["intx"])
    suite.run("the example of the guide", test_example, NICS[0], NICS[2:4])
    for index, (model, (card, peers)) in zip((0, 4), CARDS.items()):
        suite.run(f"{model}: unicast and multicast filters", test_filters, card, peers)
        suite.run(f"{model}: jumbo frames", test_jumbo, card, peers, 4000)
        suite.run(f"{model}: frames beyond the MTU", test_too_long, card, peers)
        suite.run(f"{model}: counters since the port was opened", test_counters, card, peers)
        suite.run(f"{model}: checksums and VLAN tags", test_offloads, card, peers, model == "82574L")
        suite.run(f"{model}: link state", test_link, card, index)
        suite.run(f"{model}: asleep until an interrupt", test_sleep, card, peers, index)
    unbind(*[card for card, _ in CARDS.values()])
    suite.end()


if __name__ == "__main__":
    main()
