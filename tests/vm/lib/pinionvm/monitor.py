# SPDX-License-Identifier: BSD-3-Clause
"""Lets a command in the guest give QEMU's monitor commands (unplug a card,
pull a cable): tests/vm/guest/monitor there, QEMU's QMP socket here."""

import json

LONGEST = 100_000       # of a reply, in characters


class Monitor:
    """Between the guest's port and QMP; both are connected sockets."""

    def __init__(self, guest, qmp):
        self._guest, self._qmp = guest, qmp
        self._from_guest, self._from_qmp = b"", b""

    def _ask(self, command, **arguments):
        self._qmp.send(json.dumps({"execute": command, "arguments": arguments,
                                   "id": command}).encode() + b"\n")

    def from_guest(self, data):
        *lines, self._from_guest = (self._from_guest + data).split(b"\n")
        for line in lines:
            self._ask("human-monitor-command", **{"command-line": line.decode("utf-8", "replace")})

    def from_qmp(self, data):
        *lines, self._from_qmp = (self._from_qmp + data).split(b"\n")
        for line in lines:
            said = json.loads(line)
            if "QMP" in said:
                self._ask("qmp_capabilities")
            elif said.get("id") == "human-monitor-command":
                text = said.get("return", said.get("error", {}).get("desc", ""))[:LONGEST]
                self._guest.send("".join(f" {part}\n" for part in text.splitlines()).encode() + b".\n")
