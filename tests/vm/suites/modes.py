# SPDX-License-Identifier: BSD-3-Clause
"""The forwarding modes of pinion-testpmd on real wires: what it says it sent is what the kernel's card at the other
end received, and the totals add up."""

import json
import os
import signal
import subprocess
import sys
import time

from guest import (MIB, NICS, Suite, backends, bind, check, equal, hosts, must, testpmd, testpmd_json, unbind,
                   TESTPMD, as_user)

CARDS, PEERS = NICS[0:2], NICS[2:4]
LEGACY, LEGACY_PEERS = NICS[4:6], NICS[6:8]
# Sends COUNT frames of a private EtherType to a MAC address: blast.py IFACE COUNT MAC
BLAST = os.path.join(os.path.dirname(os.path.abspath(__file__)), "blast.py")


def consistent(document, waiting=0):
    """Every packet is accounted for: received = sent on + dropped + consumed, on each port and in all. waiting: how
    many frames a card may have received that nobody has taken from its ring when the program ends."""
    flow = document["totals"]["flow"]
    equal(flow["received"] + flow["generated"], flow["sent"] + flow["dropped"] + flow["consumed"],
          f"packets in and out ({flow})")
    ports = [port["counters"] for port in document["ports"]]
    for name in ("rx_packets", "tx_packets", "tx_dropped", "rx_bytes", "tx_bytes"):
        equal(sum(port[name] for port in ports), document["totals"]["counters"][name], f"sum of {name}")
    for port in ports:
        equal(port["rx_bad_desc"], 0, "descriptors that make no sense")
        check(0 <= port["hw_rx_packets"] - port["rx_packets"] <= waiting, f"received, by driver and card: {port}")
        equal(port["tx_packets"], port["hw_tx_packets"], "sent, by the driver and by the card")


def test_txonly(card, peers, backend):
    """What txonly says it sent, the kernel's card on that wire received."""
    with hosts(*peers, "t") as pair:
        must(*pair.on(0, "ip", "link", "set", pair.links[0], "promisc", "on"))
        before = pair.counter(0, "rx_packets")
        code, document, errors = testpmd_json("--forward", "txonly", "--dma", backend, "-a", card, "--count", "3000",
                                              "--duration", "20", "--frame-size", "128")
        equal(code, 0, f"exit status ({errors})")
        consistent(document)
        sent = document["ports"][0]["counters"]
        check(sent["tx_packets"] > 1000, f"packets sent: {sent}")
        equal(sent["tx_bytes"], sent["tx_packets"] * 128, "bytes sent")
        deadline = time.monotonic() + 10
        while pair.counter(0, "rx_packets") - before < sent["tx_packets"] and time.monotonic() < deadline:
            time.sleep(0.1)
        got = pair.counter(0, "rx_packets") - before
        dropped = pair.counter(0, "rx_dropped") + pair.counter(0, "rx_missed_errors")
        # The kernel's own neighbour discovery may add a few frames of its own on the wire, none are lost.
        check(sent["tx_packets"] <= got + dropped <= sent["tx_packets"] + 20,
              f"sent {sent['tx_packets']}, the kernel's card received {got} and dropped {dropped}")


def blast(pair, count, mac):
    must(*pair.on(0, sys.executable, BLAST, pair.links[0], str(count), mac))


