#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""The harness's own parts, on the host, without a machine."""

import io
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest
from unittest import mock

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "lib"))

from pinionvm import apt, build, cache, edu, headers, initramfs, kernel_log, kernels, nic, options, qemu, stock  # noqa: E402
from pinionvm.errors import DownloadError, HarnessError, UsageError  # noqa: E402
from pinionvm.machine import Stream, command_script, settings  # noqa: E402
from pinionvm.progress import Progress  # noqa: E402

WARN = """\
[    1.000000] pci 0000:00:10.0: ordinary line
[    1.100000] ------------[ cut here ]------------
[    1.100001] WARNING: CPU: 1 PID: 77 at drivers/iommu/iommu.c:100 iommu_map+0x1/0x2
[    1.100002] RIP: 0010:iommu_map+0x1/0x2
[    1.100003] ---[ end trace 0000000000000000 ]---
[    1.200000] another ordinary line
""".splitlines()

FAULT = """\
[    9.000000] DMAR: DRHD: handling fault status reg 2
[    9.000001] DMAR: [DMA Read NO_PASID] Request device [00:03.0] fault addr 0x1000 [fault reason 0x06] PTE Read access is not set
[    9.100000] ordinary
""".splitlines()

LOCKDEP = """\
[    3.0] ======================================================
[    3.0] WARNING: possible circular locking dependency detected
[    3.0] 6.12.0 #1 Not tainted
[    3.0] swapper/0/1 is trying to acquire lock:
[    3.0]  </TASK>
[    3.1] fine again
""".splitlines()

HARMLESS = """\
[    0.1] DMAR: Host address width 48
[    0.1] DMAR: DRHD base: 0x000000fed90000 flags: 0x0
[    0.1] DMAR: Intel(R) Virtualization Technology for Directed I/O
[    0.2] vfio_pin_pages_remote: RLIMIT_MEMLOCK (8388608) exceeded
[    0.3] e1000e 0000:00:10.0 eth0: removed PHC
[    0.4] DMA-API: debugging enabled by kernel config
[    0.5] Lockdep: 'lock_classes' entries
[    0.6] kmemleak: Kernel memory leak detector initialized (mem pool available: 15000)
[    0.6] UBSAN is off
[    0.7] traps: prog[55] general protection fault ip:1 sp:2 error:0 in prog
""".splitlines()


# What kernel 6.12-debug says when it lets something fail on purpose.
INJECTED = """\
[   19.2] FAULT_INJECTION: forcing a failure.
[   19.2] name failslab, interval 1, probability 0, space 0, times 1
[   19.2] CPU: 0 UID: 1000 PID: 115 Comm: faults Not tainted 6.12.117-pinion-debug #1
[   19.2] Hardware name: QEMU Standard PC (Q35 + ICH9, 2009), BIOS 1.16.2-debian-1.16.2-1 04/01/2014
[   19.2] Call Trace:
[   19.2]  <TASK>
[   19.2]  dump_stack_lvl+0x8a/0xa0
[   19.2]  should_fail_ex+0x4aa/0x590
[   19.2]  ? rseq_warn_flags.part.0+0x70/0x70
[   19.2]  </TASK>
""".splitlines()


