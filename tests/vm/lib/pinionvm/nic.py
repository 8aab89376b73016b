# SPDX-License-Identifier: BSD-3-Clause
"""Network cards: MODEL[:HUB][,vfio][,port][,node=N][,mac=M][,PROPERTY=VALUE]...

Card number N (from 0, in the order given) sits on the root bus in slot
0x10 + N, so the first is always 0000:00:10.0 and the second 0000:00:11.0.
With ",port" the slot holds a PCIe root port instead and the card is behind
it, where it can be unplugged: the first such card is 0000:01:00.0, and so on.
With ",node=N" it holds a host bridge of NUMA node N, with the card behind a
root port of that: the first such card is 0000:21:00.0, the next 0000:31:00.0.
"""

import re
from dataclasses import dataclass, field

from .errors import UsageError

FIRST_SLOT = 0x10
MAX_NICS = 10           # the slots up to the first of the edu devices

# Model -> properties every card of the model gets here.
MODELS = {
    "e1000e": [],
    "e1000": [],
    "virtio-net-pci": ["iommu_platform=on", "disable-legacy=on", "ats=on"],
    "vmxnet3": [],
    "rtl8139": [],
    "i82559er": [],
}
CONVENTIONAL_PCI = {"e1000", "rtl8139", "i82559er"}
NOT_IN_QEMU = {
    "igb": "QEMU has igb from 8.0 on; Debian 12 ships 7.2. Use e1000e (82574L) or e1000 (82540EM)",
}


@dataclass
class Nic:
    """One card: where it sits, what it is, who drives it."""

    index: int
    model: str
    hub: int
    mac: str
    vfio: bool = False
    port_bus: int = 0       # the bus behind its root port, 0 without one
    node: int = -1          # the NUMA node of its host bridge, -1 for the root bus
    properties: list = field(default_factory=list)

    @property
    def slot(self):
        return FIRST_SLOT + self.index

    @property
    def bdf(self):
        if self.port_bus:
            return f"0000:{self.port_bus:02x}:00.0"
        return f"0000:00:{self.slot:02x}.0"

    def qemu_args(self):
        """The QEMU options that make this card and its side of the hub."""
        args = ["-netdev", f"hubport,id=net{self.index},hubid={self.hub}"]
        bus, slot = "pcie.0", self.slot
        if self.node >= 0:
            args += ["-device", f"pxb-pcie,id=bridge{self.index},bus=pcie.0,addr=0x{self.slot:x},"
                                f"bus_nr={self.port_bus - 1},numa_node={self.node}"]
            bus, slot = f"bridge{self.index}", 0
        if self.port_bus:
            args += ["-device", f"pcie-root-port,id=port{self.index},bus={bus},"
                                f"addr=0x{slot:x},chassis={self.index + 1},slot={self.index + 1}"]
            bus, slot = f"port{self.index}", 0
        device = [self.model, f"id=nic{self.index}", f"netdev=net{self.index}",
                  f"mac={self.mac}", f"bus={bus}", f"addr=0x{slot:x}", "romfile="]
        return args + ["-device", ",".join(device + MODELS[self.model] + self.properties)]


def _split(text):
    head, *options = text.split(",")
    model, _, hub = head.partition(":")
    if model in NOT_IN_QEMU:
        raise UsageError(f"--nic {text}: no {model}: {NOT_IN_QEMU[model]}")
    if model not in MODELS:
        raise UsageError(f"--nic {text}: no model {model!r}; there are {', '.join(MODELS)}")
    if ":" in head and not re.fullmatch(r"\d{1,3}", hub):
        raise UsageError(f"--nic {text}: the hub is a number from 0 to 255, not {hub!r}")
    if hub and int(hub) > 255:
        raise UsageError(f"--nic {text}: the hub is a number from 0 to 255")
    return model, int(hub) if hub else None, options


def _take(nic, option, text):
    """Note one option in the card; True when it asks for a port."""
    if option == "port":
        return True
    if option == "vfio":
        nic.vfio = True
    elif option.startswith("mac="):
        nic.mac = option[4:].lower()
        if not re.fullmatch(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", nic.mac):
            raise UsageError(f"--nic {text}: {option[4:]!r} is not a MAC address")
    elif re.fullmatch(r"node=\d", option):
        nic.node = int(option[5:])
    elif "=" in option:
        nic.properties.append(option)
    else:
        raise UsageError(f"--nic {text}: no option {option!r}; there are "
                         "vfio, port, node=N, mac=M and the device's own PROPERTY=VALUE")
    return False


def parse_nics(texts):
    """Turn all --nic values into cards; hubs of their own get unused numbers."""
    if len(texts) > MAX_NICS:
        raise UsageError(f"--nic: at most {MAX_NICS} cards")
    split = [_split(text) for text in texts]
    used = {hub for _, hub, _ in split if hub is not None}
    free = (number for number in range(100, 256) if number not in used)
    nics = []
    for index, (model, hub, options) in enumerate(split):
        if hub is None:
            hub = next(free)
        nic = Nic(index, model, hub, f"52:54:00:00:{hub:02x}:{index:02x}")
        port = sum(_take(nic, option, texts[index]) for option in options) > 0
        if (port or nic.node >= 0) and model in CONVENTIONAL_PCI:
            raise UsageError(f"--nic {texts[index]}: {model} is conventional PCI, a PCIe port cannot hold it")
        if nic.node >= 0:
            nic.port_bus = 0x21 + 0x10 * sum(other.node >= 0 for other in nics)
        elif port:
            nic.port_bus = 1 + sum(bool(other.port_bus) and other.node < 0 for other in nics)
        nics.append(nic)
    return nics
