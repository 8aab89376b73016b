# SPDX-License-Identifier: BSD-3-Clause
"""Network cards: MODEL[:HUB][,vfio][,port][,mac=M][,PROPERTY=VALUE]...

Card number N (from 0, in the order given) sits on the root bus in slot
0x10 + N, so the first is always 0000:00:10.0 and the second 0000:00:11.0.
With ",port" the slot holds a PCIe root port instead and the card is behind
it, where it can be unplugged: the first such card is 0000:01:00.0, and so on.
"""

import re
from dataclasses import dataclass, field

from .errors import UsageError

FIRST_SLOT = 0x10
MAX_NICS = 12

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
    port_bus: int = 0
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
        if self.port_bus:
            args += ["-device", f"pcie-root-port,id=port{self.index},bus=pcie.0,"
                     f"addr=0x{self.slot:x},chassis={self.index + 1},slot={self.index + 1}"]
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


def parse_nics(texts):
    """Turn all --nic values into cards; hubs of their own get unused numbers."""
    if len(texts) > MAX_NICS:
        raise UsageError(f"--nic: at most {MAX_NICS} cards")
    split = [_split(text) for text in texts]
    used = {hub for _, hub, _ in split if hub is not None}
    free = (number for number in range(100, 256) if number not in used)
    nics, ports = [], 0
    for index, (model, hub, options) in enumerate(split):
        if hub is None:
            hub = next(free)
        nic = Nic(index, model, hub, f"52:54:00:00:{hub:02x}:{index:02x}")
        for option in options:
            if option == "vfio":
                nic.vfio = True
            elif option == "port":
                if model in CONVENTIONAL_PCI:
                    raise UsageError(f"--nic {texts[index]}: {model} is conventional PCI, "
                                     "a PCIe port cannot hold it")
                ports += 1
                nic.port_bus = ports
            elif option.startswith("mac="):
                nic.mac = option[4:].lower()
                if not re.fullmatch(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", nic.mac):
                    raise UsageError(f"--nic {texts[index]}: {option[4:]!r} is not a MAC address")
            elif "=" in option:
                nic.properties.append(option)
            else:
                raise UsageError(f"--nic {texts[index]}: no option {option!r}; there are "
                                 "vfio, port, mac=M and the device's own PROPERTY=VALUE")
        nics.append(nic)
    return nics
