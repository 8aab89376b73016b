# SPDX-License-Identifier: BSD-3-Clause
"""Hardware acceleration: believed only when a kernel has really booted on it."""

import os
import pathlib
import subprocess
import tempfile

from . import cache
from .initramfs import Archive, busybox

MARK = "pinion-probe-booted"
PROBE_SECONDS = 10
TCG = ["-accel", "tcg,thread=multi", "-cpu", "max,la57=off"]
KVM = ["-accel", "kvm", "-cpu", "host"]
# The guest's clock counts instructions, a nanosecond each: the same on a busy host. With one processor at a time.
COUNTED = ["-accel", "tcg,thread=single", "-cpu", "max,la57=off", "-icount", "shift=0,sleep=off"]


def _probe(kernel):
    archive = Archive()
    for name in ("bin", "dev"):
        archive.directory(name)
    archive.character_device("dev/console", 5, 1)
    archive.file("bin/busybox", busybox().read_bytes(), 0o755)
    archive.file("init", f"#!/bin/busybox sh\necho {MARK}\npoweroff -f\n".encode(), 0o755)
    with tempfile.NamedTemporaryFile(prefix="pinion-probe-") as initrd:
        initrd.write(archive.bytes())
        initrd.flush()
        command = ["qemu-system-x86_64", "-machine", "q35", *KVM, "-m", "512", "-nodefaults",
                   "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio",
                   "-kernel", str(kernel.image), "-initrd", initrd.name,
                   "-append", "console=ttyS0 panic=-1"]
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.DEVNULL, timeout=PROBE_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            return False
    return MARK.encode() in done.stdout


def kvm_works(kernel):
    """True when a kernel boots under KVM here; tried once per boot of the host."""
    if os.environ.get("PINION_VM_ACCEL") in ("tcg", "counted", "kvm"):
        return os.environ["PINION_VM_ACCEL"] == "kvm"
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    boot = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    record = cache.root() / "kvm-probe.json"
    key = f"{boot} {os.uname().release}"
    said = cache.read_json(record)
    if key not in said:
        with cache.lock("kvm-probe"):
            said = cache.read_json(record)
            if key not in said:
                said = {key: _probe(kernel)}
                cache.write_json(record, said)
    return said[key]


def qemu_args(kernel):
    if os.environ.get("PINION_VM_ACCEL") == "counted":
        return list(COUNTED)
    return list(KVM if kvm_works(kernel) else TCG)
