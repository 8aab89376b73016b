# SPDX-License-Identifier: BSD-3-Clause
"""What outlives the commands: a death at each step, a restart, a card pulled out, what is to be there at each start; and
virtual functions."""

import contextlib
import glob
import json
import os
import re
import subprocess
import sys
import time

from bind_machine import (CARD, PARTNER, PORT, DEVICES, STATE, RULES, USER, read, write, driver, override, group_of,
                          nvme, access, snapshot, pinion, does, refused, status, device_of, problems, clean,
                          running, ready)
from guest import BUILD, PINION, Skip, Suite, as_user, check, equal, interface, must, run

LONG = bool(os.environ.get("PINION_LONG"))
# What changes something. Between two of these, one moment is like another.
CHANGES = "write,pwrite64,rename,fsync,unlink,mkdir,fchmod,chmod,lchown,setxattr,ftruncate"


#
# What outlives: crashes, restarts, unplugging
#

def points(*arguments):
    """The calls of a command that change something, in order: each as its name and how often it was made by then."""
    log = "/tmp/bind-calls"
    done = run("strace", "-f", "-qq", "-o", log, "-e", f"trace={CHANGES}", PINION, *arguments)
    equal(done.returncode, 0, f"{arguments}, recorded: {done.stderr}")
    names = re.findall(r"^\d+ +(\w+)\(", read(log), re.M)
    found = [(name, names[:at].count(name) + 1) for at, name in enumerate(names)]
    check(len(found) > 5, f"{arguments} has only {found}")
    # Each of them takes seconds in an emulator; the unit tests do all of them, on a machine made of files. Here some where
    # the machine itself is half changed.
    machine = [point for point in found if point[0] in ("write", "setxattr", "lchown")]
    return found if LONG else sorted(set(machine[3:5] + machine[-3:-2]), key=found.index)


def die_at(point, *arguments):
    """Run the command and kill it as it enters this call."""
    name, nth = point
    done = run("strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={name}", "-e",
               f"inject={name}:signal=KILL:when={nth}", PINION, *arguments)
    check(done.returncode in (137, -9), f"{arguments} killed at {point}: {done.returncode} {done.stderr}")


def leftovers():
    return [path for folder in ("/var/lib/pinion", "/etc/udev/rules.d", "/etc/driverctl.d", "/etc/security/limits.d")
            for path in glob.glob(f"{folder}/.*.new")]


def check_dead(begin, what):
    """Status shows what is left, the commands for all clear it, and nothing is left. Was something half done?"""
    document = status()
    now = snapshot()
    differs = any(now[part] != begin[part] for part in ("drivers", "nodes", "vfs"))
    found = problems(document)
    check(document["devices"] or document["nodes"] or found or not differs, f"{what}: not shown: {now}")
    for command in ("unbind", "revoke"):
        done = pinion(command, "--all")
        equal((done.returncode, done.stderr), (0, ""), f"clearing {what}")
    equal(snapshot(), begin, f"after {what}")
    equal(leftovers(), [], f"files after {what}")
    return bool(found)


def die_everywhere(before, *arguments):
    """Die at each step that changes something; how many deaths left something half done."""
    begin = snapshot()
    before()
    steps = points(*arguments)
    check_dead(begin, f"{arguments} that was not killed")
    shown = 0
    for point in steps:
        before()
        die_at(point, *arguments)
        shown += check_dead(begin, f"{arguments} killed at {point}")
    equal(problems(status()), [], "problems at the end")
    print(f"# {' '.join(arguments)}: killed at {len(steps)} steps, {shown} times with something half done")
    return shown


def test_die_binding():
    check(die_everywhere(lambda: None, "bind", CARD) > 1, "some deaths leave something half done")


def test_die_persisting():
    die_everywhere(lambda: None, "bind", "--persist", CARD)


def test_die_unbinding():
    def before():
        does("bind", CARD)
        does("grant", CARD, "--user", USER, "--memlock", "1M")
    check(die_everywhere(before, "unbind", CARD) > 1, "some deaths leave something half done")


