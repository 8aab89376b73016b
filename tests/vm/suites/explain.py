# SPDX-License-Identifier: BSD-3-Clause
"""Every way in which a map, an attach or a fork can be refused that this kernel can be brought to, and the cause that
the library finds; what a preflight says, next to the kernel; zero pages, as a device sees them."""

import os
import subprocess

from guest import (BUILD, PAGE, Skip, Suite, as_user, backends, bind, check, equal, must, run, test_backends_expected)

PROGRAMS = os.path.join(BUILD, "tests/vm/programs")
EDUS = os.environ["PINION_EDUS"].split()
IO_URING = "/proc/sys/kernel/io_uring_disabled"
HUGE_1G = "/sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages"
# Case -> what it is, and RLIMIT_MEMLOCK in pages.
CASES = {
    "limit": ("a mapping beyond the limit", 16),
    "attach": ("mappings beyond the limit, at attach", 16),
    "nothing": ("a limit of nothing", 0),
    "mlock": ("memory that is mlocked too", 16),
    "namespace": ("root of a user namespace", 16),
    "process": ("another process of the user with mappings", 16),
    "ring": ("another process of the user with io_uring", 16),
    "fork": ("no hugepages for a child", 520),
    "gone": ("memory that is gone", 16),
    "preflight": ("a preflight says what comes", 16),
    "meter": ("the counter as io_uring measures it", 64),
}
ZERO = {
    "region": ("new memory, never touched", 3),
    "range": ("memory of the application, never touched", 3),
    "told": ("zero pages that were announced", 3),
}


def release():
    return tuple(int(word) for word in os.uname().release.split("-")[0].split(".")[:2])


def write(path, text):
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def read(path):
    with open(path, encoding="ascii") as file:
        return file.read()


def explain(backend, case):
    return [os.path.join(PROGRAMS, "explain"), backend, *EDUS, case]


def test_case(backend, case, pages):
    done = run(*as_user(explain(backend, case), pages * PAGE if pages is not None else "unlimited"))
    equal((done.stdout, done.stderr, done.returncode), ("ok\n", "", 0), f"explain {backend} {case}")


def test_zerocopy(backend):
    """Without io_uring for anybody, the second meter."""
    if not os.path.exists(IO_URING):
        raise Skip("this kernel has no sysctl kernel.io_uring_disabled (Linux 6.6)")
    write(IO_URING, "2")
    try:
        test_case(backend, "meter-zerocopy", 64)
    finally:
        write(IO_URING, "0")


def test_cma(backend):
    """1 GiB pages, which with hugetlb_cma= are the CMA area's."""
    must("grep", "-q", "hugetlb_cma=1G", "/proc/cmdline")
    if not os.path.exists(HUGE_1G) or "CmaTotal" not in read("/proc/meminfo"):
        raise Skip("this kernel has no CMA, or this processor no 1 GiB pages")
    write(HUGE_1G, "1")
    equal(int(read(HUGE_1G)), 1, "1 GiB pages taken from the CMA area")
    try:
        test_case(backend, "cma", None)
    finally:
        write(HUGE_1G, "0")


def test_group(backend):
    """A control group that leaves nothing for the kernel's tables. What would be killed to make room may not be."""
    if release() < (6, 3):
        raise Skip("before Linux 6.3 the tables of an IOMMU do not count with a control group")
    write("/sys/fs/cgroup/cgroup.subtree_control", "+memory")
    command = as_user(explain(backend, "group"), "unlimited")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as program:
        try:
            equal(program.stdout.readline(), "ready\n", "first line")
            write(f"/proc/{program.pid}/oom_score_adj", "-1000")
            group = "/sys/fs/cgroup/user-1000"
            write(f"{group}/memory.max", str(int(read(f"{group}/memory.current")) + 256 * 1024))
            out, _ = program.communicate("\n", timeout=60)
            equal((out, program.returncode), ("ok\n", 0), f"explain {backend} group")
        finally:
            write("/sys/fs/cgroup/user-1000/memory.max", "max")
            program.kill()


def test_zero(backend, case, pages):
    done = run(*as_user([os.path.join(PROGRAMS, "zero"), backend, EDUS[0], case], pages * PAGE))
    equal((done.stdout, done.stderr, done.returncode), ("ok\n", "", 0), f"zero {backend} {case}")


def main():
    suite = Suite()
    check(len(EDUS) == 2, "two edu devices")
    bind(*EDUS)
    suite.run("the kernel offers the backends it should", test_backends_expected)
    for backend in [name for name, reason in backends().items() if not reason]:
        for case, (words, pages) in CASES.items():
            suite.run(f"{backend}: {words}", test_case, backend, case, pages)
        suite.run(f"{backend}: the counter without io_uring", test_zerocopy, backend)
        suite.run(f"{backend}: 1 GiB pages in the CMA area", test_cma, backend)
        suite.run(f"{backend}: a control group with nothing left", test_group, backend)
        for case, (words, pages) in ZERO.items():
            suite.run(f"{backend}: {words}, read by a device", test_zero, backend, case, pages)
        if backend == "type1":
            suite.run(f"{backend}: memory never touched, mapped by the kernel's call alone", test_zero, backend,
                      "raw", 3)
    suite.end()


if __name__ == "__main__":
    main()
