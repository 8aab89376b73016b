# SPDX-License-Identifier: BSD-3-Clause
"""The charge model beside the kernel: the same operations by real system calls, errno and every counter compared after
each one."""

import os
import re
import shutil
import sys

from guest import BUILD, bind, run

# In memory: it executes itself many times.
CHARGES = shutil.copy(os.path.join(BUILD, "tests/vm/internal/charges"), "/tmp")
DEVICES = os.environ["PINION_EDUS"].split()
SLOW = bool(os.environ.get("PINION_SLOW"))
LONG = bool(os.environ.get("PINION_LONG"))
ONLY = os.environ.get("PINION_ONLY", "")
# Of the random sequences, on each way. The seed is in the output. A slow kernel runs no cases: to start the workers of
# each takes longest, and what it looks for is not in what they answer.
OPERATIONS = int(os.environ.get("PINION_CHARGES_OPERATIONS", "") or (250 if SLOW else 20000 if LONG else 2000))
SEED = int(os.environ.get("PINION_CHARGES_SEED", "") or 1)


def ways():
    """The ways of mapping that this kernel has, by the node that provides them."""
    offered = os.environ["PINION_BACKENDS"].split(",")
    found = ["type1"] if "type1" in offered else []
    if "iommufd" in offered:
        found += [] if "type1" in offered else ["compat-vfio"]
        found += ["compat", "native"]
    return found


def open_text(path):
    with open(path, encoding="ascii", errors="replace") as file:
        return file.read()


def write(path, text):
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def make_dirty_tracking():
    """A file system that tracks dirty pages, where the kernel has ext4 and loop devices."""
    release = os.uname().release
    if not os.path.isdir(f"/lib/modules/{release}") and "ext4" not in open_text("/proc/filesystems"):
        return
    for module in ("loop", "ext4"):
        run("modprobe", module)
    if run("truncate", "-s", "32M", "/tmp/dirty.img").returncode or run("mkfs.ext4", "-q", "/tmp/dirty.img").returncode:
        return
    os.mkdir("/tmp/dirty")
    if run("mount", "-o", "loop", "/tmp/dirty.img", "/tmp/dirty").returncode:
        os.rmdir("/tmp/dirty")
        return
    os.chmod("/tmp/dirty", 0o777)


def make_rdma():
    """An RDMA device made of software, where the kernel has one."""
    if not os.path.isdir(f"/lib/modules/{os.uname().release}") or run("modprobe", "rdma_rxe").returncode:
        return
    run("modprobe", "ib_uverbs")
    run("rdma", "link", "add", "rxe0", "type", "rxe", "netdev", "lo")
    if os.path.exists("/dev/infiniband/uverbs0"):
        os.chmod("/dev/infiniband/uverbs0", 0o666)


def make_cma_pages():
    """A page of 1 GiB from the area that must stay movable."""
    total = re.search(r"CmaTotal:\s*(\d+)", open_text("/proc/meminfo"))
    if total and int(total[1]) >= 1 << 20:
        write("/sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages", "1")


def open_to_all():
    """Workers are of several users."""
    bind(*DEVICES)
    for folder in ("/dev/vfio", "/dev/vfio/devices"):
        for name in os.listdir(folder) if os.path.isdir(folder) else []:
            if not os.path.isdir(os.path.join(folder, name)):
                os.chmod(os.path.join(folder, name), 0o666)
    if os.path.exists("/dev/iommu"):
        os.chmod("/dev/iommu", 0o666)
    write("/proc/sys/kernel/perf_event_paranoid", "0")


def main():
    open_to_all()
    make_dirty_tracking()
    make_rdma()
    make_cma_pages()
    kernel = ".".join(re.match(r"(\d+)\.(\d+)", os.uname().release).groups())
    count = bad = 0
    for way in ways():
        for part in ([] if SLOW else [["cases"]]) + [["random", str(OPERATIONS), str(SEED)]]:
            done = run(CHARGES, kernel, way, *DEVICES[:2], *part, timeout=900)
            ended = 0
            for line in done.stdout.splitlines():
                match = re.match(r"(not ok|ok) \d+ - (.*)", line)
                if not match:
                    print(line)
                elif ONLY in f"{way}: {match[2]}":
                    count += 1
                    print(f"{match[1]} {count} - {way}: {match[2]}")
                if match:
                    ended += 1
                    bad += match[1] != "ok"
            if done.returncode not in (0, 1) or not ended:
                count += 1
                bad += 1
                print(f"# {done.stderr}\nnot ok {count} - {way}: {part[0]} ended with {done.returncode}")
            sys.stdout.flush()
    print(f"1..{count}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
