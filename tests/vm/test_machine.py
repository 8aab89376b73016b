#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""The harness with real machines: one boot a test. PINION_KERNEL names the
kernel to use (6.12 when it is not set)."""

import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time
import unittest

RUN = pathlib.Path(__file__).resolve().parent / "run"
PROJECT = RUN.parents[2]
KERNEL = os.environ.get("PINION_KERNEL", "6.12")

# Lets the edu device read an address nothing is mapped at.
DMA_FAULT = r"""
import ctypes, glob, mmap, os, time
for path in glob.glob("/sys/bus/pci/devices/*"):
    if open(path + "/vendor").read().strip() == "0x1234" and open(path + "/device").read().strip() == "0x11e8":
        break
open(path + "/enable", "w").write("1")
config = os.open(path + "/config", os.O_RDWR)
os.pwrite(config, b"\x06\x00", 4)
bar = mmap.mmap(os.open(path + "/resource0", os.O_RDWR), 4096)
def set64(at, value):
    ctypes.c_uint64.from_buffer(bar, at).value = value
set64(0x80, 0x1000); set64(0x88, 0x40000); set64(0x90, 64); set64(0x98, 1)
time.sleep(1)
"""


def run(*arguments, stdin=subprocess.DEVNULL):
    return subprocess.run([str(RUN), "--kernel", KERNEL, *arguments], stdin=stdin,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)


class Machine(unittest.TestCase):
    def test_streams_status_and_arguments(self):
        script = ('printf "%s|" "$@"; head -c 300000 /dev/zero | tr "\\0" "\\r"; printf "e\\r\\n" >&2; pwd; '
                  '(sleep 100 &) ; kill -TERM $$')
        done = run("--", "sh", "-c", script, "sh", "a b", "x\ny", "'\"$(id)", "", "*")
        self.assertEqual(done.stdout, b"a b|x\ny|'\"$(id)||*|" + b"\r" * 300000 + f"{PROJECT}\n".encode())
        self.assertEqual(done.stderr, b"e\r\n")
        self.assertEqual(done.returncode, 128 + signal.SIGTERM)

    def test_ordinary_user_with_cards(self):
        with tempfile.TemporaryDirectory() as shared:
            os.chmod(shared, 0o777)
            done = run("--uid", "4242", "--memlock", "1234567", "--hugepages", "16", "--writable", shared,
                       "--nic", "e1000e:1,vfio", "--nic", "e1000:1", "--", "sh", "-c",
                       'cat /proc/self/status /proc/self/limits; echo "nics $PINION_NICS"; '
                       'for g in /dev/vfio/[0-9]*; do test -w $g && echo "group $g"; done; '
                       'test -w /dev/vfio/vfio && echo container; '
                       'for n in $PINION_NICS; do readlink /sys/bus/pci/devices/$n/driver; '
                       'ls /sys/bus/pci/devices/$n/iommu_group/devices | wc -l; done; '
                       'grep HugePages_Total /proc/meminfo; id -u; unshare -Ur id -u; '
                       f'echo kept >{shared}/file; cat /sys/class/net/eth*/address')
            said = done.stdout.decode()
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(pathlib.Path(shared, "file").read_text(), "kept\n")
        for capability in ("Inh", "Prm", "Eff", "Bnd", "Amb"):
            self.assertRegex(said, rf"Cap{capability}:\t0{{16}}")
        self.assertRegex(said, r"NoNewPrivs:\t1")
        self.assertRegex(said, r"Groups:\t *\n")
        self.assertRegex(said, r"Max locked memory +1234567 +1234567")
        self.assertIn("nics 0000:00:10.0 0000:00:11.0\n", said)
        self.assertRegex(said, r"group /dev/vfio/\d+\ncontainer\n")
        self.assertRegex(said, r"drivers/vfio-pci\n1\n.*drivers/e1000\n1\n")
        self.assertRegex(said, r"HugePages_Total: +16\n4242\n0\n")
        self.assertIn("52:54:00:00:01:01", said)

    def test_the_user_gets_every_node_of_a_device(self):
        done = run("--uid", "4242", "--nic", "e1000e,vfio", "--edu", "vfio,port", "--edu", "--", "sh", "-c",
                   "echo $PINION_EDUS; for d in $PINION_NICS $PINION_EDUS; do d=/sys/bus/pci/devices/$d; "
                   "basename $(readlink $d/driver) || echo none; "
                   "test ! -e $d/vfio-dev || stat -c '%u %g' /dev/vfio/$(basename $(readlink $d/iommu_group)) "
                   "/dev/vfio/devices/$(ls $d/vfio-dev); done; for n in /dev/iommu /dev/vfio/vfio; do "
                   "test ! -e $n || { test -w $n && echo open; }; done")
        said = done.stdout.decode().splitlines()
        nodes = ["vfio-pci", "4242 4242", "4242 4242"]
        self.assertEqual(said[:8], ["0000:01:00.0 0000:00:1b.0", *nodes, *nodes, "none"], done.stderr)
        self.assertEqual(set(said[8:]), {"open"})

    @unittest.skipUnless(KERNEL.startswith("6"), "the distribution's kernels have no CONFIG_VFIO_NOIOMMU")
    def test_noiommu_mode(self):
        """The node is root's to open, whoever owns it."""
        done = run("--iommu", "noiommu", "--nic", "e1000e", "--", "sh", "-c",
                   "tests/vm/guest/bind --uid 1000 $PINION_NICS; "
                   "cat /sys/bus/pci/devices/$PINION_NICS/iommu_group/name; "
                   "stat -c '%n %u' /dev/vfio/noiommu-*; ls /dev/vfio/devices; open='exec 3<>/dev/vfio/noiommu-0'; "
                   "sh -c \"$open\" && echo opened; tests/vm/guest/as-user 1000 -- sh -c \"$open\"; echo $?")
        said = done.stdout.decode().splitlines()
        self.assertEqual(said, ["vfio-noiommu", "/dev/vfio/noiommu-0 1000", "opened", "2"], done.stderr)
        self.assertIn(b"noiommu-0: Operation not permitted", done.stderr)

    def test_a_kernel_of_ones_own(self):
        known = run("--verbose", "--", "uname", "-r")
        release = known.stdout.decode()
        image = re.search(rb"-kernel (\S+)", known.stderr).group(1).decode()
        modules = pathlib.Path(image).parent / "lib" / "modules" / release.strip()
        done = subprocess.run([str(RUN), "--kernel-image", f"{image},modules={modules}", "--nic", "e1000e,vfio", "--",
                               "sh", "-c",
                               "uname -r; test -e /lib/modules/$(uname -r)/modules.dep && ls /dev/vfio/[0-9]*"],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
        self.assertRegex(done.stdout, rf"^{re.escape(release)}/dev/vfio/\d+\n$", done.stderr)

    def test_a_kernel_complaint_fails_the_run(self):
        done = run("--", "sh", "-c", "echo 'WARNING: CPU: 0 PID: 1 at made/up.c:1' >/dev/kmsg; exit 3")
        self.assertEqual(done.returncode, 125)
        self.assertIn(b"made/up.c", done.stderr)
        self.assertIn(b"status was 3", done.stderr)

    def test_a_dma_fault_fails_the_run_unless_expected(self):
        with tempfile.NamedTemporaryFile(suffix=".log") as log:
            done = run("--edu", "--log", log.name, "--", "python3", "-c", DMA_FAULT)
            self.assertEqual(done.returncode, 125, done.stderr)
            self.assertRegex(done.stderr.decode(), r"DMA fault in the log[^§]*DMAR: \[DMA Read")
            self.assertIn("DMAR: [DMA Read", pathlib.Path(log.name).read_text())
        done = run("--edu", "--expect-log", r"DMAR: \[DMA Read", "--", "python3", "-c", DMA_FAULT)
        self.assertEqual((done.returncode, done.stderr), (0, b""))

    def test_panic(self):
        done = run("--", "sh", "-c", "echo before; sleep 1; echo c >/proc/sysrq-trigger; sleep 60")
        self.assertEqual(done.returncode, 125)
        self.assertIn(b"before\n", done.stdout)
        self.assertRegex(done.stderr.decode(), r"panic in the log|oops in the log|BUG in the log")
        self.assertIn(b"went down", done.stderr)

    def test_timeout(self):
        began = time.monotonic()
        done = run("--timeout", "15", "--", "sleep", "1000")
        self.assertEqual(done.returncode, 124)
        self.assertIn(b"within 15 s", done.stderr)
        self.assertLess(time.monotonic() - began, 20)

    def test_a_signal_ends_all_of_it(self):
        with tempfile.TemporaryDirectory() as place:
            process = subprocess.Popen([str(RUN), "--kernel", KERNEL, "--", "sh", "-c", "echo up; sleep 1000"],
                                       stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                       env={**os.environ, "TMPDIR": place})
            self.assertEqual(process.stdout.readline(), b"up\n")
            children = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process.pid)],
                                      stdout=subprocess.PIPE, check=True).stdout.split()
            self.assertEqual(len(children), 1)
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=20)
            self.assertEqual(process.returncode, 128 + signal.SIGTERM)
            self.assertRegex(said, b"^vm: stopped by SIGTERM\n$")
            self.assertFalse(os.path.exists(f"/proc/{int(children[0])}"))
            self.assertEqual(os.listdir(place), [])

    def test_unplug_from_inside(self):
        done = run("--nic", "e1000e,port", "--", "sh", "-c",
                   "test -e /sys/bus/pci/devices/$PINION_NICS || exit 9; "
                   "tests/vm/guest/monitor device_del nic0; for i in $(seq 100); do "
                   "test -e /sys/bus/pci/devices/$PINION_NICS || exit 0; sleep 0.2; done; exit 1")
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_bind_and_unbind(self):
        done = run("--nic", "e1000e", "--", "sh", "-ec",
                   "cd tests/vm/guest; d=/sys/bus/pci/devices/$PINION_NICS/driver; readlink $d; "
                   "./bind --uid 7 $PINION_NICS; readlink $d; stat -c %u /dev/vfio/[0-9]*; "
                   "./bind $PINION_NICS; stat -c %u /dev/vfio/[0-9]*; "
                   "./unbind $PINION_NICS; readlink $d; ls /dev/vfio; ./bind 0000:00:0f.0")
        self.assertRegex(done.stdout.decode(), r"(?s)e1000e\n.*vfio-pci\n7\n0\n.*e1000e\n(devices\n)?vfio\n$")
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"no PCI device 0000:00:0f.0", done.stderr)

    def test_not_found_and_bad_usage(self):
        done = run("--", "no-such-program")
        self.assertEqual(done.returncode, 127)
        done = run("--nic", "igb", "--", "true")
        self.assertEqual(done.returncode, 2)
        self.assertTrue(re.fullmatch(rb"vm: [^\n]+\n", done.stderr), done.stderr)


if __name__ == "__main__":
    sys.exit(unittest.main())