def test_die_granting():
    check(die_everywhere(lambda: does("bind", CARD), "grant", CARD, "--user", USER, "--mode", "owner", "--memlock",
                         "1M") > 0, "some deaths leave something half done")


def test_die_revoking():
    def before():
        does("bind", CARD)
        does("grant", CARD, "--user", USER, "--memlock", "1M")
    die_everywhere(before, "revoke", CARD)


def test_die_making_functions():
    controller = nvme(True)
    die_everywhere(lambda: None, "vf", "create", controller, "1")


def test_interrupted_bind_goes_on():
    """A bind that died is taken up by the next one, which still knows what was there first."""
    steps = points("bind", CARD)
    does("unbind", CARD)
    for point in steps:
        die_at(point, "bind", CARD)
        does("bind", CARD)
        equal(driver(CARD), "vfio-pci", f"driver after {point}")
        equal(problems(status()), [], f"problems after {point}")
        does("unbind", CARD)
        equal((driver(CARD), override(CARD)), ("e1000e", ""), f"driver after {point} and unbind")


@contextlib.contextmanager
def another_boot():
    """As if the machine had been started anew, for who asks for the number of this start."""
    path = "/proc/sys/kernel/random/boot_id"
    write("/tmp/boot_id", "01234567-89ab-cdef-0123-456789abcdef\n")
    must("mount", "--bind", "/tmp/boot_id", path)
    try:
        yield
    finally:
        must("umount", path)


def test_restart():
    """After a restart the kernel has forgotten; so does pinion, and touches nothing."""
    with clean():
        does("bind", CARD)
        does("grant", CARD, "--user", USER)
        before = snapshot()
        with another_boot():
            text = "".join(problems(status()))
            check("machine was started anew" in text and "has ended" in text, text)
            does("revoke", "--all")
            does("unbind", "--all")
            now = snapshot()
            equal((now["drivers"], now["nodes"]), (before["drivers"], before["nodes"]), "nothing was touched")
            check(not os.path.exists(STATE), "forgotten")
        # What a restart would have done.
        if os.path.exists("/dev/iommu"):
            must("setfacl", "-b", "/dev/iommu")
        write(f"{DEVICES}/{CARD}/driver_override", "\n")
        write(f"{DEVICES}/{CARD}/driver/unbind", CARD)
        write("/sys/bus/pci/drivers_probe", CARD)


def test_pulled_out():
    name = interface(PORT)
    with contextlib.ExitStack() as stack:
        before = snapshot()
        does("bind", PORT)
        does("grant", PORT, "--user", USER, "--memlock", "1M")
        write(f"{DEVICES}/{PORT}/remove", "1")
        stack.callback(write, "/sys/bus/pci/rescan", "1")
        document = status()
        check(not device_of(document, PORT)["there"], "not there")
        check("not there any more" in "".join(problems(document)), f"{problems(document)}")
        check("it is not there any more" in does("unbind", name), "forgotten by the name it had")
        equal(status()["devices"], [], "nothing is left")
        does("revoke", "--all")
    deadline = time.monotonic() + 30
    while driver(PORT) != "e1000e":
        check(time.monotonic() < deadline, "the card is back")
        time.sleep(0.1)
    now = snapshot()
    equal((now["nodes"], now["files"]), (before["nodes"], before["files"]), "all as before")


