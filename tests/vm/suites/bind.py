# SPDX-License-Identifier: BSD-3-Clause
"""pinion bind, unbind, grant, revoke and status, on a machine that has something to lose: each refusal, and each way
back."""

import ctypes
import glob
import json
import os
import platform
import signal
import socket
import subprocess
import sys
import time

from bind_machine import (CARD, PARTNER, VIRTIO, SPARE, DEVICES, STATE, LIMITS, USER, read, write, driver, override,
                          group_of, of_class, nvme, disk, access, snapshot, pinion, does, refused, status, device_of,
                          problems, clean, up, running, holder, ready)
from guest import BUILD, PINION, TESTPMD, Skip, Suite, as_user, check, equal, interface, must, run


#
# Command lines
#

def test_usage():
    for arguments, part in (
            (("bind",), "which device"), (("bind", "--frob", CARD), "unknown option '--frob'"),
            (("bind", "--cut-network", CARD), "without --force"), (("bind", "--driver", "e1000e", CARD), "variant"),
            (("bind", "--driver", "../vfio-pci", CARD), "variant"), (("bind", "--driver"), "no value"),
            (("unbind",), "which device"), (("unbind", "--all", CARD), "not both"),
            (("grant", CARD), "to whom"), (("grant", "--user", USER), "which device"),
            (("grant", CARD, "--user", "no-such-user"), "no user 'no-such-user'"),
            (("grant", CARD, "--group", "no-such-group"), "no group"), (("grant", CARD, "--user", ""), "no user"),
            (("grant", CARD, "--user", "-1"), "no user"), (("grant", CARD, "--user", "4294967295"), "no user"),
            (("grant", CARD, "--user", USER, "--group", USER), "at a time"),
            (("grant", CARD, "--user", USER, "--mode", "0666"), "acl or owner"),
            (("grant", CARD, "--user", USER, "--memlock", "0"), "--memlock"),
            (("grant", CARD, "--user", USER, "--memlock", "64 MB"), "--memlock"),
            (("grant", CARD, "--user", USER, "--memlock", "99999999999999999999"), "--memlock"),
            (("revoke",), "which device"), (("revoke", "--all", CARD), "not both"),
            (("vf",), "create DEVICE N"), (("vf", "create", CARD), "how many"),
            (("vf", "create", CARD, "0"), "1 to 65535"), (("vf", "create", CARD, "many"), "1 to 65535"),
            (("vf", "create", CARD, "2", "--token", "secret"), "UUID"), (("vf", "remove"), "takes devices"),
            (("status", "eth0"), "unexpected 'eth0'")):
        refused(*arguments, parts=[part], code=2)


def test_no_such_device():
    for command in (("bind",), ("unbind",), ("grant", "--user", USER), ("vf", "remove")):
        refused(*command, "0000:7f:1f.7", parts=["no PCI function 0000:7f:1f.7"])
        refused(*command, "no-such-nic", parts=["no-such-nic"])
        refused(*command, "00:zz.0", parts=["not the address"])
        refused(*command, "", parts=["not a PCI device"])
        refused(*command, "../../../etc/x", parts=["not a PCI device"])
        refused(*command, "a" * 300, parts=["not a PCI device"])
    refused("bind", "8086:10d3", parts=["name one by its address"])
    refused("bind", "dead:beef", parts=["no PCI function 'dead:beef'"])
    refused("unbind", CARD, parts=["not bound by pinion"])
    refused("revoke", CARD, parts=["not granted"])
    refused("vf", "remove", CARD, parts=["no virtual functions that pinion made"])
    refused("grant", CARD, "--user", USER, parts=["is on e1000e, not on vfio-pci", "pinion bind"])


def test_ordinary_user():
    for command in (("bind", CARD), ("unbind", "--all"), ("grant", CARD, "--user", USER), ("revoke", "--all"),
                    ("vf", "create", CARD, "1")):
        done = run(*as_user([PINION, *command]))
        equal(done.returncode, 1, f"{command} by an ordinary user")
        check("for root" in done.stderr, done.stderr)
    done = run(*as_user([PINION, "status"]))
    equal((done.returncode, done.stderr), (0, ""), "status by an ordinary user")
    equal(driver(CARD), "e1000e", "driver")