class KernelLog(unittest.TestCase):
    def kinds(self, lines, expected=()):
        return [trouble.kind for trouble in kernel_log.scan(lines, expected)]

    def test_warning_is_one_complaint_with_context(self):
        found = kernel_log.scan(WARN)
        self.assertEqual([t.kind for t in found], ["WARN"])
        self.assertIn("cut here", found[0].text())
        self.assertIn("RIP: 0010", found[0].text())
        self.assertNotIn("another ordinary", found[0].text())

    def test_dma_fault_lines_belong_together(self):
        self.assertEqual(self.kinds(FAULT), ["DMA fault"])

    def test_line_of_another_processor_between_those_of_a_fault(self):
        between = FAULT[:1] + ["[    9.000001] hrtimer: interrupt took 5102304 ns"] + FAULT[1:]
        self.assertEqual(self.kinds(between), ["DMA fault"])
        self.assertEqual(self.kinds(between, [r"DMA Read.*00:03\.0"]), [])

    def test_faults_are_seen_where_no_line_tells_which(self):
        self.assertEqual(self.kinds(FAULT[:1]), ["DMA fault"])
        self.assertEqual(self.kinds(FAULT + FAULT[:1] + ["[ 9.1] ordinary"] * 9, [r"DMA Read.*00:03\.0"]), ["DMA fault"])
        self.assertEqual(self.kinds(FAULT[:1] + FAULT, [r"DMA Read.*00:03\.0"]), ["DMA fault"])
        self.assertEqual(self.kinds(FAULT[:1] + ["[ 9.1] DMAR: [Firmware Bug]: x"]), ["DMA fault"])

    def test_errors_of_the_iommu_are_none_of_its_faults(self):
        """Of its queue of commands, or of one that timed out: bits 4 to 7 of the status."""
        for status in ("2", "3", "102"):
            line = FAULT[0].replace("reg 2", f"reg {status}")
            self.assertEqual(self.kinds([line] + FAULT[1:], [r"DMA Read.*00:03\.0"]), [])
        for status in ("10", "40", "12", "82"):
            line = FAULT[0].replace("reg 2", f"reg {status}")
            self.assertEqual(self.kinds([line] + FAULT[1:], [r"DMA Read.*00:03\.0"]), ["DMA fault"])
        self.assertEqual(self.kinds(["[ 9.2] DMAR: VT-d detected Invalidation Time-out Error: SID 0"]), ["DMA fault"])

    def test_expected_fault_excuses_no_other(self):
        other = [FAULT[1].replace("00:03.0", "00:04.0")]
        for lines in (FAULT[:2] + other, FAULT[:1] + other + FAULT[1:]):
            self.assertEqual(self.kinds(lines, [r"DMA Read.*00:03\.0"]), ["DMA fault"])

    def test_expected_by_any_line_of_the_complaint(self):
        self.assertEqual(self.kinds(FAULT, [r"DMA Read.*00:03\.0"]), [])
        self.assertEqual(self.kinds(FAULT, [r"DMA Write"]), ["DMA fault"])

    def test_expected_excuses_only_its_own(self):
        self.assertEqual(self.kinds(FAULT + WARN, ["DMA Read"]), ["WARN"])
        self.assertEqual(self.kinds(WARN + WARN, ["CPU: 7 "]), ["WARN", "WARN"])

    def test_lockdep(self):
        self.assertEqual(self.kinds(LOCKDEP), ["WARN"])

    def test_harmless(self):
        self.assertEqual(self.kinds(HARMLESS), [])

    def test_an_injected_failure_is_none_and_hides_none(self):
        self.assertEqual(self.kinds(INJECTED), [])
        self.assertEqual(self.kinds(INJECTED[:5] + WARN + INJECTED[5:] + LOCKDEP), ["WARN", "WARN"])

    def test_every_kind(self):
        for line, kind in (
                ("BUG: KASAN: slab-use-after-free in x+0x1/0x2", "KASAN"),
                ("UBSAN: array-index-out-of-bounds in a.c:1:2", "UBSAN"),
                ("BUG: kernel NULL pointer dereference, address: 0", "BUG"),
                ("kernel BUG at mm/slub.c:1!", "BUG"),
                ("BUG: sleeping function called from invalid context at x", "BUG"),
                ("Oops: Oops: 0000 [#1] SMP", "oops"),
                ("general protection fault, maybe for address 0x1", "oops"),
                ("Kernel panic - not syncing: x", "panic"),
                ("WARNING: suspicious RCU usage", "WARN"),
                ("WARNING: possible recursive locking detected", "WARN"),
                ("INFO: task kworker/0:1:8 blocked for more than 120 seconds.", "hung task"),
                ("rcu: INFO: rcu_preempt self-detected stall on CPU", "stall"),
                ("watchdog: BUG: soft lockup - CPU#0 stuck for 22s!", "BUG"),
                ("kmemleak: 3 new suspected memory leaks (see x)", "leak"),
                ("unreferenced object 0xffff888004c5d600 (size 16):", "leak"),
                ("refcount_t: underflow; use-after-free.", "corruption"),
                ("AMD-Vi: Event logged [IO_PAGE_FAULT device=0000:00:10.0]", "DMA fault")):
            for stamp in ("", "[    1.234567] ", "[    1.234567][   T12] "):
                with self.subTest(line=line, stamp=stamp):
                    self.assertEqual(self.kinds([stamp + line]), [kind])


