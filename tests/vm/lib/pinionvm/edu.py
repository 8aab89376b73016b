# SPDX-License-Identifier: BSD-3-Clause
"""QEMU's edu devices, DMA engines for tests: [vfio][,port][,PROPERTY=VALUE]...

Device number N (from 0, in the order given) sits on the root bus in slot
0x1a + N: 0000:00:1a.0, 0000:00:1b.0, and so on. With ",port" the slot holds a
PCIe root port and the device is behind it, where it can be unplugged; the
buses behind ports are counted on from those of the network cards.
"""

from dataclasses import dataclass, field

from .errors import UsageError

FIRST_SLOT = 0x1a
MAX_EDUS = 4


@dataclass
class Edu:
    """One edu device: where it sits and who drives it."""

    index: int
    vfio: bool = False
    port_bus: int = 0       # the bus behind its root port, 0 without one
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
        """The QEMU options that make this device."""
        args, bus, slot = [], "pcie.0", self.slot
        if self.port_bus:
            number = 0x40 + self.index      # beside those of the cards' ports
            args = ["-device", f"pcie-root-port,id=eduport{self.index},bus=pcie.0,addr=0x{slot:x},"
                               f"chassis={number},slot={number}"]
            bus, slot = f"eduport{self.index}", 0
        device = ["edu", f"id=edu{self.index}", f"bus={bus}", f"addr=0x{slot:x}"]
        return args + ["-device", ",".join(device + self.properties)]


def parse_edus(texts, nics):
    """Turn all --edu values into devices. nics: the cards, whose ports come first."""
    if len(texts) > MAX_EDUS:
        raise UsageError(f"--edu: at most {MAX_EDUS} devices")
    bus = 1 + sum(bool(nic.port_bus) and nic.node < 0 for nic in nics)
    edus = []
    for index, text in enumerate(texts):
        edu = Edu(index)
        for option in filter(None, text.split(",")):
            if option == "vfio":
                edu.vfio = True
            elif option == "port":
                edu.port_bus, bus = bus, bus + 1
            elif "=" in option:
                edu.properties.append(option)
            else:
                raise UsageError(f"--edu {text}: no option {option!r}; there are "
                                 "vfio, port and the device's own dma_mask=MASK")
        edus.append(edu)
    return edus