def test_help():
    for command in ("bind", "unbind", "grant", "revoke", "vf", "status"):
        text = does("help", command)
        equal(text, does(command, "--help"), f"both ways to the help of {command}")
        check("Example" in text, f"the help of {command} has an example")
        check(max(map(len, text.splitlines())) <= 90, f"the help of {command} fits a terminal")


#
# There and back
#

def test_round_trip():
    name = interface(CARD)
    with clean():
        text = does("bind", CARD)
        equal(driver(CARD), "vfio-pci", "driver")
        check(name in text and "e1000e" in text, text)
        found = device_of(status(), CARD)
        equal((found["driver"], found["binding"]["stage"]), ("vfio-pci", "bound"), "status")
        equal(found["binding"]["before"], {"driver": "e1000e", "override": None, "interfaces": [name]}, "before")
        check("already" in does("bind", CARD, CARD[5:]), "bound twice is said")
        does("unbind", name)
        equal((driver(CARD), override(CARD), interface(CARD)), ("e1000e", "", name), "after unbind")
    check(not os.path.exists(STATE), "no state is left when nothing is bound")


def test_names():
    """An interface, a short address and a whole one; all or none."""
    with clean():
        does("bind", interface(CARD), PARTNER[5:])
        equal((driver(CARD), driver(PARTNER)), ("vfio-pci", "vfio-pci"), "drivers")
        does("unbind", CARD[5:], PARTNER)
    refused("bind", CARD, "0000:00:00.0", rules=["bridge"])
    equal(driver(CARD), "e1000e", "one refused, none bound")


def test_dry_run():
    before = snapshot()
    check("would be bound" in does("bind", "--dry-run", CARD), "what would be done")
    equal(snapshot(), before, "a dry run changes nothing")
    refused("bind", "--dry-run", "0000:00:00.0", rules=["bridge"])


def test_override_before():
    """A driver_override that was there, and no driver at all, come back."""
    write(f"{DEVICES}/{CARD}/driver_override", "e1000e")
    with clean():
        does("bind", CARD)
        equal(override(CARD), "vfio-pci", "override")
        does("unbind", CARD)
        equal((driver(CARD), override(CARD)), ("e1000e", "e1000e"), "an override of before")
    write(f"{DEVICES}/{CARD}/driver_override", "\n")
    write(f"{DEVICES}/{CARD}/driver/unbind", CARD)
    with clean():
        does("bind", CARD)
        does("unbind", CARD)
        equal((driver(CARD), override(CARD)), ("", ""), "no driver before")
    write(f"{DEVICES}/{CARD}/driver_override", "vfio-pci\n")
    write("/sys/bus/pci/drivers_probe", CARD)
    with clean():
        check("not by pinion" in does("bind", CARD), "bound by another")
        check("not by pinion" in does("status"), "status says so")
        refused("unbind", CARD, parts=["not bound by pinion"])
        refused("bind", "--persist", CARD, parts=["not by pinion", "driverctl set-override"])
    write(f"{DEVICES}/{CARD}/driver_override", "\n")
    write(f"{DEVICES}/{CARD}/driver/unbind", CARD)
    write("/sys/bus/pci/drivers_probe", CARD)


def test_failing_probe():
    """One that vfio-pci does not take: everything goes back, what was taken before it too."""
    must("mount", "--bind", "/dev/null", "/sys/bus/pci/drivers_probe")
    try:
        refused("bind", CARD, parts=["not on vfio-pci", "everything is as it was"])
    finally:
        must("umount", "/sys/bus/pci/drivers_probe")
    equal(driver(CARD), "e1000e", "driver")


def test_group():
    """Two cards behind one bridge share a group."""
    pair = [a for a in of_class("0x0200") if driver(a) == "e1000"]
    equal((len(pair), len({group_of(a) for a in pair})), (2, 1), "two cards in one group")
    text = refused("bind", pair[0], rules=["group"], parts=[pair[1], "on the driver e1000", "--group"])
    check("--force" not in text, "there is nothing to force")
    refused("bind", pair[0], "--force", rules=["group"])
    with clean():
        does("bind", pair[0], "--group")
        equal([driver(a) for a in pair], ["vfio-pci"] * 2, "both")
        check(pair[1] in does("grant", pair[0], "--user", USER), "whose node goes with it is said")
    with clean():
        does("bind", *pair)