class Nics(unittest.TestCase):
    def test_addresses_are_in_order_and_macs_say_hub_and_index(self):
        cards = nic.parse_nics(["e1000e:1,vfio", "e1000:1", "virtio-net-pci:255"])
        self.assertEqual([c.bdf for c in cards], ["0000:00:10.0", "0000:00:11.0", "0000:00:12.0"])
        self.assertEqual([c.mac for c in cards],
                         ["52:54:00:00:01:00", "52:54:00:00:01:01", "52:54:00:00:ff:02"])
        self.assertEqual([c.vfio for c in cards], [True, False, False])

    def test_without_a_hub_each_has_its_own(self):
        cards = nic.parse_nics(["e1000e", "e1000e", "e1000e:100"])
        self.assertEqual(len({c.hub for c in cards}), 3)

    def test_behind_ports(self):
        cards = nic.parse_nics(["e1000e,port", "e1000e", "e1000e,port"])
        self.assertEqual([c.bdf for c in cards], ["0000:01:00.0", "0000:00:11.0", "0000:02:00.0"])
        self.assertIn("pcie-root-port", " ".join(cards[0].qemu_args()))
        cards = nic.parse_nics(["e1000e,node=1", "e1000e,port", "e1000e,node=0"])
        self.assertEqual([c.bdf for c in cards], ["0000:21:00.0", "0000:01:00.0", "0000:31:00.0"])

    def test_options(self):
        card = nic.parse_nics(["e1000e:3,mac=02:00:00:00:00:0A,msi=off"])[0]
        self.assertEqual(card.mac, "02:00:00:00:00:0a")
        self.assertIn("msi=off", " ".join(card.qemu_args()))

    def test_refused(self):
        for text, said in (("igb", "7.2"), ("e1001", "no model"), ("e1000e:x", "number"), ("e1000e:", "number"),
                           ("e1000e:256", "255"), ("e1000e,vfoi", "vfoi"), ("e1000,port", "conventional"),
                           ("e1000e,mac=1:2", "MAC"), ("", "no model")):
            with self.subTest(text=text), self.assertRaisesRegex(UsageError, said):
                nic.parse_nics([text])
        with self.assertRaises(UsageError):
            nic.parse_nics(["e1000e"] * (nic.MAX_NICS + 1))


