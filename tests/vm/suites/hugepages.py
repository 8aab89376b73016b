# SPDX-License-Identifier: BSD-3-Clause
"""pinion hugepages on a machine with two NUMA nodes: what it shows is what the kernel says, what it is asked for is there
afterwards or the pool is as it was, and what it writes for the next boot sets the same."""

import contextlib
import json
import os
import subprocess

from guest import MIB, PINION, Suite, as_user, check, equal, must, run

NODES = (0, 1)
SYSCTL = "/etc/sysctl.d/60-pinion-hugepages.conf"
TMPFILES = "/etc/tmpfiles.d/60-pinion-hugepages.conf"


def pool(node=None, size="2048kB", what="nr_hugepages"):
    where = "/sys/kernel/mm" if node is None else f"/sys/devices/system/node/node{node}"
    return f"{where}/hugepages/hugepages-{size}/{what}"


def read(path):
    with open(path, encoding="ascii") as file:
        return int(file.read())


def write(path, value):
    with open(path, "w", encoding="ascii") as file:
        file.write(str(value))


@contextlib.contextmanager
def pools(first, second):
    """So many pages of 2 MiB on each node; afterwards what was there."""
    before = [read(pool(node)) for node in NODES]
    try:
        for node, pages in zip(NODES, (first, second)):
            write(pool(node), pages)
        yield
    finally:
        for node, pages in zip(NODES, before):
            write(pool(node), pages)


def hugepages(*arguments, status=0):
    done = run(PINION, "hugepages", *arguments)
    equal(done.returncode, status, done.stdout + done.stderr)
    return done


def shown(page=2 * MIB, node=None):
    document = json.loads(hugepages("--json").stdout)
    equal(document["schema"], "pinion.hugepages/1", "schema")
    found = [entry for entry in document["pools"] if (entry["page_bytes"], entry["numa_node"]) == (page, node)]
    equal(len(found), 1, (page, node))
    return found[0]


def test_shows_what_the_kernel_says():
    with pools(5, 11):
        for page, size in ((2 * MIB, "2048kB"), (1024 * MIB, "1048576kB")):
            for node in (None, *NODES):
                entry = shown(page, node)
                equal(entry["total"], read(pool(node, size)), "total")
                equal(entry["free"], read(pool(node, size, "free_hugepages")), "free")
                equal(entry["surplus"], read(pool(node, size, "surplus_hugepages")), "surplus")
        table = hugepages().stdout.splitlines()
        check(any(line.split()[:5] == ["2", "MiB", "all", "16", "16"] for line in table), table)
        check(any(line.split()[:3] == ["1", "11", "11"] for line in table), table)


