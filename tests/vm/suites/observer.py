# SPDX-License-Identifier: BSD-3-Clause
"""The companion module as an observer: user->locked_vm in reports, refusals and preflights, next to the meter and the
model, for who may open its node and who may not; its table of the whole host; physical addresses."""

import contextlib
import json
import os
import subprocess

from guest import (BUILD, NICS, PAGE, PINION, Skip, Suite, as_user, backends, bind, check, equal, must, run)

OBSERVER = os.path.join(BUILD, "tests/vm/programs/observer")
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
    suite.run("the table of the host", test_table)
    suite.run("what the table needs", test_table_missing)
    suite.run("noiommu: physical addresses without CAP_SYS_ADMIN", test_physical)
    must("rmmod", "pinion")
    suite.end()


if __name__ == "__main__":
    main()
