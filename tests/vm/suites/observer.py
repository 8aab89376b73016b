# SPDX-License-Identifier: BSD-3-Clause
"""The companion module as an observer: user->locked_vm in reports, refusals and preflights, next to the meter and the
model, for who may open its node and who may not; its table of the whole host; physical addresses; regions that it
pins."""

import contextlib
import errno
import json
import os
import subprocess

from guest import (BUILD, NICS, PAGE, PINION, TESTPMD, Skip, Suite, as_user, backends, bind, check, equal, must, run)

OBSERVER = os.path.join(BUILD, "tests/vm/programs/observer")
REGION_PIN = os.path.join(BUILD, "tests/vm/programs/region_pin")
MODULE = os.environ["PINION_KMOD"]
NODE = "/dev/pinion"
UNSAFE = "/sys/module/vfio/parameters/enable_unsafe_noiommu_mode"
GROUP = 990
MEMBER, OUTSIDER = 1000, 1001
LIMIT = 64 * PAGE


def as_member(command, memlock=LIMIT):
    """An ordinary user without any privilege, as in as_user, but in the node's group."""
    ids = [f"--reuid={MEMBER}", f"--regid={MEMBER}", f"--groups={GROUP}"]
    return ["/usr/bin/env", f"XDG_RUNTIME_DIR=/run/user/{MEMBER}", "/usr/bin/prlimit", f"--memlock={memlock}:{memlock}",
            "/usr/bin/setpriv", *ids, "--inh-caps=-all", "--ambient-caps=-all", "--bounding-set=-all", "--no-new-privs",
            "--", *command]


def load():
    must("insmod", os.path.join(MODULE, "pinion.ko"))
    # As 60-pinion.rules has it.
    os.chown(NODE, 0, GROUP)
    os.chmod(NODE, 0o660)


def observer(*command):
    done = run(*command)
    for line in done.stdout.splitlines():
        if line.startswith("skip "):
            raise Skip(line[5:])
    equal((done.returncode, done.stdout, done.stderr), (0, "ok\n", ""), " ".join(command))


@contextlib.contextmanager
def holding(*command):
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as program:
        line = program.stdout.readline()
        if line != "ready\n":
            raise AssertionError(f"{command}: {line}{program.stdout.read()}")
        yield program
        program.stdin.close()
        equal((program.stdout.read(), program.wait(30)), ("ok\n", 0), "the end of what held")


def document(*command):
    return json.loads(must(*command))


def user_counter(whole, uid=MEMBER):
    process, = [p for p in whole["processes"] if p["uid"] == uid and p["alive"]]
    return process["counters"]["user->locked_vm"]


def test_counter(member):
    command = [OBSERVER, "counter", "yes" if member else "no"]
    observer(*(as_member(command) if member else as_user(command, LIMIT, uid=OUTSIDER)))


def test_device(backend, member):
    bind(NICS[0], uid=MEMBER if member else OUTSIDER)
    command = [OBSERVER, "device", "yes" if member else "no", backend, NICS[0]]
    observer(*(as_member(command) if member else as_user(command, LIMIT, uid=OUTSIDER)))


def test_others(backend):
    """What root sees of the user, and the user in the node's group and outside of it."""
    bind(NICS[0], uid=MEMBER)
    pins = [PINION, "pins", "--json"]
    charged = 0 if backend == "type1" else 16
    with holding(*as_user([OBSERVER, "hold", backend, NICS[0]], LIMIT, uid=MEMBER)):
        for who, command in (("root", pins), ("the member", as_member(pins))):
            whole = document(*command)
            counter = user_counter(whole)
            equal([counter[k] for k in ("observed", "observer", "unexplained")], [charged, "module", 0], f"for {who}")
            equal(whole["notes"], [], f"notes for {who}")
        whole = document(*as_user(pins, uid=MEMBER))
        counter = user_counter(whole)
        equal([counter[k] for k in ("observed", "observer", "unexplained")], [charged, "model", None], "outside")
        note, = whole["notes"]
        check(NODE in note and "group (pinion)" in note, note)
        # In Prometheus's format it is a sample only where it is observed.
        for command, times in ((pins, 1), (as_user(pins, uid=MEMBER), 0)):
            text = must(*command[:-1], "--prometheus")
            sample = f'pinion_pins_user_observed_bytes{{uid="{MEMBER}",observer="module"}} {charged * PAGE}\n'
            equal(text.count(sample), times, f"{sample} of {text}")


