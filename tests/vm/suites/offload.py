# SPDX-License-Identifier: BSD-3-Clause
"""Sends IP packets whose checksums are right or wrong, with VLAN tags and without, to a card that sends them back with
addresses swapped and checksums of its own, and looks at each that comes back:
offload.py IFACE MAC
Prints a line of JSON: what a card that checks should have said of them, and how many came back right."""

import itertools
import json
import socket
import struct
import sys

ETH_P_ALL = 3
SOL_PACKET, PACKET_ADD_MEMBERSHIP, PACKET_AUXDATA, PACKET_IGNORE_OUTGOING = 263, 1, 8, 23
PACKET_MR_PROMISC = 1
VLAN_VALID = 0x10
TCP, UDP = 6, 17
TAG = 0x6123
KEYS = ("vlan", "ip-good", "ip-bad", "l4-good", "l4-bad")


def total(data):
    data += b"\0" * (len(data) % 2)
    value = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while value >> 16:
        value = (value & 0xFFFF) + (value >> 16)
    return value


def ip_packet(version, protocol, payload, wrong_ip, wrong_l4):
    """With right checksums, unless they are to be wrong."""
    if protocol == TCP:
        l4, place = struct.pack("!HHIIBBHHH", 7, 9, 1, 2, 5 << 4, 0x10, 100, 0, 0) + payload, 16
    else:
        l4, place = struct.pack("!HHHH", 7, 9, 8 + len(payload), 0) + payload, 6
    ends = bytes([198, 51, 100, 1, 198, 51, 100, 2]) if version == 4 else b"\xfd" + bytes(15) + b"\xfd" + bytes(14) + b"\1"
    value = (~total(ends + struct.pack("!II", len(l4), protocol) + l4) & 0xFFFF or 0xFFFF) ^ (0x55 if wrong_l4 else 0)
    l4 = l4[:place] + struct.pack("!H", value) + l4[place + 2:]
    if version == 6:
        return struct.pack("!IHBB", 6 << 28, len(l4), protocol, 64) + ends + l4
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(l4), 1, 0, 64, protocol, 0) + ends
    value = ~total(head) & 0xFFFF ^ (0x55 if wrong_ip else 0)
    return head[:10] + struct.pack("!H", value) + head[12:] + l4


def cases():
    """Each packet, whether it has a tag, and what is wrong with it."""
    lengths = (0, 1, 18, 19, 100, 1001, 1440)
    for version, protocol, length, tag in itertools.product((4, 6), (TCP, UDP), lengths, (False, True)):
        payload = bytes((length + 7 * i) & 0xFF for i in range(length))
        for wrong_ip, wrong_l4 in ((False, False), (False, True)) + (((True, False), (True, True)) if version == 4 else ()):
            yield (version, protocol, payload, tag, wrong_ip, wrong_l4)


def receive(link, source):
    """The next frame of the card's, and its tag or None."""
    while True:
        frame, ancillary, _, _ = link.recvmsg(65536, 256)
        if frame[6:12] != source:
            continue
        status, _, _, _, _, tci, _ = struct.unpack("=IIIHHHH", ancillary[0][2][:20])
        return frame, tci if status & VLAN_VALID else None


def main():
    name, card = sys.argv[1], bytes.fromhex(sys.argv[2].replace(":", ""))
    link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    link.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
    link.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    link.bind((name, ETH_P_ALL))
    # Otherwise the interface filters tags.
    link.setsockopt(SOL_PACKET, PACKET_ADD_MEMBERSHIP,
                    struct.pack("=IHH8s", socket.if_nametoindex(name), PACKET_MR_PROMISC, 0, b""))
    link.settimeout(5)
    own = link.getsockname()[4]
    said, back, sent = dict.fromkeys(KEYS, 0), 0, 0
    for version, protocol, payload, tag, wrong_ip, wrong_l4 in cases():
        kind = struct.pack("!H", 0x0800 if version == 4 else 0x86DD)
        head = struct.pack("!HH", 0x8100, TAG) if tag else b""
        packet = ip_packet(version, protocol, payload, wrong_ip, wrong_l4)
        link.send((card + own + head + kind + packet).ljust(60, b"\0"))
        sent += 1
        said["vlan"] += tag
        if version == 4:
            said["ip-bad" if wrong_ip else "ip-good"] += 1
        said["l4-bad" if wrong_l4 else "l4-good"] += 1
        frame, came = receive(link, card)
        right = own + card + kind + ip_packet(version, protocol, payload, False, False)
        # Behind it there is padding, of zeros.
        if frame[:len(right)] == right and not any(frame[len(right):]) and came == (TAG if tag else None):
            back += 1
        else:
            print(f"sent {packet.hex()}\nwant {right.hex()}\ngot  {frame.hex()} {came}", file=sys.stderr)
    print(json.dumps({"said": said, "sent": sent, "back": back}))


if __name__ == "__main__":
    main()
