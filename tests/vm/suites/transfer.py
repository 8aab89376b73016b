# SPDX-License-Identifier: BSD-3-Clause
"""Sends a file over TCP, or receives one: transfer.py send HOST PORT MIB SEED | receive PORT. Both print the
SHA-256 of the bytes that passed, which the caller compares."""

import hashlib
import random
import socket
import sys

CHUNK = 1 << 18


def send(host, port, mib, seed):
    digest, source = hashlib.sha256(), random.Random(int(seed))
    with socket.create_connection((host, int(port)), timeout=30) as link:
        for _ in range(int(mib) * (1 << 20) // CHUNK):
            data = source.randbytes(CHUNK)
            digest.update(data)
            link.sendall(data)
    print(digest.hexdigest())


def receive(port):
    digest = hashlib.sha256()
    with socket.create_server(("", int(port))) as server:
        print("listening", flush=True)
        server.settimeout(60)
        link, _ = server.accept()
        link.settimeout(60)
        while data := link.recv(CHUNK):
            digest.update(data)
    print(digest.hexdigest())


if __name__ == "__main__":
    {"send": send, "receive": receive}[sys.argv[1]](*sys.argv[2:])
