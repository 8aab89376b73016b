# SPDX-License-Identifier: BSD-3-Clause
"""Real traffic: two kernel-driven cards in two network namespaces, and pinion-testpmd, as an ordinary user with
a memory limit of exactly what it maps, as the wire between them."""

import json
import os
import re
import subprocess
import sys
import time

from guest import (MIB, NICS, PAGE, Suite, Testpmd, as_user, backends, bind, check, equal, hosts, must,
                   run, status, testpmd, testpmd_json, unbind, PINION)

MEM = 4 * MIB
# A kernel with every debugging aid on: one card model, no bulk transfers.
SLOW = bool(os.environ.get("PINION_SLOW"))
LONG = bool(os.environ.get("PINION_LONG"))
TRANSFER = __file__.replace("traffic.py", "transfer.py")
# The two pairs of cards that Pinion drives, and the kernel's cards on the same wires.
PAIRS = {"82574L": (NICS[0:2], NICS[2:4]), "82540EM": (NICS[4:6], NICS[6:8])}


def wire(cards, backend, *more, memlock=MEM, **kwargs):
    allow = [word for card in cards for word in ("-a", card)]
    return testpmd("--forward", "bridge", "--dma", backend, "--mem", str(MEM), "--page-size", "2M",
                   "--pool", "1600", *allow, *more, memlock=memlock, **kwargs)


def icmp(pair, index, name):
    """A counter of one end's kernel, such as InEchoReps."""
    lines = must(*pair.on(index, "cat", "/proc/net/snmp")).splitlines()
    names, values = [line.split()[1:] for line in lines if line.startswith("Icmp:")]
    return int(values[names.index(name)])


def ping(pair, count, interval, size=56):
    """All arrive, and all are answered. ping itself gives up on answers that take twice as long as the slowest before."""
    before = icmp(pair, 1, "InEchos"), icmp(pair, 0, "InEchoReps")
    text = run(*pair.on(0, "ping", "-c", str(count), "-i", str(interval), "-s", str(size), pair.addresses[1])).stdout
    equal(int(re.search(r"(\d+) packets transmitted", text).group(1)), count, "pings sent")
    deadline = time.monotonic() + 10
    while True:
        answered = icmp(pair, 0, "InEchoReps") - before[1]
        if answered >= count or time.monotonic() > deadline:
            break
        time.sleep(0.05)
    equal((icmp(pair, 1, "InEchos") - before[0], answered), (count, count), "pings that arrived, and were answered")
    check("duplicates" not in text and "DUP!" not in text, f"the wire duplicated packets: {text}")


def test_ping(cards, peers, backend):
    with hosts(*peers, "p") as pair, wire(cards, backend) as program:
        # The first answer may wait for address resolution, the kernel's link and its own timers.
        must(*pair.on(0, "ping", "-c", "1", "-w", "20", pair.addresses[1]))
        ping(pair, 200, 0.01)
        ping(pair, 20, 0.01, size=1472)  # a full frame
        equal(program.stop(), 0, "exit status on SIGTERM")
        check("RX-packets:" in program.output, program.output)


def test_iperf(cards, peers, backend):
    with hosts(*peers, "i") as pair, wire(cards, backend):
        must(*pair.on(0, "ping", "-c", "1", "-w", "20", pair.addresses[1]))
        server = subprocess.Popen(pair.on(1, "iperf3", "-s", "-1", "--forceflush"), stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, text=True)
        try:
            server.stdout.readline(), server.stdout.readline()  # it listens
            text = must(*pair.on(0, "iperf3", "-c", pair.addresses[1], "-n", "64M", "-J"), timeout=90)
            server.communicate(timeout=30)
        finally:
            server.kill()
        document = json.loads(text)
        received = document["end"]["sum_received"]
        # iperf3 does not count what is still in the receiver's socket when the sender is done.
        check(received["bytes"] >= 58 * MIB, f"iperf3 received {received['bytes']} bytes")
        print(f"# {backend}: iperf3 {received['bits_per_second'] / 1e6:.0f} Mbit/s through {cards}")


def send_file(pair, sender, mib, seed):
    """Send pseudo-random bytes from one host to the other; both ends hash them."""
    receiver = subprocess.Popen(pair.on(1 - sender, sys.executable, TRANSFER, "receive", "5001"),
                                stdout=subprocess.PIPE, text=True)
    try:
        equal(receiver.stdout.readline().strip(), "listening", "the receiver")
        sent = must(*pair.on(sender, sys.executable, TRANSFER, "send", pair.addresses[1 - sender], "5001",
                             str(mib), str(seed))).strip()
        got, _ = receiver.communicate(timeout=60)
    finally:
        receiver.kill()
    equal(got.strip(), sent, "SHA-256 of what arrived")


def test_file(cards, peers, backend):
    with hosts(*peers, "f") as pair, wire(cards, backend):
        must(*pair.on(0, "ping", "-c", "1", "-w", "20", pair.addresses[1]))
        send_file(pair, 0, 32, 1)
        send_file(pair, 1, 8, 2)