def test_kinds():
    refused("bind", "0000:00:00.0", rules=["bridge"], parts=["host bridge", "no option"])
    refused("bind", "--force", "--cut-network", of_class("0x0604")[0], rules=["bridge"], parts=["PCI bridge"])
    if os.path.isdir("/sys/bus/virtio/drivers/9pnet_virtio"):
        shared = [p.split("/")[-2] for p in glob.glob(f"{DEVICES}/*/virtio*")
                  if os.path.basename(os.path.realpath(f"{p}/driver")) == "9pnet_virtio"]
        refused("bind", shared[0], parts=["rule '(system-disk|mounted|shared-folder)'"])


#
# In use: network
#

def test_address():
    name = interface(VIRTIO)
    other = interface(SPARE)
    with up(name, ("addr", "add", "198.51.100.7/24", "dev", name)), \
            up(other, ("addr", "add", "203.0.113.7/24", "dev", other)):
        refused("bind", VIRTIO, rules=["address"], parts=[name, "198.51.100.7/24", "--force sets this aside"])
        with clean():
            check("in spite of the rule 'address'" in does("bind", "--force", VIRTIO), "what was set aside is said")
            equal(driver(VIRTIO), "vfio-pci", "driver")
            does("unbind", VIRTIO)
            equal(interface(VIRTIO), name, "the interface is back")
        refused("bind", "--force", VIRTIO, SPARE, rules=["last-network"], parts=["only address", "--cut-network"])
    with up(interface(VIRTIO), ("addr", "add", "2001:db8::7/64", "dev", name)):
        refused("bind", VIRTIO, rules=["address", "last-network"], parts=["2001:db8::7/64"])
    with up(name):
        with clean():
            does("bind", VIRTIO)


def test_default_route():
    name, other = interface(VIRTIO), interface(SPARE)
    first = (("addr", "add", "198.51.100.7/24", "dev", name), ("route", "add", "default", "via", "198.51.100.1"))
    second = (("addr", "add", "203.0.113.7/24", "dev", other),
              ("route", "add", "default", "via", "203.0.113.1", "metric", "300"))
    with up(name, *first):
        refused("bind", "--force", VIRTIO, rules=["last-network"], parts=["only default route", "lose its network"])
        refused("bind", VIRTIO, rules=["address", "default-route", "last-network"])
        with up(other, *second):
            refused("bind", VIRTIO, rules=["default-route"])
            refused("bind", "--force", VIRTIO, SPARE, rules=["last-network"])
            with clean():
                does("bind", "--force", VIRTIO)
                does("unbind", VIRTIO)
    with up(name, *first), clean():
        does("bind", "--force", "--cut-network", VIRTIO)
        equal(driver(VIRTIO), "vfio-pci", "driver")


def test_parts_of_default_route():
    """In two halves, by a table that only a rule leads to, or by less than everything: a way out all the same."""
    name = interface(VIRTIO)
    address = ("addr", "add", "198.51.100.7/24", "dev", name)
    via = ("via", "198.51.100.1")
    for routes in ((("route", "add", "0.0.0.0/1", *via), ("route", "add", "128.0.0.0/1", *via)),
                   (("route", "add", "default", *via, "table", "77"),),
                   (("route", "add", "64.0.0.0/2", *via),)):
        with up(name, address, *routes):
            refused("bind", VIRTIO, rules=["address", "default-route", "last-network"])
    six = ("addr", "add", "2001:db8::7/64", "dev", name, "nodad")
    for prefix in (("::/1", "8000::/1"), ("2000::/3",)):
        with up(name, six, *(("-6", "route", "add", part, "via", "2001:db8::1", "dev", name) for part in prefix)):
            refused("bind", VIRTIO, rules=["default-route", "last-network"])
    # A network of one's own, however large, is none.
    with up(name, address, ("route", "add", "10.0.0.0/8", *via), ("route", "add", "224.0.0.0/4", "dev", name)):
        refused("bind", VIRTIO, rules=["address", "last-network"], parts=["only address"])


def test_ipv6_route():
    name = interface(VIRTIO)
    with up(name, ("addr", "add", "2001:db8::7/64", "dev", name, "nodad"),
            ("-6", "route", "add", "default", "via", "2001:db8::1", "dev", name)):
        refused("bind", VIRTIO, rules=["default-route", "last-network"])


