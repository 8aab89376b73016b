# SPDX-License-Identifier: BSD-3-Clause
"""Backends below the public interface: files handed in, accounting, address spaces that share pins, dirty pages, handing
over. The machine has an edu device, which does real DMA."""

import os

from guest import BUILD, MIB, NICS, Skip, Suite, as_user, backends, bind, equal, run, unbind

PROGRAM = os.path.join(BUILD, "tests/vm/internal/backends")
EDU_ID = ("0x1234", "0x11e8")


def attribute(address, name):
    with open(f"/sys/bus/pci/devices/{address}/{name}", encoding="ascii") as file:
        return file.read().strip()


def edu():
    for address in sorted(os.listdir("/sys/bus/pci/devices")):
        if (attribute(address, "vendor"), attribute(address, "device")) == EDU_ID:
            return address
    raise AssertionError("this machine has no edu device")


def program(test, backend, cards, root=False):
    command = [PROGRAM, test, backend, *cards]
    done = run(*(command if root else as_user(command, 8 * MIB)))
    print("".join(f"# {line}\n" for line in done.stdout.splitlines() if line != "ok"), end="", flush=True)
    equal(done.returncode, 0, f"{test} {backend}: {done.stderr}")


def test_as_user(test, backend, cards):
    program(test, backend, cards)


def test_as_root(test, backend, cards):
    """The nodes are root's alone."""
    bind(*cards, uid=0)
    if os.path.exists("/dev/iommu"):
        os.chmod("/dev/iommu", 0o600)
    try:
        program(test, backend, cards, root=True)
    finally:
        bind(*cards)


def test_auto(cards):
    """With no node of a device's own that the user may open, auto does not choose native iommufd."""
    found = backends()
    if found["iommufd"]:
        raise Skip(found["iommufd"])
    nodes = [f"/dev/vfio/devices/{name}" for name in os.listdir("/dev/vfio/devices")]
    for node in nodes:
        os.chown(node, 0, 0)
    try:
        reason = backends()["iommufd"]
        equal("may open none" in reason, True, f"why not: {reason}")
        equal(backends()["iommufd-compat"], "", "iommufd-compat")
    finally:
        bind(*cards)


def noiommu_on():
    """Whether the kernel has the mode at all."""
    run("modprobe", "-q", "vfio")
    path = "/sys/module/vfio/parameters/enable_unsafe_noiommu_mode"
    if os.path.exists(path):
        with open(path, "w", encoding="ascii") as file:
            file.write("1")
    return os.path.exists(path)


def test_mock():
    """Dirty pages of an IOMMU that tracks them: none that QEMU emulates does."""
    if not os.path.exists("/sys/class/iommu/iommufd_selftest_iommu.0"):
        raise Skip("this kernel pretends no devices (CONFIG_IOMMUFD_TEST)")
    program("mock", "iommufd", ["-"], root=True)


def with_iommu(suite):
    cards = [edu(), NICS[0]]
    # IOMMU_IOAS_CHANGE_PROCESS.
    new = [int(number) for number in os.uname().release.split("-")[0].split(".")[:2]] >= [6, 14]
    bind(*cards)
    suite.run("auto looks at the devices' nodes", test_auto, cards)
    for backend, reason in backends().items():
        print(f"# {backend}: {reason or 'available'}", flush=True)
    for backend, reason in backends().items():
        if backend in ("noiommu", "none") or reason:
            continue
        for test in ("life", "two-devices", "limit", "limits", "bar", "read-only", "beside",
                     "handover" if backend == "type1" or (backend == "iommufd" and new) else "no-handover",
                     "dirty" if backend == "type1" else "no-dirty"):
            suite.run(f"{backend}: {test}", test_as_user, test, backend, cards)
        for test in ("handed-in", "wrong-files", "accounting"):
            suite.run(f"{backend}: {test}", test_as_root, test, backend, cards)
    suite.run("none", test_as_user, "none", "none", cards)
    suite.run("noiommu: not for users", test_as_user, "noiommu-user", "noiommu", cards)
    suite.run("noiommu: mode off", test_as_root, "noiommu-refused", "noiommu", cards)
    if noiommu_on():
        suite.run("noiommu: a device behind an IOMMU", test_as_root, "noiommu-refused", "noiommu",
                  cards)
    unbind(NICS[0])


def test_real_noiommu():
    if not noiommu_on():
        raise Skip("this kernel has no CONFIG_VFIO_NOIOMMU")
    bind(edu())
    program("noiommu", "noiommu", [edu()], root=True)


def without_iommu(suite):
    suite.run("noiommu: not for users", test_as_user, "noiommu-user", "noiommu", [edu()])
    suite.run("noiommu: real DMA to physical addresses", test_real_noiommu)
    # A device of no bus goes to the first IOMMU that is there (iommu_ops_from_fwnode()): only here the pretended one.
    suite.run("iommufd: dirty pages, many ranges", test_mock)


def main():
    suite = Suite()
    if os.listdir("/sys/kernel/iommu_groups"):
        with_iommu(suite)
    else:
        without_iommu(suite)
    suite.end()


if __name__ == "__main__":
    main()