class Edus(unittest.TestCase):
    def test_addresses_are_in_order(self):
        edus = edu.parse_edus(["", "vfio,dma_mask=0xff", "vfio"], [])
        self.assertEqual([e.bdf for e in edus], ["0000:00:1a.0", "0000:00:1b.0", "0000:00:1c.0"])
        self.assertEqual([e.vfio for e in edus], [False, True, True])
        self.assertIn("dma_mask=0xff", edus[1].qemu_args()[-1])

    def test_no_slot_is_taken_twice(self):
        cards = nic.parse_nics(["e1000e"] * nic.MAX_NICS)
        edus = edu.parse_edus([""] * edu.MAX_EDUS, cards)
        slots = [device.slot for device in cards + edus] + [0x1e, 0x1f]
        slots += [qemu.FIRST_SHARE_SLOT + index for index in range(qemu.MAX_SHARES)]
        self.assertEqual(len(set(slots)), len(slots))

    def test_buses_behind_ports_follow_those_of_the_cards(self):
        cards = nic.parse_nics(["e1000e,port", "e1000e,node=1", "e1000e,port"])
        edus = edu.parse_edus(["port", "", "vfio,port"], cards)
        self.assertEqual([e.bdf for e in edus], ["0000:03:00.0", "0000:00:1b.0", "0000:04:00.0"])
        self.assertIn("pcie-root-port", " ".join(edus[2].qemu_args()))

    def test_refused(self):
        for texts, said in ((["vfoi"], "vfoi"), ([""] * 5, "at most 4")):
            with self.subTest(texts=texts), self.assertRaisesRegex(UsageError, said):
                edu.parse_edus(texts, [])

    def test_the_guest_is_told(self):
        parsed, cards = options.parse(["--edu", "--edu", "vfio", "--nic", "e1000e,vfio", "--edu", "--", "x"])
        kernel = kernels.Kernel("k", pathlib.Path("/k"), "1", "1", "p", (), "")
        self.assertIn("VM_VFIO_DEVICES='0000:00:10.0 0000:00:1b.0'\n", settings(kernel, parsed, cards, "/p", "m"))
        self.assertIn("PINION_EDUS='0000:00:1a.0 0000:00:1b.0 0000:00:1c.0'\n",
                      command_script(kernel, parsed, cards, "/p"))


class OwnKernel(unittest.TestCase):
    def setUp(self):
        place = tempfile.TemporaryDirectory()
        self.addCleanup(place.cleanup)
        self.top = pathlib.Path(place.name)
        (self.top / "work").mkdir()

    def test_an_image_that_is_nothing_known_is_left_to_qemu(self):
        for data in (b"\x7fELF kernel", b"\0" * 4096):
            (self.top / "image").write_bytes(data)
            kernel = kernels.from_image(str(self.top / "image"), "", self.top / "work")
            self.assertEqual(kernel.image.read_bytes(), data)
            self.assertEqual((kernel.name, kernel.modules, kernel.early), ("image", "", ()))

    def test_modules(self):
        modules = self.top / "9.9-mine"
        (modules / "kernel").mkdir(parents=True)
        (modules / "modules.dep").write_text("kernel/vfio.ko:\nkernel/other.ko:\n")
        (modules / "kernel" / "vfio.ko").write_bytes(b"module")
        (self.top / "image").write_bytes(b"\x7fELF")
        image, directory = options.parse(["--kernel-image", f"{self.top}/image,modules={modules}",
                                          "--", "x"])[0].kernel_image
        kernel = kernels.from_image(image, directory, self.top / "work")
        self.assertEqual((kernel.release, kernel.modules, kernel.early), ("9.9-mine", str(modules), ("vfio.ko",)))
        self.assertEqual((kernel.directory / "early" / "vfio.ko").read_bytes(), b"module")

    def test_refused(self):
        image = self.top / "image"
        image.touch()
        for words, said in (([f"{self.top}/none"], "no file"), ([f"{image},modules={self.top}"], "modules.dep"),
                            ([f"{image}", "--kernel", "6.12"], "one kernel")):
            with self.subTest(words=words), self.assertRaisesRegex(UsageError, said):
                options.parse(["--kernel-image", *words, "--", "x"])