def test_rxonly(card, peers, backend):
    with hosts(*peers, "r") as pair:
        program = subprocess.Popen(as_user([TESTPMD, "--json", "--forward", "rxonly", "--dma", backend, "-a", card],
                                           8 * MIB), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        time.sleep(2.5)
        blast(pair, 2000, "02:00:00:00:00:01")
        time.sleep(0.5)
        program.send_signal(signal.SIGINT)
        out, errors = program.communicate(timeout=30)
        document = json.loads(out)
        equal(program.returncode, 0, f"exit status ({errors})")
        consistent(document)
        counters = document["ports"][0]["counters"]
        check(counters["rx_packets"] >= 2000, f"2000 frames were sent: {counters}")
        equal(document["totals"]["flow"]["sent"], 0, "packets sent by rxonly")


def test_macswap(card, peers, backend):
    """Frames come back to the host that sent them, with the addresses swapped."""
    with hosts(*peers, "m") as pair:
        with testpmd("--forward", "macswap", "--dma", backend, "-a", card) as program:
            before = pair.counter(0, "rx_packets")
            # blast.py counts what comes back addressed to it.
            text = must(*pair.on(0, sys.executable, BLAST, pair.links[0], "500", "02:00:00:00:00:01", "echo"))
            equal(int(text), 500, "frames that came back with swapped addresses")
            check(pair.counter(0, "rx_packets") - before >= 500, "the kernel's card saw them")
            equal(program.stop(), 0, "exit status")


def test_filter(card, peers, backend):
    """Without promiscuous mode only frames for the card's own address come through."""
    with hosts(*peers, "u") as pair:
        with testpmd("--no-promiscuous", "--forward", "macswap", "--dma", backend, "-a", card) as program:
            mac = next(line.split()[1] for line in program.output.splitlines() if "MAC" in line.split()[:1])
            text = must(*pair.on(0, sys.executable, BLAST, pair.links[0], "50", "02:00:00:00:00:99", "echo"))
            equal(int(text), 0, "frames for someone else that came back")
            text = must(*pair.on(0, sys.executable, BLAST, pair.links[0], "50", mac, "echo"))
            equal(int(text), 50, "frames for this card that came back")
            equal(program.stop(), 0, "exit status")


def test_sizes(card, peers, backend):
    """Every frame length from the smallest to a full one survives receive and transmit."""
    with hosts(*peers, "s") as pair:
        with testpmd("--forward", "macswap", "--dma", backend, "-a", card) as program:
            text = must(*pair.on(0, sys.executable, BLAST, pair.links[0], "0", "02:00:00:00:00:01", "sizes"))
            equal(text.strip(), "all", "frames of each length came back unchanged")
            equal(program.stop(), 0, "exit status")


def test_signals(cards, backend, number):
    allow = [word for card in cards for word in ("-a", card)]
    with testpmd("--forward", "io", "--dma", backend, *allow) as program:
        program.process.send_signal(number)
        equal(program.stop(number), 0, f"exit status on signal {number}, twice")
        for word in ("Forward statistics for port", "Accumulated forward statistics for all ports",
                     "mm->locked_vm"):
            check(word in program.output, f"{word!r} is printed at the end: {program.output}")


def test_pages(card, backend, size, backing):
    """Each kind of page, told in the report and charged in full."""
    code, document, errors = testpmd_json("--forward", "io", "--dma", backend, "-a", card, "--duration", "0.5",
                                          "--mem", size[1], "--page-size", size[0], *backing[1],
                                          memlock="unlimited")
    equal(code, 0, f"exit status ({errors})")
    memory = document["memory"]
    equal(memory["page_size"], size[2], "page size")
    equal(memory["backing"], backing[0], "backing")
    process, = document["pins"]["processes"]
    domain, = process["domains"]
    equal(sum(m["charged_pages"] for m in domain["mappings"]) * 4096, memory["bytes"], "bytes charged")
    for name in ("mm->locked_vm", "mm->pinned_vm"):
        equal(process["counters"][name]["unexplained"], 0, f"unexplained in {name}")
    counters = process["counters"]
    charged = counters["mm->locked_vm"]["observed"] + counters["mm->pinned_vm"]["observed"]
    check(charged > 0, "the kernel counts something")


def main():
    suite = Suite()
    bind(*CARDS, *LEGACY)
    available = [name for name, reason in backends().items() if not reason]
    for backend in available:
        # A mode is the same on every backend: but with --long one of them passes packets on each.
        every = backend == available[0] or bool(os.environ.get("PINION_LONG"))
        for model, card, peers in (("82574L", CARDS[0], PEERS), ("82540EM", LEGACY[0], LEGACY_PEERS)):
            tag = f"{backend}, {model}"
            suite.run(f"{tag}: macswap", test_macswap, card, peers, backend)
            if every:
                suite.run(f"{tag}: txonly", test_txonly, card, peers, backend)
                suite.run(f"{tag}: rxonly", test_rxonly, card, peers, backend)
                suite.run(f"{tag}: unicast filter", test_filter, card, peers, backend)
                suite.run(f"{tag}: every frame length", test_sizes, card, peers, backend)
        if every:
            suite.run(f"{backend}: SIGINT", test_signals, CARDS, backend, signal.SIGINT)
            suite.run(f"{backend}: SIGTERM", test_signals, CARDS, backend, signal.SIGTERM)
        sizes = (("4K", "6M", 4096), ("2M", "6M", 2 * MIB), ("1G", "1G", 1 << 30))
        for size in sizes:
            backing = ("memfd", []) if size[0] == "4K" else ("hugetlb-memfd", [])
            suite.run(f"{backend}: pages of {size[0]}", test_pages, CARDS[0], backend, size, backing)
        suite.run(f"{backend}: pages of 2M on a hugetlbfs mount", test_pages, CARDS[0], backend, sizes[1],
                  ("hugetlbfs", ["--hugetlbfs", "/dev/hugepages"]))
    unbind(*CARDS, *LEGACY)
    suite.end()


if __name__ == "__main__":
    main()
