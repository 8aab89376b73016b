# SPDX-License-Identifier: BSD-3-Clause
"""The part of the suite that runs in virtual machines: which suites on which kernels, many tests in one boot."""

import functools
import os

import kmod
from runner import TREE

KERNELS = ["stock-6.12", "stock-6.1", "6.12", "6.12-iommufd-container", "6.12-debug"]
# The backends that each must offer.
BACKENDS = {"stock-6.12": "type1", "stock-6.1": "type1", "6.12": "type1,iommufd-compat,iommufd",
            "6.12-iommufd-container": "iommufd-compat,iommufd", "6.12-debug": "type1,iommufd-compat,iommufd"}
RUN = os.path.join(TREE, "tests/vm/run")

# Two wires with a 82574L and a card of the kernel's each, two more with a 82540EM, and a bridge with two cards that
# share an IOMMU group.
CARDS = ["e1000e:1", "e1000e:2", "virtio-net-pci:1", "virtio-net-pci:2",
         "e1000:3", "e1000:4", "virtio-net-pci:3", "virtio-net-pci:4"]
BRIDGE = ["--device", "pcie-pci-bridge,id=shared", "--device", "e1000,bus=shared,addr=1",
          "--device", "e1000,bus=shared,addr=2"]
MACHINE = [word for card in CARDS for word in ("--nic", card)] + BRIDGE + [
    "--hugepages", "64", "--hugepages-1g", "1", "--memory", "4096"]
ONE_CARD = ["--nic", "e1000e", "--hugepages", "16"]

# Of the edu devices one reaches every address, one does not, one can be unplugged. What the first two must not do is in
# the kernel's log; the suite looks whether that is all there is.
WIDE = "dma_mask=0xffffffffffffffff"
DMA = ["--edu", WIDE, "--edu", "--edu", f"port,{WIDE}", "--hugepages", "8", "--hugepages-1g", "1",
       "--expect-log", r"DMAR: \[DMA (Read|Write) NO_PASID\] Request device \[00:1[ab]\.0\]"]
# A card and one of the kernel's on a wire, and a card that can be pulled out.
LIFE = ["--nic", "e1000e:1", "--nic", "virtio-net-pci:1", "--nic", "e1000e,port", "--hugepages", "16"]
# A device that does DMA where it is told to, and a card.
BELOW = ["--edu", WIDE, "--nic", "e1000e", "--hugepages", "16"]
# The same without 1 GiB pages, and nothing that the kernel may complain of.
WAYS = ["--edu", WIDE, "--edu", "--hugepages", "8"]
# Two that can be used at once; 1 GiB pages come from the CMA area. What runs out of memory there says so in the log.
EXPLAIN = ["--edu", WIDE, "--edu", WIDE, "--hugepages", "8", "--memory", "2560", "--append", "hugetlb_cma=1G"]
NUMA = ["--numa", "2", "--memory", "2048", "--hugepages", "64", "--nic", "e1000e,node=1,vfio"]
LOOP = ["--nic", "e1000e:1", "--nic", "e1000e:1", "--hugepages", "64"]
NO_IOMMU = ["--iommu", "none", *ONE_CARD]

# A card for its BARs; the companion module is loaded into it.
KMOD = ["--nic", "e1000e,vfio", "--hugepages", "72", "--append", "secretmem.enable=1", "--kmemleak"]
# A part of its memory can be moved, and pinned memory must not stay there.
KMOD_MOVABLE = ["--memory", "1024", "--append", "movablecore=256M"]

# Suite -> options of the machine. The suites that want the same machine share one boot.
SUITES = {"accounting": MACHINE, "plan": MACHINE, "traffic": MACHINE, "modes": MACHINE, "refusals": MACHINE,
          "devices": MACHINE,
          "lifecycle": LIFE, "backends": BELOW, "noiommu": ["--iommu", "none", *BELOW], "dma": DMA, "faults": DMA,
          "ways": WAYS, "charges": WAYS, "explain": EXPLAIN, "loop": LOOP, "numa": NUMA, "no-iommu": NO_IOMMU,
          "kmod": KMOD, "observer": KMOD, "kmod-movable": KMOD_MOVABLE}
