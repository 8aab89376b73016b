# SPDX-License-Identifier: BSD-3-Clause
"""One run of a machine: start it, carry the streams, end it, judge its log."""

import ctypes
import os
import pathlib
import re
import secrets
import selectors
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

from . import initramfs, kernel_log, qemu, terminal
from .errors import HarnessError, TimeoutExpired
from .monitor import Monitor

BOOT_SECONDS = 180      # far above any real boot: another build may have the processors
DRAIN_SECONDS = 30
PR_SET_PDEATHSIG = 1
PREFIX = "pinion-vm."


class Stream:
    """Passes bytes on until the mark that ends them, which it swallows."""

    def __init__(self, target, mark):
        self.target, self.mark = target, mark
        self.ended = False
        self._held = b""

    def take(self, data):
        data = self._held + data
        if data.endswith(self.mark):
            data, self.ended, self._held = data[:-len(self.mark)], True, b""
        else:
            held = next(n for n in range(min(len(self.mark) - 1, len(data)), -1, -1)
                        if data.endswith(self.mark[:n]))
            data, self._held = data[:len(data) - held], data[len(data) - held:]
        if data:
            try:
                self.target.write(data)
                self.target.flush()
            except BrokenPipeError:
                pass            # whoever read us went away; the command still runs on


def settings(kernel, options, nics, project, mark):
    """What the guest's first process reads, as shell assignments."""
    values = {
        "VM_END": mark,
        "VM_EARLY_MODULES": " ".join(kernel.early),
        "VM_PROJECT": project,
        "VM_RELEASE": kernel.release,
        "VM_MODULES_DIR": kernel.modules,
        "VM_ROOT_CACHE": options.root_cache,
        "VM_UID": "" if options.uid is None else str(options.uid),
        "VM_HUGEPAGES": str(options.hugepages),
        "VM_HUGEPAGES_1G": str(options.hugepages_1g),
        "VM_VFIO_DEVICES": " ".join(device.bdf for device in nics + options.edus if device.vfio),
        "VM_KMEMLEAK": "1" if options.kmemleak else "",
        "VM_TTY": "%d %d" % terminal.size() if options.tty else "",
        "VM_WRITABLE_COUNT": str(len(options.writable)),
    }
    for index, path in enumerate(options.writable):
        values[f"VM_WRITABLE_{index}"] = path
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items())


def command_script(kernel, options, nics, project):
    """The shell script that becomes the command."""
    environment = {
        "HOME": "/root",
        "TERM": os.environ.get("TERM", "dumb"),
        "LANG": "C.UTF-8",
        "PINION_VM": "1",
        "PINION_KERNEL": kernel.name,
        "PINION_KERNELDIR": kernel.kerneldir,
        "PINION_NICS": " ".join(nic.bdf for nic in nics),
        "PINION_EDUS": " ".join(edu.bdf for edu in options.edus),
    }
    words = ["/usr/bin/env"]
    if options.uid is not None:
        words = [f"{project}/tests/vm/guest/as-user", str(options.uid)]
        if options.memlock is not None:
            words += ["--memlock", options.memlock]
    elif options.memlock is not None:
        words = ["/usr/bin/prlimit", f"--memlock={options.memlock}:{options.memlock}"]
    words += ["--", *options.command]
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in environment.items()) + \
        "unset OLDPWD SHLVL\nexec " + " ".join(shlex.quote(word) for word in words) + "\n"


def _die_with_parent():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _remove_stale():
    """Directories of runs that were killed too hard to clean up."""
    for path in pathlib.Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        if not os.path.exists(f"/proc/{path.name.split('.')[1]}"):
            shutil.rmtree(path, ignore_errors=True)


