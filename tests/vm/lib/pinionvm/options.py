# SPDX-License-Identifier: BSD-3-Clause
"""The command line of tests/vm/run."""

import argparse
import os
import re

from . import edu, kernels, nic
from .errors import UsageError
from .qemu import MAX_SHARES, iommu_args

MEMORY = 1024           # MB, grown by itself when the hugepages need it
SMALLEST = 256

EPILOG = """\
network cards
  MODEL[:HUB][,vfio][,port][,node=N][,mac=MAC][,PROPERTY=VALUE]...
  models: %(models)s.
  The first --nic is always 0000:00:10.0, the second 0000:00:11.0, and so on, each
  in an IOMMU group of its own; with "port" a card sits behind a PCIe root port,
  the first such at 0000:01:00.0; with "node=N" behind a host bridge of that NUMA
  node, the first such at 0000:21:00.0, the next at 0000:31:00.0. Cards with the same HUB share a wire; without a
  HUB a card is alone. MAC addresses are 52:54:00:00:HUB:INDEX. "vfio" binds the card to
  vfio-pci and gives its nodes to the --uid user. In the guest $PINION_NICS lists the
  addresses in the order given; tests/vm/guest/bind and unbind move a card later.

edu devices (QEMU's, a DMA engine for tests)
  [vfio][,port][,dma_mask=MASK]
  The first --edu is always 0000:00:1a.0, the second 0000:00:1b.0, and so on, each in
  an IOMMU group of its own; "vfio" and "port" as for cards. It reaches 28 bits of
  address unless dma_mask says more. In the guest $PINION_EDUS lists the addresses.

exit status
  COMMAND's own (128 + N when signal N ended it), or
  2    usage error
  124  COMMAND did not end within --timeout
  125  the harness failed: no kernel, no qemu, the guest died, or its kernel's log
       holds a WARNING, BUG, oops, KASAN, lockdep, leak or DMA fault report that no
       --expect-log matches

examples
  tests/vm/run -- uname -a
  tests/vm/run --nic e1000e:1,vfio --nic e1000e:1,vfio --hugepages 64 --uid 1000 -- id
  tests/vm/run --kernel stock-6.1 --nic e1000 --cpus 4 -- ip link
  tests/vm/run --expect-log 'DMAR: \\[DMA' --writable /tmp/out -- ./a-test --out /tmp/out
"""


def _memlock(text):
    if text == "unlimited" or re.fullmatch(r"\d+", text):
        return text
    raise argparse.ArgumentTypeError(f"{text!r} is neither a number of bytes nor 'unlimited'")


def _number(low, high):
    def number(text):
        if not re.fullmatch(r"\d+", text) or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number from {low} to {high}")
        return int(text)
    return number


def _seconds(text):
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not value > 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return value


def _pattern(text):
    try:
        re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no regular expression: {error}") from None
    return text


def _image(text):
    """(image, directory of modules or "")"""
    image, _, modules = text.partition(",modules=")
    if not os.path.isfile(image):
        raise argparse.ArgumentTypeError(f"no file {image!r}")
    if modules and not os.path.isfile(os.path.join(modules, "modules.dep")):
        raise argparse.ArgumentTypeError(f"{modules!r} holds no modules.dep (depmod makes it)")
    return os.path.realpath(image), modules and os.path.realpath(modules)


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        raise UsageError(message)


