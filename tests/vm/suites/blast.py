# SPDX-License-Identifier: BSD-3-Clause
"""Sends Ethernet frames of a private type on an interface, and can check what comes back:
blast.py IFACE COUNT MAC          send COUNT frames to MAC
blast.py IFACE COUNT MAC echo     ... and print how many came back with swapped addresses
blast.py IFACE 0 MAC sizes [FROM TO STEP]
                                  send one frame of each length (60 to 1514), print "all" if each came back
                                  unchanged, else how many did"""

import socket
import struct
import sys
import time

TYPE = 0x88B5  # IEEE 802: local experimental
WINDOW = 32


def frame(source, target, number, length):
    head = target + source + struct.pack("!HI", TYPE, number)
    return head + bytes((number + i) & 0xFF for i in range(length - len(head)))


def open_socket(name):
    link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(TYPE))
    link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    link.bind((name, TYPE))
    link.settimeout(1)
    return link


def swapped(got, sent):
    return got[0:6] == sent[6:12] and got[6:12] == sent[0:6] and got[12:len(sent)] == sent[12:]


def collect(link, waiting):
    """Take frames until nothing comes or nothing is waited for; what came back right leaves the waiting ones."""
    back = 0
    while waiting:
        try:
            got = link.recv(65536)
        except TimeoutError:
            return back
        number, = struct.unpack("!I", got[14:18])
        if number in waiting and swapped(got, waiting[number]):
            del waiting[number]
            back += 1
    return back


def main():
    name, count, target = sys.argv[1], int(sys.argv[2]), bytes.fromhex(sys.argv[3].replace(":", ""))
    mode = sys.argv[4] if len(sys.argv) > 4 else "send"
    link = open_socket(name)
    source = link.getsockname()[4]
    first, last, step = map(int, sys.argv[5:8] or (60, 1514, 1))
    lengths = list(range(first, last + 1, step)) if mode == "sizes" else [60] * count
    back, waiting = 0, {}
    for number, length in enumerate(lengths):
        sent = frame(source, target, number, length)
        link.send(sent)
        if mode == "send":
            if number % WINDOW == 0:
                time.sleep(0.002)
            continue
        waiting[number] = sent
        if len(waiting) == WINDOW:
            back += collect(link, waiting)
            if waiting and mode == "echo" and back == 0:
                break
    if mode != "send":
        back += collect(link, waiting)
    if mode == "echo":
        print(back)
    elif mode == "sizes":
        print("all" if back == len(lengths) else f"{back} of {len(lengths)}, missing {sorted(waiting)[:5]}")


if __name__ == "__main__":
    main()