class Options(unittest.TestCase):
    def parse(self, *words):
        return options.parse(list(words))[0]

    def test_command_is_taken_as_it_is(self):
        words = ["a b", "'", '"', "x\ny", "--uid", "--", "$(id)", ""]
        self.assertEqual(self.parse("--", *words).command, words)

    def test_command_reaches_the_guest_as_it_is(self):
        words = ["printf", "%s|", "a b", "'", '"', "x\ny", "$(id)", "\\", "", "*"]
        parsed = self.parse("--", *words)
        kernel = kernels.Kernel("k", pathlib.Path("/k"), "1", "1", "p", (), "")
        script = command_script(kernel, parsed, [], "/p")
        done = subprocess.run(["sh", "-c", script], stdout=subprocess.PIPE, check=True)
        self.assertEqual(done.stdout.decode(), "".join(w + "|" for w in words[2:]))

    def test_memory_grows_with_the_hugepages(self):
        self.assertEqual(self.parse("--", "x").memory, 1024)
        self.assertGreaterEqual(self.parse("--hugepages", "1024", "--", "x").memory, 2048 + 512)
        self.assertGreaterEqual(self.parse("--hugepages-1g", "2", "--", "x").memory, 3072)

    def test_refused(self):
        for words, said in ((["x"], "unrecognized"), ([], "COMMAND"), (["--"], "COMMAND"),
                            (["--kernel", "5.10", "--", "x"], "no kernel '5.10'"),
                            (["--uid", "0", "--", "x"], "--uid"), (["--uid", "root", "--", "x"], "--uid"),
                            (["--cpus", "0", "--", "x"], "--cpus"), (["--memlock", "8M", "--", "x"], "bytes"),
                            (["--timeout", "-1", "--", "x"], "--timeout"),
                            (["--timeout", "nan", "--", "x"], "--timeout"),
                            (["--expect-log", "(", "--", "x"], "regular expression"),
                            (["--memory", "512", "--hugepages", "400", "--", "x"], "too little"),
                            (["--numa", "4", "--cpus", "6", "--", "x"], "--cpus"),
                            (["--nic", "e1000e,node=0", "--", "x"], "no NUMA node 0"),
                            (["--iommu", "sparc", "--", "x"], "sparc"),
                            (["--writable", "/no/such", "--", "x"], "no such"),
                            (["--kern", "6.12", "--", "x"], "unrecognized"),
                            (["--frobnicate", "--", "x"], "frobnicate")):
            with self.subTest(words=words), self.assertRaisesRegex(UsageError, said):
                options.parse(words)

    def test_no_iommu(self):
        for kind, mode in (("none", False), ("noiommu", True)):
            parsed = self.parse("--iommu", kind, "--", "x")
            self.assertEqual(qemu.iommu_args(parsed.iommu), (kind, []))
            self.assertEqual("vfio.enable_unsafe_noiommu_mode=1" in qemu.kernel_args(parsed), mode)

    def test_hugepages_on_the_kernel_command_line(self):
        line = " ".join(qemu.kernel_args(self.parse("--hugepages", "8", "--hugepages-1g", "1", "--", "x")))
        self.assertIn("hugepagesz=1G hugepages=1 hugepagesz=2M hugepages=8", line)


class Streams(unittest.TestCase):
    def carry(self, data, step):
        out = io.BytesIO()
        stream = Stream(out, b"abcabd")
        for at in range(0, len(data), step):
            stream.take(data[at:at + step])
        return out.getvalue(), stream.ended

    def test_bytes_pass_and_the_mark_ends(self):
        data = bytes(range(256)) * 5 + b"\r\nabcabcab"
        for step in (1, 2, 3, 7, 10000):
            self.assertEqual(self.carry(data + b"abcabd", step), (data, True))

    def test_without_a_mark_it_has_not_ended(self):
        out, ended = self.carry(b"hello abcab", 4)
        self.assertFalse(ended)
        self.assertEqual(out, b"hello ")

    def test_empty(self):
        self.assertEqual(self.carry(b"abcabd", 2), (b"", True))


