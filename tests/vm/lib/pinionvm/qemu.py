# SPDX-License-Identifier: BSD-3-Clause
"""The QEMU command line of a test machine.

Root bus: 0x01 free (QEMU puts the AMD IOMMU there), 0x02 virtio-serial, 0x03
the root's 9p share, 0x04... writable shares, 0x10... network cards (see
nic.py), 0x1a... edu devices (see edu.py), 0x1e the virtio IOMMU; --device goes where QEMU puts it.
"""

from . import accel
from .errors import UsageError

PROGRAM = "qemu-system-x86_64"
# Each is one end of a socket pair; the first four are named virtio-serial
# ports in the guest, "tty" is /dev/hvc0 there, "log" is its serial console, "qmp" QEMU's own monitor.
SERIAL_PORTS = ("control", "out", "err", "monitor")
PORTS = SERIAL_PORTS + ("tty", "log", "qmp")
FIRST_SHARE_SLOT = 0x04
MAX_SHARES = 0x10 - FIRST_SHARE_SLOT

# Fewer start-up seconds without KVM, and a kernel that stops at an oops.
KERNEL_ARGS = ["console=ttyS0", "panic=-1", "oops=panic", "nokaslr", "no_timer_check", "tsc=reliable",
               "mitigations=off", "random.trust_cpu=on", "8250.nr_uarts=1", "printk.devkmsg=on",
               "rcupdate.rcu_expedited=1", "rcupdate.rcu_cpu_stall_timeout=60", "watchdog_thresh=30",
               "cgroup_no_v1=all", "audit=0", "apparmor=0", "transparent_hugepage=madvise", "dummy.numdummies=0"]

IOMMU_KERNEL_ARGS = {
    "intel": ["intel_iommu=on"],
    "amd": ["amd_iommu=on"],
    "virtio": ["intel_iommu=on"],
    "none": [],
    "noiommu": ["vfio.enable_unsafe_noiommu_mode=1"],
}


def iommu_args(text):
    """(kind, -device arguments) of --iommu KIND[,PROPERTY=VALUE]..."""
    kind, *properties = text.split(",")
    extra = "".join("," + p for p in properties)
    if kind == "intel":
        width = "" if "aw-bits=" in extra else ",aw-bits=48"
        return kind, ["-device", f"intel-iommu,intremap=on,caching-mode=on{width}{extra}"]
    if kind == "amd":
        return kind, ["-device", f"amd-iommu,intremap=on{extra}"]
    if kind == "virtio":
        return kind, ["-device", f"virtio-iommu-pci,addr=0x1e{extra}"]
    if kind in ("none", "noiommu"):
        return kind, []
    raise UsageError(f"--iommu {text}: no {kind!r}; there are {', '.join(IOMMU_KERNEL_ARGS)}")


def _processors(options):
    """One socket a NUMA node: the kernel distrusts a cache that spans nodes."""
    if options.numa == 1:
        return ["-smp", str(options.cpus)]
    return ["-smp", f"{options.cpus},sockets={options.numa},cores={options.cpus // options.numa},threads=1"]


def _memory(options):
    args = ["-m", str(options.memory)]
    if options.numa > 1:
        share, cores = options.memory // options.numa, options.cpus // options.numa
        for node in range(options.numa):
            size = share if node else options.memory - share * (options.numa - 1)
            args += ["-object", f"memory-backend-ram,id=ram{node},size={size}M",
                     "-numa", f"node,nodeid={node},memdev=ram{node},"
                              f"cpus={node * cores}-{(node + 1) * cores - 1}"]
    return args


def _share(tag, path, slot, readonly):
    name = tag.replace("-", "_")
    mode = ",readonly=on" if readonly else ""
    return ["-fsdev", f"local,id={name},path={path.replace(',', ',,')},security_model=none,"
                      f"multidevs=remap{mode}",
            "-device", f"virtio-9p-pci,fsdev={name},mount_tag={tag},addr=0x{slot:x},disable-legacy=on"]


def kernel_args(options):
    """The kernel's command line."""
    kind, _ = iommu_args(options.iommu)
    args = KERNEL_ARGS + IOMMU_KERNEL_ARGS[kind]
    if options.hugepages_1g:
        args += ["hugepagesz=1G", f"hugepages={options.hugepages_1g}"]
    if options.hugepages:
        args += ["hugepagesz=2M", f"hugepages={options.hugepages}"]
    return args + options.append


def command(kernel, options, nics, initrd, sockets):
    """The whole command; `sockets` maps each of PORTS to a descriptor."""
    _, iommu = iommu_args(options.iommu)
    args = [PROGRAM, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
            "-machine", "q35,kernel-irqchip=split" if accel.kvm_works(kernel) else "q35",
            *accel.qemu_args(kernel), *_processors(options), *_memory(options),
            "-rtc", "base=utc", "-kernel", str(kernel.image), "-initrd", initrd,
            "-append", " ".join(kernel_args(options)), *iommu,
            "-device", "virtio-serial-pci,addr=0x2,disable-legacy=on"]
    for port in PORTS:
        args += ["-chardev", f"socket,id={port},fd={sockets[port]}"]
    args += ["-serial", "chardev:log", "-mon", "chardev=qmp,mode=control"]
    for port in SERIAL_PORTS:
        args += ["-device", f"virtserialport,chardev={port},name=pinion.{port}"]
    args += ["-device", "virtconsole,chardev=tty"]
    args += _share("pinion-root", "/", 0x03, True)
    for index, path in enumerate(options.writable):
        args += _share(f"pinion-w{index}", path, FIRST_SHARE_SLOT + index, False)
    for nic in nics:
        args += nic.qemu_args()
    for edu in options.edus:
        args += edu.qemu_args()
    for device in options.device:
        args += ["-device", device]
    return args + options.qemu
