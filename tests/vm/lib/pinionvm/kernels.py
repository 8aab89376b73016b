# SPDX-License-Identifier: BSD-3-Clause
"""Kernels by name, and the cache that holds them ready to boot.

Adding a built kernel is one entry here and one NAME.config beside the others.
"""

import os
import pathlib
import sys
from dataclasses import dataclass

from . import apt, build, cache, stock
from .errors import DownloadError, HarnessError, UsageError

CONFIGS = pathlib.Path(__file__).resolve().parents[2] / "kernels"
DEFAULT = "6.12"


@dataclass(frozen=True)
class Source:
    """Where a kernel comes from: a series, and fragments when it is built."""

    series: str
    fragments: tuple = ()
    about: str = ""


CATALOGUE = {
    "6.12": Source("6.12", ("6.12",), "built: type1 container, iommufd, VFIO cdev"),
    "6.12-iommufd-container": Source("6.12", ("6.12", "6.12-iommufd-container"),
                                     "built: iommufd provides /dev/vfio/vfio"),
    "6.12-debug": Source("6.12", ("6.12", "6.12-debug"),
                         "built: KASAN, lockdep, kmemleak, fault injection, IOMMUFD_TEST"),
    "stock-6.12": Source("6.12", (), "the distribution's own 6.12 image"),
    "stock-6.1": Source("6.1", (), "the distribution's own 6.1 image"),
}


@dataclass(frozen=True)
class Kernel:
    """A kernel ready to boot."""

    name: str
    directory: pathlib.Path
    release: str
    version: str
    package: str
    early: tuple
    kerneldir: str
    modules_from: str = ""      # of a caller's own kernel: where its modules are

    @property
    def image(self):
        return self.directory / "vmlinux"

    @property
    def modules(self):
        """The directory of its modules; "" for a kernel without."""
        if self.modules_from or not self.release:
            return self.modules_from
        return str(self.directory / "lib" / "modules" / self.release)


def names():
    return list(CATALOGUE)


def source_of(name):
    if name not in CATALOGUE:
        raise UsageError(f"no kernel {name!r}; there are {', '.join(CATALOGUE)}")
    return CATALOGUE[name]


def _load(directory):
    said = cache.read_json(directory / "kernel.json")
    if not said or not (directory / "vmlinux").exists():
        return None
    return Kernel(said["name"], directory, said["release"], said["version"],
                  said["package"], tuple(said["early"]), str(directory / said["kerneldir"]) if said["kerneldir"] else "")


def _key(name, source, package, version):
    if source.fragments:
        return cache.digest(version, *build.key_parts(CONFIGS, source.fragments))
    return cache.digest(package, version, stock.LAYOUT, *stock.EARLY)


def _newest(name, source):
    """(package, version) apt knows; remembered until apt's lists change."""
    record = cache.root() / "newest" / f"{name}.json"
    said = cache.read_json(record)
    if said.get("lists") == apt.lists_stamp() and said.get("package"):
        return said["package"], said["version"]
    for attempt in (1, 2):
        package = f"linux-source-{source.series}" if source.fragments else apt.image_package(source.series)
        version = apt.candidate(package) if package else None
        if version:
            cache.write_json(record, {"package": package, "version": version, "lists": apt.lists_stamp()})
            return package, version
        if said.get("package"):
            return said["package"], said["version"]
        if attempt == 1 and not apt.update():
            break
    raise HarnessError(f"apt knows no package for the kernel {name} (series {source.series})")


def _directory(name, package, version):
    return cache.root() / "kernels" / f"{name}-{_key(name, source_of(name), package, version)}"


def _fallback(name):
    """An older version of this very kernel, for when the newest cannot be had."""
    ready = [_load(path) for path in (cache.root() / "kernels").glob(f"{name}-*")]
    ready = [kernel for kernel in ready if kernel and kernel.name == name and
             kernel.directory == _directory(name, kernel.package, kernel.version)]
    return max(ready, key=lambda kernel: kernel.directory.stat().st_mtime, default=None)


def prepare(name):
    """The kernel, downloaded or built first when the cache has none."""
    source = source_of(name)
    package, version = _newest(name, source)
    directory = _directory(name, package, version)
    ready = _load(directory)
    if ready:
        return ready
    with cache.lock(directory.name):
        ready = _load(directory)
        if ready:
            return ready
        try:
            if source.fragments:
                build.build(name, source.fragments, CONFIGS, package, version, directory)
            else:
                stock.unpack(name, package, version, directory)
        except DownloadError as error:
            older = _fallback(name)
            if older is None:
                raise
            print(f"vm: {error}; using {older.version} from the cache", file=sys.stderr, flush=True)
            return older
    return _load(directory)


def from_image(image, modules, directory):
    """A caller's own kernel, a vmlinux or bzImage, with the directory of its modules or ""; what has to be unpacked
    goes to a directory, which must exist."""
    target = directory / "vmlinux"
    data = pathlib.Path(image).read_bytes()
    try:
        target.write_bytes(data if data[:4] == b"\x7fELF" else stock.vmlinux(data))
    except HarnessError:
        target.write_bytes(data)        # QEMU may know what this is
    early, build_dir = [], ""
    if modules:
        early = stock.unpack_early(pathlib.Path(modules), directory / "early")
        build_dir = os.path.join(modules, "build")
    return Kernel(os.path.basename(image), directory, os.path.basename(modules), "", "", tuple(early),
                  os.path.realpath(build_dir) if os.path.isdir(build_dir) else "", modules)


def state(name):
    """One word on how far away this kernel is, and its version."""
    source = source_of(name)
    try:
        package, version = _newest(name, source)
    except HarnessError:
        return "unknown", "-"
    if _load(_directory(name, package, version)):
        return "ready", version
    return ("to build" if source.fragments else "to download"), version