class Build(unittest.TestCase):
    def test_fragments(self):
        wanted = build.parse_fragment("# words\nCONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=\"x y\"\n\n")
        self.assertEqual(wanted, {"CONFIG_A": "y", "CONFIG_B": "n", "CONFIG_C": '"x y"'})
        with self.assertRaises(HarnessError):
            build.parse_fragment("CONFIG A=y\n")

    def test_a_symbol_that_did_not_come_true_is_named(self):
        wanted = {"CONFIG_A": "y", "CONFIG_B": "n", "CONFIG_C": "y", "CONFIG_D": "n"}
        config = "#\n# Linux\n#\nCONFIG_A=y\n# CONFIG_C is not set\nCONFIG_D=y\n"
        self.assertEqual(build.not_honoured(wanted, config), ["CONFIG_C=y (is n)", "CONFIG_D=n (is y)"])

    def test_all_fragments_can_be_read_and_the_variants_differ(self):
        seen = set()
        for name, source in kernels.CATALOGUE.items():
            if source.fragments:
                wanted = build.merged(kernels.CONFIGS, source.fragments)
                self.assertNotIn(wanted["CONFIG_LOCALVERSION"], seen, name)
                seen.add(wanted["CONFIG_LOCALVERSION"])

    def test_key_follows_configuration_and_version(self):
        with tempfile.TemporaryDirectory() as place:
            configs = pathlib.Path(place)
            fragment = configs / "k.config"
            fragment.write_text("CONFIG_A=y\n")
            source = kernels.Source("6.12", ("k",))
            with mock.patch.object(kernels, "CONFIGS", configs):
                first = kernels._key("k", source, "p", "1")
                self.assertEqual(first, kernels._key("k", source, "p", "1"))
                self.assertNotEqual(first, kernels._key("k", source, "p", "2"))
                fragment.write_text("CONFIG_A=n\n")
                self.assertNotEqual(first, kernels._key("k", source, "p", "1"))

    def test_progress_tells_the_time_left(self):
        out = io.StringIO()
        with Progress("job", 100, out) as progress:
            progress.began -= 50
            for _ in range(25):
                progress.step()
            self.assertRegex(progress.line(), r"25/100 \(25 %\), about 2:\d\d left")


class CacheCase(unittest.TestCase):
    """A test with a cache of its own."""

    def setUp(self):
        self.place = tempfile.TemporaryDirectory()
        self.addCleanup(self.place.cleanup)
        patch = mock.patch.dict(os.environ, {"XDG_CACHE_HOME": self.place.name})
        patch.start()
        self.addCleanup(patch.stop)


class Cache(CacheCase):
    def test_place(self):
        self.assertEqual(cache.root(), pathlib.Path(self.place.name, "pinion", "vm"))

    def test_digest_keeps_parts_apart(self):
        self.assertNotEqual(cache.digest("ab", "c"), cache.digest("a", "bc"))

    def test_directory_appears_whole_or_not_at_all(self):
        final = cache.root() / "x" / "y"
        with self.assertRaises(ValueError), cache.new_directory(final) as work:
            (work / "half").write_text("")
            raise ValueError
        self.assertEqual(list(final.parent.iterdir()), [])
        with cache.new_directory(final) as work:
            (work / "whole").write_text("")
        self.assertTrue((final / "whole").exists())

    def test_broken_record_counts_as_none(self):
        path = cache.root() / "r.json"
        cache.write_json(path, {"a": 1})
        self.assertEqual(cache.read_json(path), {"a": 1})
        path.write_text("{")
        self.assertEqual(cache.read_json(path), {})


class Source(CacheCase):
    def test_the_tree_is_unpacked_whole(self):
        """A kernel has a directory usr, and so has the package that its source comes in."""
        with tempfile.TemporaryDirectory() as scratch:
            top = pathlib.Path(scratch)
            for name in ("tree/usr/Kconfig", "tree/Makefile", "deb/DEBIAN/control"):
                (top / name).parent.mkdir(parents=True, exist_ok=True)
                (top / name).write_text("Package: x\nVersion: 1\nArchitecture: all\nMaintainer: x\nDescription: x\n",
                                        encoding="ascii")
            (top / "deb/usr/src").mkdir(parents=True)
            subprocess.run(["tar", "-cJf", str(top / "deb/usr/src/linux-source-9.tar.xz"), "-C", scratch, "tree"],
                           check=True)
            subprocess.run(["dpkg-deb", "-b", str(top / "deb"), str(top / "x.deb")], check=True,
                           stdout=subprocess.DEVNULL)
            with mock.patch.object(apt, "download", return_value=top / "x.deb"), mock.patch("builtins.print"):
                source = build._source("linux-source-9", "1")
        self.assertEqual(sorted(path.relative_to(source).as_posix() for path in source.rglob("*")),
                         ["Makefile", "usr", "usr/Kconfig"])