# What a kernel does not run, and why.
SAME_KERNEL = "the kernel code under test is that of 6.12, which runs it"
SAME_DRIVER = "the drivers and modes under test are the same user-space code on every kernel; 6.12 and stock-6.1 run it"
SLOW = "KASAN and lockdep make it slow; this kernel is for the life cycle (--long runs it)"
NO_NOIOMMU = "the distribution's kernels have no CONFIG_VFIO_NOIOMMU"
SAME_WAYS = "the same user-space code and kernel code as on 6.12, which runs it"
NO_FAULTS = "only 6.12-debug can have its allocations fail"
PLACED = "placement is tested on 6.12"
REFUSED = "tested on stock-6.12 and 6.12"
LEFT_OUT = {
    "stock-6.12": {"kmod-movable": SAME_KERNEL, "ways": SAME_WAYS, "noiommu": NO_NOIOMMU, "dma": SAME_KERNEL, "faults": NO_FAULTS, "loop": SAME_DRIVER, "modes": SAME_DRIVER,
                   "devices": SAME_DRIVER, "numa": PLACED},
    "stock-6.1": {"noiommu": NO_NOIOMMU, "faults": NO_FAULTS, "loop": SAME_DRIVER, "numa": PLACED, "no-iommu": REFUSED},
    "6.12": {"faults": NO_FAULTS},
    "6.12-iommufd-container": {"kmod": SAME_KERNEL, "observer": SAME_KERNEL, "kmod-movable": SAME_KERNEL, "dma": SAME_KERNEL, "faults": NO_FAULTS, "loop": SAME_DRIVER, "modes": SAME_DRIVER,
                               "devices": SAME_DRIVER, "numa": PLACED, "no-iommu": REFUSED},
    "6.12-debug": {"plan": SLOW, "observer": SLOW, "kmod-movable": SLOW, "ways": SLOW, "explain": SLOW, "lifecycle": SLOW, "backends": SLOW, "loop": SLOW,
                   "modes": SLOW, "devices": SLOW, "numa": SLOW, "no-iommu": SLOW},
}


def options_of(machine, kernel):
    """Only one kernel can look for leaks."""
    return [word for word in machine if word != "--kmemleak" or kernel == "6.12-debug"]


def run_machine(runner, kernel, machine, suites, options, build):
    slow = kernel == "6.12-debug" and not options.long
    runner.tap(f"{kernel}: {', '.join(suites)}",
               [RUN, "--kernel", kernel, "--timeout", str(runner.seconds(1500)), *options_of(machine, kernel), "--",
                "env", f"PINION_KMOD={kmod.folder(kernel)}", f"PINION_BUILD={build}", f"PINION_ONLY={options.only}",
                f"PINION_BACKENDS={BACKENDS[kernel]}", f"PINION_SLOW={'yes' if slow else ''}",
                f"PINION_LONG={'yes' if options.long else ''}",
                "/usr/bin/python3", "tests/vm/suites/all.py", *suites],
               timeout=runner.seconds(1500) + 200, may_be_empty=bool(options.only))


def of_kernel(runner, kernel, options, build):
    """What is to be run on a kernel: one task a machine, after one that says what is left out. Builds the companion
    module for it, if that is among them."""
    machines, left_out = {}, []
    for suite, machine in SUITES.items():
        if options.suite and suite not in options.suite:
            continue
        reason = LEFT_OUT[kernel].get(suite)
        if reason and not (options.long and reason is SLOW):
            left_out.append((f"{kernel}: {suite}", reason))
            continue
        machines.setdefault(tuple(machine), []).append(suite)
    modules = [tuple(machine) for machine in (KMOD, KMOD_MOVABLE) if tuple(machine) in machines]
    if modules and not kmod.build(runner, kernel):
        for machine in modules:
            del machines[machine]

    def begin(runner):
        runner.heading(f"kernel {kernel}")
        for suite, reason in left_out:
            runner.skip(suite, reason)

    return [begin] + [functools.partial(run_machine, kernel=kernel, machine=machine, suites=suites, options=options,
                                        build=build) for machine, suites in machines.items()]


def run(runner, options, build):
    """Builds what kernels are missing, which takes all processors, then starts machines beside each other."""
    runner.heading("kernels")
    kernels = [kernel for kernel in options.kernel or KERNELS
               if runner.check(f"kernel {kernel} is there", [RUN, "--build", kernel], timeout=3000)]
    runner.together([task for kernel in kernels for task in of_kernel(runner, kernel, options, build)])
    # How soon a machine is started and ended is part of what these look at: nothing runs beside them.
    if "6.12" in kernels and not options.suite and not options.only:
        runner.heading("the machines themselves")
        runner.tap("6.12: the machine itself",
                   ["/usr/bin/python3", "tests/lib/unittest_tap.py", "tests/vm/test_machine.py"],
                   timeout=900, env={"PINION_KERNEL": "6.12"})