def test_enslaved():
    """A bridge and a VLAN on it carry the address: the card below is in use all the same."""
    name = interface(VIRTIO)
    must("ip", "link", "add", "br7", "type", "bridge")
    try:
        must("ip", "link", "set", name, "master", "br7")
        refused("bind", VIRTIO, rules=["enslaved"], parts=["bridge br7", "nomaster"])
        with up("br7", ("addr", "add", "198.51.100.7/24", "dev", "br7"),
                ("route", "add", "default", "via", "198.51.100.1")):
            must("ip", "link", "set", name, "up")
            refused("bind", "--force", VIRTIO, rules=["last-network"])
            refused("bind", VIRTIO, rules=["enslaved", "address", "default-route"], parts=["through br7"])
            # A second port keeps the bridge on the wire.
            must("ip", "link", "set", interface(SPARE), "master", "br7")
            check("last-network" not in refused("bind", VIRTIO, rules=["enslaved"]), "the bridge has another port")
            must("ip", "link", "set", interface(SPARE), "nomaster")
    finally:
        must("ip", "link", "del", "br7")
        must("ip", "link", "set", name, "down")
    must("ip", "link", "add", "link", name, "name", "vlan7", "type", "vlan", "id", "7")
    with up(name), up("vlan7", ("addr", "add", "198.51.100.7/24", "dev", "vlan7")):
        refused("bind", VIRTIO, rules=["address"], parts=["through vlan7"])
    must("ip", "link", "del", "vlan7")


def test_while_links_change():
    """The kernel breaks a listing off that changes under way; it is asked again."""
    loop = ("while :; do ip link add br8 type bridge; ip link set br8 up; ip addr add 198.51.100.8/24 dev br8; "
            "ip link del br8; done")
    with subprocess.Popen(["sh", "-c", loop], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            for _ in range(20):
                does("bind", "--dry-run", CARD)
        finally:
            process.kill()
    run("ip", "link", "del", "br8")


def test_packet_socket():
    name = interface(VIRTIO)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0x0300) as packet:
        packet.bind((name, 0x0300))
        refused("bind", VIRTIO, rules=["packet"], parts=["AF_PACKET", f"pid {os.getpid()} "])
    with clean():
        does("bind", VIRTIO)


def attach_xdp(name):
    """A program of two instructions, "pass", loaded and pinned for ip(8)."""
    libc = ctypes.CDLL(None, use_errno=True)
    code = (ctypes.c_ubyte * 16)(0xb7, 0, 0, 0, 2, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0)
    licence = ctypes.create_string_buffer(b"GPL")
    load = (ctypes.c_ubyte * 128)()
    ctypes.memmove(load, bytes(ctypes.c_uint32(6)) + bytes(ctypes.c_uint32(2)) +
                   bytes(ctypes.c_uint64(ctypes.addressof(code))) + bytes(ctypes.c_uint64(ctypes.addressof(licence))),
                   24)
    fd = libc.syscall(321, 5, load, 128)
    check(fd >= 0, f"BPF_PROG_LOAD: {os.strerror(ctypes.get_errno())}")
    must("mount", "-t", "bpf", "bpf", "/sys/fs/bpf")
    path = ctypes.create_string_buffer(b"/sys/fs/bpf/pass")
    pin = (ctypes.c_ubyte * 128)()
    ctypes.memmove(pin, bytes(ctypes.c_uint64(ctypes.addressof(path))) + bytes(ctypes.c_uint32(fd)), 12)
    equal(libc.syscall(321, 6, pin, 128), 0, "BPF_OBJ_PIN")
    must("ip", "link", "set", "dev", name, "xdpgeneric", "pinned", "/sys/fs/bpf/pass")
    os.close(fd)


def test_xdp():
    if platform.machine() != "x86_64":
        raise Skip("the number of bpf() is that of x86-64")
    name = interface(VIRTIO)
    attach_xdp(name)
    try:
        refused("bind", VIRTIO, rules=["xdp"], parts=["XDP program", "xdp off"])
    finally:
        must("ip", "link", "set", "dev", name, "xdpgeneric", "off")
        must("umount", "/sys/fs/bpf")