class Headers(CacheCase):
    """Packages as the distribution makes them, with paths that hold only where they are installed."""

    FILES = {
        "linux-headers-9-amd64": {"usr/src/linux-headers-9-amd64/Makefile":
                                  "KBUILD_OUTPUT=/usr/src/linux-headers-9-amd64\n"
                                  "include /usr/src/linux-headers-9-common/Makefile\n",
                                  "usr/src/linux-headers-9-amd64/vmlinux": "types"},
        "linux-headers-9-common": {"usr/src/linux-headers-9-common/Makefile":
                                   "all:\n\t@echo $(lastword $(MAKEFILE_LIST)) $(KBUILD_OUTPUT)\n"
                                   "\t@cat scripts/a tools/b\n"},
        "linux-kbuild-9": {"usr/lib/linux-kbuild-9/scripts/a": "a\n", "usr/lib/linux-kbuild-9/tools/b": "b\n"},
    }
    LINKS = {"linux-headers-9-amd64": {
        "usr/src/linux-headers-9-amd64/scripts": "../../lib/linux-kbuild-9/scripts",
        "usr/src/linux-headers-9-amd64/tools": "/usr/lib/linux-kbuild-9/tools",
        "lib/modules/9-amd64/build": "/usr/src/linux-headers-9-amd64"}}
    DEPENDS = ("linux-base (>= 4), linux-headers-9-common (= 3-1), linux-image-9-amd64 (= 3-1) |"
               " linux-image-9-amd64-unsigned (= 3-1), linux-kbuild-9, gcc-12")

    def package(self, name, version):
        top = pathlib.Path(self.place.name, "debs", name)
        for path, text in {**self.FILES[name], "DEBIAN/control":
                           f"Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: x\n"
                           f"Depends: {self.DEPENDS}\nDescription: x\n"}.items():
            (top / path).parent.mkdir(parents=True, exist_ok=True)
            (top / path).write_text(text, encoding="ascii")
        for path, target in self.LINKS.get(name, {}).items():
            (top / path).parent.mkdir(parents=True, exist_ok=True)
            (top / path).symlink_to(target)
        deb = top.with_suffix(".deb")
        subprocess.run(["dpkg-deb", "-b", str(top), str(deb)], check=True, stdout=subprocess.DEVNULL)
        self.downloaded.append((name, version))
        return deb

    def directory(self):
        self.downloaded = []
        with mock.patch.object(apt, "download", side_effect=self.package), \
                mock.patch.object(apt, "versions", return_value=["3-2", "3-1"]):
            return headers.directory("linux-image-9-amd64-unsigned", "3-1", "9-amd64")

    def test_modules_can_be_built_there(self):
        found = self.directory()
        self.assertTrue(found.startswith(str(cache.root() / "headers")), found)
        done = subprocess.run(["make", "-s", "-C", found], stdout=subprocess.PIPE, text=True, check=False)
        common = os.path.join(os.path.dirname(found), "linux-headers-9-common")
        self.assertEqual(done.stdout, f"{common}/Makefile {found}\na\nb\n")
        self.assertFalse(os.path.exists(os.path.join(found, "vmlinux")))

    def test_they_are_those_of_the_image(self):
        self.directory()
        self.assertEqual(self.downloaded, [("linux-headers-9-amd64", "3-1"), ("linux-headers-9-common", "3-1"),
                                           ("linux-kbuild-9", "3-1")])
        self.directory()
        self.assertEqual(self.downloaded, [], "they are in the cache")

    def test_tools_of_another_version_do(self):
        with mock.patch.object(apt, "versions", return_value=["3-2"]), \
                mock.patch.object(apt, "candidate", return_value="3-2"):
            self.assertEqual(headers.needed(self.DEPENDS, "3-1"),
                             [("linux-headers-9-common", "3-1"), ("linux-kbuild-9", "3-2")])

    def test_what_cannot_be_had_leaves_nothing(self):
        with mock.patch.object(apt, "download", side_effect=DownloadError("no network")), \
                self.assertRaises(DownloadError):
            headers.directory("linux-image-9-amd64", "3-1", "9-amd64")
        self.assertEqual(list((cache.root() / "headers").glob("*")), [])