def test_bad_state():
    """A state file that makes no sense is refused whole, by each command, and left alone."""
    os.makedirs(os.path.dirname(STATE), exist_ok=True)
    empty = {"schema": "pinion.host/1", "bindings": [], "grants": [], "nodes": [], "vfs": []}
    binding = {"device": CARD, "stage": "bound", "boot": "x", "time": 1, "pid": 1, "id": "8086:10d3", "group": 1,
               "driver": "vfio-pci", "before": {"driver": "e1000e", "override": None, "interfaces": []},
               "persist": None, "vf_of": None}
    node = {"path": "/dev/vfio/7", "device": None, "boot": "x", "inode": 1,
            "before": {"uid": 0, "gid": 0, "mode": 384, "acl": None}}
    cases = [("{\n  \"schema\": 1,\n  oops", "line 3, column"), ("[]", "schema"), ("", "line"),
             (json.dumps({**empty, "schema": "pinion.host/9"}), "pinion.host/9"),
             (json.dumps({**empty, "more": []}), "members besides"),
             (json.dumps({**empty, "bindings": [{**binding, "more": 1}]}), r"bindings\[0\]"),
             (json.dumps({**empty, "bindings": [binding, {**binding, "device": "../../x"}]}), r"bindings\[1\]: device"),
             (json.dumps({**empty, "bindings": [{**binding, "driver": "../../etc/passwd"}]}), "no name"),
             (json.dumps({**empty, "bindings": [{**binding, "stage": "done"}]}), "stage 'done'"),
             (json.dumps({**empty, "bindings": [{**binding, "pid": -1}]}), "pid"),
             (json.dumps({**empty, "bindings": [{**binding, "driver": "x" * 400}]}), "too long"),
             (json.dumps({**empty, "nodes": [{**node, "path": "/etc/shadow"}]}), "not a path below /dev"),
             (json.dumps({**empty, "nodes": [{**node, "path": "/dev/../etc/shadow"}]}), "not a path below /dev"),
             (json.dumps({**empty, "nodes": [{**node, "before": {**node["before"], "mode": 4095}}]}), "mode"),
             (json.dumps({**empty, "vfs": [7]}), r"vfs\[0\]")]
    every = (("unbind", "--all"), ("bind", CARD), ("revoke", "--all"), ("status",))
    try:
        for text, part in cases:
            write(STATE, text)
            # They read it by the same function, and before anything else.
            for command in every if text == cases[0][0] or LONG else every[:1]:
                refused(*command, parts=[re.escape(STATE), part])
    finally:
        os.unlink(STATE)


def test_two_at_once():
    """The second waits for the first. A user cannot be the first, also where /run/pinion is open to all."""
    os.makedirs("/run/pinion", exist_ok=True)
    os.chmod("/run/pinion", 0o1777)
    hold = ("import fcntl, os, sys; os.chdir('/run/pinion'); f = open('host.lock', 'w'); "
            "fcntl.flock(f, fcntl.LOCK_EX); print('locked', flush=True); sys.stdin.read()")
    with clean(), running(*as_user([sys.executable, "-c", hold])) as user:
        equal(user.ready, "locked", "a lock of a user's own")
        does("bind", CARD)
    os.unlink("/run/pinion/host.lock")
    os.chmod("/run/pinion", 0o755)
    with running(sys.executable, "-c", "import fcntl, sys; "
                 "f = open('/run/pinion-host.lock', 'w'); fcntl.flock(f, fcntl.LOCK_EX); "
                 "f.write('4711\\n'); f.flush(); print('locked', flush=True); sys.stdin.read()") as other:
        equal(other.ready, "locked", "the lock")
        check("right now" in does("status"), "status says that somebody is at work")
        refused("bind", CARD, parts=["pid 4711", "at work"])
    with clean():
        programs = [subprocess.Popen([PINION, "bind", card], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                     text=True) for card in (CARD, PARTNER, PORT)]
        for program in programs:
            _, text = program.communicate(timeout=60)
            equal((program.returncode, text), (0, ""), "three at once")
        equal(len(status()["devices"]), 3, "all three are bound and recorded")


#
# At each start
#