def test_other_namespace():
    """The interface is a container's: sysfs does not show it here."""
    name = interface(VIRTIO)
    with running("unshare", "-n", sys.executable, "-c", "import sys; print('ready', flush=True); sys.stdin.read()") as box:
        inside = ["nsenter", "-t", str(box.pid), "-n"]
        must("ip", "link", "set", name, "netns", str(box.pid))
        must(*inside, "ip", "addr", "add", "198.51.100.9/24", "dev", name)
        must(*inside, "ip", "link", "set", name, "up")
        refused("bind", VIRTIO, rules=["address"], parts=["198.51.100.9/24", f"namespace of pid {box.pid}"])
    deadline = time.monotonic() + 60
    while not glob.glob(f"{DEVICES}/{VIRTIO}/virtio*/net/*"):
        check(time.monotonic() < deadline, "the interface comes back")
        time.sleep(0.1)


#
# In use: disks
#

def test_swap():
    controller = nvme(False)
    node = f"/dev/{disk(controller)}"
    must("mkswap", node)
    must("swapon", node)
    try:
        refused("bind", controller, rules=["swap"], parts=[node, "swapoff"])
    finally:
        must("swapoff", node)
    with clean():
        does("bind", controller)
        equal(driver(controller), "vfio-pci", "driver")
        does("unbind", controller)
        equal(driver(controller), "nvme", "driver")
    deadline = time.monotonic() + 30
    while not os.path.exists(node):
        check(time.monotonic() < deadline, "the disk is back")
        time.sleep(0.05)


def test_mounted():
    controller = nvme(False)
    node = f"/dev/{disk(controller)}"
    run("modprobe", "-q", "ext4")
    if "ext4" not in read("/proc/filesystems"):
        raise Skip("this kernel has no file system for disks")
    must("mkfs.ext4", "-q", "-F", node)
    os.makedirs("/tmp/disk", exist_ok=True)
    must("mount", node, "/tmp/disk")
    try:
        refused("bind", controller, rules=["mounted"], parts=["/tmp/disk", "ext4", "umount"])
        # The same mount, seen in a namespace of its own only.
        with running("unshare", "-m", "--propagation", "private", sys.executable, "-c",
                     "import sys; print('ready', flush=True); sys.stdin.read()") as box:
            must("umount", "/tmp/disk")
            refused("bind", controller, rules=["mounted"], parts=[f"pid {box.pid} ", "namespace"])
        must("mount", node, "/boot")
        refused("bind", "--force", "--cut-network", controller, rules=["system-disk"], parts=["/boot", "no option"])
        must("umount", "/boot")
    finally:
        run("umount", "/tmp/disk")
        run("umount", "/boot")


def test_disk_open():
    controller = nvme(False)
    node = f"/dev/{disk(controller)}"
    with running(*holder(node)) as program:
        equal(program.ready, "open", "holder")
        refused("bind", controller, rules=["open"], parts=[f"pid {program.pid} ", os.path.basename(node)])
    # A module of its own in the distribution's kernels.
    run("modprobe", "-q", "loop")
    loop = must("losetup", "--find", "--show", node).strip()
    try:
        refused("bind", controller, rules=["holders"], parts=[os.path.basename(loop)])
    finally:
        must("losetup", "-d", loop)


#
# Grants
#

def forwards(uid=1000):
    """Can an ordinary user drive the card?"""
    return run(*as_user([TESTPMD, "-a", CARD, "--forward", "io", "--duration", "0.2", "--mem", "4M"], 8 << 20, uid))


def test_grant_and_use():
    with clean():
        does("bind", CARD)
        done = forwards()
        check(done.returncode == 1 and "may not" in done.stderr, f"before the grant: {done.stderr}")
        text = does("grant", CARD, "--user", USER)
        check(f"/dev/vfio/{group_of(CARD)}" in text, text)
        done = forwards()
        equal(done.returncode, 0, f"with the grant: {done.stderr}")
        equal(forwards(1001).returncode, 1, "another user")
        state = read(STATE)
        does("grant", CARD, "--user", USER)
        for member in ("nodes", "bindings"):
            equal(json.loads(read(STATE))[member], json.loads(state)[member], f"{member} after the same grant")
        does("revoke", CARD, "--user", USER)
        equal(forwards().returncode, 1, "after the revoke")


