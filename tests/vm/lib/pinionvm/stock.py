# SPDX-License-Identifier: BSD-3-Clause
"""The distribution's own kernels: downloaded, unpacked, never installed."""

import lzma
import pathlib
import re
import shutil
import subprocess
import zlib

from . import apt, cache
from .errors import HarnessError

# What the initramfs must hold: the guest's root, and the VFIO and card
# drivers the tests use first. Anything else the guest gets by modprobe.
EARLY = ["virtio_pci", "virtio_console", "9p", "9pnet_virtio", "overlay",
         "vfio", "vfio_iommu_type1", "vfio_pci", "e1000e", "e1000", "virtio_net"]
LAYOUT = 3      # change it when what is unpacked changes


def _payload(image):
    """The compressed kernel inside a bzImage (x86 boot protocol 2.08)."""
    if image[0x202:0x206] != b"HdrS":
        raise HarnessError("not a bzImage")
    sectors = image[0x1f1] or 4
    offset = int.from_bytes(image[0x248:0x24c], "little")
    length = int.from_bytes(image[0x24c:0x250], "little")
    start = (sectors + 1) * 512 + offset
    return image[start:start + length]


def vmlinux(image):
    """The ELF kernel out of a bzImage: started by PVH, it saves the guest the
    decompression, which costs seconds without KVM."""
    data = _payload(image)
    if data[:2] == b"\x1f\x8b":
        return zlib.decompressobj(31).decompress(data)
    if data[:6] == b"\xfd7zXZ\0":
        return lzma.LZMADecompressor().decompress(data)
    if data[:4] == b"\x28\xb5\x2f\xfd":
        done = subprocess.run(["zstd", "-dcq"], input=data[:-4], stdout=subprocess.PIPE, check=False)
        if done.stdout[:4] == b"\x7fELF":
            return done.stdout
        raise HarnessError("zstd cannot unpack the kernel image")
    raise HarnessError("unknown compression of the kernel image")


def module_order(modules_dir, names):
    """Paths of the modules and all they need, each after what it needs."""
    needs = {}
    for line in (modules_dir / "modules.dep").read_text(encoding="ascii").splitlines():
        path, _, rest = line.partition(":")
        needs[path] = rest.split()
    by_name = {re.sub(r"\.ko.*", "", pathlib.Path(path).name).replace("-", "_"): path for path in needs}
    order = []
    for name in names:
        path = by_name.get(name)
        if path is None:
            continue            # built in, or not in this series
        for needed in list(reversed(needs[path])) + [path]:
            if needed not in order:
                order.append(needed)
    return order


def _unpack_module(source, target):
    data = source.read_bytes()
    if source.suffix == ".xz":
        data = lzma.decompress(data)
    elif source.suffix == ".zst":
        data = subprocess.run(["zstd", "-dcq"], input=data, stdout=subprocess.PIPE, check=True).stdout
    target.write_bytes(data)


def unpack_early(modules, early):
    """Unpack what the initramfs must hold into a directory; the names, in the order of loading."""
    early.mkdir()
    names = []
    for path in module_order(modules, EARLY):
        flat = re.sub(r"\.ko.*", ".ko", pathlib.Path(path).name)
        _unpack_module(modules / path, early / flat)
        names.append(flat)
    return names


def unpack(name, package, version, final):
    """Make the kernel directory `final` from the image package."""
    deb = apt.download(package, version)
    with cache.new_directory(final) as work:
        subprocess.run(["dpkg-deb", "-x", str(deb), str(work / "deb")], check=True)
        image = next((work / "deb" / "boot").glob("vmlinuz-*"))
        release = image.name.removeprefix("vmlinuz-")
        (work / "vmlinux").write_bytes(vmlinux(image.read_bytes()))
        shutil.copy(work / "deb" / "boot" / f"config-{release}", work / "config")
        unpacked = next(p for p in (work / "deb/usr/lib/modules", work / "deb/lib/modules") if p.is_dir())
        (work / "lib").mkdir()
        unpacked.rename(work / "lib" / "modules")
        shutil.rmtree(work / "deb")
        depmod = shutil.which("depmod") or "/usr/sbin/depmod"
        subprocess.run([depmod, "-b", str(work), release], check=True)
        early = unpack_early(work / "lib" / "modules" / release, work / "early")
        cache.write_json(work / "kernel.json", {
            "name": name, "release": release, "version": version, "package": package,
            "early": early, "kerneldir": None})
