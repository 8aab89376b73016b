# SPDX-License-Identifier: BSD-3-Clause
"""The part of the suite that runs in virtual machines: which suites on which kernels, many tests in one boot."""

import os

from runner import TREE

KERNELS = ["stock-6.12", "stock-6.1", "6.12", "6.12-iommufd-container", "6.12-debug"]
# The backends that each must offer.
BACKENDS = {"stock-6.12": "type1", "stock-6.1": "type1", "6.12": "type1,iommufd-compat",
            "6.12-iommufd-container": "iommufd-compat", "6.12-debug": "type1,iommufd-compat"}
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

# Suite -> (options of the machine, kernels or None for all).
SUITES = {
    "harness": (None, ["6.12", "6.12-debug"]),
    "accounting": (MACHINE, None),
    "traffic": (MACHINE, None),
    "modes": (MACHINE, None),
    "refusals": (MACHINE, None),
    "devices": (MACHINE, ["6.12", "stock-6.1", "stock-6.12"]),
    "numa": (["--numa", "2", "--memory", "2048", "--hugepages", "64", "--nic", "e1000e,node=1,vfio"], ["6.12"]),
    "no-iommu": (["--iommu", "none", *ONE_CARD], ["stock-6.12", "6.12"]),
}
# Kernels with every debugging aid on are slow: they see the life cycle, not the sweeps.
LIGHT = {"6.12-debug": ["accounting", "traffic", "refusals"]}


def wanted(kernel, suite, options):
    kernels = SUITES[suite][1]
    if kernels is not None and kernel not in kernels:
        return False
    if options.suite and suite not in options.suite:
        return False
    return suite not in ("modes",) or kernel not in LIGHT or options.long


def run_kernel(runner, kernel, options, build):
    groups = {}
    for suite in SUITES:
        if suite != "harness" and wanted(kernel, suite, options):
            groups.setdefault(tuple(SUITES[suite][0]), []).append(suite)
    for machine, suites in groups.items():
        # All suites that want the same machine share one boot.
        runner.tap(f"{kernel}: {', '.join(suites)}",
                   [RUN, "--kernel", kernel, "--timeout", "1500", *machine, "--",
                    "env", f"PINION_BUILD={build}", f"PINION_ONLY={options.only}",
                    f"PINION_BACKENDS={BACKENDS[kernel]}",
                    "/usr/bin/python3", "tests/vm/suites/all.py", *suites],
                   timeout=1700)
    if wanted(kernel, "harness", options) and kernel in SUITES["harness"][1]:
        runner.tap(f"{kernel}: the machine itself",
                   ["/usr/bin/python3", "tests/lib/unittest_tap.py", "tests/vm/test_machine.py"],
                   timeout=900, env={"PINION_KERNEL": kernel})


def run(runner, options, build):
    for kernel in options.kernel or KERNELS:
        runner.heading(f"kernel {kernel}")
        if runner.check(f"kernel {kernel} is there", [RUN, "--build", kernel], timeout=3000):
            run_kernel(runner, kernel, options, build)