def test_owner_mode():
    group = "/dev/vfio/{}"
    with clean():
        does("bind", CARD)
        node = group.format(group_of(CARD))
        before = snapshot()
        does("grant", CARD, "--user", USER, "--mode", "owner")
        equal(os.stat(node).st_uid, 1000, "owner")
        equal(forwards().returncode, 0, "by ownership")
        refused("grant", CARD, "--user", "1001", "--mode", "owner", rules=["owner"], parts=["belongs to the user", "--mode acl"])
        does("grant", CARD, "--user", "1001")
        equal(forwards(1001).returncode, 0, "a list besides")
        does("grant", CARD, "--group", "1002", "--mode", "owner")
        equal((os.stat(node).st_uid, os.stat(node).st_gid), (1000, 1002), "user and group")
        does("revoke", "--all", "--user", USER)
        equal((os.stat(node).st_uid, os.stat(node).st_gid), (0, 1002), "the group's is left")
        equal((forwards().returncode, forwards(1001).returncode), (1, 0), "one revoked, one not")
        does("revoke", "--all")
        now = snapshot()
        del now["files"], before["files"]
        equal(now, before, "all as before")


def test_shared_nodes():
    """/dev/iommu, which a list of somebody's is on already: two grants, revoked in either order."""
    if not os.path.exists("/dev/iommu"):
        raise Skip("this kernel has no iommufd")
    must("setfacl", "-m", "u:77:r,g:88:rw", "/dev/iommu")
    before = access("/dev/iommu")
    for order in ((CARD, PARTNER), (PARTNER, CARD)):
        with clean():
            does("bind", CARD, PARTNER)
            does("grant", CARD, "--user", USER)
            does("grant", PARTNER, "--user", "1001")
            text = access("/dev/iommu")
            check("user:1000:rw-" in text and "user:1001:rw-" in text and "user:77:r--" in text, text)
            does("revoke", order[0])
            left = "1001" if order[0] == CARD else USER
            text = access("/dev/iommu")
            check(f"user:{left}:rw-" in text and text.count("user:100") == 1, text)
            does("revoke", order[1])
            equal(access("/dev/iommu"), before, "the list of before")
    with clean():
        # One user, two devices: the shared node stays as long as one of them does.
        does("bind", CARD, PARTNER)
        does("grant", CARD, PARTNER, "--user", USER)
        does("revoke", CARD)
        check("user:1000:rw-" in access("/dev/iommu"), "still needed")
        equal(forwards().returncode, 1, "the other card")
    must("setfacl", "-b", "/dev/iommu")


def test_memlock():
    with clean():
        does("bind", CARD, PARTNER)
        text = does("grant", CARD, "--group", "1002", "--memlock", "2000001")
        check("prlimit --pid PID --memlock=2000001:2000001" in text, text)
        equal(read(LIMITS).splitlines()[-1], "@1002:1002 - memlock 1954", "KiB, rounded up")
        does("grant", PARTNER, "--group", "1002", "--memlock", "4M")
        equal(read(LIMITS).splitlines()[-1], "@1002:1002 - memlock 4096", "the largest")
        does("revoke", PARTNER)
        equal(read(LIMITS).splitlines()[-1], "@1002:1002 - memlock 1954", "the other is left")
        does("revoke", CARD)
        check(not os.path.exists(LIMITS), "no grant, no file")


def test_changed_behind():
    """Somebody changes a granted node: said, and put right by either command."""
    with clean():
        does("bind", CARD)
        does("grant", CARD, "--user", USER)
        node = f"/dev/vfio/{group_of(CARD)}"
        must("setfacl", "-b", node)
        check("is not as granted" in "".join(problems(status())), "said")
        does("grant", CARD, "--user", USER)
        equal(problems(status()), [], "granted again")
        os.chmod(node, 0o666)


def test_unbind_revokes():
    with clean():
        does("bind", CARD)
        does("grant", CARD, "--user", USER)
        text = does("unbind", CARD)
        check("may not open it any more" in text and "back to e1000e" in text, text)
        equal(status()["devices"], [], "nothing is left")


#
# Open
#

