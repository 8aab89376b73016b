# SPDX-License-Identifier: BSD-3-Clause
"""The initramfs: busybox, the first process, early modules, and the job."""

import os
import pathlib
import shutil
import stat

from .errors import HarnessError

GUEST = pathlib.Path(__file__).resolve().parents[2] / "guest"


class Archive:
    """A "newc" cpio archive, written without root and without cpio."""

    def __init__(self):
        self._parts, self._inode = [], 0

    def _entry(self, name, mode, data=b"", device=(0, 0)):
        self._inode += 1
        encoded = name.encode() + b"\0"
        fields = (self._inode, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(encoded), 0)
        header = b"070701" + b"".join(b"%08x" % value for value in fields) + encoded
        self._parts.append(header + b"\0" * (-len(header) % 4) + data + b"\0" * (-len(data) % 4))

    def directory(self, name):
        self._entry(name, stat.S_IFDIR | 0o755)

    def file(self, name, data, mode=0o644):
        self._entry(name, stat.S_IFREG | mode, data)

    def character_device(self, name, major, minor):
        self._entry(name, stat.S_IFCHR | 0o600, b"", (major, minor))

    def bytes(self):
        self._entry("TRAILER!!!", 0)
        self._inode = 0
        return b"".join(self._parts)


def busybox():
    """A statically linked busybox."""
    for path in ("/bin/busybox", "/usr/bin/busybox", shutil.which("busybox-static") or ""):
        if path and os.access(path, os.X_OK) and b"ld-linux" not in pathlib.Path(path).read_bytes()[:4096]:
            return pathlib.Path(path)
    raise HarnessError("no static busybox here: run scripts/deps vm (package busybox-static)")


def make(kernel, settings, command):
    """The whole initramfs for one run."""
    archive = Archive()
    for name in ("bin", "dev", "job", "modules", "new", "over", "proc", "ro", "rw", "sys"):
        archive.directory(name)
    archive.character_device("dev/console", 5, 1)
    archive.file("bin/busybox", busybox().read_bytes(), 0o755)
    archive.file("init", (GUEST / "init").read_bytes(), 0o755)
    archive.file("init-command", (GUEST / "init-command").read_bytes())
    for name in kernel.early:
        archive.file(f"modules/{name}", (kernel.directory / "early" / name).read_bytes())
    archive.file("job/settings", settings.encode("utf-8", "surrogateescape"))
    archive.file("job/command", command.encode("utf-8", "surrogateescape"))
    return archive.bytes()