def parser():
    """The options, in the order --help shows them."""
    p = _Parser(prog="tests/vm/run", allow_abbrev=False,
                usage="%(prog)s [OPTION]... -- COMMAND [ARGUMENT]...\n"
                      "       %(prog)s --list | --build NAME... | --kerneldir NAME",
                description="Boot a virtual machine with an emulated IOMMU, run COMMAND in it from the "
                            "project's directory, and return its exit status.",
                epilog=EPILOG % {"models": ", ".join(nic.MODELS)},
                formatter_class=argparse.RawDescriptionHelpFormatter)
    add = p.add_argument
    add("--kernel", metavar="NAME",
        help=f"which kernel (default {kernels.DEFAULT}): {', '.join(kernels.names())}")
    add("--kernel-image", metavar="FILE[,modules=DIR]", type=_image,
        help="a kernel of your own instead, vmlinux or bzImage; DIR, such as /lib/modules/RELEASE, holds its modules")
    add("--nic", metavar="CARD", action="append", default=[], help="a network card, see below; repeatable")
    add("--edu", metavar="OPTIONS", action="append", nargs="?", const="", default=[],
        help="an edu device, see below; repeatable")
    add("--cpus", metavar="N", type=_number(1, 16), default=2, help="processors (default 2)")
    add("--memory", metavar="MB", type=_number(SMALLEST, 1 << 20),
        help=f"memory (default {MEMORY}, more when the hugepages need it)")
    add("--numa", metavar="N", type=_number(1, 8), default=1, help="NUMA nodes (default 1)")
    add("--hugepages", metavar="N", type=_number(0, 1 << 20), default=0,
        help="2 MiB hugepages, and /dev/hugepages")
    add("--hugepages-1g", metavar="N", type=_number(0, 64), default=0,
        help="1 GiB hugepages, and /dev/hugepages1G")
    add("--iommu", metavar="KIND[,PROPERTY=VALUE]...", default="intel",
        help="intel (default; aw-bits=48 unless given), amd, virtio, none, "
             "noiommu (none, and VFIO's unsafe mode for such machines)")
    add("--uid", metavar="N", type=_number(1, (1 << 32) - 2),
        help="run COMMAND as this user and group, without any capability, with no_new_privs")
    add("--memlock", metavar="BYTES", type=_memlock,
        help="RLIMIT_MEMLOCK of COMMAND, soft and hard, or 'unlimited' (default: the kernel's own)")
    add("--timeout", metavar="S", type=_seconds, default=600.0,
        help="seconds for start and COMMAND together (default 600)")
    add("--writable", metavar="DIR", action="append", default=[],
        help="a host directory the guest may write, at the same path; repeatable. Owners and modes "
             "count as on the host, so let a --uid user write it")
    add("--device", metavar="ARGS", action="append", default=[],
        help="a further QEMU device, as for qemu's -device (nvme,...); repeatable")
    add("--qemu", metavar="WORD", action="append", default=[],
        help="one further word of QEMU's command line, as --qemu=WORD; repeatable")
    add("--append", metavar="ARGS", action="append", default=[],
        help="further kernel arguments; repeatable")
    add("--expect-log", metavar="REGEX", type=_pattern, action="append", default=[],
        help="a complaint in the kernel's log that is expected; repeatable")
    add("--tty", action="store_true", help="lend COMMAND this terminal, for a shell in the guest")
    add("--log", metavar="FILE", help="keep the kernel's log")
    add("--kmemleak", action="store_true",
        help="look for leaked kernel memory after COMMAND (kernel 6.12-debug)")
    add("--verbose", action="store_true", help="show QEMU's command line and the kernel's log")
    add("--times", action="store_true", help="say how long the start and COMMAND took")
    add("--root-cache", metavar="MODE", default="loose", help=argparse.SUPPRESS)
    add("--list", action="store_true", help="list the kernels and their state")
    add("--build", metavar="NAME", nargs="+", help="prepare these kernels, boot nothing ('all': every one)")
    add("--kerneldir", metavar="NAME", help="print where to build modules for this kernel (KDIR)")
    return p


def _check(options):
    if options.kernel and options.kernel_image:
        raise UsageError("--kernel and --kernel-image: there is one kernel")
    options.kernel = options.kernel or kernels.DEFAULT
    kernels.source_of(options.kernel)
    if options.cpus % options.numa:
        raise UsageError(f"--numa {options.numa}: --cpus {options.cpus} is no multiple of it")
    if len(options.writable) > MAX_SHARES:
        raise UsageError(f"--writable: at most {MAX_SHARES} directories")
    for index, path in enumerate(options.writable):
        if not os.path.isdir(path):
            raise UsageError(f"--writable {path}: no such directory")
        options.writable[index] = os.path.realpath(path)
    if options.log and (os.path.isdir(options.log) or
                        not os.access(os.path.dirname(os.path.abspath(options.log)), os.W_OK)):
        raise UsageError(f"--log {options.log}: cannot write there")
    iommu_args(options.iommu)
    huge = 2 * options.hugepages + 1024 * options.hugepages_1g
    if options.memory is None:
        # 1 GiB pages are spread over the nodes; a node loses up to one to where
        # its memory begins and ends, the first two to the kernel and its start.
        uneven = -options.hugepages_1g % options.numa
        spare = 1024 * (uneven + 2 * options.numa) if options.hugepages_1g else 0
        options.memory = max(MEMORY, huge + spare + 640)
    elif huge + SMALLEST > options.memory:
        raise UsageError(f"--memory {options.memory}: too little for {huge} MB of hugepages")


def parse(arguments):
    """(options, cards); raises UsageError."""
    command = None
    if "--" in arguments:
        at = arguments.index("--")
        arguments, command = arguments[:at], arguments[at + 1:]
    options = parser().parse_args(arguments)
    options.command = command or []
    if not (options.list or options.build or options.kerneldir) and not options.command:
        raise UsageError("no COMMAND: put it after --")
    nics = nic.parse_nics(options.nic)
    options.edus = edu.parse_edus(options.edu, nics)
    _check(options)
    for text, card in zip(options.nic, nics):
        if card.node >= 0 and (options.numa == 1 or card.node >= options.numa):
            raise UsageError(f"--nic {text}: no NUMA node {card.node} with --numa {options.numa}")
    return options, nics