def test_open():
    with clean():
        does("bind", CARD)
        node = f"/dev/vfio/{group_of(CARD)}"
        does("grant", CARD, "--user", USER)
        with running(*as_user([f"{BUILD}/tests/vm/programs/vf_token", CARD, "type1"])) as program:
            equal(program.ready, "open", "the program")
            opened = device_of(status(), CARD)["open"]
            check(any(o["uid"] == 1000 and o["node"] == node for o in opened), f"{opened}")
            # The grant may go; what is open stays open, and is shown.
            refused("unbind", CARD, rules=["open"], parts=[r"pid \d+ \(vf_token, uid 1000\)", node])
            refused("unbind", "--all", rules=["open"])
            equal(driver(CARD), "vfio-pci", "driver")
        # In a mount namespace of its own, by a node of its own, as a container has it.
        device = os.stat(node).st_rdev
        box = ("mount -t tmpfs none /mnt && "
               f"mknod /mnt/card c {os.major(device)} {os.minor(device)} && exec \"$@\"")
        with running("unshare", "-m", "sh", "-c", box, "sh", *holder("/mnt/card")) as program:
            equal(program.ready, "open", "the container")
            opened = device_of(status(), CARD)["open"]
            equal([o["pid"] for o in opened], [program.pid], "found by what it is")
            refused("unbind", CARD, rules=["open"], parts=[f"pid {program.pid} "])
            # No device of the group is open: nothing has to be waited for.
            done = pinion("unbind", "--force", CARD)
            equal(done.returncode, 0, f"--force: {done.stderr}")
            check("asks for it back" in done.stdout, done.stdout)


# It sends the file to itself, and does not take it: it is in no process, and open.
HIDES = """import array, os, socket, sys
near, far = socket.socketpair()
file = os.open(sys.argv[1], os.O_RDWR)
near.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [file]))])
os.close(file)
print("open", flush=True)
sys.stdin.read()"""


def test_open_unseen():
    with clean():
        does("bind", CARD)
        node = f"/dev/vfio/{group_of(CARD)}"
        does("grant", CARD, "--user", USER)
        with running(*as_user(["/usr/bin/python3", "-c", HIDES, node])) as program:
            equal(program.ready, "open", "the program")
            refused("unbind", CARD, rules=["open"], parts=[f"somebody has {node} open"])
            refused("unbind", "--all", rules=["open"])
        does("unbind", CARD)


def test_pinned():
    """Who pins how much for a device, from the ledgers."""
    with clean():
        does("bind", CARD)
        does("grant", CARD, "--user", USER)
        command = as_user([TESTPMD, "-a", CARD, "--forward", "io", "--mem", "4M"], 8 << 20)
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            try:
                for line in process.stdout:
                    if line.startswith("Forwarding:"):
                        break
                found = device_of(status(), CARD)
                equal([p["pages"] for p in found["pinned"]], [1024], f"{found}")
                check("1024 pages (4 MiB) charged" in does("status"), "in words")
            finally:
                process.send_signal(signal.SIGTERM)
                process.communicate(timeout=30)


TESTS = (
    ("usage", test_usage), ("no such device", test_no_such_device), ("help", test_help),
    ("an ordinary user", test_ordinary_user), ("there and back", test_round_trip), ("names", test_names),
    ("dry run", test_dry_run), ("what was there before", test_override_before),
    ("a driver that does not take it", test_failing_probe), ("groups", test_group), ("bridges", test_kinds),
    ("in use: address", test_address), ("in use: default route", test_default_route),
    ("in use: parts of a default route", test_parts_of_default_route),
    ("in use: IPv6", test_ipv6_route), ("in use: bridge and VLAN", test_enslaved),
    ("in use: links that change", test_while_links_change), ("in use: packet socket", test_packet_socket),
    ("in use: XDP", test_xdp),
    ("in use: another namespace", test_other_namespace), ("in use: swap", test_swap),
    ("in use: mounted", test_mounted), ("in use: disk open", test_disk_open),
    ("grant and use", test_grant_and_use), ("grant by ownership", test_owner_mode),
    ("grants that share a node", test_shared_nodes), ("grant of a limit", test_memlock),
    ("granted node changed", test_changed_behind), ("unbind revokes", test_unbind_revokes),
    ("open by others", test_open),
    ("open, and hidden", test_open_unseen), ("pinned", test_pinned))
# Elsewhere than on 6.12 what is the kernel's: which drivers it has, disks, nodes, who has them open.
OF_KERNELS = ("there and back", "groups", "in use: default route", "in use: swap", "in use: mounted",
              "in use: disk open", "grant and use", "grant by ownership", "open by others", "pinned")


def main():
    suite = Suite()
    every = os.environ["PINION_KERNEL"] == "6.12" or os.environ.get("PINION_LONG")
    ready()
    for name, test in TESTS:
        if every or name in OF_KERNELS:
            suite.run(name, test)
    suite.end()


if __name__ == "__main__":
    main()