def test_driverctl():
    if not os.path.exists("/usr/sbin/driverctl"):
        raise Skip("driverctl is not installed")
    with clean():
        does("bind", "--persist", CARD)
        equal(read(f"/etc/driverctl.d/pci-{CARD}"), "vfio-pci", "in driverctl's format")
        check(f"{CARD} vfio-pci" in must("driverctl", "list-overrides"), "driverctl knows it")
        check(not os.path.exists(RULES), "driverctl's own rules load it")
        check("at each start" in does("status"), "status says so")
        does("unbind", CARD)
        check(not os.path.exists(f"/etc/driverctl.d/pci-{CARD}"), "gone")
    must("driverctl", "--noprobe", "set-override", CARD, "vfio-pci")
    write("/sys/bus/pci/drivers_probe", CARD)
    text = does("bind", CARD)
    check("driverctl owns" in text or "not by pinion" in text, text)
    refused("unbind", CARD, parts=["not bound by pinion"])
    must("driverctl", "unset-override", CARD)
    equal(driver(CARD), "e1000e", "driverctl gave it back")
    os.makedirs("/etc/driverctl.d", exist_ok=True)
    write(f"/etc/driverctl.d/pci-{CARD}", "e1000e\n")
    try:
        refused("bind", "--persist", CARD, rules=["driverctl"], parts=["e1000e", "unset-override"])
        with clean():
            check("driverctl owns its override" in does("bind", CARD), "said")
        with clean():
            does("bind", "--persist", "--force", CARD)
            equal(read(f"/etc/driverctl.d/pci-{CARD}"), "vfio-pci", "replaced")
            write(f"/etc/driverctl.d/pci-{CARD}", "pci-stub\n")
            check("has changed that" in "".join(problems(status())), "changed by driverctl since")
            write(f"/etc/driverctl.d/pci-{CARD}", "vfio-pci\n")
            does("unbind", CARD)
            equal(read(f"/etc/driverctl.d/pci-{CARD}"), "e1000e", "put back")
    finally:
        os.unlink(f"/etc/driverctl.d/pci-{CARD}")


