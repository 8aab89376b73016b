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
# The same cards in a machine of its own, which runs beside the others.
BROKER = [word if word != "4096" else "3072" for word in MACHINE]
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
# Here 1 GiB pages come from the CMA area, and from nowhere else.
CHARGES = [*WAYS, "--memory", "2560", "--append", "hugetlb_cma=1G"]
# Two that can be used at once; 1 GiB pages come from the CMA area. What runs out of memory there says so in the log.
EXPLAIN = ["--edu", WIDE, "--edu", WIDE, "--hugepages", "8", "--memory", "2560", "--append", "hugetlb_cma=1G"]
NUMA = ["--numa", "2", "--memory", "2048", "--hugepages", "64", "--nic", "e1000e,node=1,vfio"]
# What a machine can lose: cards, one of them to be pulled out, two that share a group, disks, and one with virtual
# functions. What a disk holds is gone afterwards.
BIND = ["--nic", "e1000e:1", "--nic", "e1000e:1", "--nic", "virtio-net-pci:2", "--nic", "virtio-net-pci:2",
        "--nic", "e1000e:3,port",
        # Behind the card's port, so that its address stays what the harness says.
        "--device", "pcie-pci-bridge,id=shared,addr=1c", "--device", "e1000,bus=shared,addr=1",
        "--device", "e1000,bus=shared,addr=2",
        "--qemu=-drive", "--qemu=driver=null-co,size=64M,read-zeroes=on,if=none,id=plain,snapshot=on",
        "--device", "nvme,serial=plain,drive=plain", "--device", "pcie-root-port,id=functions,chassis=90,slot=90,addr=1d",
        "--device", "nvme-subsys,id=subsystem",
        "--device", "nvme,serial=functions,bus=functions,subsys=subsystem,sriov_max_vfs=4,sriov_vq_flexible=8,"
        "sriov_vi_flexible=4,max_ioqpairs=16,msix_qsize=16", "--hugepages", "8"]
LOOP = ["--nic", "e1000e:1", "--nic", "e1000e:1", "--hugepages", "64"]
NO_IOMMU = ["--iommu", "none", *ONE_CARD]

# Two cards on a wire, and the two that share an IOMMU group.
DOCTOR = ["--nic", "e1000e:1", "--nic", "e1000:1", *BRIDGE, "--hugepages", "16"]

# A card for its BARs; the companion module is loaded into it.
KMOD = ["--nic", "e1000e,vfio", "--hugepages", "72", "--append", "secretmem.enable=1", "--kmemleak"]
# A part of its memory can be moved, and pinned memory must not stay there.
KMOD_MOVABLE = ["--memory", "1024", "--append", "movablecore=256M"]

# Of what is free of it half is a CMA area, or soon will be: then movable memory is taken from there, too.
KMOD_CMA = ["--memory", "2304", "--append", "hugetlb_cma=1G"]

# Two cards, and the kernel's at the other ends of their wires.
CONTAINERS = ["--nic", "e1000e:1", "--nic", "e1000e:2", "--nic", "virtio-net-pci:1", "--nic", "virtio-net-pci:2",
              "--hugepages", "16", "--memory", "2048"]

# What a kernel does not run, and why.
SAME_KERNEL = "the kernel code under test is that of 6.12, which runs it"
SAME_DRIVER = "the drivers and modes under test are the same user-space code on every kernel; 6.12 and stock-6.1 run it"
SAME_HOST = "what the commands change and look at is the same as on 6.12; stock-6.1 has the file systems"
SLOW = "KASAN and lockdep make it slow; this kernel is for the life cycle (--long runs it)"
NO_NOIOMMU = "the distribution's kernels have no CONFIG_VFIO_NOIOMMU"
SAME_WAYS = "the same user-space code and kernel code as on 6.12, which runs it"
NO_CMA = "the distribution's 6.1 gives no CMA area to x86 (no CONFIG_CMA)"
NO_FAULTS = "only 6.12-debug can have its allocations fail"
PLACED = "placement is tested on 6.12"
REFUSED = "tested on stock-6.12 and 6.12"
SAME_RUNTIME = "what runs it is user space, on 6.12 with each backend"
LENGTHY = "it takes minutes, and what it tests is the same on 6.12, which runs it (--long runs it here too)"
# Reasons of time, which --long does not share.
TIME = (SLOW, LENGTHY)
LOOKS = "what it looks at is that of stock-6.12 and 6.12, which run it"

# Suite -> options of its machine, and the kernels that leave it out, with the reason. The suites that want the same
# machine share one boot.
STOCKS = ("stock-6.12", "stock-6.1")
OTHERS = (*STOCKS, "6.12-iommufd-container")