class Machine:
    """A running QEMU and the four streams that come out of it."""

    def __init__(self, kernel, options, nics, project, out=None, err=None):
        self.kernel, self.options, self.nics, self.project = kernel, options, nics, project
        self.mark = secrets.token_hex(16)
        self.err = err if err is not None else sys.stderr.buffer
        self.streams = {
            "out": Stream(out if out is not None else sys.stdout.buffer, self.mark.encode()),
            "err": Stream(self.err, self.mark.encode()),
        }
        self.log = bytearray()
        self.control = bytearray()
        self.ready_after = None
        self._process = None
        self._monitor = None
        self._said = None
        self.began = 0.0
        self._directory = None
        self._sockets = {}

    def __enter__(self):
        if not shutil.which(qemu.PROGRAM):
            raise HarnessError(f"no {qemu.PROGRAM} here: run scripts/deps vm")
        _remove_stale()
        self._directory = tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}.")
        initrd = os.path.join(self._directory, "initrd")
        with open(initrd, "wb") as file:
            file.write(initramfs.make(
                self.kernel, settings(self.kernel, self.options, self.nics, self.project, self.mark),
                command_script(self.kernel, self.options, self.nics, self.project)))
        far = {}
        for port in qemu.PORTS:
            self._sockets[port], far[port] = socket.socketpair()
            self._sockets[port].setblocking(False)
        self._monitor = Monitor(self._sockets["monitor"], self._sockets["qmp"])
        command = qemu.command(self.kernel, self.options, self.nics, initrd,
                               {port: end.fileno() for port, end in far.items()})
        if self.options.verbose:
            print("vm: " + shlex.join(command), file=sys.stderr, flush=True)
        self._said = tempfile.TemporaryFile()
        self.began = time.monotonic()
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=self._said, stderr=self._said,
            pass_fds=[end.fileno() for end in far.values()],
            start_new_session=True, preexec_fn=_die_with_parent)
        for end in far.values():
            end.close()
        return self

    def __exit__(self, *_):
        if self._process and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        for end in self._sockets.values():
            end.close()
        if self._directory:
            shutil.rmtree(self._directory, ignore_errors=True)

    def qemu_said(self):
        self._said.seek(0)
        return self._said.read().decode("utf-8", "replace").strip()

    def log_lines(self):
        return self.log.decode("utf-8", "replace").replace("\r", "").splitlines()

    def _take(self, port, data):
        if port == "log":
            self.log += data
            if self.options.verbose:
                self.err.write(data.replace(b"\r", b""))
                self.err.flush()
        elif port == "monitor":
            self._monitor.from_guest(data)
        elif port == "qmp":
            self._monitor.from_qmp(data)
        elif port == "tty":
            self.streams["out"].take(data)
        elif port == "control":
            self.control += data
            if self.ready_after is None and b"ready\n" in self.control:
                self.ready_after = time.monotonic() - self.began
        else:
            self.streams[port].take(data)

    def _status(self):
        """The command's exit status once the guest has told it."""
        match = re.search(rb"^exit (\d+)\n", self.control, re.M)
        return int(match.group(1)) if match else None

    def wait(self):
        """Carry the streams until the command has ended; return its status."""
        deadline = self.began + (self.options.timeout or float("inf"))
        boot_deadline = self.began + BOOT_SECONDS
        drain_deadline = None
        with selectors.DefaultSelector() as selector:
            for port, end in self._sockets.items():
                selector.register(end, selectors.EVENT_READ, port)
            if self.options.tty:
                selector.register(sys.stdin, selectors.EVENT_READ, "keys")
            while True:
                for key, _ in selector.select(0.2):
                    if key.data == "keys":
                        typed = terminal.keys()
                        if typed:
                            self._sockets["tty"].send(typed)
                        else:
                            selector.unregister(key.fileobj)
                        continue
                    try:
                        data = key.fileobj.recv(1 << 18)
                    except (BlockingIOError, ConnectionResetError):
                        data = None
                    if data:
                        self._take(key.data, data)
                    elif data == b"":
                        selector.unregister(key.fileobj)
                status = self._status()
                now = time.monotonic()
                if status is not None:
                    if all(stream.ended for stream in self.streams.values()):
                        self._drain("tty")
                        self._drain("log")
                        return status
                    drain_deadline = drain_deadline or now + DRAIN_SECONDS
                if not selector.get_map():
                    self._process.wait()
                    raise HarnessError(self._death())
                if drain_deadline and now > drain_deadline:
                    raise HarnessError("the command's output did not arrive whole")
                if now > deadline:
                    raise TimeoutExpired(f"the command did not end within {self.options.timeout:g} s")
                if self.ready_after is None and now > boot_deadline:
                    raise HarnessError(f"the guest did not start within {BOOT_SECONDS} s")

    def _drain(self, port):
        try:
            while data := self._sockets[port].recv(1 << 18):
                self._take(port, data)
        except (BlockingIOError, ConnectionResetError):
            pass

    def _death(self):
        said = self.qemu_said()
        if not self.log:
            return "qemu did not start: " + (said or f"exit status {self._process.returncode}")
        return "the guest went down before the command ended" + (f" (qemu: {said})" if said else "")

    def troubles(self):
        return kernel_log.scan(self.log_lines(), self.options.expect_log)