@contextlib.contextmanager
def udev():
    """A udevd in the guest, without driverctl's rules."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink("/lib/udev/rules.d/05-driverctl.rules")
    daemon = subprocess.Popen(["/lib/systemd/systemd-udevd"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while not os.path.exists("/run/udev/control"):
            check(time.monotonic() < deadline and daemon.poll() is None, "udevd starts")
            time.sleep(0.1)
        must("udevadm", "settle", "--timeout=100")
        yield
    finally:
        daemon.terminate()
        daemon.wait(timeout=30)
        with contextlib.suppress(FileNotFoundError):
            os.unlink("/run/udev/control")


def test_udev():
    """The rules bring a card that appears anew to where it was: on vfio-pci, open to the user."""
    if not os.path.exists("/lib/systemd/systemd-udevd"):
        raise Skip("udev is not installed")
    with udev():
        before = snapshot()
        does("bind", "--persist", PORT)
        does("grant", PORT, "--user", USER, "--persist")
        check(os.path.exists(RULES), "rules")
        must("udevadm", "control", "--reload")
        write(f"{DEVICES}/{PORT}/remove", "1")
        must("udevadm", "settle", "--timeout=30")
        write("/sys/bus/pci/rescan", "1")
        must("udevadm", "settle", "--timeout=60")
        equal((driver(PORT), override(PORT)), ("vfio-pci", "vfio-pci"), "bound by the rule")
        node = f"/dev/vfio/{group_of(PORT)}"
        check("user:1000:rw-" in access(node), f"granted by the rule: {access(node)}")
        cdev = glob.glob(f"{DEVICES}/{PORT}/vfio-dev/vfio*/dev")
        if cdev:
            node = f"/dev/vfio/devices/{cdev[0].split('/')[-2]}"
            check("user:1000:rw-" in access(node), f"granted by the rule: {access(node)}")
        equal(problems(status()), [], "as the records say")
        does("revoke", "--all")
        check("user:1000" not in access(node), f"taken back: {access(node)}")
        does("unbind", "--all")
        must("udevadm", "settle", "--timeout=30")
        equal((driver(PORT), override(PORT)), ("e1000e", ""), "back")
        check(not os.path.exists(RULES), "no rules are left")
        now = snapshot()
        equal((now["nodes"], now["files"]), (before["nodes"], before["files"]), "all as before")


#
# Virtual functions
#

def test_vf_refusals():
    controller = nvme(True)
    refused("vf", "create", CARD, "1", rules=["sr-iov"], parts=["no virtual functions"])
    total = int(read(f"{DEVICES}/{controller}/sriov_totalvfs"))
    refused("vf", "create", controller, str(total + 1), rules=["sr-iov"], parts=[f"1 to {total}"])
    refused("vf", "create", controller, "1", "--token", "2ab74924-c335-45f4-9b16-8569e5b08258",
            parts=["is on nvme", "need none"])


def test_vf_of_kernel_driver():
    controller = nvme(True)
    with clean():
        text = does("vf", "create", controller, "2")
        check("token" not in text, text)
        found = device_of(status(), controller)
        equal((found["driver"], found["vfs"]["count"], found["vfs"]["token"]), ("nvme", 2, False), "status")
        functions = found["vfs"]["functions"]
        equal([driver(f) for f in functions], ["vfio-pci"] * 2, "the functions")
        equal(read(f"{DEVICES}/{controller}/sriov_drivers_autoprobe"), "1", "autoprobe")
        does("grant", functions[0], "--user", USER)
        backend = "type1"
        with running(*as_user([f"{BUILD}/tests/vm/programs/vf_token", functions[0], backend])) as program:
            equal(program.ready, "open", "by the user")
            refused("vf", "remove", controller, rules=["open"], parts=[functions[0]])
        refused("vf", "create", controller, "1", rules=["sr-iov"], parts=["2 virtual functions already"])
        refused("bind", controller, rules=["virtual-functions"])
        does("vf", "remove", controller)
        check(not os.path.exists(f"{DEVICES}/{functions[0]}"), "gone")
        does("vf", "create", controller, "1")


def test_vf_token():
    controller = nvme(True)
    token = "2ab74924-c335-45f4-9b16-8569e5b08258"
    parameter = "/sys/module/vfio_pci/parameters/enable_sriov"
    backends = [b for b in os.environ.get("PINION_BACKENDS", "type1").split(",") if b != "iommufd"]
    with clean():
        does("bind", controller)
        write(parameter, "0")
        refused("vf", "create", controller, "1", rules=["sr-iov"], parts=["enable_sriov"])
        write(parameter, "1")
        text = does("vf", "create", controller, "2", "--token", token)
        check(token in text, text)
        check(token not in read(STATE), "a secret is kept nowhere")
        found = device_of(status(), controller)
        check(found["vfs"]["token"], "behind a token")
        function = found["vfs"]["functions"][0]
        does("grant", function, "--user", USER)
        program = f"{BUILD}/tests/vm/programs/vf_token"
        for backend in backends:
            done = run(*as_user([program, function, backend]), input="")
            check(done.returncode == 1 and "EACCES" in done.stdout and "none was given" in done.stdout, done.stdout)
            done = run(*as_user([program, function, backend, token.replace("2", "3")]), input="")
            check(done.returncode == 1 and "EACCES" in done.stdout and "not the one" in done.stdout, done.stdout)
            done = run(*as_user([program, function, backend, token.upper()]), input="")
            equal((done.returncode, done.stdout), (0, "open\n"), f"with the token, {backend}")
        if "iommufd" in os.environ.get("PINION_BACKENDS", ""):
            done = run(*as_user([program, function, "iommufd", token]), input="")
            equal((done.returncode, done.stdout), (0, "open\n"), "with the token, iommufd")
        done = run(program, CARD, backends[0], token, input="")
        check(done.returncode == 1, "a device that takes none")
        refused("unbind", controller, rules=["virtual-functions"])
        does("unbind", "--all")
        equal(driver(controller), "nvme", "back")


LENGTHY = (("killed: bind, taken up", test_interrupted_bind_goes_on), ("killed: bind --persist", test_die_persisting),
           ("killed: revoke", test_die_revoking), ("killed: vf create", test_die_making_functions))


def main():
    suite = Suite()
    ready()
    for name, test in (
            ("state that makes no sense", test_bad_state), ("two at once", test_two_at_once),
            ("restart", test_restart), ("pulled out", test_pulled_out), ("driverctl", test_driverctl),
            ("functions: refusals", test_vf_refusals), ("functions: kernel driver", test_vf_of_kernel_driver),
            ("functions: token", test_vf_token), ("killed: bind", test_die_binding),
            ("killed: unbind", test_die_unbinding), ("killed: grant", test_die_granting), *(LENGTHY if LONG else ()),
            ("udev", test_udev)):
        suite.run(name, test)
    suite.end()


if __name__ == "__main__":
    main()