def not_on(kernels, reason="", debug=""):
    """Left out on some kernels for one reason, and on 6.12-debug for another."""
    return {**dict.fromkeys(kernels, reason), **({"6.12-debug": debug} if debug else {})}


TABLE = {
    "accounting": (MACHINE, {}),
    "plan": (MACHINE, not_on([], debug=SLOW)),
    "traffic": (MACHINE, {}),
    "modes": (MACHINE, {**not_on(["stock-6.12", "6.12-iommufd-container"], SAME_DRIVER, debug=SLOW), "stock-6.1": LENGTHY}),
    "refusals": (MACHINE, {}),
    "devices": (MACHINE, not_on(["stock-6.12", "6.12-iommufd-container"], SAME_DRIVER, debug=SLOW)),
    "broker": (BROKER, not_on([*OTHERS], LENGTHY, debug=SLOW)),
    "lifecycle": (LIFE, not_on([], debug=SLOW)),
    "backends": (BELOW, not_on([], debug=SLOW)),
    "noiommu": (["--iommu", "none", *BELOW], not_on(STOCKS, NO_NOIOMMU)),
    "dma": (DMA, not_on(["stock-6.12", "6.12-iommufd-container"], SAME_KERNEL)),
    "faults": (DMA, not_on([*OTHERS, "6.12"], NO_FAULTS)),
    "ways": (WAYS, not_on(["stock-6.12"], SAME_WAYS, debug=SLOW)),
    "charges": (CHARGES, {}),
    "explain": (EXPLAIN, not_on([], debug=SLOW)),
    "loop": (LOOP, not_on(OTHERS, SAME_DRIVER, debug=SLOW)),
    "numa": (NUMA, not_on(OTHERS, PLACED, debug=SLOW)),
    "hugepages": (NUMA, not_on(OTHERS, PLACED, debug=SLOW)),
    "no-iommu": (NO_IOMMU, not_on(["stock-6.1", "6.12-iommufd-container"], REFUSED, debug=SLOW)),
    "kmod": (KMOD, not_on(["6.12-iommufd-container"], SAME_KERNEL)),
    "observer": (KMOD, not_on(["6.12-iommufd-container"], SAME_KERNEL, debug=SLOW)),
    "kmod-movable": (KMOD_MOVABLE, not_on(["stock-6.12", "6.12-iommufd-container"], SAME_KERNEL, debug=SLOW)),
    "kmod-cma": (KMOD_CMA, {**not_on(["stock-6.12", "6.12-iommufd-container"], SAME_KERNEL, debug=SLOW), "stock-6.1": NO_CMA}),
    "containers": (CONTAINERS, not_on(STOCKS, SAME_RUNTIME, debug=SLOW)),
    "bind": (BIND, not_on(["stock-6.12", "6.12-iommufd-container"], SAME_HOST, debug=SLOW)),
    "bind-lasting": (BIND, {**not_on(["stock-6.12", "6.12-iommufd-container"], SAME_HOST, debug=SLOW), "stock-6.1": LENGTHY}),
    "doctor": (DOCTOR, {**not_on(["stock-6.12", "6.12-iommufd-container"], LENGTHY, debug=SLOW), "stock-6.1": LOOKS}),
    "doctor-no-iommu": (NO_IOMMU, not_on(["stock-6.1", "6.12-iommufd-container"], LOOKS, debug=SLOW)),
    "doctor-numa": (NUMA, not_on(OTHERS, LOOKS, debug=SLOW)),
    "doctor-off": ([*ONE_CARD, "--append", "intel_iommu=off"], not_on(OTHERS, LOOKS, debug=SLOW)),
    "doctor-interrupts": ([*ONE_CARD, "--append", "intremap=off"], not_on(OTHERS, LOOKS, debug=SLOW)),
    "doctor-module": (KMOD, not_on(["stock-6.1", "6.12-iommufd-container"], LOOKS, debug=SLOW)),
}
SUITES = {suite: machine for suite, (machine, _) in TABLE.items()}
LEFT_OUT = {kernel: {suite: left_out[kernel] for suite, (_, left_out) in TABLE.items() if kernel in left_out}
            for kernel in KERNELS}


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
        if reason and not (options.long and reason in TIME):
            left_out.append((f"{kernel}: {suite}", reason))
            continue
        machines.setdefault(tuple(machine), []).append(suite)
    modules = [tuple(machine) for machine in (KMOD, KMOD_MOVABLE, KMOD_CMA) if tuple(machine) in machines]
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