def test_table():
    kernel = [PINION, "pins", "--kernel"]
    equal(document(*kernel, "--json"), {"schema": "pinion.kernel-pins/1", "pins": []}, "nothing is held")
    check("nothing is pinned" in must(*kernel), "a table of nothing")
    with holding(*as_member([OBSERVER, "pin"])):
        whole = document(*kernel, "--json")
        for pin in whole["pins"]:
            check(pin.pop("pid") > 0, "a process")
        common = {"uid": MEMBER, "program": "observer", "counter": "user->locked_vm", "exclusive": False,
                  "file": False, "exempt": False, "owner_charged_pages": 8}
        # Half of it is pinned twice, and charged once.
        equal(whole["pins"], [{**common, "prot": "rw", "pages": 8, "pinned_pages": 8},
                              {**common, "prot": "r-", "pages": 4, "pinned_pages": 4}], "pins")
        lines = must(*kernel).splitlines()
        equal([line.split()[1:] for line in lines[1:]],
              [[str(MEMBER), "observer", "user->locked_vm", "8", "8", "8", "rw"],
               [str(MEMBER), "observer", "user->locked_vm", "4", "4", "8", "r-"]], f"table {lines}")
        done = run(*as_member(kernel))
        check(done.returncode == 1 and "for root only" in done.stderr, f"as a member: {done}")


def test_table_missing():
    """Each of the things that it needs, when it is not there."""
    must("umount", "/sys/kernel/debug")
    done = run(PINION, "pins", "--kernel")
    must("mount", "-t", "debugfs", "none", "/sys/kernel/debug")
    check(done.returncode == 1 and "mount -t debugfs" in done.stderr, f"without debugfs: {done}")
    must("rmmod", "pinion")
    try:
        for command in ([PINION, "pins", "--kernel"], as_user([PINION, "pins", "--kernel"])):
            done = run(*command)
            check(done.returncode == 1 and "is not loaded" in done.stderr, f"without the module: {done}")
    finally:
        load()


def test_inspect():
    """Eight pages that a user has touched, of thirteen; for root with more, for others not at all."""
    program = ("import mmap, sys; m = mmap.mmap(-1, 16 * 4096, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)\n"
               "[m.__setitem__(i * 4096, 1) for i in range(8)]; m[12 * 4096]\n"
               "import ctypes; print(ctypes.addressof(ctypes.c_char.from_buffer(m)), flush=True); sys.stdin.read()")
    with subprocess.Popen(as_member(["/usr/bin/python3", "-c", program]), stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, text=True) as held:
        start = int(held.stdout.readline())
        text = f"{start:x}-{start + 13 * PAGE:x}"
        command = [PINION, "inspect", str(held.pid), text]
        ours, zero = "anonymous", "zero page"
        for who, words in ((command, [ours, zero]), (as_member(command), [ours, ours + ", shared"])):
            lines = [line.split(None, 4) for line in must(*who).splitlines()[1:]]
            equal([(line[2], line[4].strip()) for line in lines], [("8", words[0]), ("4", "not there"), ("1", words[1])],
                  f"{who}: {lines}")
            equal([line[3] for line in lines[:2]], ["0", "-"], "nodes")
        addresses = [hex(start + page * PAGE) for page in (0, 8, 12, 13)]
        for who, state, huge in ((command, "zero", "none"), (as_member(command), ours, None)):
            whole = document(*who, "--json")
            equal([whole.pop(key) for key in ("schema", "pid", "start", "end")],
                  ["pinion.inspect/1", held.pid, addresses[0], addresses[3]], "the document")
            runs = [{"start": first, "end": end, "pages": pages, "node": node, "state": what, "huge": size, "shared": shared}
                    for first, end, pages, node, what, size, shared in zip(
                        addresses, addresses[1:], (8, 4, 1), (0, None, None), (ours, "absent", state), (huge, None, huge),
                        (False, None, True))]
            equal(whole, {"runs": runs}, f"of {who}")
        done = run(*as_user(command, uid=OUTSIDER))
        check(done.returncode == 1 and "right to trace" in done.stderr, f"as another user: {done}")
        done = run(PINION, "inspect", str(held.pid), "1000-1800")
        check(done.returncode == 2 and "whole pages" in done.stderr, f"half a page: {done}")
        held.stdin.close()
        held.wait(30)


