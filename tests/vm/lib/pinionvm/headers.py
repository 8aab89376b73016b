# SPDX-License-Identifier: BSD-3-Clause
"""What modules for the distribution's own kernels are built against: the headers packages of the very image, unpacked
into the cache, never installed."""

import os
import re
import shutil
import subprocess

from . import apt, cache
from .errors import HarnessError

LAYOUT = 1      # change it when what is unpacked changes


def package_of(image):
    """The headers package that belongs to an image package."""
    return "linux-headers-" + image.removeprefix("linux-image-").removesuffix("-unsigned")


def needed(depends, version):
    """[(package, version)] of what the Depends of a headers package name that holds files of the kernel's. Where they
    name no version it is that of the kernel, or else the newest."""
    found = []
    for clause in depends.split(","):
        match = re.match(r"\s*(linux-(?:headers|kbuild)-[^\s(]+)\s*(?:\(= *([^)]+)\))?", clause)
        if match:
            found.append((match.group(1), match.group(2) or (version if version in apt.versions(match.group(1))
                                                             else apt.candidate(match.group(1)))))
    return found


def repoint(root, final):
    """Makes a tree that was made for / work at `final`: links to absolute paths inside of it, and the paths that its
    makefiles include."""
    for folder, folders, files in os.walk(root):
        for name in folders + files:
            path = os.path.join(folder, name)
            target = os.readlink(path) if os.path.islink(path) else ""
            if target.startswith("/") and os.path.lexists(f"{root}{target}"):
                os.unlink(path)
                os.symlink(os.path.relpath(f"{root}{target}", folder), path)
    for path in (root / "usr" / "src").glob("*/Makefile"):
        text = path.read_text(encoding="utf-8")
        path.write_text(re.sub(r"(?<=[ =])/usr/(?=src/linux-|lib/linux-)", f"{final}/usr/", text), encoding="utf-8")


def _unpack(image, version, final):
    deb = apt.download(package_of(image), version)
    depends = subprocess.run(["dpkg-deb", "-f", str(deb), "Depends"], stdout=subprocess.PIPE, text=True,
                             check=True).stdout
    debs = [deb] + [apt.download(*package) for package in needed(depends, version)]
    with cache.new_directory(final) as work:
        for one in debs:
            subprocess.run(["dpkg-deb", "-x", str(one), str(work)], check=True)
        for rest in ("lib", "usr/share"):
            shutil.rmtree(work / rest, ignore_errors=True)
        # Types for BPF come from it, by a tool that is not needed otherwise.
        for vmlinux in (work / "usr" / "src").glob("*/vmlinux"):
            vmlinux.unlink()
        repoint(work, final)


def directory(image, version, release):
    """The directory to build modules against for this image package; downloaded first when the cache has none."""
    final = cache.root() / "headers" / f"{release}-{cache.digest(image, version, LAYOUT)}"
    with cache.lock(final.name):
        if not final.is_dir():
            _unpack(image, version, final)
    found = final / "usr" / "src" / f"linux-headers-{release}"
    if not (found / "Makefile").exists():
        raise HarnessError(f"{package_of(image)} has no {found.relative_to(final)}/Makefile")
    return str(found)
