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
# Of one run of the program; it gives each the limit that it needs.
CASES = {
    "limit": "a mapping beyond the limit",
    "attach": "mappings beyond the limit, at attach",
    "nothing": "a limit of nothing",
    "mlock": "memory that is mlocked too",
    "namespace": "root of a user namespace",
    "process": "another process of the user with mappings",
    "ring": "another process of the user with io_uring",
    "busy": "a device that another process has",
    "fork": "no hugepages for a child",
    "gone": "memory that is gone",
    "preflight": "a preflight says what comes",
    "meter": "the counter as io_uring measures it",
}
ZERO = {
    "range": "memory of the application, never touched",
    "region": "new memory, never touched",
    "told": "zero pages that were announced",
    "raw": "memory never touched, mapped by the kernel's call alone",
}


def release():
    return tuple(int(word) for word in os.uname().release.split("-")[0].split(".")[:2])


def write(path, text):
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def read(path):
    with open(path, encoding="ascii") as file:
        return file.read()


def explain(backend, *cases):
    return as_user([os.path.join(PROGRAMS, "explain"), backend, *EDUS, *cases], "unlimited")


def run_cases(backend):
    """Case -> what the program printed about it, the last line being how it came out."""
    done = run(*explain(backend, *CASES))
    found, lines = {}, []
    for line in (done.stdout + done.stderr).splitlines():
        lines.append(line)
        name, _, end = line.partition(": ")
        if name in CASES and end in ("ok", "failed"):
            found[name], lines = "\n".join(lines), []
    return found


def test_found(found, case):
    equal(found.get(case, "nothing was printed"), f"{case}: ok", f"explain {case}")


def test_case(backend, case):
    done = run(*explain(backend, case))
    equal((done.stdout, done.stderr, done.returncode), (f"{case}: ok\n", "", 0), f"explain {backend} {case}")


def test_zerocopy(backend):
    """Without io_uring for anybody, the second meter."""
    if not os.path.exists(IO_URING):
        raise Skip("this kernel has no sysctl kernel.io_uring_disabled (Linux 6.6)")
    write(IO_URING, "2")
    try:
        test_case(backend, "meter-zerocopy")
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
        test_case(backend, "cma")
    finally:
        write(HUGE_1G, "0")


def test_group(backend):
    """A control group that leaves nothing for the kernel's tables. What would be killed to make room may not be."""
    if release() < (6, 3):
        raise Skip("before Linux 6.3 the tables of an IOMMU do not count with a control group")
    write("/sys/fs/cgroup/cgroup.subtree_control", "+memory")
    write("/proc/self/oom_score_adj", "-1000")
    with subprocess.Popen(explain(backend, "group"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as program:
        try:
            equal(program.stdout.readline(), "ready\n", "first line")
            group = "/sys/fs/cgroup/user-1000"
            write(f"{group}/memory.max", str(int(read(f"{group}/memory.current")) + 256 * 1024))
            out, _ = program.communicate("\n", timeout=60)
            equal((out, program.returncode), ("group: ok\n", 0), f"explain {backend} group")
        finally:
            write("/sys/fs/cgroup/user-1000/memory.max", "max")
            write("/proc/self/oom_score_adj", "0")
            program.kill()


def test_zero(backend, case):
    """With a limit of the two pages and the one through which the device is seen."""
    done = run(*as_user([os.path.join(PROGRAMS, "zero"), backend, EDUS[0], case], 3 * PAGE))
    equal((done.stdout, done.stderr, done.returncode), ("ok\n", "", 0), f"zero {backend} {case}")


def main():
    suite = Suite()
    check(len(EDUS) == 2, "two edu devices")
    bind(*EDUS)
    suite.run("the kernel offers the backends it should", test_backends_expected)
    usable = [name for name, reason in backends().items() if not reason]
    for backend in usable:
        found = run_cases(backend)
        for case, words in CASES.items():
            suite.run(f"{backend}: {words}", test_found, found, case)
        # What is charged and pinned by the same code of the kernel is seen with the first.
        alone = backend == "type1" or backend == usable[0]
        if alone:
            suite.run(f"{backend}: the counter without io_uring", test_zerocopy, backend)
            suite.run(f"{backend}: 1 GiB pages in the CMA area", test_cma, backend)
            suite.run(f"{backend}: a control group with nothing left", test_group, backend)
        for case, words in ZERO.items():
            if case == "range" or (backend == "type1" or (alone and case != "raw")):
                suite.run(f"{backend}: {words}, read by a device", test_zero, backend, case)
    suite.end()


if __name__ == "__main__":
    main()