def test_physical():
    if not os.path.exists(UNSAFE):
        raise Skip("this kernel has no CONFIG_VFIO_NOIOMMU")
    with open(UNSAFE, "w", encoding="ascii") as file:
        file.write("1")
    try:
        observer(OBSERVER, "physical")
    finally:
        with open(UNSAFE, "w", encoding="ascii") as file:
            file.write("0")


def test_region():
    observer(*as_member([REGION_PIN, "life"]))


def test_region_refused():
    outside = as_user([REGION_PIN, "refused", str(errno.EACCES), "usermod -aG pinion"], LIMIT, uid=OUTSIDER)
    observer(*outside)
    must("rmmod", "pinion")
    try:
        observer(*as_member([REGION_PIN, "refused", str(errno.ENODEV), "modprobe pinion"]))
    finally:
        load()


def test_region_mapped(backend):
    bind(NICS[0], uid=MEMBER)
    observer(*as_member([REGION_PIN, "mapped", backend, NICS[0]]))


def test_testpmd():
    """Its memory, pinned before it is mapped: 4 MiB and 4 MiB, in one counter where the backend charges the process."""
    bind(NICS[0], uid=MEMBER)
    command = [TESTPMD, "-a", NICS[0], "--dma", "type1", "--mem", "4M", "--page-size", "2M", "--duration", "0.1", "--json"]
    for charge, counter in (("process", "mm->locked_vm"), ("user", "user->locked_vm")):
        done = run(*as_member([*command, "--module-pin", charge], memlock=8 << 20))
        equal(done.returncode, 0, f"{charge}: {done.stdout}{done.stderr}")
        whole = json.loads(done.stdout)
        equal(whole["config"]["module_pin"], charge, "the option")
        process, = whole["pins"]["processes"]
        module, = [domain for domain in process["domains"] if domain["backend"] == "module"]
        equal([(pin["charged_pages"], counter in pin["counters"], pin["iova"]) for pin in module["mappings"]],
              [(1024, True, None)], "what the module pinned")
        equal(process["counters"]["mm->locked_vm"]["predicted"], 2048 if charge == "process" else 1024, charge)
        equal(process["counters"]["mm->locked_vm"]["unexplained"], 0, charge)
    done = run(*as_member([*command, "--module-pin", "process"], memlock=(8 << 20) - PAGE))
    check(done.returncode != 0 and "RLIMIT_MEMLOCK is too low" in done.stdout + done.stderr, f"a page too little: {done}")
    done = run(*as_member([*command, "--module-pin", "nobody"]))
    check(done.returncode == 2 and "process or user" in done.stderr, f"a wrong word: {done}")


def main():
    suite = Suite()
    load()
    suite.run("the counter, moved by io_uring: in the node's group", test_counter, True)
    suite.run("the counter, moved by io_uring: outside of it", test_counter, False)
    bind(NICS[0], uid=MEMBER)
    found = [name for name, reason in backends().items() if not reason]
    for backend in found:
        suite.run(f"{backend}: mappings, in the node's group", test_device, backend, True)
    suite.run(f"{found[0]}: mappings, outside of it", test_device, found[0], False)
    for backend in sorted({found[0], found[-1]}):
        suite.run(f"{backend}: another process", test_others, backend)
    suite.run("regions that it pins", test_region)
    suite.run("regions that it does not pin", test_region_refused)
    for backend in sorted({found[0], found[-1]}):
        suite.run(f"{backend}: regions that it pins and a domain maps", test_region_mapped, backend)
    if "type1" in found:
        suite.run("pinion-testpmd --module-pin", test_testpmd)
    suite.run("the table of the host", test_table)
    suite.run("what the table needs", test_table_missing)
    suite.run("pinion inspect", test_inspect)
    suite.run("noiommu: physical addresses without CAP_SYS_ADMIN", test_physical)
    must("rmmod", "pinion")
    suite.end()


if __name__ == "__main__":
    main()