def test_report(cards, _, backend):
    """The report, from another process while it runs, against what the kernel shows."""
    with wire(cards, backend) as program:
        document = json.loads(must(*as_user([PINION, "pins", "--json", "--measure-user"])))
        process, = [entry for entry in document["processes"] if entry["alive"]]
        locked, pinned = status(process["pid"])
        domain, = process["domains"]
        counters = process["counters"]
        equal(domain["backend"], backend, "backend in the report")
        equal(process["uid"], 1000, "uid in the report")
        equal(sum(m["charged_pages"] for m in domain["mappings"]), MEM // PAGE, "pages charged")
        equal(process["limit_soft_pages"], MEM // PAGE, "limit in the report")
        equal(counters["mm->locked_vm"]["observed"], locked, "VmLck")
        equal(counters["mm->pinned_vm"]["observed"], pinned, "VmPin")
        for name in ("mm->locked_vm", "mm->pinned_vm"):
            equal(counters[name]["predicted"], counters[name]["observed"], f"prediction of {name}")
            equal(counters[name]["unexplained"], 0, f"unexplained in {name}")
        user = counters["user->locked_vm"]
        if user["observer"] == "meter":
            equal(user["observed"], user["predicted"], "measured user->locked_vm")
        else:
            check(document["notes"], "the report says why user->locked_vm was not measured")
        equal(counters[domain["limited_counter"]]["left"], 0, "pages left under the limit")
        equal(program.stop(), 0, "exit status")
    check("no process with a ledger" in must(*as_user([PINION, "pins"])), "the ledger went with its process")


def test_over_limit(cards, _, backend):
    """One page more than the limit allows: one clear line, nothing left."""
    over = MEM + PAGE
    allow = [word for card in cards for word in ("-a", card)]
    command = ["--forward", "io", "--dma", backend, "--mem", str(over), "--page-size", "4K", "--pool", "1600",
               "--duration", "1", *allow]
    code, document, errors = testpmd_json(*command, memlock=MEM)
    equal(code, 1, "exit status")
    equal(document["ok"], False, "ok in the document")
    lines = [line for line in errors.splitlines() if line]
    equal(len(lines), 1, f"lines on stderr ({errors})")
    counter = "mm->locked_vm" if backend == "type1" else "->locked_vm"
    for part in (counter, "RLIMIT_MEMLOCK", f"{over // PAGE} pages", f"{MEM // PAGE} pages", "holds 0 pages",
                 "short by 1", f"prlimit --pid $$ --memlock={over}:{over}"):
        check(part in lines[0], f"{part!r} is not in {lines[0]!r}")
    # What the message says mends it: the same with that limit.
    code, document, errors = testpmd_json(*command, memlock=over)
    equal((code, document["ok"]), (0, True), f"with the limit it asked for: {errors}")


def test_killed(cards, _, backend):
    """kill -9 leaves a ledger and nothing else: the cards can be used at once."""
    program = Testpmd("--forward", "io", "--dma", backend, "--mem", str(MEM), "--page-size", "2M", "--pool",
                      "1600", "-a", cards[0], "-a", cards[1], memlock=MEM)
    program.stop(9)
    text = must(*as_user([PINION, "pins"]))
    check("gone" in text, f"a ledger of a killed process is shown as one: {text}")
    process, = json.loads(must(*as_user([PINION, "pins", "--events", "--json"])))["processes"]
    kinds = [event["kind"] for event in process["domains"][0]["events"]]
    equal((kinds[0], kinds.count("attach"), "map" in kinds, process["alive"]), ("start", 2, True, False),
          f"its events are there still: {kinds}")
    text = must(*as_user([PINION, "pins", "--prune"]))
    check("removed now" in text, f"--prune says what it removes: {text}")
    check("no process with a ledger" in must(*as_user([PINION, "pins"])), "the ledger is removed")
    code, document, errors = testpmd_json("--forward", "io", "--dma", backend, "--mem", str(MEM), "--pool", "1600",
                                          "--duration", "1", "-a", cards[0], "-a", cards[1], memlock=MEM)
    equal((code, document["ok"]), (0, True), f"the next run: {errors}")


def tests_of(model, backend, first):
    """What is tried with a card's model on a backend. A driver knows nothing of backends, nor what is charged of models:
    but with --long not every pair is tried with everything."""
    tests = {"200 pings pass the wire": test_ping}
    if not SLOW:
        if first or LONG:
            tests["iperf3 passes the wire"] = test_iperf
        if first or model == "82574L" or LONG:
            tests["32 MiB arrive whole"] = test_file
    if model == "82574L" or LONG:
        tests["the report is what the kernel shows"] = test_report
        tests["one page over the limit is refused and explained"] = test_over_limit
    if first or model == "82574L" or LONG:
        tests["a killed process leaves its ledger only"] = test_killed
    return tests


def main():
    suite = Suite()
    for model, (cards, peers) in PAIRS.items():
        # A driver is the same on every kernel.
        if model != "82574L" and not LONG and (SLOW or os.environ["PINION_KERNEL"] != "6.12"):
            continue
        bind(*cards)
        available = [name for name, reason in backends().items() if not reason]
        for backend in available:
            for name, test in tests_of(model, backend, backend == available[0]).items():
                suite.run(f"{backend}, {model}: {name}", test, cards, peers, backend)
        unbind(*cards)
    suite.end()


if __name__ == "__main__":
    main()
