# SPDX-License-Identifier: BSD-3-Clause
"""What a domain lives through: its program executing another while a card receives, a card that is pulled out."""

import contextlib
import os
import socket
import struct
import subprocess
import threading
import time

from guest import (BUILD, GUEST, MIB, NICS, Suite, as_user, backends, bind, check, equal, interface, must, run, unbind)

PROGRAMS = os.path.join(BUILD, "tests/vm/programs")
CARD, PEER, PULLED = NICS
TYPE = 0x88B5  # IEEE 802: local experimental


@contextlib.contextmanager
def numbered_frames(card, a_second):
    """Sends numbered frames to everybody on a card's wire meanwhile."""
    link = interface(card)
    must("ip", "link", "set", link, "up")
    done = threading.Event()

    def send():
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sender:
            sender.bind((link, 0))
            number = 0
            while not done.wait(1 / a_second):
                number += 1
                frame = b"\xff" * 6 + b"\x02\0\0\0\0\1" + struct.pack("!HI", TYPE, number)
                with contextlib.suppress(OSError):  # its queue is full
                    sender.send(frame.ljust(60, b"\0"))

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        must("ip", "link", "set", link, "down")


def test_handover(backend):
    """A new image takes the domain over; every frame that came in between is there. Or it is refused in words."""
    with numbered_frames(PEER, 100):
        time.sleep(0.5)
        done = run(*as_user([os.path.join(PROGRAMS, "handover"), backend, CARD, "150"], 8 * MIB))
    equal(done.returncode, 0, f"handover {backend}: {done.stdout}{done.stderr}")
    last = done.stdout.splitlines()[-1]
    if backend == "type1":
        equal(last, "ok: 150 frames before, 150 after", "handover on type1")
    else:
        check(last.startswith(("ok: 150 frames", "not on this kernel: ")), last)


def test_unbound(backend):
    """The host takes the card away from VFIO; the program hears of it, lets go, and goes on with another."""
    program = subprocess.Popen(as_user([os.path.join(PROGRAMS, "removal"), backend, PULLED, CARD], 8 * MIB),
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    first = program.stdout.readline()
    if first == "ready\n":
        # The write lasts until VFIO has the device back.
        unbind(PULLED)
    rest, _ = program.communicate(timeout=90)
    equal((first + rest, program.returncode), ("ready\nok\n", 0), f"removal {backend}")
    bind(PULLED)


def test_pulled(backend):
    """The same with the card pulled out of its slot for good."""
    program = subprocess.Popen(as_user([os.path.join(PROGRAMS, "removal"), backend, PULLED, CARD], 8 * MIB),
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    first = program.stdout.readline()
    if first == "ready\n":
        must(os.path.join(GUEST, "monitor"), "device_del", "nic2")
    rest, _ = program.communicate(timeout=90)
    equal((first + rest, program.returncode), ("ready\nok\n", 0), f"removal {backend}")
    deadline = time.monotonic() + 30
    while os.path.exists(f"/sys/bus/pci/devices/{PULLED}") and time.monotonic() < deadline:
        time.sleep(0.1)
    check(not os.path.exists(f"/sys/bus/pci/devices/{PULLED}"), "the card is still there")


def main():
    suite = Suite()
    bind(CARD, PULLED)
    usable = [backend for backend, reason in backends().items() if not reason]
    for backend in usable:
        suite.run(f"{backend}: a domain is handed over to a new image while a card receives", test_handover, backend)
    for backend in usable:
        suite.run(f"{backend}: the host asks for a device back", test_unbound, backend)
    suite.run(f"{usable[0]}: a card is pulled out", test_pulled, usable[0])
    unbind(CARD)
    suite.end()


if __name__ == "__main__":
    main()