def test_reserves_what_is_missing():
    with pools(4, 4):
        hugepages("--reserve", "15M", "--node", "1")
        equal([read(pool(node)) for node in NODES], [4, 8], "15 MiB are eight pages")
        hugepages("--reserve", "16M", "--node", "1")
        equal([read(pool(node)) for node in NODES], [4, 8], "asked for again")
        hugepages("--reserve", "32M")
        equal(read(pool()), 16, "anywhere")
        # Pages in use do not count as reserved.
        with open("/dev/shm/hold.py", "w", encoding="ascii") as file:
            file.write("import mmap, sys\nm = mmap.mmap(-1, 8 << 20, flags=mmap.MAP_SHARED | mmap.MAP_ANONYMOUS | 0x40000)\n"
                       "m[0] = m[4 << 20] = 1\nprint(1, flush=True)\nsys.stdin.read()\n")
        with subprocess.Popen(["/usr/bin/python3", "/dev/shm/hold.py"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
            holder.stdout.readline()
            equal(shown()["promised"], 2, "promised to the mapping")
            hugepages("--reserve", "32M")
            equal(read(pool()), 20, "16 free beside the 4 of the mapping")
            # Those in use cannot be given back.
            done = hugepages("--set", "0", status=1)
            check("in use" in done.stderr, done.stderr)
            holder.stdin.close()
            holder.wait()
        hugepages("--set", "0")
        equal(read(pool()), 0, "all given back")


def test_too_many_change_nothing():
    with pools(3, 2):
        done = hugepages("--set", "100000", status=1)
        check("of 100000 pages of 2 MiB" in done.stderr and "hugepages=100000" in done.stderr, done.stderr)
        equal(read(pool()), 5, "as before")
        done = hugepages("--reserve", "1024G", "--node", "0", status=1)
        check("on that node" in done.stderr, done.stderr)
        equal([read(pool(node)) for node in NODES], [3, 2], "as before")


def test_at_each_boot():
    """The files do what the command did, with the programs that read them at boot where these are installed."""
    with pools(0, 0):
        hugepages("--set", "6", "--persist")
        hugepages("--set", "3", "--node", "1", "--persist")
        hugepages("--set", "2", "--node", "0", "--persist")
        hugepages("--set", "4", "--node", "1", "--persist")
        with open(SYSCTL, encoding="ascii") as file:
            equal([line for line in file if not line.startswith("#")], ["vm.nr_hugepages = 6\n"], SYSCTL)
        with open(TMPFILES, encoding="ascii") as file:
            lines = [line.split() for line in file if not line.startswith("#")]
        equal(lines, [["w", pool(0), "-", "-", "-", "-", "2"], ["w", pool(1), "-", "-", "-", "-", "4"]], TMPFILES)
        hugepages("--set", "9", "--persist")
        with open(SYSCTL, encoding="ascii") as file:
            equal([line for line in file if not line.startswith("#")], ["vm.nr_hugepages = 9\n"], "in place of the other")
        # What an administrator wrote there stays: settings with a longer name, long lines, a last one without an end.
        others = "vm.nr_hugepages_mempolicy = 9\n# " + "x" * 1021 + "vm.nr_hugepages\nvm.swappiness = 10"
        with open(SYSCTL, "w", encoding="ascii") as file:
            file.write(others)
        hugepages("--set", "9", "--persist")
        with open(SYSCTL, encoding="ascii") as file:
            equal(file.read(), f"{others}\nvm.nr_hugepages = 9\n", "others' lines")
        for node in NODES:
            write(pool(node), 0)
        if os.path.exists("/sbin/sysctl"):
            must("/sbin/sysctl", "-p", SYSCTL)
            equal(read(pool()), 9, "as sysctl sets it")
        if os.path.exists("/usr/bin/systemd-tmpfiles"):
            must("/usr/bin/systemd-tmpfiles", "--create", TMPFILES)
            equal([read(pool(node)) for node in NODES], [2, 4], "as systemd-tmpfiles sets it")


def test_who_may():
    before = read(pool())
    done = run(*as_user([PINION, "hugepages"]))
    equal(done.returncode, 0, done.stderr)
    check("PAGES OF" in done.stdout, done.stdout)
    done = run(*as_user([PINION, "hugepages", "--set", str(before + 1)]))
    equal(done.returncode, 1, done.stdout)
    check("this takes root" in done.stderr, done.stderr)
    equal(read(pool()), before, "as before")


def test_bad_requests():
    for arguments, text in ((("--reserve", "0"), "--reserve"), (("--reserve", "x"), "--reserve"),
                            (("--reserve", "256T"), "--reserve"), (("--set", "-1"), "--set"),
                            (("--set", "99999999999999999999"), "--set"), (("--page-size", "4K"), "2M or 1G"),
                            (("--node", "x"), "--node"), (("--persist",), "go with"), (("--set", "1", "--reserve", "2M"), "one"),
                            (("--set",), "no value"), (("3",), "unexpected")):
        check(text in hugepages(*arguments, status=2).stderr, arguments)
    check("on that node" in hugepages("--set", "1", "--node", "1000", status=1).stderr, "no such node")


def test_control_group():
    """What a control group leaves is shown, and is the reason that a program gives."""
    group = "/sys/fs/cgroup/hugepages-test"
    os.makedirs(group, exist_ok=True)
    try:
        with open("/sys/fs/cgroup/cgroup.subtree_control", "w", encoding="ascii") as file:
            file.write("+hugetlb")
        write(f"{group}/hugetlb.2MB.max", 4 * MIB)
        inside = ["/bin/sh", "-c", f'echo $$ > {group}/cgroup.procs; exec "$@"', "sh"]
        with pools(8, 8):
            document = json.loads(must(*inside, PINION, "hugepages", "--json"))
            limit = document["pools"][0]["control_group"]
            equal((limit["path"], limit["left_bytes"], limit["reservation"]), ("/hugepages-test", 4 * MIB, False), limit)
            testpmd = os.path.join(os.path.dirname(os.path.dirname(PINION)), "testpmd/pinion-testpmd")
            common = ["--port", "null", "--page-size", "2M", "--count", "100"]
            equal(run(*inside, testpmd, *common, "--mem", "4M").returncode, 0, "as much as the group leaves")
            done = run(*inside, testpmd, *common, "--mem", "6M")
            equal(done.returncode, 1, done.stdout)
            for word in ("3 pages of 2 MiB", "/hugepages-test", f"echo {6 * MIB} > {group}/hugetlb.2MB.max"):
                check(word in done.stderr, done.stderr)
            must("/bin/sh", "-c", done.stderr[done.stderr.index("echo "):].strip())
            equal(run(*inside, testpmd, *common, "--mem", "6M").returncode, 0, "with the command that it named")
    finally:
        os.rmdir(group)


def main():
    suite = Suite()
    suite.run("shows what the kernel says", test_shows_what_the_kernel_says)
    suite.run("reserves what is missing", test_reserves_what_is_missing)
    suite.run("too many change nothing", test_too_many_change_nothing)
    suite.run("at each boot", test_at_each_boot)
    suite.run("who may", test_who_may)
    suite.run("bad requests", test_bad_requests)
    suite.run("a control group's limit", test_control_group)
    suite.end()


if __name__ == "__main__":
    main()