class Offline(CacheCase):
    def kernel(self, name, package, version):
        directory = kernels._directory(name, package, version)
        directory.mkdir(parents=True)
        (directory / "vmlinux").write_bytes(b"")
        cache.write_json(directory / "kernel.json", {"name": name, "release": "r", "version": version,
                                                     "package": package, "early": [], "kerneldir": None})

    def prepare(self, name, failure):
        with mock.patch.object(apt, "image_package", return_value="image-2"), \
                mock.patch.object(apt, "candidate", return_value="2"), \
                mock.patch.object(apt, "download", side_effect=failure), \
                mock.patch.object(sys, "stderr", io.StringIO()):
            return kernels.prepare(name)

    def test_an_older_kernel_serves_when_the_newest_cannot_be_had(self):
        self.kernel("stock-6.12", "image-1", "1")
        self.kernel("6.12", "linux-source-6.12", "1")
        for name in ("stock-6.12", "6.12"):
            self.assertEqual(self.prepare(name, DownloadError("no network")).version, "1")

    def test_another_configuration_does_not(self):
        directory = cache.root() / "kernels" / "6.12-0123456789abcdef"
        directory.mkdir(parents=True)
        (directory / "vmlinux").write_bytes(b"")
        cache.write_json(directory / "kernel.json", {"name": "6.12", "release": "r", "version": "1",
                                                     "package": "p", "early": [], "kerneldir": None})
        with self.assertRaises(DownloadError):
            self.prepare("6.12", DownloadError("no network"))

    def test_other_failures_are_not_papered_over(self):
        self.kernel("stock-6.12", "image-1", "1")
        with self.assertRaises(HarnessError):
            self.prepare("stock-6.12", HarnessError("broken package"))


class Initramfs(unittest.TestCase):
    def test_cpio_reads_it(self):
        archive = initramfs.Archive()
        archive.directory("d")
        archive.file("d/f", b"12345", 0o755)
        data = archive.bytes()
        self.assertEqual(len(data) % 4, 0)
        done = subprocess.run(["busybox", "cpio", "-t"], input=data, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, check=True)
        self.assertEqual(done.stdout.decode().split(), ["d", "d/f"])


class Stock(unittest.TestCase):
    def test_modules_come_after_what_they_need(self):
        with tempfile.TemporaryDirectory() as place:
            modules = pathlib.Path(place)
            (modules / "modules.dep").write_text(
                "k/a-b.ko.xz: k/c.ko.xz k/d.ko.xz\nk/c.ko.xz: k/d.ko.xz\nk/d.ko.xz:\nk/e.ko.xz:\n")
            self.assertEqual(stock.module_order(modules, ["a_b", "builtin", "d"]),
                             ["k/d.ko.xz", "k/c.ko.xz", "k/a-b.ko.xz"])

    def test_not_a_kernel(self):
        with self.assertRaises(HarnessError):
            stock.vmlinux(b"\0" * 4096)


if __name__ == "__main__":
    unittest.main()
